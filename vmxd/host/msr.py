"""Read the VMX MSRs of logical CPUs from dev/cpu/N/msr (Linux arch/x86/kernel/msr.c): one pread of 8 bytes each.

Every read interrupts the CPU that it asks, so each MSR is read once, and one that the CPU enumerates as absent is not
read at all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from typing import Final

from vmxd.host.files import Files
from vmxd.model.existence import exists, has_vmx
from vmxd.model.facts import Cpu, Failed, Reading
from vmxd.tables import IA32_FEATURE_CONTROL, IA32_VMX_BASIC, MSR_BY_INDEX

_FIRST: Final = (IA32_FEATURE_CONTROL, IA32_VMX_BASIC)
_OTHERS: Final = tuple(msr for index, msr in MSR_BY_INDEX.items() if index not in _FIRST)
_DECISIVE: Final = frozenset((IA32_VMX_BASIC, *(bit.msr for msr in _OTHERS for bit in msr.exists_if)))
"""The MSRs whose values decide whether others exist."""


class MsrDevices:
    """The devices dev/cpu/N/msr under a root."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def open(self, cpu: int) -> int:
        """Return a read-only file descriptor of one CPU's device. Raises OSError."""
        return os.open(self._files.path(f"dev/cpu/{cpu}/msr"), os.O_RDONLY | os.O_CLOEXEC)

    def pread(self, fd: int, index: int) -> bytes:
        """Return the 8 bytes of one MSR; fewer if there are no more. Raises OSError."""
        return os.pread(fd, 8, index)


def _read(devices: MsrDevices, fd: int, index: int) -> Reading:
    """Return one MSR's value, or why it could not be read; a short read is ENODATA."""
    try:
        data = devices.pread(fd, index)
    except OSError as error:
        return _failed(error)
    return int.from_bytes(data, "little") if len(data) == 8 else Failed("ENODATA")


def read_msrs(devices: MsrDevices, cpus: Iterable[int], cpuinfo: Mapping[int, Cpu]) -> dict[int, dict[int, Reading]]:
    """Read every MSR of the tables that exists on the given CPUs.

    Returns MSR index -> CPU -> value or errno. Where the device does not open, that errno stands for every MSR of the
    CPU.
    """
    readings: dict[int, dict[int, Reading]] = {index: {} for index in MSR_BY_INDEX}
    paths: dict[bool | None, _Path] = {}
    for cpu in cpus:
        vmx_flag = cpuinfo[cpu].vmx_flag if cpu in cpuinfo else None
        try:
            fd = devices.open(cpu)
        except OSError as error:
            for by_cpu in readings.values():
                by_cpu[cpu] = _failed(error)
            continue
        try:
            path = paths.get(vmx_flag)
            if path is None or not _follow(devices, fd, cpu, path, readings):
                paths[vmx_flag] = _explore(devices, fd, cpu, vmx_flag, readings)
        finally:
            os.close(fd)
    return {index: by_cpu for index, by_cpu in readings.items() if by_cpu}


_Readings = Mapping[int, dict[int, Reading]]
_Path = list[tuple[int, Reading | None]]
"""The MSRs that were read on a CPU, in that order; with a value where it decides whether a later one exists."""


def _follow(devices: MsrDevices, fd: int, cpu: int, path: _Path, readings: _Readings) -> bool:
    """Read one CPU along the path of another, up to where their decisive values part; return whether they never did."""
    pread, as_int = devices.pread, int.from_bytes
    value: Reading
    for index, decisive in path:
        try:
            value = as_int(data, "little") if len(data := pread(fd, index)) == 8 else Failed("ENODATA")
        except OSError as error:
            value = _failed(error)
        readings[index][cpu] = value
        if decisive is not None and value != decisive:
            return False
    return True


def _explore(devices: MsrDevices, fd: int, cpu: int, vmx_flag: bool | None, readings: _Readings) -> _Path:
    """Read what exists on one CPU and was not read yet; return its path."""
    found = {index: by_cpu[cpu] for index, by_cpu in readings.items() if cpu in by_cpu}
    _read_rest(devices, fd, vmx_flag, found)
    for index, reading in found.items():
        readings[index][cpu] = reading
    order = (*(index for index in _FIRST if index in found), *(m.index for m in _OTHERS if m.index in found))
    return [(index, found[index] if index in _DECISIVE else None) for index in order]


def _read_rest(devices: MsrDevices, fd: int, vmx_flag: bool | None, found: dict[int, Reading]) -> None:
    """Add what exists and was not read yet; the order is that of any path."""
    for index in _FIRST:
        if index not in found:
            found[index] = _read(devices, fd, index)
    if has_vmx(vmx_flag, found) is not False:
        for msr in _OTHERS:
            if msr.index not in found and exists(msr, vmx_flag, found) is not False:
                found[msr.index] = _read(devices, fd, msr.index)


def _failed(error: OSError) -> Failed:
    return Failed(errno.errorcode.get(error.errno or 0, "EIO"))
