"""The parameters of the module kvm_intel that stand for VMX features, one a line.

From arch/x86/kvm/vmx/vmx.c (vmx_hardware_setup) and nested.c (nested_vmx_hardware_setup), Linux 6.16; compared with
4.19 and 3.10. There KVM sets a parameter to 0 by itself where the CPU lacks what it needs, and what came of it can be
read in /sys/module/kvm_intel/parameters.

No rows, since no VMX feature is left off by them: nested (a choice), emulate_invalid_guest_state, fasteoi,
allow_smaller_maxphyaddr, enable_device_posted_irqs (VT-d), sgx, pt_mode, nested_early_check, dump_invalid_vmcs,
error_on_inconsistent_vmcs_config, vmentry_l1d_flush, enlightened_vmcs, ple_window and its like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class KvmParameter:
    """One parameter of kvm_intel; names in a text are separated by spaces.

    name: its file in /sys/module/kvm_intel/parameters.
    features: what KVM does not use while it is N or 0.
    needs: features that the CPU must have, else KVM turns it off by itself; of a|b either.
    after: parameters without which KVM turns it off by itself.
    """

    name: str
    features: str
    needs: str
    after: str = ""


# fmt: off

# 3.10 has neither vnmi, pml nor preemption_timer, and 4.19 no enable_ipiv: there is no file then, and no finding.
# What KVM asks of the CPU has grown: the needs are those of 6.16, so that what a CPU lacks is never laid to a choice.
KVM_PARAMETERS: Final = {row.name: row for row in (
    KvmParameter("vpid",               "vpid",  "vpid invvpid invvpid_single_context|invvpid_all_context"),
    KvmParameter("ept",                "ept",                  "ept ept_page_walk_4 ept_wb invept_all_context"),
    KvmParameter("eptad",              "ept_ad",               "ept_ad",              after="ept"),
    KvmParameter("unrestricted_guest", "unrestricted_guest",   "unrestricted_guest",  after="ept"),
    KvmParameter("pml",                "pml",                  "pml",                 after="ept eptad"),
    KvmParameter("flexpriority",       "flexpriority vapic",   "vtpr vapic"),
    KvmParameter("vnmi",               "vnmi",                 "vnmi nmi_window_exiting"),
    KvmParameter("enable_apicv",       "apicv vapic_reg vid posted_intr", "vtpr vapic_reg vid posted_intr"),
    KvmParameter("enable_ipiv",        "ipi_virt",             "ipi_virt",            after="enable_apicv"),
    KvmParameter("preemption_timer",   "preemption_timer",     "preemption_timer"),
    KvmParameter("ple_gap",            "ple",                  "ple"),
    KvmParameter("enable_shadow_vmcs", "shadow_vmcs",          "shadow_vmcs vmwrite_vmexit_fields", after="nested"),
)}

# fmt: on

IN_EVMCS: Final = frozenset(("vpid", "ept", "eptad", "unrestricted_guest", "vnmi"))
"""Parameters whose controls are in Hyper-V's enlightened VMCS; where KVM uses one, it has to leave the others off
(EVMCS1_SUPPORTED_* in arch/x86/kvm/vmx/hyperv_evmcs.h)."""

BROKEN_PREEMPTION_TIMER: Final = frozenset(
    ("06-1a-00", "06-1a-01", "06-1a-04", "06-1a-05", "06-1e-05", "06-25-02", "06-25-05", "06-2e-06", "06-3a-08")
)
"""Signatures of the CPUs whose timer counts wrong, so that KVM does not use it (vmx_preemption_cpu_tfms in vmx.c)."""
