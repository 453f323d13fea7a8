"""The Debian package, built from this tree as `make deb` does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.helpers.support import REPOSITORY, missing_tool

SOURCE: Final = REPOSITORY / "deploy" / "debian"
_TOOLS: Final = {
    "build-essential": "/usr/share/build-essential/list",
    "debhelper": "/usr/bin/dh",
    "dh-python": "/usr/bin/pybuild",
    "pybuild-plugin-pyproject": "/usr/lib/python3/dist-packages/installer",
    "python3-hatchling": "/usr/lib/python3/dist-packages/hatchling",
}


def build(directory: Path, **environment: str) -> str:
    """Write the package, its source and its .changes to a directory, and return what the build said."""
    for package, path in _TOOLS.items():
        if not os.path.exists(path):
            missing_tool(path, package)
    result = subprocess.run(
        [SOURCE / "build", directory], env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1800,
    )  # fmt: skip
    assert 0 == result.returncode, result.stdout
    return result.stdout


def binary(directory: Path) -> Path:
    """Return the package that was built there."""
    (path,) = directory.glob("*.deb")
    return path
