"""The linters are tests: what they find fails the suite. All their settings are in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from tests.helpers.support import REPOSITORY, program

SCRIPTS: Final = (
    *("tests/install-tools", "tests/deploy/completion.bash", ".ci/run"),
    *("deploy/debian/build", "deploy/debian/tests/installed", "deploy/kubernetes/prometheusrules"),
)
GUEST_SCRIPTS: Final = ["tests/machine/guest/init", *map(str, (REPOSITORY / "tests/machine/guest").glob("*.sh"))]


@pytest.mark.parametrize(
    "command", ["ruff check", "ruff format --check", "mypy"], ids=["ruff check", "ruff format", "mypy --strict"]
)
def test_linter(command: str) -> None:
    """The linter has nothing to say."""
    result = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert (0, "") == (result.returncode, result.stdout + result.stderr if result.returncode else "")


@pytest.mark.parametrize(
    "command",
    [
        " ".join(SCRIPTS),
        f"--shell=sh --exclude=SC1091 {' '.join(GUEST_SCRIPTS)}",
    ],
    ids=["scripts", "scripts of guests"],
)
def test_shell_scripts(command: str) -> None:
    """Shellcheck has nothing to say on our scripts, but that it cannot see what is where in a guest."""
    result = subprocess.run(
        [program("shellcheck", "shellcheck"), *command.split()],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (result.returncode, result.stdout)
