"""Recordings: a host as a directory of text, with msr.txt in place of the MSR devices, and kvm.txt in that of dev/kvm.

msr.txt starts with the line "# vmxd msr recording 1"; then one MSR a line, every logical CPU on it: "48b:
0-3=0x035d6fff00000000 4=0x435d6fff00000000". CPU lists are the kernel's; an errno's name may stand in a value's place.
An MSR that is not listed was not recorded.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Mapping
from typing import Final

from vmxd import cpulist
from vmxd.errors import MalformedFileError, RootError
from vmxd.host import changes as witness
from vmxd.host import cpus
from vmxd.host.changes import MSR_FILE
from vmxd.host.files import Files
from vmxd.host.kvm_file import KVM_FILE, format_kvm_text, parse_kvm_text
from vmxd.host.parameters import MODULES, parameter_files
from vmxd.model.facts import Failed, Host, KvmMsrs, Missing, Reading

KERNEL: Final = "proc/sys/kernel/osrelease"
COPIED: Final = (
    cpus.ONLINE,
    cpus.PRESENT,
    "sys/devices/system/cpu/possible",
    cpus.ISOLATED,
    *cpus.CORE_TYPES.values(),
    KERNEL,
    *witness.MARKS,
)
"""Files that a recording has as they are, where the host has them. No serial number, no host name, no address."""

_FIRST_LINE: Final = "# vmxd msr recording 1"
_SECOND_LINE: Final = "# <msr index, hex>: <cpu list>=<value, hex, or errno name> ..."
_INDEX: Final = re.compile(r"[0-9a-f]{1,8}", re.ASCII)
_VALUE: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)
_LISTED_VALUE: Final = re.compile(r"^[0-9a-f]+: .*=0x", re.MULTILINE)
_ERRNOS: Final = frozenset(errno.errorcode.values())

Readings = Mapping[int, Mapping[int, Reading]]


def is_recording(files: Files) -> bool:
    """Return whether a root is a recording: whether it has an msr.txt."""
    return os.path.lexists(files.path(MSR_FILE))


def read_recording(files: Files, online: Collection[int]) -> dict[int, dict[int, Reading]]:
    """Return the readings of msr.txt: MSR index -> CPU -> value or errno. Raises MalformedFileError, RootError."""
    data = files.read(MSR_FILE)
    if data is None:
        raise RootError(f"{files.path(MSR_FILE)} cannot be followed", "it is a link to nowhere")
    return parse_msr_text(data.decode(errors="replace"), files.path(MSR_FILE), online)


def read_recorded_kvm(files: Files) -> KvmMsrs | Failed | Missing:
    """Return what kvm.txt says that KVM gives to guests, if there is one. Raises MalformedFileError, RootError."""
    data = files.read(KVM_FILE)
    if data is None:
        return Missing.NOT_RECORDED
    return parse_kvm_text(data.decode(errors="replace"), files.path(KVM_FILE))


def parse_msr_text(text: str, path: str, online: Collection[int]) -> dict[int, dict[int, Reading]]:
    """Return the readings that a text of msr.txt's form holds; ``path`` is for the errors.

    Raises MalformedFileError, also on a CPU that is not in ``online``: it cannot have been read.
    """
    known = frozenset(online)
    lines = text.split("\n")
    if lines[0] != _FIRST_LINE:
        raise MalformedFileError(path, 1, f"the first line is not {_FIRST_LINE!r}")
    if lines.pop():
        raise MalformedFileError(path, len(lines) + 1, "the file ends within a line")
    readings: dict[int, dict[int, Reading]] = {}
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        try:
            index, by_cpu = _parse_line(line)
        except ValueError as error:
            raise MalformedFileError(path, number, str(error)) from error
        if index in readings:
            raise MalformedFileError(path, number, f"MSR {index:x} is listed twice")
        if not known.issuperset(by_cpu):
            raise MalformedFileError(
                path, number, f"CPU {cpulist.format_cpus(by_cpu.keys() - known)} has a value but is not online"
            )
        readings[index] = by_cpu
    return readings


def _parse_line(line: str) -> tuple[int, dict[int, Reading]]:
    index, colon, rest = line.partition(":")
    if not colon or not _INDEX.fullmatch(index):
        raise ValueError(f"{line[:40]!r} does not start with an MSR index in hex and a colon")
    by_cpu: dict[int, Reading] = {}
    for entry in filter(None, rest.split(" ")):
        cpu_text, equals, value_text = entry.partition("=")
        if not equals:
            raise ValueError(f"{entry[:40]!r} is not CPUS=VALUE")
        cpu_list = cpulist.parse(cpu_text)
        if not cpu_list:
            raise ValueError(f"{entry[:40]!r} names no CPU")
        if not by_cpu.keys().isdisjoint(cpu_list):
            raise ValueError(f"{entry[:40]!r} names a CPU that has a value already")
        by_cpu.update(dict.fromkeys(cpu_list, _parse_reading(value_text)))
    if not by_cpu:
        raise ValueError(f"MSR {index} has no value")
    return int(index, 16), by_cpu


def _parse_reading(text: str) -> Reading:
    if _VALUE.fullmatch(text):
        return int(text, 16)
    if text in _ERRNOS:
        return Failed(text)
    raise ValueError(f"{text[:40]!r} is neither 0x and up to 16 lower-case hex digits nor the name of an errno")


def format_msr_text(readings: Readings) -> str:
    """Return readings in msr.txt's form: MSRs ascending, values of one MSR in the order of their lowest CPU."""
    lines = [_FIRST_LINE, _SECOND_LINE]
    for index, by_cpu in sorted(readings.items()):
        by_reading: dict[Reading, list[int]] = {}
        for cpu in sorted(by_cpu):
            by_reading.setdefault(by_cpu[cpu], []).append(cpu)
        entries = (f"{cpulist.format_cpus(cpus)}={_format_reading(reading)}" for reading, cpus in by_reading.items())
        lines.append(f"{index:03x}: {' '.join(entries)}")
    return "\n".join(lines) + "\n"


def _format_reading(reading: Reading) -> str:
    return f"{reading:#018x}" if isinstance(reading, int) else reading.errno


def write_recording(files: Files, host: Host, destination: str) -> None:
    """Write a host that was read from ``files`` as a recording; ``destination`` is all old or all new at any moment.

    Replaces a recording or an empty directory and nothing else; not a recording with values by one that has no answer.
    Raises RootError.
    """
    import shutil  # noqa: PLC0415 (to read takes none of them)
    import tempfile  # noqa: PLC0415

    destination = os.path.realpath(destination)
    _check_replaceable(destination, host)
    parent, name = os.path.split(destination)
    try:
        os.makedirs(parent, exist_ok=True)
        scratch = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
        try:
            new = os.path.join(scratch, "new")
            os.mkdir(new)
            _write_tree(files, host, new)
            _put_in_place(new, destination)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise RootError(
            f"cannot write {destination}: {reason}", "name a directory whose parent you may write to"
        ) from error


def _check_replaceable(destination: str, host: Host) -> None:
    try:
        entries = set(os.listdir(destination))
    except FileNotFoundError:
        return
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise RootError(
            f"cannot write {destination}: {reason}", "a recording is a directory; name a new one"
        ) from error
    if not entries:
        return
    old = Files(destination)
    if extra := entries - {path.partition("/")[0] for path in (MSR_FILE, KVM_FILE, cpus.CPUINFO, *COPIED)}:
        message = f"{destination} has {min(extra)!r}, which is of no recording"
        raise RootError(message, "name a new directory; vmxd replaces recordings only")
    text = (old.read(MSR_FILE) or b"").decode(errors="replace")
    if not text.startswith(_FIRST_LINE + "\n"):
        raise RootError(f"{destination} is no recording", "name a new directory; vmxd replaces recordings only")
    if not _answered(host.readings) and _LISTED_VALUE.search(text):
        raise RootError(
            f"no MSR could be read, so the older recording in {destination} was kept",
            "vmxd show says why none could be",
        )


def _answered(readings: Readings) -> bool:
    """Return whether any RDMSR was executed at all: it gave a value, or faulted."""
    answers = (reading for by_cpu in readings.values() for reading in by_cpu.values())
    return any(isinstance(answer, int) or answer == Failed("EIO") for answer in answers)


def _write_tree(files: Files, host: Host, directory: str) -> None:
    copied = (*COPIED, *parameter_files(files))
    contents = {name: data for name in copied if (data := files.read(name)) is not None}
    contents[cpus.ONLINE] = f"{cpulist.format_cpus(host.online)}\n".encode()  # as it was when the MSRs were read
    if (cpuinfo := files.read(cpus.CPUINFO)) is not None:
        contents[cpus.CPUINFO] = cpus.redact_cpuinfo(cpuinfo)
    contents[MSR_FILE] = format_msr_text(host.readings).encode()
    if not isinstance(host.kvm_msrs, Missing):
        contents[KVM_FILE] = format_kvm_text(host.kvm_msrs).encode()
    if host.kvm_parameters is not Missing.NOT_RECORDED:
        os.makedirs(os.path.join(directory, MODULES))
    for name, data in contents.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    os.utime(os.path.join(directory, MSR_FILE), (host.read_at, host.read_at))


def _put_in_place(new: str, destination: str) -> None:
    try:
        os.rename(new, destination)  # there is nothing, or an empty directory
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        os.chmod(new, stat.S_IMODE(os.stat(destination).st_mode))
        _exchange(new, destination)


_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


def _exchange(one: str, other: str) -> None:
    """Swap two directories in one step: renameat2(2), which Python does not wrap. Raises OSError."""
    import ctypes  # noqa: PLC0415

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), other)
