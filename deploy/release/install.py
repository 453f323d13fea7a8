"""Install a wheel of vmxd with exactly the dependencies that are pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deploy.release.run import REPOSITORY, python

REQUIREMENTS: Final = REPOSITORY / "deploy" / "container" / "requirements.txt"
"""What runs on a host, with hashes: the dependencies, and the extra web."""


def install(wheel: Path, directory: Path) -> None:
    """Install into a directory, as pip's --target does. Raises VmxdError."""
    _pip(wheel, (), ("--target", directory), ())


def make_environment(wheel: Path, directory: Path, report: Path | None = None) -> Path:
    """Make a virtual environment that has the wheel and its dependencies but no pip; return the path of its Python.

    report: a file for pip's report on the dependencies, which has their hashes.
    """
    python("-m", "venv", "--without-pip", directory)
    its_python = directory / "bin" / "python"
    _pip(wheel, ("--python", its_python), (), ("--report", report) if report else ())
    return its_python


def _pip(
    wheel: Path, options: tuple[str | Path, ...], where: tuple[str | Path, ...], report: tuple[str | Path, ...]
) -> None:
    install = ("-m", "pip", *options, "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:", *where)
    python(*install, *report, "--require-hashes", "--requirement", REQUIREMENTS)
    python(*install, wheel)
