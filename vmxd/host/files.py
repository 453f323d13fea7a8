"""Files below a root directory: bounded, never a device, and text of a host is one printable line.

A recording may come from anybody, and root may read it: no link leads out of it, no pipe holds the reader up, and no
device is opened, for that alone can have an effect.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from vmxd import cpulist
from vmxd.errors import MalformedFileError, RootError
from vmxd.host.syscalls import open_beneath

SIZE_MAX: Final = 1 << 16
"""Bytes of a file of sysfs or procfs; a list of every second of 8,192 CPUs has 20 KiB."""
TEXT_MAX: Final = 128
"""Characters of a name; Linux has room for 64."""

Stamp = tuple[int, int]
"""Tells a file or directory from one that takes its place: inode and time of change in nanoseconds."""


def printable(text: str, limit: int | None = None) -> str:
    """Replace by U+FFFD what a terminal would obey; cut what is longer than limit, and end it with an ellipsis."""
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def stamp(path: str) -> Stamp | None:
    """Take the stamp of a path, None if there is nothing."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one host, by their path relative to its root."""

    root: str

    def path(self, name: str) -> str:
        """Name a file, for people."""
        return os.path.join(self.root, name)

    def read(self, name: str, limit: int = SIZE_MAX) -> bytes | None:
        """Read a file of at most ``limit`` bytes, None if there is no such file. Raises RootError."""
        try:
            with self._opened(name, os.O_PATH) as found:
                mode = os.fstat(found).st_mode
                if stat.S_ISDIR(mode):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                if not stat.S_ISREG(mode):
                    raise RootError(f"{self.path(name)} is a device, pipe or socket, not a file", "look at --root")
                with open(_reopen(found), "rb") as file:
                    data = file.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise self._unreadable(name, error) from error
        if len(data) > limit:
            raise RootError(f"{self.path(name)} has more than {limit >> 10:,} KiB", "look at --root")
        return data

    def read_text(self, name: str, limit: int = SIZE_MAX) -> str | None:
        """Read a file's text, None if there is no such file; bytes that are not UTF-8 become U+FFFD."""
        data = self.read(name, limit)
        return None if data is None else data.decode(errors="replace")

    def read_line(self, name: str) -> str | None:
        """Read the first line of a file as text that may be shown anywhere, None if there is no such file."""
        text = self.read_text(name)
        return None if text is None else printable(text.strip().partition("\n")[0], TEXT_MAX)

    def read_cpulist(self, name: str) -> tuple[int, ...] | None:
        """Read the CPUs that a sysfs file lists, None if there is no such file. Raises MalformedFileError."""
        text = self.read_text(name)
        if text is None:
            return None
        try:
            return cpulist.parse(text)
        except ValueError as error:
            raise MalformedFileError(self.path(name), 1, str(error)) from error

    def list_directory(self, name: str) -> list[str] | None:
        """List the entries of a directory, sorted; None if there is no such directory. Raises RootError."""
        try:
            with self._opened(name, os.O_RDONLY | os.O_DIRECTORY) as found:
                return sorted(os.listdir(found))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(name, error) from error

    def has(self, name: str) -> bool:
        """Whether there is an entry of that name, be it a link to nowhere."""
        try:
            with self._opened(name, os.O_PATH | os.O_NOFOLLOW):
                return True
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR)

    def mtime(self, name: str) -> float:
        """When a file was last written, Unix time in seconds. Raises RootError."""
        try:
            with self._opened(name, os.O_PATH) as found:
                return os.fstat(found).st_mtime
        except OSError as error:
            raise self._unreadable(name, error) from error

    def open_device(self, name: str, is_wanted: Callable[[int], bool]) -> int:
        """Open a character device, whose number is_wanted() is asked for first, or a file in its place. Raises OSError.

        ENXIO if it is anything else.
        """
        with self._opened(name, os.O_PATH) as found:
            status = os.fstat(found)
            device = stat.S_ISCHR(status.st_mode) and is_wanted(status.st_rdev)
            if not (device or stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), name)
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)

    @contextlib.contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        root = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_beneath(root, name, flags)
        finally:
            os.close(root)
        try:
            yield fd
        finally:
            os.close(fd)

    def _unreadable(self, name: str, error: Exception) -> RootError:
        if isinstance(error, OSError) and error.errno == errno.EXDEV:
            return RootError(
                f"{self.path(name)} is or passes a link that leads out of {self.root}",
                "a recording has no such link; a host's own files are read with --root /",
            )
        reason = error.strerror if isinstance(error, OSError) else error
        return RootError(f"cannot read {self.path(name)}: {reason}", "check the file's mode, or --root")


def _reopen(found: int) -> int:
    """Open a file that was found without being opened; whoever has a lease on it is waited for."""
    path = f"/proc/self/fd/{found}"
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except BlockingIOError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
