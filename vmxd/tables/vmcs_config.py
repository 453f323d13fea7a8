"""What stands where in KVM's struct vmcs_config, which the kernel prints by offset where CPUs differ.

From arch/x86/kvm/vmx/capabilities.h (struct vmcs_config, struct nested_vmx_msrs) as it is since Linux 6.12, on x86-64;
the message is from vmx_check_processor_compat() in vmx.c, of 2026-01 (commit c0d6b8bbbced). Support of FRED is to move
what stands at 32 and above.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Word(NamedTuple):
    """32 bits of vmcs_config.

    offset: in bytes. field: its name in C. msr: index of the MSR that it is from.
    shift: bit of the MSR that bit 0 of the word is.
    used: what KVM itself uses of the MSR, so fewer bits than the CPU has.
    """

    offset: int
    field: str
    msr: int
    shift: int
    used: bool = False


# fmt: off

WORDS: Final = {word.offset: word for word in (
    Word(  0, "basic",                         0x480,  0),
    Word(  4, "basic",                         0x480, 32),
    Word(  8, "pin_based_exec_ctrl",           0x481, 32, used=True),
    Word( 12, "cpu_based_exec_ctrl",           0x482, 32, used=True),
    Word( 16, "cpu_based_2nd_exec_ctrl",       0x48B, 32, used=True),
    Word( 24, "cpu_based_3rd_exec_ctrl",       0x492,  0, used=True),
    Word( 28, "cpu_based_3rd_exec_ctrl",       0x492, 32, used=True),
    Word( 32, "vmexit_ctrl",                   0x483, 32, used=True),
    Word( 36, "vmentry_ctrl",                  0x484, 32, used=True),
    Word( 40, "misc",                          0x485,  0),
    Word( 44, "misc",                          0x485, 32),
    Word( 48, "nested.procbased_ctls_low",     0x482,  0),
    Word( 52, "nested.procbased_ctls_high",    0x482, 32),
    Word( 56, "nested.secondary_ctls_low",     0x48B,  0),
    Word( 60, "nested.secondary_ctls_high",    0x48B, 32),
    Word( 64, "nested.pinbased_ctls_low",      0x481,  0),
    Word( 68, "nested.pinbased_ctls_high",     0x481, 32),
    Word( 72, "nested.exit_ctls_low",          0x483,  0),
    Word( 76, "nested.exit_ctls_high",         0x483, 32),
    Word( 80, "nested.entry_ctls_low",         0x484,  0),
    Word( 84, "nested.entry_ctls_high",        0x484, 32),
    Word( 88, "nested.misc_low",               0x485,  0),
    Word( 92, "nested.misc_high",              0x485, 32),
    Word( 96, "nested.ept_caps",               0x48C,  0),
    Word(100, "nested.vpid_caps",              0x48C, 32),
    Word(104, "nested.basic",                  0x480,  0),
    Word(108, "nested.basic",                  0x480, 32),
    Word(112, "nested.cr0_fixed0",             0x486,  0),
    Word(116, "nested.cr0_fixed0",             0x486, 32),
    Word(120, "nested.cr0_fixed1",             0x487,  0),
    Word(124, "nested.cr0_fixed1",             0x487, 32),
    Word(128, "nested.cr4_fixed0",             0x488,  0),
    Word(132, "nested.cr4_fixed0",             0x488, 32),
    Word(136, "nested.cr4_fixed1",             0x489,  0),
    Word(140, "nested.cr4_fixed1",             0x489, 32),
    Word(144, "nested.vmcs_enum",              0x48A,  0),
    Word(148, "nested.vmcs_enum",              0x48A, 32),
    Word(152, "nested.vmfunc_controls",        0x491,  0),
    Word(156, "nested.vmfunc_controls",        0x491, 32),
)}
"""By offset; at 20 is padding. nested is what KVM offers to guests; its controls are by the TRUE MSRs."""

# fmt: on
