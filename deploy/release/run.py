"""Start the programs that build and try a release."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vmxd.errors import VmxdError

REPOSITORY: Final = Path(__file__).resolve().parents[2]


def run(*words: str | Path, cwd: Path = REPOSITORY, env: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it printed. Raises VmxdError where it fails; env is added to the environment."""
    done = subprocess.run(words, cwd=cwd, env=os.environ | (env or {}), capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr + done.stdout).strip()
        raise VmxdError(f"{' '.join(map(str, words))} failed with {done.returncode}", f"it said:\n{said}")
    return done.stdout


def python(*words: str | Path, cwd: Path = REPOSITORY) -> str:
    """Run this Python with words, as run() does."""
    return run(sys.executable, *words, cwd=cwd)
