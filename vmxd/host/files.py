"""Files under a root directory: read whole, as bytes or text, with errors that name the file."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Final

from vmxd import cpulist
from vmxd.errors import MalformedFileError, RootError

SIZE_MAX: Final = 64 << 20
"""Bytes of a file: proc/cpuinfo of 4,096 CPUs has some 12 MiB."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one host, by their path relative to its root."""

    root: str

    def path(self, name: str) -> str:
        """Return where a file is."""
        return os.path.join(self.root, name)

    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, None if there is no such file. Raises RootError where it cannot be read."""
        try:
            with open(self.path(name), "rb", opener=_open) as file:
                found = os.fstat(file.fileno())
                if found.st_size > SIZE_MAX:
                    raise RootError(f"{self.path(name)} has more than {SIZE_MAX >> 20} MiB", "look at --root")
                if not stat.S_ISREG(found.st_mode):
                    raise RootError(f"{self.path(name)} is a device, pipe or socket, not a file", "look at --root")
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise RootError(f"cannot read {self.path(name)}: {reason}", "check the file's mode, or --root") from error

    def read_text(self, name: str) -> str | None:
        """Return a file's text, None if there is no such file; bytes that are not UTF-8 become U+FFFD."""
        data = self.read(name)
        return None if data is None else data.decode(errors="replace")

    def read_cpulist(self, name: str) -> tuple[int, ...] | None:
        """Return the CPUs that a sysfs file lists, None if there is no such file. Raises MalformedFileError."""
        text = self.read_text(name)
        if text is None:
            return None
        try:
            return cpulist.parse(text)
        except ValueError as error:
            raise MalformedFileError(self.path(name), 1, str(error)) from error


def _open(path: str, flags: int) -> int:
    """Open a file without waiting for whoever might write to a pipe, but for whoever has a lease on a file."""
    try:
        return os.open(path, flags | os.O_NONBLOCK)
    except BlockingIOError:
        return os.open(path, flags)
