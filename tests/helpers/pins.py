"""The files of pinned requirements: what they pin, for which Python."""

from __future__ import annotations

import re
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.support import REPOSITORY

CI: Final = ".ci/requirements.txt"
IMAGE: Final = "deploy/container/requirements.txt"
IMAGE_BUILD: Final = "deploy/container/build-requirements.txt"


def pins(path: str) -> list[tuple[Requirement, int]]:
    """Return each line of a file of pins, and how many hashes it has."""
    text = (REPOSITORY / path).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(Requirement(line.partition(" --hash")[0]), line.count(" --hash=sha256:")) for line in lines]


def versions(path: str, python: str) -> dict[str, str]:
    """Return the version of each distribution that a file of pins gives a Python on x86-64 Linux."""
    environment = {
        "implementation_name": "cpython",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "python_full_version": f"{python}.9",
        "python_version": python,
        "sys_platform": "linux",
    }
    chosen = [each for each, _ in pins(path) if each.marker is None or each.marker.evaluate(environment)]
    assert len({canonicalize_name(each.name) for each in chosen}) == len(chosen)
    return {canonicalize_name(each.name): re.sub("^==", "", str(each.specifier)) for each in chosen}
