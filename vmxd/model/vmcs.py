"""What KVM keeps of a CPU's controls when it loads, and why it would not load: setup_vmcs_config() in vmx.c. Pure.

A question about a CPU or kernel that is not fully known is asked twice: with all that is unknown there ("most"), and
with none of it ("least"). Where both answers agree, it is known.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from vmxd.model.existence import exists
from vmxd.model.facts import Missing, MsrState
from vmxd.tables import FEATURES, IA32_VMX_BASIC, MSR_BY_INDEX
from vmxd.tables.kvm import (
    BITS,
    BROKEN_PREEMPTION_TIMER,
    NEEDS_VTPR,
    PAIRS,
    REFUSES_INCONSISTENT,
    Release,
    Since,
    Use,
)
from vmxd.tables.rows import Flag, Layout

EPT_VPID_CAP: Final = 0x48C
_ALL: Final = (1 << 64) - 1
_LOW: Final = 0xFFFF_FFFF
CONFIGURED: Final = (0x481, 0x482, 0x48B, 0x492, 0x483, 0x484)
"""The control MSRs that setup_vmcs_config() reads: the legacy ones, never the TRUE ones."""


class Bound(NamedTuple):
    """A release of Linux, and whether what is not known is taken to be there."""

    release: Release
    most: bool

    def began(self, since: Since) -> bool:
        """Whether something is there in this release."""
        return self.release >= since.by or (self.most and self.release > since.without)


class Place(NamedTuple):
    """Where a feature stands: MSR index, and the bit that says whether it can be used."""

    msr: int
    bit: int


def _places() -> Iterator[tuple[str, Place]]:
    for feature in FEATURES.values():
        if feature.msr is not None and isinstance(feature.row, Flag):
            yield feature.name, Place(feature.msr.index, feature.msr.feature_bit(feature.row))


PLACES: Final = dict(_places())
"""Every feature that is one bit, by name."""


class Hardware(NamedTuple):
    """The capability MSRs of a CPU.

    known: index -> value, 0 if the MSR is absent; without those that are not known.
    """

    known: Mapping[int, int]

    def get(self, index: int, *, most: bool) -> int:
        """Return an MSR's value; of one that is not known all bits, or none."""
        return self.known.get(index, _ALL if most else 0)

    def has(self, name: str) -> bool | None:
        """Whether the CPU has a feature that is one bit."""
        index, bit = PLACES[name]
        return bool(self.known[index] >> bit & 1) if index in self.known else None

    def with_bits(self, places: Collection[Place]) -> Hardware:
        """Return the same CPU with further bits set, where their MSR is known."""
        known = dict(self.known)
        for index, bit in places:
            if index in known:
                known[index] |= 1 << bit
        return Hardware(known)


def hardware(msrs: Mapping[int, MsrState]) -> Hardware:
    """Take the MSRs of a CPU that has VMX, by index; those that are missing or failed are not known.

    One that the CPU enumerates as absent counts as 0, as it does for KVM.
    """
    known = {index: value for index, value in msrs.items() if isinstance(value, int)}
    for index, msr in MSR_BY_INDEX.items():
        if index not in known and (msrs.get(index) is Missing.ABSENT or exists(msr, True, known) is False):
            known[index] = 0
    return Hardware(known)


class Refused(enum.Enum):
    """Why kvm_intel does not load on a CPU."""

    CONTROL = "control"
    """A control that KVM requires is missing."""
    EPT_CAPABILITIES = "ept_capabilities"
    """There are EPT capabilities, and no EPT."""
    VPID_CAPABILITIES = "vpid_capabilities"
    PAIR = "pair"
    """A VM-entry control is there without its VM-exit control, or the reverse."""
    VMCS_SIZE = "vmcs_size"
    VMCS_ADDRESSES = "vmcs_addresses"
    """VMCS addresses have 32 bits."""
    MEMORY_TYPE = "memory_type"
    NO_VMX = "no_vmx"
    FIRMWARE = "firmware"
    """IA32_FEATURE_CONTROL forbids VMX."""
    CPU_DIFFERS = "cpu_differs"
    """A CPU differs from the one that loaded the module."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason, and the features that it is about."""

    why: Refused
    features: tuple[str, ...] = ()


class Config(NamedTuple):
    """What setup_vmcs_config() leaves, MSR index -> bits that are a feature's place, and why it gave up."""

    kept: Mapping[int, int]
    refusals: tuple[Refusal, ...]

    def has(self, name: str) -> bool:
        """Whether KVM may use a feature that is one bit."""
        index, bit = PLACES[name]
        return bool(self.kept[index] >> bit & 1)


def configure(cpu: Hardware, bound: Bound, signature: str | None = None, *, strict: bool = True) -> Config:
    """Set KVM's controls up for one CPU.

    signature: as facts.Cpu.signature. strict: the parameter error_on_inconsistent_vmcs_config.
    Refusals are of what is known only.
    """
    values = {index: cpu.get(index, most=bound.most) for index in MSR_BY_INDEX}
    kept = _Kept(values | {index: _adjusted(index, values[index], bound) for index in CONFIGURED})
    kept.drop_dependents(signature)
    inconsistent = [
        *_without_control(kept, cpu),
        *(_pairs(kept, cpu, bound) if bound.began(REFUSES_INCONSISTENT) else ()),
    ]
    refusals = [
        Refusal(Refused.CONTROL, missing)
        for index in CONFIGURED
        if index in cpu.known and (missing := _missing(index, values[index], bound))
    ]
    if strict and bound.began(REFUSES_INCONSISTENT):
        refusals += inconsistent
    if IA32_VMX_BASIC in cpu.known:
        refusals += _basic(values[IA32_VMX_BASIC])
    return Config(kept.bits, tuple(refusals))


@dataclass(slots=True)
class _Kept:
    """The bits that KVM keeps so far."""

    bits: dict[int, int]

    def has(self, name: str) -> bool:
        index, bit = PLACES[name]
        return bool(self.bits[index] >> bit & 1)

    def drop(self, *names: str) -> None:
        for name in names:
            index, bit = PLACES[name]
            self.bits[index] &= ~(1 << bit)

    def drop_dependents(self, signature: str | None) -> None:
        """Leave off what takes a control that is not there."""
        if not self.has("sec_controls"):
            self.bits[0x48B] = 0
        if not self.has("tertiary_controls"):
            self.bits[0x492] = 0
        if not self.has("vtpr"):
            self.drop(*NEEDS_VTPR)
        if not self.has("vid"):
            self.drop("posted_intr")
        if signature in BROKEN_PREEMPTION_TIMER:
            self.drop("preemption_timer")


def _without_control(kept: _Kept, cpu: Hardware) -> Iterator[Refusal]:
    """Forget capabilities whose control is missing, and yield those that the CPU has."""
    capabilities = cpu.known.get(EPT_VPID_CAP, 0) if 0x48B in cpu.known else 0
    if not kept.has("ept"):
        kept.bits[EPT_VPID_CAP] &= ~_LOW
        if capabilities & _LOW:
            yield Refusal(Refused.EPT_CAPABILITIES, ("ept",))
    if not kept.has("vpid"):
        kept.bits[EPT_VPID_CAP] &= _LOW
        if capabilities >> 32:
            yield Refusal(Refused.VPID_CAPABILITIES, ("vpid",))
    if not kept.has("ept_advanced_exitinfo"):
        kept.drop("ept_mode_based_exec")


def _pairs(kept: _Kept, cpu: Hardware, bound: Bound) -> Iterator[Refusal]:
    """Forget both halves of a pair of which one is missing, and yield those of the CPU."""
    for entry, exit_ in PAIRS:
        if bound.began(BITS[entry].used) and kept.has(entry) != kept.has(exit_):
            kept.drop(entry, exit_)
            if {PLACES[entry].msr, PLACES[exit_].msr} <= cpu.known.keys():
                yield Refusal(Refused.PAIR, (entry, exit_))


def _basic(value: int) -> Iterator[Refusal]:
    if value >> 32 & 0x1FFF > 4096:
        yield Refusal(Refused.VMCS_SIZE)
    if value >> 48 & 1:
        yield Refusal(Refused.VMCS_ADDRESSES, ("vmcs_32bit_addresses",))
    if value >> 50 & 15 != 6:
        yield Refusal(Refused.MEMORY_TYPE)


def _adjusted(index: int, value: int, bound: Bound) -> int:
    """Do adjust_vmx_controls(): keep what KVM asks for and the CPU allows, and what must be 1."""
    wanted = sum(1 << bit for name, bit in _ROWS[index] if bound.began(BITS[name].used))
    if MSR_BY_INDEX[index].layout is Layout.CONTROLS64:
        return value & wanted
    return value & wanted | (value & _LOW) << 32


def _missing(index: int, value: int, bound: Bound) -> tuple[str, ...]:
    return tuple(
        name
        for name, bit in _ROWS[index]
        if BITS[name].use is Use.REQUIRED
        and bound.began(BITS[name].used)
        and not value >> bit & 1
        and not value >> (bit - 32) & 1
    )


_ROWS: Final = {
    index: tuple(
        (name, PLACES[name].bit) for name in BITS if PLACES[name].msr == index and BITS[name].use is not Use.UNUSED
    )
    for index in CONFIGURED
}
