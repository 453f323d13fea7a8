"""A recording as a tar archive (POSIX ustar): what vmxd record - prints, and what fleet collect gets from a host.

A reader that takes nothing but regular files and directories with the names that a recording has: no link, no absolute
path, no "..", no name twice, and no file larger than vmxd reads. So whatever a host sends, what is unpacked is a
directory of a few files.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from typing import Final

from vmxd.errors import RootError
from vmxd.host import cpus, parameters
from vmxd.host.files import SIZE_MAX, printable
from vmxd.host.kvm_text import KVM_FILE
from vmxd.host.recording import COPIED, MSR_TEXT_MAX
from vmxd.host.recording_text import MSR_FILE

SIZE_LIMITS: Final = {
    cpus.CPUINFO: cpus.CPUINFO_MAX,
    MSR_FILE: MSR_TEXT_MAX,
    **dict.fromkeys((KVM_FILE, *COPIED), SIZE_MAX),
}
"""Bytes that a file of a recording may have, by path; a parameter of kvm_intel may have SIZE_MAX."""
ARCHIVE_MAX: Final = cpus.CPUINFO_MAX + MSR_TEXT_MAX + (1 << 20)
"""Bytes of an archive."""

_BLOCK: Final = 512
_FILE: Final = b"0"
_DIRECTORY: Final = b"5"
_FILES_MAX: Final = 256
_OCTAL: Final = re.compile(rb"[0-7]{1,11}[ \0]*")
_HINT: Final = "vmxd record - prints such an archive"


def pack(files: Mapping[str, bytes], directories: tuple[str, ...], read_at: float) -> bytes:
    """Return files by path, and empty directories, as an archive. read_at: its files' time, Unix time in seconds."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in directories:
            entry = _entry(name, read_at)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, data in files.items():
            entry = _entry(name, read_at)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return output.getvalue()


def unpack(data: bytes) -> tuple[dict[str, bytes], set[str]]:
    """Return an archive's files by path, and its directories. Raises RootError, saying what is wrong."""
    if not data:
        raise RootError("the archive is empty", _HINT)
    files: dict[str, bytes] = {}
    directories: set[str] = set()
    for kind, name, content in _entries(data):
        if name in files or len(files) > _FILES_MAX:
            raise RootError(f"the archive has {printable(name, 60)!r} twice, or too many files", _HINT)
        if kind == _DIRECTORY:
            if name != parameters.MODULES or content:
                raise RootError(f"the archive has the directory {printable(name, 60)!r}", _HINT)
            directories.add(name)
            continue
        limit = SIZE_LIMITS.get(name, SIZE_MAX if parameters.is_parameter_file(name) else None)
        if kind != _FILE:
            raise RootError(f"the archive's {printable(name, 60)!r} is a link or device, not a file", _HINT)
        if limit is None:
            raise RootError(f"the archive has {printable(name, 60)!r}, which is no file of a recording", _HINT)
        if len(content) > limit:
            raise RootError(f"the archive's {name} has more than {limit >> 10:,} KiB", _HINT)
        files[name] = content
    if MSR_FILE not in files:
        raise RootError(f"the archive has no {MSR_FILE}", _HINT)
    return files, directories


def _entry(name: str, read_at: float) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime = int(read_at)
    return entry


def _entries(data: bytes) -> Iterator[tuple[bytes, str, bytes]]:
    """Yield type, path and content of each entry, up to the block of zeros that ends an archive. Raises RootError."""
    at = 0
    early = RootError(f"the archive ends early, after {len(data):,} bytes", _HINT)
    while (header := data[at : at + _BLOCK]).strip(b"\0") or len(header) < _BLOCK:
        if at and len(header) < _BLOCK:
            raise early
        if header[257:262] != b"ustar" or not _OCTAL.fullmatch(header[124:136]):
            start = printable(data[at : at + 40].decode(errors="replace").partition("\n")[0])
            raise RootError(f"it is no tar archive of a recording: at byte {at:,} is {start!r}", _HINT)
        size = int(header[124:136].strip(b" \0"), 8)
        at += _BLOCK
        content = data[at : at + size]
        if len(content) < size:
            raise early
        prefix, name = (field.partition(b"\0")[0].decode("latin-1") for field in (header[345:500], header[:100]))
        yield header[156:157], (f"{prefix}/{name}" if prefix else name).rstrip("/"), content
        at += (size + _BLOCK - 1) // _BLOCK * _BLOCK
