"""On which CPU a feature was first seen, oldest first: of the real CPUs that tests/hosts has recordings of, no others.

A hint at a feature's age, no promise: an older CPU may have it and be recorded nowhere, and a newer one may lack it.
Years are those in which the first CPU of a microarchitecture was sold. Of a hybrid part, either kind of core counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """A microarchitecture, its year, and the features that no older recording has, by vmxd's names."""

    cpu: str
    year: int
    features: str


# fmt: off
FIRST_SEEN: Final = (
    FirstSeen("Yonah", 2006, """
        vmcs_32bit_addresses dual_monitor intr_exiting nmi_exiting intr_window_exiting tsc_offset hlt_exiting
        invlpg_exiting mwait_exiting rdpmc_exiting rdtsc_exiting cr3_load_exiting cr3_store_exiting mov_dr_exiting
        uncond_io_exiting use_io_bitmaps use_msr_bitmaps monitor_exiting pause_exiting exit_save_debugctl
        exit_ack_intr entry_load_debugctl entry_smm entry_deactivate_dual_monitor activity_hlt activity_shutdown
        activity_wait_sipi"""),
    FirstSeen("Merom", 2006, "cr8_load_exiting cr8_store_exiting vtpr exit_host_addr_space_size entry_ia32e_mode"),
    FirstSeen("Penryn", 2007, """
        ins_outs vnmi nmi_window_exiting sec_controls vapic wbinvd_exiting exit_load_perf_global_ctrl
        entry_load_perf_global_ctrl flexpriority"""),
    FirstSeen("Westmere", 2010, """
        true_ctls preemption_timer mtf ept desc_exiting rdtscp virtual_x2apic vpid unrestricted_guest ple exit_save_pat
        exit_load_pat exit_save_efer exit_load_efer exit_save_preemption_timer entry_load_pat entry_load_efer
        store_lma ept_x_only ept_page_walk_4 ept_uc ept_wb ept_2mb ept_1gb invept invept_single_context
        invept_all_context invvpid invvpid_single_addr invvpid_single_context invvpid_all_context
        invvpid_single_context_noglobals cr3_load_noexit cr3_store_noexit exit_nosave_debugctl
        entry_noload_debugctl"""),
    FirstSeen("Sandy Bridge", 2011, "smm_monitor_ctl_bit2"),
    FirstSeen("Ivy Bridge", 2012, "rdrand_exiting"),
    FirstSeen("Haswell", 2013, """
        posted_intr vapic_reg vid invpcid vmfunc shadow_vmcs smbase_readable vmwrite_vmexit_fields ept_ad apicv"""),
    FirstSeen("Broadwell", 2014, "rdseed_exiting pml ept_violation_ve eptp_switching"),
    FirstSeen("Skylake", 2015, """
        encls_exiting pt_conceal_vmx xsaves exit_clear_bndcfgs exit_conceal_pt entry_load_bndcfgs entry_conceal_pt
        pt_in_vmx zero_len_inject"""),
    FirstSeen("Skylake-SP", 2017, "ept_mode_based_exec tsc_scaling ept_advanced_exitinfo"),
    FirstSeen("Ice Lake", 2019, "pt_use_gpa enclv_exiting exit_clear_rtit_ctl entry_load_rtit_ctl"),
    FirstSeen("Lakefield", 2020, "bus_lock_detection"),
    FirstSeen("Tiger Lake", 2020, """
        any_errcode tertiary_controls exit_load_cet entry_load_cet ept_supervisor_shadow_stack"""),
    FirstSeen("Jasper Lake", 2021, "ept_sub_page_write usr_wait_pause"),
    FirstSeen("Ice Lake-SP", 2021, "pconfig ept_5level"),
    FirstSeen("Alder Lake", 2021, """
        exit_clear_lbr_ctl exit_load_pkrs exit_save_perf_global_ctrl exit_secondary_ctls entry_load_lbr_ctl
        entry_load_pkrs"""),
    FirstSeen("Sapphire Rapids", 2023, "pasid_translation notify_vm_exiting exit_clear_uinv entry_load_uinv"),
)
# fmt: on


def first_seen(name: str) -> FirstSeen | None:
    """Return the oldest CPU seen with a feature, by vmxd's name; None where no recording has it."""
    return next((row for row in FIRST_SEEN if name in row.features.split()), None)
