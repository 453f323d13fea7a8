"""Where a command's output goes: standard output, standard error, or a file that is replaced in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from vmxd.errors import RootError, VmxdError

if TYPE_CHECKING:
    from vmxd.views.lines import Line

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_MAKE_ROOM: Final = "make room there, and try again"


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
    """Return the columns of the terminal that standard output is, None where it is none."""
    import shutil

    try:
        return shutil.get_terminal_size().columns if os.isatty(1) else None
    except OSError:
        return None


def write_lines(lines: Iterable[Line]) -> None:
    """Write lines to standard output, in colour if that is a terminal that has any. Raises VmxdError."""
    from vmxd.views.lines import lines_text

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
    from vmxd.views.lines import printable

    text = "\n".join(map(printable, text.split("\n")))
    if sys.stderr is not None:  # None where it is closed
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def replace_file(path: str, data: bytes) -> None:
    """Write a file so that a reader sees all of the old or all of the new one. Raises RootError.

    A link is followed; a device or pipe is written to, not replaced.
    """
    import tempfile

    path = os.path.realpath(path)
    directory, name = os.path.split(path)
    try:
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "wb") as file:
                file.write(data)
            return
        with tempfile.NamedTemporaryFile(dir=directory, prefix=f".{name}.", delete=False) as scratch:
            try:
                scratch.write(data)
                scratch.flush()
                os.fsync(scratch.fileno())
                os.fchmod(scratch.fileno(), 0o644)
                os.replace(scratch.name, path)
            except BaseException:
                os.unlink(scratch.name)
                raise
    except OSError as error:
        hint = _MAKE_ROOM if error.errno in _FULL else "choose a file that you may write to"
        raise RootError(f"cannot write {path}: {error.strerror}", hint) from error
