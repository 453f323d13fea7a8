"""What the bits of an MSR's value are, one after the other: every set bit is a row's, or unknown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from vmxd.tables.rows import Field, Flag, Layout, Msr, Row

REGISTERS: Final = {
    "CR0": {0: "PE", 1: "MP", 2: "EM", 3: "TS", 4: "ET", 5: "NE", 16: "WP", 18: "AM", 29: "NW", 30: "CD", 31: "PG"},
    "CR4": {0: "VME", 1: "PVI", 2: "TSD", 3: "DE", 4: "PSE", 5: "PAE", 6: "MCE", 7: "PGE", 8: "PCE", 9: "OSFXSR",
            10: "OSXMMEXCPT", 11: "UMIP", 12: "LA57", 13: "VMXE", 14: "SMXE", 16: "FSGSBASE", 17: "PCIDE",
            18: "OSXSAVE", 19: "KL", 20: "SMEP", 21: "SMAP", 22: "PKE", 23: "CET", 24: "PKS", 25: "UINTR", 27: "LASS",
            28: "LAM_SUP", 32: "FRED"},
}  # fmt: skip
"""The bits of CR0 and CR4, SDM Vol. 3A 2.5: those of IA32_VMX_CR0_FIXED0 and its like."""


class Bits(NamedTuple):
    """One bit of a value, or all bits of a field. name: what it is; is_unknown: no row has it."""

    high: int
    low: int
    name: str
    row: Row | None
    is_unknown: bool

    @property
    def position(self) -> str:
        """As the SDM writes it: 5, or 12:8."""
        return str(self.low) if self.high == self.low else f"{self.high}:{self.low}"


def set_bits(msr: Msr | None, value: int) -> Iterator[Bits]:
    """Walk over the set bits of a value, the highest first; a field of which any bit is set is one. None: no table."""
    fields = {row.high: row for row in msr.rows if isinstance(row, Field) and not is_whole(row)} if msr else {}
    bit = 63
    while bit >= 0:
        if field := fields.get(bit):
            if value & field.mask:
                yield Bits(field.high, field.low, field.name, field, is_unknown=False)
            bit = field.low
        elif value >> bit & 1:
            yield _bit(msr, bit)
        bit -= 1


def is_register(msr: Msr) -> bool:
    """Whether an MSR is a mask of CR0 or CR4."""
    return msr.name.removeprefix("IA32_VMX_")[:3] in REGISTERS


def is_whole(row: Field) -> bool:
    """Whether a field is a whole MSR: those of CR0 and CR4, whose bits are the register's."""
    return row.high - row.low == 63


def _bit(msr: Msr | None, bit: int) -> Bits:
    if msr is None:
        return Bits(bit, bit, "unknown", None, is_unknown=True)
    if (register := msr.name.removeprefix("IA32_VMX_")[:3]) in REGISTERS:
        return Bits(bit, bit, f"{register}.{REGISTERS[register].get(bit, bit)}", None, is_unknown=False)
    controls = msr.layout is Layout.CONTROLS
    place = bit % 32 if controls else bit
    must = ", must be 1" if controls and bit < 32 else ""
    row = next((row for row in msr.rows if isinstance(row, Flag) and row.bit == place), msr.unnamed.get(bit))
    if isinstance(row, Flag):
        return Bits(bit, bit, row.name + must, row, is_unknown=False)
    if controls and msr.default1 >> place & 1:
        return Bits(bit, bit, f"default1 control {place}{must}", row, is_unknown=False)
    return Bits(bit, bit, f"unnamed, set on {row.note}" if row else "unknown", row, is_unknown=row is None)
