"""Rules that the MSR values of a healthy CPU obey. Pure.

From the SDM (Vol. 3D Appendix A, Vol. 3C, "Checks on VMX Controls"), from what KVM's setup_vmcs_config() demands (arch/x86/kvm/vmx/vmx.c)
and from kvm-unit-tests' test_vmx_caps() (x86/vmx.c), less what real parts break: Centaur's CNS has VMCS shadowing
without MISC[29] and virtual-interrupt delivery without posted interrupts, and many parts set bits that those sources
call reserved.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vmxd.model.compare import Group
from vmxd.model.existence import exists
from vmxd.model.facts import Failed, Missing
from vmxd.model.states import Presence
from vmxd.tables import IA32_FEATURE_CONTROL, IA32_VMX_BASIC, MSR_BY_INDEX
from vmxd.tables.kvm import GUEST_BASIC, MAY_BE_ZERO
from vmxd.tables.rows import Control, Layout

Check = Callable[[Group], bool]


class Effect(enum.Enum):
    """What KVM does on a CPU that breaks a rule."""

    REFUSES = "refuses"
    """kvm_intel does not load."""
    DEGRADES = "degrades"
    """KVM leaves features off without a word."""
    NONE = "none"
    """KVM does not look."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: ``name`` is the metric label, ``says`` what holds on a healthy CPU, ``broken`` finds out.

    kvm: what KVM does if it does not hold. What is not known breaks no rule.
    """

    name: str
    says: str
    broken: Check
    kvm: Effect = Effect.NONE


def _value(group: Group, index: int) -> int | None:
    state = group.decoded.msrs[index]
    return state if isinstance(state, int) else None


def _has(group: Group, feature: str) -> bool | None:
    return {Presence.PRESENT: True, Presence.ABSENT: False}.get(group.decoded.features[feature])


def _where(index: int, broken: Callable[[int], bool]) -> Check:
    def check(group: Group) -> bool:
        value = _value(group, index)
        return value is not None and broken(value)

    return check


def _field(name: str, broken: Callable[[int], bool]) -> Check:
    return lambda group: name in group.decoded.fields and broken(group.decoded.fields[name])


def _implies(if_present: str, then_present: str) -> Check:
    return lambda group: _has(group, if_present) is True and _has(group, then_present) is False


def _implies_all(if_present: str, then_present: str) -> Check:
    return lambda group: (
        _has(group, if_present) is True and any(_has(group, name) is False for name in then_present.split())
    )


def _any_implies(if_present: str, then_present: str) -> Check:
    return lambda group: _has(group, then_present) is False and any(_has(group, name) for name in if_present.split())


def _agree(*pairs: tuple[str, str]) -> Check:
    def check(group: Group) -> bool:
        return any({_has(group, one), _has(group, other)} == {True, False} for one, other in pairs)

    return check


def _subset(low: int, high: int) -> Check:
    def check(group: Group) -> bool:
        fixed0, fixed1 = _value(group, low), _value(group, high)
        return fixed0 is not None and fixed1 is not None and bool(fixed0 & ~fixed1)

    return check


_CONTROLS: Final = tuple(msr for msr in MSR_BY_INDEX.values() if msr.layout is Layout.CONTROLS)
_LOW: Final = 0xFFFF_FFFF


def _default1_cleared(group: Group) -> bool:
    legacy = (msr for msr in _CONTROLS if msr.twin_of is None)
    return any((value := _value(group, msr.index)) is not None and bool(msr.default1 & ~value) for msr in legacy)


def _required_not_allowed(group: Group) -> bool:
    values = (_value(group, msr.index) for msr in _CONTROLS)
    return any(value is not None and bool(value & _LOW & ~(value >> 32)) for value in values)


def _unusual_low(group: Group) -> bool:
    """Find a control outside default1 that must be 1, or one of default1 whose freedom to be 0 is not the usual one."""
    for msr in _CONTROLS:
        value = _value(group, msr.index)
        if value is None or not msr.default1:
            continue
        clearable = sum(1 << row.bit for row in msr.rows if isinstance(row, Control) and row.name in MAY_BE_ZERO)
        if msr.twin_of is not None and value & msr.default1 != msr.default1 & ~clearable:
            return True
        if msr.twin_of is None and value & value >> 32 & _LOW & ~msr.default1:
            return True
    return False


def _unusual_fixed(group: Group) -> bool:
    """Find a CR0 or CR4 bit below 32 whose fixed setting is not the one of every CPU known."""
    values = {index: _value(group, index) for index in _FIXED}
    return any(value is not None and value & _LOW != _FIXED[index] for index, value in values.items())


_FIXED: Final = {0x486: 0x8000_0021, 0x487: 0xFFFF_FFFF, 0x488: 0x2000}


def _half_64_bit(group: Group) -> bool:
    """Find one of the two 64-bit controls alone, but for what some KVM gives to its guests."""
    differ = _agree(("entry_ia32e_mode", "exit_host_addr_space_size"))
    return differ(group) and group.decoded.fields.get("vmcs_revision_id") != GUEST_BASIC & 0x7FFF_FFFF


def _capabilities_without(control: str, shift: int) -> Check:
    def check(group: Group) -> bool:
        reading = group.readings.get(0x48C)
        found = isinstance(reading, int) and bool(reading >> shift & _LOW)
        return found and _has(group, control) is False and group.decoded.msrs[IA32_VMX_BASIC] is not Missing.ABSENT

    return check


CR4_FLAGS: Final = {
    "vme": 0, "tsc": 2, "de": 3, "pse": 4, "pae": 5, "mce": 6, "pge": 7, "fxsr": 9, "sse": 10, "umip": 11, "la57": 12,
    "vmx": 13, "smx": 14, "fsgsbase": 16, "pcid": 17, "xsave": 18, "smep": 20, "smap": 21, "pku": 22, "user_shstk": 23,
    "ibt": 23, "lass": 27, "lam": 28, "fred": 32,
}  # fmt: skip
"""Flag of /proc/cpuinfo -> the bit of CR4 that enables it: a CPU with the flag lets the bit be 1 in VMX operation."""


def _cr4_forbids_a_flag(group: Group) -> bool:
    value = _value(group, 0x489)
    return value is not None and any(flag in group.flags and not value >> bit & 1 for flag, bit in CR4_FLAGS.items())


def _true_disagrees(group: Group, differ: Callable[[int, int, int], bool]) -> bool:
    for msr in _CONTROLS:
        if msr.true is not None:
            legacy, true = _value(group, msr.index), _value(group, msr.true)
            if legacy is not None and true is not None and differ(legacy, true, msr.default1):
                return True
    return False


def _unexpected(group: Group) -> bool:
    """Find a value, other than the 0 that some hypervisors answer, of an MSR that the CPU enumerates as absent."""
    if group.decoded.msrs[IA32_VMX_BASIC] is Missing.ABSENT:
        return False
    absent = (index for index, state in group.decoded.msrs.items() if state is Missing.ABSENT)
    return any(isinstance(reading := group.readings.get(index), int) and reading != 0 for index in absent)


def _missing(group: Group) -> bool:
    faults = (index for index, state in group.decoded.msrs.items() if state == Failed("EIO") and index in MSR_BY_INDEX)
    return any(
        index != IA32_FEATURE_CONTROL and exists(MSR_BY_INDEX[index], group.vmx_flag, group.readings)
        for index in faults
    )


RULES: Final[tuple[Rule, ...]] = (
    Rule("basic_bit_31", "IA32_VMX_BASIC[31] is 0", _where(IA32_VMX_BASIC, lambda v: bool(v >> 31 & 1))),
    Rule("basic_bits_47_45", "IA32_VMX_BASIC[47:45] are 0", _where(IA32_VMX_BASIC, lambda v: bool(v >> 45 & 7))),
    Rule("vmcs_region_size", "a VMCS region has 1 to 4096 bytes", _field("vmcs_region_size", lambda n: not 1 <= n <= 4096), Effect.REFUSES),
    Rule("vmcs_memory_type", "VMCS memory is write-back (6)", _field("vmcs_memory_type", lambda n: n != 6), Effect.REFUSES),
    Rule("default1_set", "the legacy control MSRs require every default1 control", _default1_cleared),
    Rule("required_is_allowed", "no control must be 1 that must be 0", _required_not_allowed),
    Rule("true_allowed_1", "a TRUE MSR allows the 1-settings that its legacy MSR allows",
         lambda group: _true_disagrees(group, lambda legacy, true, _: legacy >> 32 != true >> 32)),
    Rule("true_allowed_0", "a TRUE MSR differs from its legacy MSR in default1 controls only",
         lambda group: _true_disagrees(group, lambda legacy, true, default1: legacy & _LOW != (true | default1) & _LOW)),
    Rule("msr_unexpected", "an MSR that the CPU enumerates as absent has no value", _unexpected),
    Rule("msr_missing", "an MSR that the CPU enumerates as present does not fault", _missing),
    Rule("procbased_ctls2_low", "no secondary control must be 1", _where(0x48B, lambda v: bool(v & _LOW))),
    Rule("unrestricted_guest_ept", "unrestricted guest comes with EPT", _implies("unrestricted_guest", "ept"), Effect.DEGRADES),
    Rule("unrestricted_guest_store_lma", "unrestricted guest comes with IA32_VMX_MISC[5]", _implies("unrestricted_guest", "store_lma")),
    Rule("pml_ept_ad", "page-modification logging comes with EPT accessed and dirty flags", _implies("pml", "ept_ad"), Effect.DEGRADES),
    Rule("cr0_fixed", "no CR0 bit must be 1 that must be 0", _subset(0x486, 0x487)),
    Rule("cr4_fixed", "no CR4 bit must be 1 that must be 0", _subset(0x488, 0x489)),
    Rule("cr3_targets", "there are at most 256 CR3 targets", _field("cr3_target_count", lambda n: n > 256)),
    Rule("vmcs_enum_bits", "IA32_VMX_VMCS_ENUM has bits 9:1 only", _where(0x48A, lambda v: bool(v & ~0x3FE))),
    Rule("vmcs_enum_index", "VMCS field indexes go to 21 at least", _field("vmcs_max_index", lambda n: n < 0x2A >> 1)),
    Rule("posted_intr_vid", "posted interrupts come with virtual-interrupt delivery", _implies("posted_intr", "vid"), Effect.DEGRADES),
    Rule("vapic_reg_vid", "APIC-register virtualization and virtual-interrupt delivery come together", _agree(("vapic_reg", "vid")), Effect.DEGRADES),
    Rule("preemption_timer_save", "the preemption timer and the control that saves it come together",
         _agree(("preemption_timer", "exit_save_preemption_timer"))),
    Rule("entry_exit_pairs", "state that VM entry loads, VM exit loads or clears, and the reverse", _agree(
        ("entry_load_perf_global_ctrl", "exit_load_perf_global_ctrl"),
        ("entry_load_pat", "exit_load_pat"),
        ("entry_load_efer", "exit_load_efer"),
        ("entry_load_bndcfgs", "exit_clear_bndcfgs"),
        ("entry_load_rtit_ctl", "exit_clear_rtit_ctl"),
        ("entry_load_cet", "exit_load_cet"),
        ("entry_load_lbr_ctl", "exit_clear_lbr_ctl"),
        ("entry_load_pkrs", "exit_load_pkrs"),
        ("entry_load_uinv", "exit_clear_uinv"),
    ), Effect.REFUSES),
    Rule("vmcs_addresses", "VMCS addresses of 32 bits come without 64-bit hosts",
         lambda group: _has(group, "vmcs_32bit_addresses") is True and _has(group, "exit_host_addr_space_size") is True, Effect.REFUSES),
    Rule("ept_capabilities_ept", "EPT capabilities come with EPT", _capabilities_without("ept", 0), Effect.REFUSES),
    Rule("vpid_capabilities_vpid", "VPID capabilities come with VPID", _capabilities_without("vpid", 32), Effect.REFUSES),
    Rule("ept_capabilities", "EPT comes with page-walk length 4, write-back, and INVEPT of both types",
         _implies_all("ept", "ept_page_walk_4 ept_wb invept invept_single_context invept_all_context"), Effect.DEGRADES),
    Rule("vpid_capabilities", "VPID comes with INVVPID of all four types",
         _implies_all("vpid", "invvpid invvpid_single_addr invvpid_single_context invvpid_all_context invvpid_single_context_noglobals"), Effect.DEGRADES),
    Rule("ept_page_sizes", "EPT pages of 1 GByte come with those of 2 MByte", _implies("ept_1gb", "ept_2mb")),
    Rule("ept_page_walks", "EPT page-walk length 5 comes with length 4", _implies("ept_5level", "ept_page_walk_4"), Effect.DEGRADES),
    Rule("controls_ept", "VM functions, mode-based execute control, sub-page write permissions, #VE and PML come with EPT",
         _any_implies("vmfunc ept_mode_based_exec ept_sub_page_write ept_violation_ve pml", "ept"), Effect.DEGRADES),
    Rule("vnmi_nmi_window", "virtual NMIs and NMI-window exiting come together", _agree(("vnmi", "nmi_window_exiting")), Effect.DEGRADES),
    Rule("controls_vtpr", "APIC virtualization comes with the TPR shadow",
         _any_implies("vapic virtual_x2apic vapic_reg vid", "vtpr"), Effect.DEGRADES),
    Rule("posted_intr_ack", "posted interrupts come with acknowledging interrupts on exit", _implies("posted_intr", "exit_ack_intr"), Effect.REFUSES),
    Rule("vid_intr_exiting", "virtual-interrupt delivery comes with external-interrupt exiting", _implies("vid", "intr_exiting"), Effect.REFUSES),
    Rule("ia32e_host_64", "IA-32e mode guests and 64-bit hosts come together", _half_64_bit, Effect.REFUSES),
    Rule("default1_low", "only default1 controls must be 1, and the TRUE MSRs let CR3 exiting and debug controls alone be 0", _unusual_low),
    Rule("cr_fixed_values", "CR0 and CR4 have the fixed bits that every CPU has", _unusual_fixed),
    Rule("cr4_fixed1_flags", "IA32_VMX_CR4_FIXED1 allows each bit of CR4 whose flag /proc/cpuinfo shows", _cr4_forbids_a_flag),
)  # fmt: skip


def broken_rules(group: Group) -> tuple[Rule, ...]:
    """Return the rules that one group's values break, in the order of RULES."""
    return tuple(rule for rule in RULES if rule.broken(group))
