"""The linters are tests: what they find fails the suite. All their settings are in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import REPOSITORY, program


@pytest.mark.parametrize(
    "command", ["ruff check", "ruff format --check", "mypy"], ids=["ruff check", "ruff format", "mypy --strict"]
)
def test_linter(command: str) -> None:
    """The linter has nothing to say."""
    result = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert (0, "") == (result.returncode, result.stdout + result.stderr if result.returncode else "")


@pytest.mark.parametrize("script", ["tests/install-tools", ".ci/run", "deploy/kubernetes/prometheusrules"])
def test_shell_scripts(script: str) -> None:
    """Shellcheck has nothing to say on our scripts."""
    result = subprocess.run(
        [program("shellcheck", "shellcheck"), script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert "" == result.stdout
