"""The tables and the lookups over them: MSRs by index and name, features by any name that people use for them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from vmxd.tables.msrs import DERIVED, MSRS
from vmxd.tables.rows import Derived, Field, Flag, Layout, Msr, Row, Unnamed

IA32_VMX_BASIC: Final = 0x480
IA32_FEATURE_CONTROL: Final = 0x3A
CAPABILITY_RANGE: Final = range(0x480, 0x4C0)
"""Where VMX capability MSRs are and new ones may be expected; IA32_A_PMC0 is at 0x4c1 (SDM Vol. 4, Table 2-2)."""


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
    def aliases(self) -> tuple[str, ...]:
        """Every other name that finds this feature: cpuinfo, Linux, QEMU, libvirt, SDM, MSR[bit]; no duplicates."""
        names = (self.cpuinfo_flag, self.linux_name, self.row.qemu, self.row.libvirt, self.row.sdm, self.location)
        return tuple(dict.fromkeys(name for name in names if name and name != self.name))


def _features() -> Iterator[Feature]:
    for msr in MSRS:
        if msr.index != IA32_FEATURE_CONTROL and msr.twin_of is None:
            yield from (Feature(row, msr) for row in msr.rows if isinstance(row, Flag))
    yield from (Feature(row, None) for row in DERIVED)


MSR_BY_INDEX: Final[dict[int, Msr]] = {msr.index: msr for msr in sorted(MSRS, key=lambda msr: msr.index)}
"""MSRs by index, ascending: each after those that its ``exists_if`` names, so this is the order to read them in."""

FEATURES: Final[dict[str, Feature]] = {feature.name: feature for feature in _features()}
"""Every feature by vmxd's name, in SDM order, derived ones last."""


def msr_name(index: int) -> str:
    """Return the SDM's name of an MSR, or its index in hex where the tables have no such MSR."""
    msr = MSR_BY_INDEX.get(index)
    return msr.name if msr else f"{index:#x}"


def _build_uses() -> dict[str, tuple[Feature, ...]]:
    found: dict[str, tuple[Feature, ...]] = {}
    for feature in FEATURES.values():
        for alias in feature.aliases:
            key = alias.casefold()
            found[key] = (*found.get(key, ()), feature)
    return found


def _build_aliases() -> dict[str, tuple[Feature, ...]]:
    found = dict(_USES)
    # Where QEMU and libvirt use one name for two bits, libvirt's use is the SDM's (vmx-invept-single-context).
    for feature in FEATURES.values():
        if feature.row.libvirt and len(found[feature.row.libvirt]) > 1:
            found[feature.row.libvirt] = (feature,)
    return found


_USES: Final = _build_uses()
_BY_ALIAS: Final = _build_aliases()
_MSR_BIT: Final = re.compile(r"(?:(?P<index>0x[0-9a-f]+)|(?P<name>ia32_\w+))\[(?P<bit>\d{1,2})\]")


def find_features(text: str) -> tuple[Feature, ...]:
    """Return the features that a name may mean: none, one, or several where names clash (the SDM's "Load IA32_PAT").

    text: vmxd's name or any alias, in any case; of MSR[bit], either bit of a control's pair.
    """
    key = text.strip().casefold()
    if key in FEATURES:
        return (FEATURES[key],)
    if match := _MSR_BIT.fullmatch(key):
        return tuple(f for f in FEATURES.values() if _at(f, match["index"], match["name"], int(match["bit"])))
    return _BY_ALIAS.get(key, ())


def find_uses(text: str) -> tuple[Feature, ...]:
    """Return every feature that somebody calls so: as find_features(), but of vmx-invept-single-context QEMU's two."""
    return _USES.get(text.strip().casefold()) or find_features(text)


def find_bit(text: str) -> tuple[Msr, str] | None:
    """Return the MSR of a bit or field that is no feature, and what it is; None where no table has it.

    text: its name, or MSR[bit].
    """
    key = text.strip().casefold()
    match = _MSR_BIT.fullmatch(key)
    for msr in MSRS:
        here = match and (
            int(match["index"], 16) == msr.index if match["index"] else match["name"] == msr.name.casefold()
        )
        for row in msr.rows:
            if isinstance(row, Unnamed):
                if match and here and int(match["bit"]) in _bits(msr, row):
                    return msr, f"a bit without a name, {row.note}"
            elif key == row.name or (match and here and int(match["bit"]) in _bits(msr, row)):
                return msr, f"{row.name} of {msr.name}"
    return None


def _bits(msr: Msr, row: Row) -> Collection[int]:
    if isinstance(row, Field):
        return range(row.low, row.high + 1)
    return (row.bit, row.bit + 32) if msr.layout is Layout.CONTROLS else (row.bit,)


def _at(feature: Feature, index: str | None, name: str | None, bit: int) -> bool:
    msr, row = feature.msr, feature.row
    if msr is None or not isinstance(row, Flag):
        return False
    twin = MSR_BY_INDEX.get(msr.true) if msr.true is not None else None
    if not any(m.index == int(index, 16) if index else m.name.casefold() == name for m in (msr, twin) if m):
        return False
    return bit in _bits(msr, row)
