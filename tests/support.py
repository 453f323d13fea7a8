"""What tests need to reach the real things: recordings, programs from Debian, and vmxd as users start it."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

REPOSITORY: Final = Path(__file__).resolve().parent.parent
HOSTS: Final = REPOSITORY / "tests" / "hosts"
LAKEFIELD: Final = HOSTS / "lakefield-i5-l16g7"

ALL_HOSTS: Final = sorted(path.name for path in HOSTS.iterdir() if path.is_dir())
REAL_HOSTS: Final = [name for name in ALL_HOSTS if not name.startswith("made-")]
MADE_HOSTS: Final = [name for name in ALL_HOSTS if name.startswith("made-")]


def missing_tool(what: str, package: str, installer: str = "apt-get install") -> None:
    """Skip the test, naming the command that installs what it lacks; in CI, where nothing may be skipped, fail it."""
    reason = f"{what} is missing; {installer} {package} (make does that where it is root)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str, package: str, installer: str = "apt-get install") -> str:
    """Return the path of a program, or skip the test saying how to install it."""
    path = shutil.which(name)
    if path is None:
        missing_tool(name, package, installer)
        raise AssertionError
    return path


def deploy_program(name: str) -> str:
    """Return the path of a program of the extra "deploy", which is beside this Python, or skip the test."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        missing_tool(name, "'.[deploy]'", "pip install --editable")
    return str(path)


def deploy_module(name: str) -> Any:  # noqa: ANN401 (any module)
    """Return a module of the extra "deploy", or skip the test."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        missing_tool(name, "'.[deploy]'", "pip install --editable")
        raise


def vmxd(*arguments: str | os.PathLike[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run vmxd as a program of its own and return what it printed, as text."""
    command = [sys.executable, "-m", "vmxd", *(os.fspath(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)  # type: ignore[call-overload, no-any-return]
