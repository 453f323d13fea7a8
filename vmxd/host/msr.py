"""Read the VMX MSRs of logical CPUs from dev/cpu/N/msr (Linux arch/x86/kernel/msr.c): one pread of 8 bytes each.

Every read interrupts the CPU that it asks: each MSR is read once, and one that the CPU enumerates as absent is not read
at all.
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

SWEEP: Final = range(max(MSR_BY_INDEX) + 1, 0x4A0)
"""Read by vmxd record --sweep: MSRs that no table has, and that a CPU to come may."""

_MAJOR: Final = 202
"""MSR_MAJOR (Linux include/uapi/linux/major.h)."""


class MsrDevices:
    """The devices dev/cpu/N/msr under a root. sweep: whether to read the MSRs of SWEEP too."""

    def __init__(self, files: Files, *, sweep: bool = False) -> None:
        self._files = files
        self.sweep = sweep

    def open(self, cpu: int) -> int:
        """Open one CPU's device for reading. Raises OSError."""
        return self._files.open_device(f"dev/cpu/{cpu}/msr", lambda number: os.major(number) == _MAJOR)

    def pread(self, fd: int, index: int) -> bytes:
        """Read the 8 bytes of one MSR; fewer if there are no more. Raises OSError."""
        return os.pread(fd, 8, index)


def read_msrs(devices: MsrDevices, cpus: Iterable[int], cpuinfo: Mapping[int, Cpu]) -> dict[int, dict[int, Reading]]:
    """Read every MSR of the tables that exists on the given CPUs, and those of a sweep.

    Returns MSR index -> CPU -> value or errno. If a device does not open, its errno is the reading of every MSR of the
    tables on that CPU.
    """
    readings: dict[int, dict[int, Reading]] = {}
    for cpu in cpus:
        vmx_flag = cpuinfo[cpu].vmx_flag if cpu in cpuinfo else None
        try:
            fd = devices.open(cpu)
        except OSError as error:
            found: dict[int, Reading] = dict.fromkeys(MSR_BY_INDEX, _failed(error))
        else:
            try:
                found = _read_cpu(devices, fd, vmx_flag)
            finally:
                os.close(fd)
        for index, reading in found.items():
            readings.setdefault(index, {})[cpu] = reading
    return dict(sorted(readings.items()))


def _read_cpu(devices: MsrDevices, fd: int, vmx_flag: bool | None) -> dict[int, Reading]:
    """Read what exists on one CPU; the order is that in which values decide on it."""
    found = {index: _read(devices, fd, index) for index in (IA32_FEATURE_CONTROL, IA32_VMX_BASIC)}
    if has_vmx(vmx_flag, found) is not False:
        for index, msr in MSR_BY_INDEX.items():
            if index not in found and (msr.probed or exists(msr, vmx_flag, found) is not False):
                found[index] = _read(devices, fd, index)
        if devices.sweep:
            found |= {index: _read(devices, fd, index) for index in SWEEP}
    return found


def _read(devices: MsrDevices, fd: int, index: int) -> Reading:
    """Read one MSR: its value, or why there is none; a short read is ENODATA."""
    try:
        data = devices.pread(fd, index)
    except OSError as error:
        return _failed(error)
    return int.from_bytes(data, "little") if len(data) == 8 else Failed("ENODATA")


def _failed(error: OSError) -> Failed:
    return Failed(errno.errorcode.get(error.errno or 0, "EIO"))
