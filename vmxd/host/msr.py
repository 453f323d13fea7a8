"""Read the VMX MSRs of logical CPUs from dev/cpu/N/msr (Linux arch/x86/kernel/msr.c): one pread of 8 bytes each.

Every read interrupts the CPU that it asks, so each MSR is read once, and one that the CPU enumerates as absent is not
read at all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from typing import Final

from vmxd.existence import exists, has_vmx
from vmxd.facts import Cpu, Failed, Reading
from vmxd.host.files import Files
from vmxd.tables import IA32_FEATURE_CONTROL, IA32_VMX_BASIC, MSR_BY_INDEX

_FIRST: Final = (IA32_FEATURE_CONTROL, IA32_VMX_BASIC)
_OTHERS: Final = tuple(msr for index, msr in MSR_BY_INDEX.items() if index not in _FIRST)


class MsrDevices:
    """The devices dev/cpu/N/msr under a root."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def open(self, cpu: int) -> int:
        """Return a read-only file descriptor of one CPU's device. Raises OSError."""
        return os.open(self._files.path(f"dev/cpu/{cpu}/msr"), os.O_RDONLY | os.O_CLOEXEC)

    def read(self, fd: int, index: int) -> Reading:
        """Return one MSR's value, or why it could not be read; a short read is ENODATA."""
        try:
            data = os.pread(fd, 8, index)
        except OSError as error:
            return _failed(error)
        return int.from_bytes(data, "little") if len(data) == 8 else Failed("ENODATA")


def read_msrs(devices: MsrDevices, cpus: Iterable[int], cpuinfo: Mapping[int, Cpu]) -> dict[int, dict[int, Reading]]:
    """Read every MSR of the tables that exists on the given CPUs.

    Returns MSR index -> CPU -> value or errno. Where the device does not open, that errno stands for every MSR of the
    CPU.
    """
    readings: dict[int, dict[int, Reading]] = {index: {} for index in MSR_BY_INDEX}
    for cpu in cpus:
        for index, reading in _read_cpu(devices, cpu, cpuinfo[cpu].vmx_flag if cpu in cpuinfo else None).items():
            readings[index][cpu] = reading
    return {index: by_cpu for index, by_cpu in readings.items() if by_cpu}


def _read_cpu(devices: MsrDevices, cpu: int, vmx_flag: bool | None) -> dict[int, Reading]:
    try:
        fd = devices.open(cpu)
    except OSError as error:
        return dict.fromkeys(MSR_BY_INDEX, _failed(error))
    try:
        found = {index: devices.read(fd, index) for index in _FIRST}
        if has_vmx(vmx_flag, found) is not False:
            for msr in _OTHERS:
                if exists(msr, vmx_flag, found) is not False:
                    found[msr.index] = devices.read(fd, msr.index)
        return found
    finally:
        os.close(fd)


def _failed(error: OSError) -> Failed:
    return Failed(errno.errorcode.get(error.errno or 0, "EIO"))
