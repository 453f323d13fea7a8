"""Values that no CPU can have: cut, or bytes of something else. Nothing may be concluded from them."""

from __future__ import annotations

from typing import Final

from vmxd.model.checks import RULES, Rule
from vmxd.model.compare import Group
from vmxd.model.decode import decode
from vmxd.tables.msrs import IA32_VMX_BASIC
from vmxd.tables.rows import Layout, Msr

_ALONE: Final = frozenset(
    """
    basic_bit_31 basic_bits_47_45 vmcs_region_size vmcs_memory_type default1_set required_is_allowed procbased_ctls2_low
    cr3_targets vmcs_enum_bits
    """.split()  # noqa: SIM905
)
"""Rules that one value breaks by itself, and that every real CPU obeys."""
_MUST: Final = {0x486: 0x8000_0021, 0x487: 0x8000_0021, 0x488: 0x2000, 0x489: 0x2000}
"""Bits of CR0 and CR4 that VMX operation takes: PE, NE and PG; VMXE (SDM Vol. 3C, Restrictions on VMX Operation)."""
_SECONDARY: Final = 0x48B


def broken_by(msr: Msr, value: int) -> tuple[str, ...]:
    """Return what holds on every CPU and not of this value, each a clause; () if nothing speaks against it.

    0 of IA32_VMX_BASIC is what hypervisors answer for an MSR that is absent, so it is no fault.
    """
    if msr.index == IA32_VMX_BASIC and value == 0:
        return ()
    if must := _MUST.get(msr.index, 0) & ~value:
        return (f"VMX operation takes bits {must:#x} of it",)
    readings = {msr.index: value}
    group = Group((0,), None, readings, decode(None, readings))
    return tuple(rule.says for rule in _rules() if rule.broken(group))


def _rules() -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule.name in _ALONE)


def is_cut(msr: Msr, value: int) -> bool:
    """Whether the upper half of a value is missing: the lower has controls or a revision, and nothing stands above."""
    halves = msr.layout is Layout.CONTROLS and msr.index != _SECONDARY
    return value >> 32 == 0 and value != 0 and (halves or msr.index == IA32_VMX_BASIC)
