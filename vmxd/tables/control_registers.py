"""Bits of CR0 and CR4, which IA32_VMX_CR0_FIXED0 and its like are masks of: SDM Vol. 3A 2.5, "Control Registers"."""

from __future__ import annotations

from typing import Final

CR0: Final = {
    0: "PE", 1: "MP", 2: "EM", 3: "TS", 4: "ET", 5: "NE", 16: "WP", 18: "AM", 29: "NW", 30: "CD", 31: "PG",
}  # fmt: skip

CR4: Final = {
    0: "VME", 1: "PVI", 2: "TSD", 3: "DE", 4: "PSE", 5: "PAE", 6: "MCE", 7: "PGE", 8: "PCE", 9: "OSFXSR",
    10: "OSXMMEXCPT", 11: "UMIP", 12: "LA57", 13: "VMXE", 14: "SMXE", 16: "FSGSBASE", 17: "PCIDE", 18: "OSXSAVE",
    19: "KL", 20: "SMEP", 21: "SMAP", 22: "PKE", 23: "CET", 24: "PKS", 25: "UINTR", 28: "LAM_SUP", 32: "FRED",
}  # fmt: skip

BITS: Final = {0x486: CR0, 0x487: CR0, 0x488: CR4, 0x489: CR4}
"""By index of the MSR whose bits they are."""
