"""Features: every named bit of a capability MSR, and the few that are several bits or a control's freedom to be 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vmxd.tables.msrs import DERIVED, IA32_FEATURE_CONTROL, MSRS
from vmxd.tables.rows import Derived, Flag, Msr
from vmxd.tables.vmx_h import MACROS, OLD_MACROS


@dataclass(frozen=True, slots=True)
class Feature:
    """A named VMX feature: a row and the MSR it stands in (None for a derived one)."""

    row: Flag | Derived
    msr: Msr | None

    @property
    def name(self) -> str:
        """vmxd's name: the value of the metric label ``feature``."""
        return self.row.name

    @property
    def location(self) -> str | None:
        """MSR[bit], as in IA32_VMX_PROCBASED_CTLS2[62]: the bit that says whether the feature can be used."""
        if self.msr is None or not isinstance(self.row, Flag):
            return None
        return f"{self.msr.name}[{self.msr.feature_bit(self.row)}]"

    @property
    def linux_name(self) -> str | None:
        """The kernel's macro, VMX_FEATURE_*."""
        return f"VMX_FEATURE_{self.row.linux}" if self.row.linux else None

    @property
    def cpuinfo_flag(self) -> str | None:
        """The flag on /proc/cpuinfo's "vmx flags" line, None where Linux prints none."""
        return self.row.name if self.row.cpuinfo else None

    @property
    def linux_position(self) -> int | None:
        """Word * 32 + bit in the kernel's vmx_capability array (vmxfeatures.h), None where Linux has no such bit."""
        if self.row.linux is None:
            return None
        if self.row.linux_bit is not None:
            return self.row.linux_bit
        assert isinstance(self.row, Flag)
        assert self.msr is not None
        assert self.msr.linux_word is not None
        return self.msr.linux_word * 32 + self.row.bit

    @property
    def macro(self) -> str | None:
        """The kernel's macro of the control or bit itself (asm/vmx.h), None if it has none."""
        return MACROS.get(self.name)

    @property
    def aliases(self) -> tuple[str, ...]:
        """Every other name that finds this feature: cpuinfo, Linux, QEMU, libvirt, SDM, MSR[bit]; no duplicates."""
        names = (
            *(self.cpuinfo_flag, self.linux_name, self.macro, OLD_MACROS.get(self.name)),
            *(self.row.qemu, self.row.libvirt, self.row.sdm, self.location),
        )
        return tuple(dict.fromkeys(name for name in names if name and name != self.name))


def _features() -> Iterator[Feature]:
    for msr in MSRS:
        if msr.index != IA32_FEATURE_CONTROL and msr.twin_of is None:
            yield from (Feature(row, msr) for row in msr.rows if isinstance(row, Flag))
    yield from (Feature(row, None) for row in DERIVED)


FEATURES: Final[dict[str, Feature]] = {feature.name: feature for feature in _features()}
"""Every feature by vmxd's name, in SDM order, derived ones last."""
