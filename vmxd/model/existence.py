"""Which MSR exists on a CPU: SDM Vol. 3D Appendix A and Vol. 4, corrected by hardware as the tables say.

The answers are True, False, or None if the values that decide it are not known. host/msr.py asks before it reads,
decode.py asks to tell "absent" from "failed".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vmxd.model.facts import Failed, Reading
from vmxd.tables import IA32_FEATURE_CONTROL, IA32_VMX_BASIC, MSR_BY_INDEX
from vmxd.tables.rows import Bit, Msr

_CAPABILITIES: Final = tuple(index for index in MSR_BY_INDEX if index != IA32_FEATURE_CONTROL)


def has_vmx(vmx_flag: bool | None, readings: Mapping[int, Reading]) -> bool | None:
    """Tell whether one CPU has VMX; None if unknown.

    IA32_VMX_BASIC decides if it was read: it stays readable when firmware has disabled VMX and Linux has cleared the
    flag, and the 0 that some hypervisors answer is no VMX. Else any other capability MSR that has a value, else the
    flag (facts.Cpu.vmx_flag), else whether reading IA32_VMX_BASIC faulted.
    """
    basic = readings.get(IA32_VMX_BASIC)
    if isinstance(basic, int):
        return basic != 0
    if vmx_flag or any(isinstance(value := readings.get(index), int) and value for index in _CAPABILITIES):
        return True
    return False if basic == Failed("EIO") else vmx_flag


def exists(msr: Msr, vmx_flag: bool | None, readings: Mapping[int, Reading]) -> bool | None:
    """Tell whether a VMX capability MSR exists on one CPU; None if unknown."""
    vmx = has_vmx(vmx_flag, readings)
    if not vmx or not msr.exists_if:
        return vmx
    answers = {_is_set(bit, vmx_flag, readings) for bit in msr.exists_if}
    if True in answers:
        return True
    return None if None in answers else False


def _is_set(bit: Bit, vmx_flag: bool | None, readings: Mapping[int, Reading]) -> bool | None:
    present = exists(MSR_BY_INDEX[bit.msr], vmx_flag, readings)
    if present is False:
        return False
    value = readings.get(bit.msr)
    return bool(value >> bit.bit & 1) if isinstance(value, int) else None
