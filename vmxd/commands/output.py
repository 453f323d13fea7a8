"""Where a command's output goes: standard output, standard error, or a file that is replaced in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable
from typing import Final

from vmxd.errors import RootError, VmxdError
from vmxd.views.lines import Line, lines_text, printable

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_MAKE_ROOM: Final = "make room there, and try again"
_PARENT: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LINKS_MAX: Final = 40
"""As in Linux (MAXSYMLINKS)."""


def write(data: bytes) -> None:
    """Write to standard output. A reader that has read enough is no error; a full disk is. Raises VmxdError."""
    try:
        with open(1, "wb", closefd=False) as stdout:
            stdout.write(data)
    except BrokenPipeError:
        pass
    except OSError as error:
        hint = _MAKE_ROOM if error.errno in _FULL else "look at where the output goes"
        raise VmxdError(f"cannot write to standard output: {error.strerror}", hint) from error


def terminal_width() -> int | None:
    """Count the columns of the terminal on standard output, None if there is no terminal."""
    try:
        return shutil.get_terminal_size().columns if os.isatty(1) else None
    except OSError:
        return None


def write_lines(lines: Iterable[Line]) -> None:
    """Write lines to standard output, in colour if that is a terminal that has any. Raises VmxdError."""
    colour = os.isatty(1) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
    write(lines_text(lines, colour=colour).encode())


def say(notes: Iterable[str]) -> None:
    """Write notes on what was read to standard error."""
    for note in notes:
        complain(f"vmxd: note: {note}")


def complain(text: str) -> None:
    """Write lines to standard error, if it can be: that it cannot must not change the exit code.

    What a terminal would obey becomes a question mark: names come from anybody's labels and directories.
    """
    text = "\n".join(map(printable, text.split("\n")))
    if sys.stderr is not None:  # None if it is closed
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def replace_file(path: str, data: bytes) -> None:
    """Write a file so that a reader sees all of the old or all of the new one, or standard output for "-".

    A device or pipe is written to, not replaced. A link is followed if it is root's or this user's: anybody else's may
    lead to a file that only this user can write. Raises VmxdError.
    """
    if path == "-":
        write(data)
        return
    try:
        directory, name = _find(path)
        try:
            if _is_device(directory, name):
                _write_to_device(directory, name, data)
            else:
                _replace(directory, name, data)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise RootError(f"cannot write {path}: nobody reads this pipe", "start its reader first") from error
        hint = _MAKE_ROOM if error.errno in _FULL else "choose a file that you may write to"
        raise RootError(f"cannot write {path}: {error.strerror}", hint) from error


def _find(path: str) -> tuple[int, str]:
    """Open the directory in which a path ends once its links are followed; return that and the name. Raises OSError."""
    directory = os.open(".", _PARENT)
    try:
        for _ in range(_LINKS_MAX):
            parent, name = os.path.split(path)
            if name in ("", ".", ".."):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            opened = os.open(parent or ".", _PARENT, dir_fd=directory)
            os.close(directory)
            directory = opened
            target = _link_target(directory, name)
            if target is None:
                return directory, name
            path = target
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    except BaseException:
        os.close(directory)
        raise


def _link_target(directory: int, name: str) -> str | None:
    """Read a link, None if there is none or it leads to a device. Raises OSError if it is not to be followed."""
    try:
        link = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(link)
        if not stat.S_ISLNK(status.st_mode):
            return None
        if status.st_uid not in (0, os.geteuid()):
            raise PermissionError(errno.EACCES, "it is another user's link")
        return None if _is_device(directory, name) else os.readlink("", dir_fd=link)
    finally:
        os.close(link)


def _is_device(directory: int, name: str) -> bool:
    """Whether a name leads to what can be written to only: a device, a pipe, a socket."""
    try:
        mode = os.stat(name, dir_fd=directory).st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_to_device(directory: int, name: str, data: bytes) -> None:
    """Write to what is no file; a link to it is followed where nobody else can have put it, as in /dev."""
    place = os.fstat(directory)
    is_ours = place.st_uid in (0, os.geteuid()) and not place.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if is_ours else os.O_NOFOLLOW)
    fd = os.open(name, flags, dir_fd=directory)
    with open(fd, "wb") as file:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileExistsError(errno.EEXIST, "it was replaced meanwhile")
        os.set_blocking(fd, True)
        file.write(data)


def _replace(directory: int, name: str, data: bytes) -> None:
    scratch = f".{name[:200]}.{secrets.token_hex(8)}"
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
            os.fchmod(fd, 0o644)
        os.replace(scratch, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(scratch, dir_fd=directory)
        raise
