"""Write a recording, or why there is none, which replaces an older one in one step.

Root writes into directories that others may own. The parent of the destination is opened once, and all that follows is
relative to that descriptor: whoever swaps a directory for a link meanwhile changes nothing. The new tree grows in a
scratch directory of mode 0700, is exchanged with the old one, and the old one is looked at there, out of everybody's
reach, before it is removed. If it is no recording after all, it returns to its place.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vmxd import cpulist
from vmxd.errors import RootError
from vmxd.host import archive, cpus
from vmxd.host.files import Files
from vmxd.host.kvm_text import KVM_FILE, format_kvm_text
from vmxd.host.parameters import MODULES, parameter_files
from vmxd.host.recording import COPIED, HOST_NAME
from vmxd.host.recording_text import (
    FAILURE_FILE,
    FAILURE_FIRST_LINE,
    MSR_FILE,
    MSR_FIRST_LINE,
    format_failure_text,
    format_msr_text,
)
from vmxd.host.syscalls import exchange
from vmxd.model.facts import Failed, Host, Missing, Spans

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRIES: Final = frozenset(
    name.partition("/")[0] for name in (MSR_FILE, KVM_FILE, FAILURE_FILE, cpus.CPUINFO, *COPIED)
)
_LISTED_VALUE: Final = re.compile(rb"^[0-9a-f]+:.*=0x", re.MULTILINE)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_HINT_NEW: Final = "name a new directory; vmxd replaces recordings only"


@dataclass(frozen=True, slots=True)
class _Tree:
    """What is written: files by path, empty directories; when MSRs were read; whether any RDMSR was executed."""

    files: Mapping[str, bytes]
    directories: tuple[str, ...]
    read_at: float
    answered: bool


_NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})


def write_recording(
    files: Files | None, host: Host, destination: str, contents: Mapping[str, bytes] = _NOTHING
) -> None:
    """Write a host that was read from ``files``; ``destination`` is all old or all new at any moment.

    files: None for a host that is known from elsewhere; then ``contents`` has the files beside the MSRs, by path.
    Replaces a recording or an empty directory and nothing else; not a recording with values by one that has no answer.
    Raises RootError.
    """
    _write(_tree(files, host, contents), destination)


def write_failure(reason: str, destination: str) -> None:
    """Write that a host could not be recorded; an older recording that has values is kept. Raises RootError."""
    _write(_Tree({FAILURE_FILE: format_failure_text(reason).encode()}, (), 0, answered=False), destination)


def archive_recording(files: Files | None, host: Host, contents: Mapping[str, bytes] = _NOTHING) -> bytes:
    """Return a host as a tar archive of its recording; the arguments are write_recording()'s. Raises RootError."""
    tree = _tree(files, host, contents)
    return archive.pack(tree.files, tree.directories, tree.read_at)


def _tree(files: Files | None, host: Host, contents: Mapping[str, bytes]) -> _Tree:
    directories = () if host.kvm_parameters is Missing.NOT_RECORDED else (MODULES,)
    return _Tree({**_contents(host, files), **contents}, directories, host.read_at, has_answered(host))


def _write(tree: _Tree, destination: str) -> None:
    try:
        with _parent(destination) as (parent, name):
            _check(parent, name, destination, answered=tree.answered)
            with _scratch(parent, name) as scratch:
                os.mkdir("new", dir_fd=scratch)
                ours = _inode(scratch, "new")
                try:
                    with _opened("new", _DIRECTORY, scratch) as new:
                        _write_tree(new, tree)
                    _put_in_place(scratch, parent, name, destination, answered=tree.answered)
                finally:
                    for entry in ("new", "old"):
                        if _inode(scratch, entry) == ours:
                            shutil.rmtree(entry, ignore_errors=True, dir_fd=scratch)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = "name a directory whose parent you may write to"
        hint = "make room there, and try again" if error.errno in _FULL else hint
        raise RootError(f"cannot write {destination}: {reason}", hint) from error


def _contents(host: Host, files: Files | None) -> dict[str, bytes]:
    """Collect the files of a recording by path; the host name only if the host has one. Raises RootError."""
    copied = (*COPIED, *parameter_files(files)) if files else ()
    contents = {name: data for name in copied if files and (data := files.read(name)) is not None}
    if host.name is None:
        contents.pop(HOST_NAME, None)
    contents[cpus.ONLINE] = f"{cpulist.format_cpus(host.online)}\n".encode()  # as it was when the MSRs were read
    if files and (cpuinfo := files.read(cpus.CPUINFO, cpus.CPUINFO_MAX)) is not None:
        contents[cpus.CPUINFO] = cpus.redact_cpuinfo(cpuinfo)
    contents[MSR_FILE] = format_msr_text(host.readings).encode()
    if not isinstance(host.kvm_msrs, Missing):
        contents[KVM_FILE] = format_kvm_text(host.kvm_msrs).encode()
    return contents


@contextlib.contextmanager
def _opened(name: str, flags: int, directory: int | None = None) -> Iterator[int]:
    fd = os.open(name, flags, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _parent(destination: str) -> Iterator[tuple[int, str]]:
    """Open the directory that the destination is an entry of, made if it is missing. Raises OSError."""
    path = destination.rstrip("/") or "/"
    if os.path.basename(path) in (".", ".."):
        path = os.path.abspath(path)
    parent, name = os.path.split(path)
    if not name:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    fd = _open_or_make(parent or ".")
    try:
        yield fd, name
    finally:
        os.close(fd)


def _open_or_make(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        with _parent(path) as (parent, name):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=parent)
            return os.open(name, _DIRECTORY, dir_fd=parent)


def _check(directory: int, name: str, shown: str, *, answered: bool) -> bool:
    """Whether there is something to be exchanged. Raises RootError, saying why, if it must not be replaced."""
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise RootError(f"{shown} is a link, which vmxd does not follow", "name the directory that it leads to")
        with _opened(name, _DIRECTORY, directory) as old:
            entries = os.listdir(old)
            text = _first_bytes(old, MSR_FILE if MSR_FILE in entries else FAILURE_FILE)
    except FileNotFoundError:
        return False
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise RootError(f"cannot write {shown}: {reason}", "a recording is a directory; name a new one") from error
    if not entries:
        return False
    if extra := set(entries) - _ENTRIES:
        raise RootError(f"{shown} has {min(extra)!r}, which is of no recording", _HINT_NEW)
    if not text.startswith((f"{MSR_FIRST_LINE}\n".encode(), f"{FAILURE_FIRST_LINE}\n".encode())):
        raise RootError(f"{shown} is no recording", _HINT_NEW)
    if not answered and _LISTED_VALUE.search(text):
        raise RootError(
            f"no MSR could be read, so the older recording in {shown} was kept", "vmxd show says why none could be"
        )
    return True


def _first_bytes(directory: int, name: str) -> bytes:
    """Read the beginning of a file, b"" if there is none."""
    try:
        with _opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, directory) as fd:
            return os.read(fd, 1 << 16) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""


def has_answered(host: Host) -> bool:
    """Whether any RDMSR was executed at all: it gave a value, or faulted."""
    readings = (span.reading for by_cpu in host.readings.values() for span in Spans.of(by_cpu).spans)
    return any(isinstance(reading, int) or reading == Failed("EIO") for reading in readings)


@contextlib.contextmanager
def _scratch(parent: int, name: str) -> Iterator[int]:
    """Make a directory beside the destination that nobody else may enter; remove it if nothing is left in it."""
    scratch = f".{name[:200]}.{secrets.token_hex(8)}"
    os.mkdir(scratch, 0o700, dir_fd=parent)
    try:
        with _opened(scratch, _DIRECTORY, parent) as fd:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid() or status.st_mode & 0o077 or os.listdir(fd):
                raise OSError(errno.EPERM, "another user replaces directories there")
            yield fd
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(scratch, dir_fd=parent)


def _write_tree(directory: int, tree: _Tree) -> None:
    """Write files below a directory that is nobody else's yet."""
    for name in tree.directories:
        _make_directories(name, directory)
    for name, data in tree.files.items():
        _make_directories(os.path.dirname(name), directory)
        with open(name, "wb", opener=lambda path, _: os.open(path, _CREATE, 0o666, dir_fd=directory)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if name == MSR_FILE:
                os.utime(file.fileno(), (tree.read_at, tree.read_at))


def _make_directories(path: str, directory: int) -> None:
    parts = path.split("/") if path else []
    for length in range(1, len(parts) + 1):
        with contextlib.suppress(FileExistsError):
            os.mkdir("/".join(parts[:length]), dir_fd=directory)


def _put_in_place(scratch: int, parent: int, name: str, shown: str, *, answered: bool) -> None:
    """Move scratch/new to its place; what was there comes out as scratch/old, and is removed if it is a recording.

    Raises RootError if it is none: it returns to its place, or stays in the scratch directory if even that fails.
    """
    try:
        os.rename("new", name, src_dir_fd=scratch, dst_dir_fd=parent)  # there is nothing, or an empty directory
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    else:
        return
    exchange("new", scratch, name, parent)
    os.rename("new", "old", src_dir_fd=scratch, dst_dir_fd=scratch)
    precious = _inode(scratch, "old")
    try:
        _check(scratch, "old", shown, answered=answered)
    except RootError as error:
        with contextlib.suppress(OSError):
            exchange("old", scratch, name, parent)
        if _inode(scratch, "old") == precious:
            place = os.readlink(f"/proc/self/fd/{scratch}")
            raise RootError(f"{error}; it is in {place}/old now", "move it back") from error
        raise
    shutil.rmtree("old", ignore_errors=True, dir_fd=scratch)


def _inode(directory: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino
    except FileNotFoundError:
        return None
