"""Text that a person gives to a command, in a file or on standard input."""

from __future__ import annotations

import os
import sys
from typing import Final

from vmxd.errors import UsageError
from vmxd.pasted.text import TEXT_MAX

_MAX: Final = TEXT_MAX + 1
"""Bytes: with one more than is looked at, what is too long is refused where it is looked at, and not cut."""


def standard_input(limit: int = _MAX) -> str:
    """Read standard input, at most so many bytes of it."""
    return sys.stdin.buffer.read(limit).decode(errors="replace")


def read_file(path: str, hint: str) -> tuple[str, float]:
    """Return the text of a file and when it was written, Unix time in seconds. Raises UsageError, with the hint."""
    try:
        with open(path, "rb") as file:
            return file.read(_MAX).decode(errors="replace"), os.fstat(file.fileno()).st_mtime
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint) from error
