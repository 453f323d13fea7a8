"""Row types of the tables: what one bit, one field and one MSR of the VMX capability reporting facility are.

Bit positions are counted as in the SDM's Appendix A: a control's bit is its number in the VMCS field (0-31), so its
allowed-0 setting is that bit of the MSR and its allowed-1 setting is that bit plus 32. Ranges are written high, low.
Rows are data and bit arithmetic only; none changes at run time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

SHOWN = True
"""In a row's ``cpuinfo`` column: /proc/cpuinfo prints the bit on "vmx flags", under the row's own name."""

_SAME = "="


class Bit(NamedTuple):
    """One bit of one MSR: MSR index, bit position 0-63."""

    msr: int
    bit: int


class Layout(enum.Enum):
    """How an MSR's 64 bits are to be read (SDM Vol. 3D, Appendix A)."""

    PLAIN = "plain"
    """Each bit or range stands for itself."""
    CONTROLS = "controls"
    """Bits 31:0 are the allowed 0-settings (1 = must be 1), bits 63:32 the allowed 1-settings (1 = may be 1); A.2."""
    CONTROLS64 = "controls64"
    """All 64 bits are allowed 1-settings; every control may be 0 (A.3.4, A.4.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What others call a feature.

    linux: NAME in the kernel's VMX_FEATURE_NAME (arch/x86/include/asm/vmxfeatures.h), None if it has none.
    cpuinfo: SHOWN if /proc/cpuinfo prints it; its flag there is the row's own name.
    qemu, libvirt: the property vmx-*; libvirt's is QEMU's unless given.
    linux_bit: bit of word 0 of the kernel's vmx_capability, for features that the kernel puts there from elsewhere.
    """

    linux: str | None = None
    cpuinfo: bool = False
    qemu: str | None = None
    libvirt: str | None = _SAME
    linux_bit: int | None = None

    def __post_init__(self) -> None:
        if self.libvirt == _SAME:
            object.__setattr__(self, "libvirt", self.qemu)


@dataclass(frozen=True, slots=True)
class Flag(Names):
    """A bit that is a feature by itself: position in the MSR (0-63), vmxd's name, the SDM's words.

    models: the CPUs on which the bit means this, where that is not all; elsewhere it is not told of unless it is set.
    """

    bit: int
    name: str
    sdm: str
    models: str = ""


@dataclass(frozen=True, slots=True)
class Control(Flag):
    """A VM-execution, VM-exit or VM-entry control of an MSR of layout CONTROLS: bits ``bit`` and ``bit`` + 32."""


@dataclass(frozen=True, slots=True)
class Field:
    """A range of bits that is a number: (value of bits high:low + bias) * scale, in the unit its ``sdm`` text names."""

    high: int
    low: int
    name: str
    sdm: str
    bias: int = 0
    scale: int = 1

    @property
    def mask(self) -> int:
        """The field's bits, in place."""
        return ((1 << (self.high - self.low + 1)) - 1) << self.low

    def get(self, value: int) -> int:
        """Return the number that this field holds in an MSR value."""
        return (((value & self.mask) >> self.low) + self.bias) * self.scale


@dataclass(frozen=True, slots=True)
class Unnamed:
    """A bit that no source names and that real CPUs set: position as of a Flag or Control, and which CPUs.

    note: the CPUs of tables/platforms that set it. since: year of the oldest.
    """

    bit: int
    note: str
    since: int


Row = Flag | Field | Unnamed


@dataclass(frozen=True, slots=True)
class AllOf(Names):
    """A feature that is several bits in hardware: present where every feature of ``of`` is."""

    name: str
    of: tuple[str, ...]
    sdm: str


@dataclass(frozen=True, slots=True)
class MayBeZero(Names):
    """A feature that is a default1 control's freedom to be 0: the TRUE MSR, or the legacy one without it, says so."""

    name: str
    of: str
    sdm: str


Derived = AllOf | MayBeZero


@dataclass(frozen=True, slots=True)
class Msr:
    """One MSR: what its bits mean and when it exists.

    index: address for RDMSR.
    name: the SDM's name.
    sdm: section of SDM Vol. 3D; for IA32_FEATURE_CONTROL the title of one in Vol. 3C, whose numbers move.
    rows: its bits, lowest first as in the SDM's table.
    exists_if: exists where any of these bits is 1, in MSRs that exist themselves; empty: wherever VMX does.
    probed: read wherever VMX exists, as KVM does; a fault where it should not exist is none.
    default1: of layout CONTROLS, the controls that the SDM puts in the default1 class (A.2).
    true: index of the IA32_VMX_TRUE_* MSR that refines it.
    twin_of: of an IA32_VMX_TRUE_* MSR, the index of the MSR that it refines; the rows are that MSR's.
    linux_word: word of the kernel's vmx_capability that holds the allowed 1-settings.
    """

    index: int
    name: str
    sdm: str
    layout: Layout
    rows: tuple[Row, ...]
    exists_if: tuple[Bit, ...] = ()
    probed: bool = False
    default1: int = 0
    true: int | None = None
    twin_of: int | None = None
    linux_word: int | None = None

    def feature_bit(self, row: Flag | Unnamed) -> int:
        """Return the position, 0-63, of the bit that says whether software can use the row's feature."""
        return row.bit + 32 if self.layout is Layout.CONTROLS else row.bit

    @property
    def unnamed(self) -> dict[int, Unnamed]:
        """The bits, 0-63, that real CPUs set and no source names. Of a control it is the allowed 1-setting."""
        return {self.feature_bit(row): row for row in self.rows if isinstance(row, Unnamed)}

    @property
    def explained(self) -> int:
        """The bits that some row or the default1 class explains; a set bit outside is unknown silicon."""
        mask = 0
        for row in self.rows:
            if isinstance(row, Field):
                mask |= row.mask
            elif isinstance(row, Flag):
                mask |= 1 << row.bit
        if self.layout is Layout.CONTROLS:
            mask |= self.default1
            mask |= mask << 32
        return mask | sum(1 << bit for bit in self.unnamed)
