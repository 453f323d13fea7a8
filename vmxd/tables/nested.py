"""The features that KVM can give to guests, so that -cpu and libvirt's <cpu> ask for no other.

From arch/x86/kvm/vmx/nested.c (nested_vmx_setup_ctls_msrs and what it calls), Linux 6.12. A kernel, its options and
the guest's CPUID take away from it; newer kernels add to it. Import this only where it is asked for.
"""

from __future__ import annotations

from typing import Final

_OFFERED: Final = """
    ins_outs true_ctls
    intr_exiting nmi_exiting vnmi preemption_timer posted_intr
    intr_window_exiting tsc_offset hlt_exiting invlpg_exiting mwait_exiting rdpmc_exiting rdtsc_exiting
    cr3_load_exiting cr3_store_exiting cr8_load_exiting cr8_store_exiting vtpr nmi_window_exiting mov_dr_exiting
    uncond_io_exiting use_io_bitmaps mtf use_msr_bitmaps monitor_exiting pause_exiting sec_controls
    vapic ept desc_exiting rdtscp virtual_x2apic vpid wbinvd_exiting unrestricted_guest vapic_reg vid rdrand_exiting
    invpcid vmfunc shadow_vmcs encls_exiting rdseed_exiting pml xsaves tsc_scaling usr_wait_pause
    exit_save_debugctl exit_host_addr_space_size exit_load_perf_global_ctrl exit_ack_intr exit_save_pat exit_load_pat
    exit_save_efer exit_load_efer exit_save_preemption_timer exit_clear_bndcfgs
    entry_load_debugctl entry_ia32e_mode entry_load_perf_global_ctrl entry_load_pat entry_load_efer entry_load_bndcfgs
    store_lma activity_hlt activity_wait_sipi vmwrite_vmexit_fields
    ept_x_only ept_page_walk_4 ept_5level ept_wb ept_2mb ept_1gb invept ept_ad invept_single_context invept_all_context
    invvpid invvpid_single_addr invvpid_single_context invvpid_all_context invvpid_single_context_noglobals
    eptp_switching
    flexpriority apicv cr3_load_noexit cr3_store_noexit exit_nosave_debugctl entry_noload_debugctl
"""
OFFERED: Final = frozenset(_OFFERED.split())

_NEEDS_CPUID: Final = """
    rdtscp rdrand_exiting invpcid encls_exiting rdseed_exiting xsaves usr_wait_pause exit_host_addr_space_size
    exit_clear_bndcfgs entry_ia32e_mode entry_load_bndcfgs
"""
NEEDS_CPUID: Final = frozenset(_NEEDS_CPUID.split())
"""Those of OFFERED that a guest gets only with a CPUID flag of the same name or, for the last four, LM and MPX
(feature_dependencies in QEMU's target/i386/cpu.c, vmx_secondary_exec_control in KVM's vmx.c)."""
