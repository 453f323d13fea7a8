"""A user who swaps two names of a directory while root works there."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Swap two names in the working directory without end, as nobody.
_SWAPPER: Final = """
import ctypes, os, pwd, sys
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
libc = ctypes.CDLL(None)
while True:
    libc.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2)
"""


@contextlib.contextmanager
def swapping(directory: Path, *names: str) -> Iterator[None]:
    """Have nobody swap two names of a directory meanwhile."""
    swapper = subprocess.Popen([sys.executable, "-c", _SWAPPER, *names], cwd=directory)
    try:
        yield
        assert swapper.poll() is None
    finally:
        swapper.kill()
        swapper.wait()
