"""What CI, the container image and vmxd.pyz are built of: everything that pyproject.toml asks for, pinned by hash."""

from __future__ import annotations

import itertools
import re
import tomllib
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.pins import CI, IMAGE, IMAGE_BUILD, pins, versions
from tests.helpers.support import REPOSITORY

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")


def project() -> dict[str, Any]:
    """Return what pyproject.toml says."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def wanted(path: str) -> list[Requirement]:
    """Return what a file of pins is made from; of vmxd's own extras their contents."""
    table = project()
    extras = table["project"]["optional-dependencies"]
    lines = {
        CI: [*table["project"]["dependencies"], *table["build-system"]["requires"], *itertools.chain(*extras.values())],
        IMAGE: [*table["project"]["dependencies"], *extras["web"]],
        IMAGE_BUILD: table["build-system"]["requires"],
    }[path]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != "vmxd"]


@pytest.mark.parametrize("path", [CI, IMAGE, IMAGE_BUILD])
def test_pinned(path: str) -> None:
    """Each line names one version, and the hashes of its files."""
    unpinned = [
        str(each) for each, hashes in pins(path) if not hashes or not re.fullmatch(r"==[^,*]+", str(each.specifier))
    ]

    assert [] == unpinned


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("path", [CI, IMAGE, IMAGE_BUILD])
def test_satisfy(path: str, python: str) -> None:
    """What is pinned is all that pyproject.toml asks for, within its ranges; where it is not, make pins."""
    pinned = versions(path, python)
    missing = [
        str(each)
        for each in wanted(path)
        if canonicalize_name(each.name) not in pinned
        or not each.specifier.contains(pinned[canonicalize_name(each.name)], prereleases=True)
    ]

    assert [] == missing


@pytest.mark.parametrize("path", [IMAGE, IMAGE_BUILD])
def test_same_versions(path: str) -> None:
    """The image has the versions that CI has tested."""
    assert versions(path, "3.13").items() <= versions(CI, "3.13").items()


def test_extras() -> None:
    """No extra is empty."""
    assert [] == [name for name, lines in project()["project"]["optional-dependencies"].items() if not lines]
