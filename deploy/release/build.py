"""Build the wheel and the sdist, the same bytes from the same sources wherever and whenever they are built."""

from __future__ import annotations

import os
import re
from pathlib import Path

from deploy.release.run import python, run
from vmxd.errors import VmxdError


def set_epoch(source: Path) -> None:
    """Date what is built SOURCE_DATE_EPOCH, the time of the last commit unless it is set; reproducible-builds.org."""
    if "SOURCE_DATE_EPOCH" not in os.environ and (source / ".git").exists():
        os.environ["SOURCE_DATE_EPOCH"] = run("git", "log", "-1", "--format=%ct", cwd=source).strip()


def read_version(source: Path) -> str:
    """Return what vmxd/__init__.py says. Raises VmxdError."""
    text = (source / "vmxd" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "(\d+\.\d+\.\d+)"$', text, re.MULTILINE)
    if not found:
        raise VmxdError("vmxd/__init__.py has no version of the form 1.2.3", 'write __version__ = "1.2.3"')
    return found[1]


def build_wheel(source: Path, target: Path) -> Path:
    """Build the wheel of source into target, without network, and return its path. Raises VmxdError."""
    return _build("wheel", "vmxd-{}-py3-none-any.whl", source, target)


def build_sdist(source: Path, target: Path) -> Path:
    """Build the sdist of source into target, without network, and return its path. Raises VmxdError."""
    return _build("sdist", "vmxd-{}.tar.gz", source, target)


def _build(kind: str, name: str, source: Path, target: Path) -> Path:
    python("-m", "hatchling", "build", "--target", kind, "--directory", target.resolve(), cwd=source)
    return target.resolve() / name.format(read_version(source))
