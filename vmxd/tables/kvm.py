"""What KVM does with VMX, one parameter or bit a line, with the release of Linux in which it began.

From arch/x86/kvm/vmx of Linux 5.10.262, 6.1.192, 6.12.118, 7.2.13 and 7.3.4: setup_vmcs_config() and vmx_hardware_setup()
in vmx.c, KVM_REQUIRED_VMX_* and KVM_OPTIONAL_VMX_* in vmx.h, nested_vmx_setup_*() in nested.c. Parameters of 6.16, 6.17 and
6.18 from Debian's modules. Older releases were not read.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple

Release = tuple[int, int]
"""A series of Linux: (6, 12)."""

OLDEST: Final[Release] = (5, 10)
NEWEST: Final[Release] = (7, 3)
"""The first and last series that were read; tests hold NEWEST to versions.LINUX."""


class Since(NamedTuple):
    """When something began: the last release known to lack it, the first known to have it."""

    without: Release
    by: Release


ALWAYS: Final = Since((0, 0), (0, 0))
NEVER: Final = Since((999, 0), (999, 0))


def _since(major: int, minor: int) -> Since:
    return Since((major, minor - 1) if minor else (major - 1, 999), (major, minor))


class Default(enum.Enum):
    """What stands for the default of a parameter where no constant does."""

    UNTOLD = "untold"
    """The rest of the machine decides: firmware, IOMMU, mitigations."""


# Parameters ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KvmParameter:
    """One parameter of kvm_intel; names in a text are separated by spaces.

    name: its file in /sys/module/kvm_intel/parameters.
    features: what KVM does not use while it is N or 0.
    needs: features that the CPU must have, else KVM turns it off by itself; of a|b either.
    after: parameters without which KVM turns it off by itself.
    default: its value on a CPU that has all it needs. since, until: the releases that have it, until left out.
    """

    name: str
    features: str = ""
    needs: str = ""
    after: str = ""
    default: bool | int | Default = True
    since: Since = ALWAYS
    until: Since = NEVER


# fmt: off

# 3.10 has neither vnmi, pml nor preemption_timer, and 4.19 no enable_ipiv: there is no file then, and no finding.
# vnmi takes NMI-window exiting since 6.1 only: the needs are the newest, so that what a CPU lacks is never laid to a choice.
KVM_PARAMETERS: Final = {row.name: row for row in (
    KvmParameter("vpid",               "vpid",  "vpid invvpid invvpid_single_context|invvpid_all_context"),
    KvmParameter("ept",                "ept",                  "ept ept_page_walk_4 ept_wb invept_all_context"),
    KvmParameter("eptad",              "ept_ad",               "ept_ad",              after="ept"),
    KvmParameter("unrestricted_guest", "unrestricted_guest",   "unrestricted_guest",  after="ept"),
    KvmParameter("mbec",               "ept_mode_based_exec",  "ept_mode_based_exec ept_advanced_exitinfo", after="ept", since=_since(7, 2)),
    KvmParameter("pml",                "pml",                  "pml",                 after="ept eptad"),
    KvmParameter("flexpriority",       "flexpriority vapic",   "vtpr vapic"),
    KvmParameter("vnmi",               "vnmi",                 "vnmi nmi_window_exiting"),
    KvmParameter("enable_apicv",       "apicv vapic_reg vid posted_intr", "vtpr vapic_reg vid posted_intr"),
    KvmParameter("enable_ipiv",        "ipi_virt",             "ipi_virt",            after="enable_apicv", since=Since(OLDEST, (6, 1))),
    KvmParameter("preemption_timer",   "preemption_timer",     "preemption_timer"),
    KvmParameter("ple_gap",            "ple",                  "ple",                 default=128),
    KvmParameter("enable_shadow_vmcs", "shadow_vmcs",          "shadow_vmcs vmwrite_vmexit_fields", after="nested"),
    KvmParameter("cet",                "entry_load_cet exit_load_cet", "entry_load_cet exit_load_cet", since=_since(7, 1)),
)}

# No VMX feature is left off by these: a choice of guests, of debugging, or of what is no bit of a capability MSR.
OTHER_PARAMETERS: Final = {row.name: row for row in (
    KvmParameter("nested"),
    KvmParameter("sgx",                 needs="encls_exiting",                              since=_since(5, 13)),
    KvmParameter("error_on_inconsistent_vmcs_config",                                       since=Since(OLDEST, (6, 1))),
    KvmParameter("emulate_invalid_guest_state"),
    KvmParameter("fasteoi"),
    KvmParameter("allow_smaller_maxphyaddr",                       default=False),
    KvmParameter("dump_invalid_vmcs",                              default=False),
    KvmParameter("nested_early_check",                             default=False,           until=Since((6, 18), (7, 2))),
    KvmParameter("warn_on_missed_cc",                              default=False,           since=Since((6, 18), (7, 2))),
    KvmParameter("enlightened_vmcs",                               default=Default.UNTOLD),
    KvmParameter("ple_window",          needs="ple",               default=4096),
    KvmParameter("ple_window_grow",     needs="ple",               default=2),
    KvmParameter("ple_window_shrink",                              default=0),
    KvmParameter("ple_window_max",      needs="ple",               default=0xFFFF_FFFF),
    KvmParameter("pt_mode",                                        default=0,               until=Since((6, 12), (6, 16))),
    KvmParameter("vmentry_l1d_flush",                              default=Default.UNTOLD),
    KvmParameter("enable_device_posted_irqs", after="enable_apicv", default=Default.UNTOLD, since=Since((6, 12), (6, 16))),
    KvmParameter("enable_mediated_pmu",                            default=False,           since=Since((6, 18), (7, 2))),
    KvmParameter("tdx",                                            default=False,           since=Since((6, 12), (7, 2))),
)}

IN_EVMCS: Final = frozenset(("vpid", "ept", "eptad", "unrestricted_guest", "vnmi", "mbec"))
"""Parameters whose controls are in Hyper-V's enlightened VMCS; where KVM uses one, it has to leave the others off
(EVMCS1_SUPPORTED_* in arch/x86/kvm/vmx/hyperv_evmcs.h; mbec since 7.2)."""

BROKEN_PREEMPTION_TIMER: Final = frozenset(
    ("06-1a-00", "06-1a-01", "06-1a-04", "06-1a-05", "06-1e-05", "06-25-02", "06-25-05", "06-2e-06", "06-3a-08")
)
"""Signatures of the CPUs whose timer counts wrong, so that KVM does not use it (vmx_preemption_cpu_tfms in vmx.c)."""


# Controls and capabilities ---------------------------------------------------------------------------------------------

class Use(enum.Enum):
    """What KVM itself does with a control."""

    REQUIRED = "required"
    """kvm_intel does not load without it."""
    OPTIONAL = "optional"
    """KVM uses it if the CPU has it."""
    UNUSED = "unused"


@dataclass(frozen=True, slots=True)
class KvmBit:
    """One bit, by vmxd's name: what KVM does with it, and whether a guest gets it.

    use, used: what KVM does itself, and since when.
    cpu: since when a guest gets it if the CPU has it and KVM uses it, or reads it.
    always: since when a guest gets it whatever the CPU has.
    when: parameters that must be on for it; needs: further features of the CPU, by name. Both separated by spaces.
    """

    name: str
    use: Use = Use.UNUSED
    used: Since = ALWAYS
    cpu: Since = NEVER
    always: Since = NEVER
    when: str = ""
    needs: str = ""


_R, _O = Use.REQUIRED, Use.OPTIONAL
_SANITIZED: Final = Since(OLDEST, (6, 1))
"""Since when nested_vmx_setup_ctls_msrs() starts from what setup_vmcs_config() kept, not from the CPU's MSRs."""
_CET: Final = _since(6, 18)
_MBEC: Final = _since(7, 2)

BITS: Final = {row.name: row for row in (
    KvmBit("ins_outs",                   cpu=ALWAYS),
    KvmBit("true_ctls",                  always=ALWAYS),
    KvmBit("any_errcode",                cpu=_CET),

    KvmBit("intr_exiting",               _R, cpu=ALWAYS),
    KvmBit("nmi_exiting",                _R, cpu=ALWAYS),
    KvmBit("vnmi",                       _O, cpu=ALWAYS),
    KvmBit("preemption_timer",           _O, always=ALWAYS),
    KvmBit("posted_intr",                _O, cpu=ALWAYS, when="enable_apicv"),

    KvmBit("intr_window_exiting",        _R, _SANITIZED, cpu=ALWAYS),
    KvmBit("tsc_offset",                 _R, cpu=ALWAYS),
    KvmBit("hlt_exiting",                _R, cpu=ALWAYS),
    KvmBit("invlpg_exiting",             _R, cpu=ALWAYS),
    KvmBit("mwait_exiting",              _R, cpu=ALWAYS),
    KvmBit("rdpmc_exiting",              _R, cpu=ALWAYS),
    KvmBit("rdtsc_exiting",              _O, _SANITIZED, cpu=ALWAYS),
    KvmBit("cr3_load_exiting",           _R, cpu=ALWAYS),
    KvmBit("cr3_store_exiting",          _R, cpu=ALWAYS),
    KvmBit("tertiary_controls",          _O, Since(OLDEST, (6, 1))),
    KvmBit("cr8_load_exiting",           _R, cpu=ALWAYS),
    KvmBit("cr8_store_exiting",          _R, cpu=ALWAYS),
    KvmBit("vtpr",                       _O, cpu=ALWAYS),
    KvmBit("nmi_window_exiting",         _O, _SANITIZED, cpu=ALWAYS),
    KvmBit("mov_dr_exiting",             _R, cpu=ALWAYS),
    KvmBit("uncond_io_exiting",          _R, cpu=ALWAYS),
    KvmBit("use_io_bitmaps",             _O, _SANITIZED, cpu=ALWAYS),
    KvmBit("mtf",                        _O, _SANITIZED, cpu=ALWAYS),
    KvmBit("use_msr_bitmaps",            _O, always=ALWAYS),
    KvmBit("monitor_exiting",            _R, cpu=ALWAYS),
    KvmBit("pause_exiting",              _O, _SANITIZED, cpu=ALWAYS),
    KvmBit("sec_controls",               _O, cpu=ALWAYS),

    KvmBit("vapic",                      _O, always=ALWAYS, when="flexpriority"),
    KvmBit("ept",                        _O, always=ALWAYS, when="ept"),
    KvmBit("desc_exiting",               _O, cpu=ALWAYS),
    KvmBit("rdtscp",                     _O, cpu=ALWAYS),
    KvmBit("virtual_x2apic",             _O, cpu=ALWAYS),
    KvmBit("vpid",                       _O, always=ALWAYS, when="vpid"),
    KvmBit("wbinvd_exiting",             _O, cpu=ALWAYS),
    KvmBit("unrestricted_guest",         _O, always=ALWAYS, when="unrestricted_guest"),
    KvmBit("vapic_reg",                  _O, cpu=ALWAYS),
    KvmBit("vid",                        _O, cpu=ALWAYS),
    KvmBit("ple",                        _O),
    KvmBit("rdrand_exiting",             _O, cpu=ALWAYS),
    KvmBit("invpcid",                    _O, cpu=ALWAYS),
    KvmBit("vmfunc",                     _O, cpu=ALWAYS),
    KvmBit("shadow_vmcs",                _O, always=ALWAYS),
    KvmBit("encls_exiting",              _O, always=_since(5, 13), when="sgx"),
    KvmBit("rdseed_exiting",             _O, cpu=ALWAYS),
    KvmBit("pml",                        _O, always=ALWAYS, when="ept eptad"),
    KvmBit("pt_conceal_vmx",             _O),
    KvmBit("xsaves",                     _O, cpu=ALWAYS),
    KvmBit("ept_mode_based_exec",        _O, _MBEC, always=_MBEC, when="ept mbec"),
    KvmBit("pt_use_gpa",                 _O),
    KvmBit("tsc_scaling",                _O, cpu=_since(5, 14)),
    KvmBit("usr_wait_pause",             _O, cpu=Since(OLDEST, (6, 1))),
    KvmBit("bus_lock_detection",         _O, Since(OLDEST, (6, 1))),
    KvmBit("notify_vm_exiting",          _O, Since(OLDEST, (6, 1))),

    KvmBit("ipi_virt",                   _O, Since(OLDEST, (6, 1))),

    KvmBit("exit_save_debugctl",         _R, cpu=ALWAYS),
    KvmBit("exit_host_addr_space_size",  _R, cpu=ALWAYS),
    KvmBit("exit_load_perf_global_ctrl", _O, cpu=ALWAYS, always=_SANITIZED),
    KvmBit("exit_ack_intr",              _R, always=ALWAYS),
    KvmBit("exit_save_pat",              _O, _SANITIZED, cpu=ALWAYS),
    KvmBit("exit_load_pat",              _O, cpu=ALWAYS),
    KvmBit("exit_save_efer",             _O, _SANITIZED, always=ALWAYS),
    KvmBit("exit_load_efer",             _O, always=ALWAYS),
    KvmBit("exit_save_preemption_timer", _O, _SANITIZED, always=ALWAYS),
    KvmBit("exit_clear_bndcfgs",         _O, cpu=ALWAYS),
    KvmBit("exit_conceal_pt",            _O),
    KvmBit("exit_clear_rtit_ctl",        _O),
    KvmBit("exit_load_cet",              _O, _CET, cpu=_CET, when="cet unrestricted_guest", needs="any_errcode"),
    KvmBit("exit_save_perf_global_ctrl", _O, Since((6, 18), (7, 2))),

    KvmBit("entry_load_debugctl",        _R, cpu=ALWAYS),
    KvmBit("entry_ia32e_mode",           _R, cpu=ALWAYS),
    KvmBit("entry_load_perf_global_ctrl", _O, cpu=ALWAYS, always=_SANITIZED),
    KvmBit("entry_load_pat",             _O, cpu=ALWAYS),
    KvmBit("entry_load_efer",            _O, always=ALWAYS),
    KvmBit("entry_load_bndcfgs",         _O, cpu=ALWAYS),
    KvmBit("entry_conceal_pt",           _O),
    KvmBit("entry_load_rtit_ctl",        _O),
    KvmBit("entry_load_cet",             _O, _CET, cpu=_CET, when="cet unrestricted_guest", needs="any_errcode"),

    KvmBit("store_lma",                  cpu=ALWAYS),
    KvmBit("activity_hlt",               always=ALWAYS),
    KvmBit("activity_wait_sipi",         always=_since(5, 11)),
    KvmBit("vmwrite_vmexit_fields",      always=ALWAYS),

    KvmBit("ept_x_only",                 cpu=ALWAYS, when="ept"),
    KvmBit("ept_page_walk_4",            cpu=ALWAYS, when="ept"),
    KvmBit("ept_5level",                 cpu=ALWAYS, when="ept"),
    KvmBit("ept_wb",                     cpu=ALWAYS, when="ept"),
    KvmBit("ept_2mb",                    always=ALWAYS, when="ept"),
    KvmBit("ept_1gb",                    always=ALWAYS, when="ept"),
    KvmBit("invept",                     cpu=ALWAYS, when="ept"),
    KvmBit("ept_ad",                     always=ALWAYS, when="ept eptad"),
    KvmBit("ept_advanced_exitinfo",      cpu=_MBEC, when="ept"),
    KvmBit("invept_single_context",      always=ALWAYS, when="ept"),
    KvmBit("invept_all_context",         always=ALWAYS, when="ept"),
    KvmBit("invvpid",                    always=ALWAYS, when="vpid"),
    KvmBit("invvpid_single_addr",        always=ALWAYS, when="vpid"),
    KvmBit("invvpid_single_context",     always=ALWAYS, when="vpid"),
    KvmBit("invvpid_all_context",        always=ALWAYS, when="vpid"),
    KvmBit("invvpid_single_context_noglobals", always=ALWAYS, when="vpid"),

    KvmBit("eptp_switching",             always=ALWAYS, when="ept", needs="vmfunc"),
)}

# fmt: on

MAY_BE_ZERO: Final = ("cr3_load_exiting", "cr3_store_exiting", "exit_save_debugctl", "entry_load_debugctl")
"""Default1 controls that KVM's TRUE MSRs let a guest clear."""

GUEST_BASIC: Final = 0x0098_1000_11E5_7ED0
"""IA32_VMX_BASIC of a guest without what BITS adds: VMCS12_REVISION, 4096 bytes, write-back, TRUE controls."""
GUEST_MISC_TIMER_RATE: Final = 5
GUEST_CR0_FIXED0: Final = 0x8000_0021
GUEST_CR4_FIXED0: Final = 0x2000
CR4_UMIP: Final = 1 << 11
CR4_CET: Final = 1 << 23
UMIP_OFFERED: Final = Since(OLDEST, (6, 1))
"""Since when IA32_VMX_CR4_FIXED1 of a guest has UMIP if KVM can emulate it by descriptor-table exiting."""

GUEST_VMCS_ENUM: Final = 0x2E
GUEST_VMCS_ENUM_TSC_SCALING: Final = 0x32
"""IA32_VMX_VMCS_ENUM of a guest: the highest index is the preemption timer's, or the TSC multiplier's, which was emulated
whatever the CPU has before the fields followed the CPU's controls (nested_vmx_setup_vmcs12_fields)."""
VMCS_ENUM_TSC_SCALING: Final = _since(5, 14)
VMCS_ENUM_BY_CPU: Final = Since((6, 18), (7, 1))

GUEST_MSRS: Final = tuple(range(0x480, 0x492))
"""What KVM lists for guests; IA32_VMX_PROCBASED_CTLS3 and IA32_VMX_EXIT_CTLS2 are not among them."""


# Loading, and taking a CPU ---------------------------------------------------------------------------------------------

PAIRS: Final = (
    ("entry_load_perf_global_ctrl", "exit_load_perf_global_ctrl"),
    ("entry_load_pat", "exit_load_pat"),
    ("entry_load_efer", "exit_load_efer"),
    ("entry_load_bndcfgs", "exit_clear_bndcfgs"),
    ("entry_load_rtit_ctl", "exit_clear_rtit_ctl"),
    ("entry_load_cet", "exit_load_cet"),
)
"""vmcs_entry_exit_pairs: a pair of which one half exists is an inconsistency, a pair that KVM does not use is not."""

REFUSES_INCONSISTENT: Final = Since(OLDEST, (6, 1))
"""Since when EPT or VPID capabilities without their control, and half pairs, are EIO by default."""
COMPARES_MISC: Final = Since(OLDEST, (6, 1))
"""Since when IA32_VMX_MISC is part of struct vmcs_config."""
CHECKS_ONLINED_CPUS: Final = _since(6, 3)
"""Since when a CPU that comes up is compared; before, only those that are online when the module loads."""

NEEDS_VTPR: Final = ("vapic_reg", "virtual_x2apic", "vid")
"""What KVM leaves off without a TPR shadow; and without virtual-interrupt delivery it leaves posted interrupts off."""

CPU_FLAGS: Final = {
    "xsave": ALWAYS, "smep": ALWAYS, "smap": ALWAYS, "fsgsbase": ALWAYS, "pku": ALWAYS, "la57": ALWAYS,
    "umip": ALWAYS, "vmx": ALWAYS, "pcid": ALWAYS, "lam": Since((6, 1), (6, 12)), "user_shstk": _CET, "ibt": _CET,
}  # fmt: skip
"""Flags of /proc/cpuinfo that KVM compares by the CR4 bits they allow, with no message (__cr4_reserved_bits in x86.h)."""

UNCOMPARED_CAPABILITIES: Final = (
    "ept_page_walk_4 ept_5level ept_x_only ept_wb ept_2mb ept_1gb ept_ad invept_single_context invept_all_context "
    "invvpid invvpid_single_addr invvpid_single_context invvpid_all_context"
)
"""What KVM takes of IA32_VMX_EPT_VPID_CAP from the CPU that loads it (struct vmx_capability): none of it is in vmcs_config,
so that it is compared only where nested_vmx_setup_ctls_msrs() hands it to guests."""
