"""Two system calls that Python does not wrap: openat2(2), Linux 5.6, and renameat2(2)."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_OPENAT2: Final = 437
_RESOLVE_BENEATH: Final = 8
_RENAME_EXCHANGE: Final = 2
_WITHOUT_OPENAT2: Final = (errno.ENOSYS, errno.EPERM)
"""EPERM is the answer of a seccomp filter that is older than the call."""
_ATTEMPTS: Final = 16


class _How(ctypes.Structure):
    """Struct open_how (Linux include/uapi/linux/openat2.h)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(directory: int, name: str, flags: int) -> int:
    """Open a path below a directory; no link and no ".." leads out of it. Raises OSError, EXDEV if one would.

    On a kernel without openat2(2) no link is followed at all, and one that is met is ELOOP or ENOTDIR.
    """
    how = _How(flags | os.O_CLOEXEC, 0, _RESOLVE_BENEATH)
    for _ in range(_ATTEMPTS):
        fd: int = _LIBC.syscall(_OPENAT2, directory, os.fsencode(name), ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number in _WITHOUT_OPENAT2:
            return open_without_links(directory, name, flags)
        if number != errno.EAGAIN:  # something was renamed while ".." was followed
            break
    raise OSError(number, os.strerror(number), name)


def open_without_links(directory: int, name: str, flags: int) -> int:
    """Open a path below a directory, one component after the other, none of them a link. Raises OSError."""
    fd = os.dup(directory)
    for left, part in reversed(list(enumerate(reversed(name.split("/"))))):
        how = flags if left == 0 else os.O_PATH | os.O_DIRECTORY
        try:
            if part == "..":
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), name)
            opened = os.open(part, how | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        finally:
            os.close(fd)
        fd = opened
    return fd


def exchange(name: str, directory: int, other: str, other_directory: int) -> None:
    """Swap two directory entries in one step. Raises OSError."""
    if _LIBC.renameat2(directory, os.fsencode(name), other_directory, os.fsencode(other), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), other)
