"""Every VMX capability MSR, one bit a line, in the order of SDM Vol. 3D Appendix A; from it all else follows.

A new bit is one new line here. Names follow one rule: the flag of /proc/cpuinfo's "vmx flags" line where Linux shows
one, else Linux' VMX_FEATURE_* in lower case, else QEMU's vmx-* property with underscores where that is right, else the
SDM's words in snake_case; VM-exit controls start with exit_, VM-entry controls with entry_.

Checked against the sources of versions.py; where these disagree the row has the name that is right, and a comment says
who differs.
"""

from __future__ import annotations

from typing import Final

from vmxd.tables.rows import SHOWN, AllOf, Bit, Control, Derived, Field, Flag, Layout, MayBeZero, Msr, Row, Unnamed

# fmt: off

# SDM Vol. 3C, Enabling and Entering VMX Operation; not a capability MSR, but it decides whether the capabilities may be used.
FEATURE_CONTROL: tuple[Row, ...] = (
    Flag( 0,      "locked",                 "Lock bit"),
    Flag( 1,      "vmx_inside_smx",         "Enable VMX inside SMX operation"),
    Flag( 2,      "vmx_outside_smx",        "Enable VMX outside SMX operation"),
    Flag( 3,      "smrr",                   "SMRR enable", models="Core 2"),  # edk2 Core2Msr.h
    Field(14,  8, "senter_local_functions", "SENTER local function enables"),
    Flag(15,      "senter_enable",          "SENTER global enable"),
    Flag(17,      "sgx_launch_control",     "SGX Launch Control enable"),
    Flag(18,      "sgx",                    "SGX global enable"),
    Flag(20,      "lmce",                   "LMCE on"),
)

BASIC: tuple[Row, ...] = (
    Field(30,  0, "vmcs_revision_id",     "VMCS revision identifier"),
    Field(44, 32, "vmcs_region_size",     "VMCS/VMXON region size (bytes)"),
    Flag(48,      "vmcs_32bit_addresses", "Physical addresses limited to 32 bits"),
    Flag(49,      "dual_monitor",         "Dual-monitor treatment of SMI and SMM"),
    Field(53, 50, "vmcs_memory_type",     "Memory type for VMCS access"),
    Flag(54,      "ins_outs",             "INS/OUTS instruction information",      qemu="vmx-ins-outs"),
    Flag(55,      "true_ctls",            "TRUE controls (default1 may be 0)",     qemu="vmx-true-ctls"),
    Flag(56,      "any_errcode",          "Error-code injection unchecked",        qemu="vmx-any-errcode"),
    Unnamed(57,   "Alder Lake and every Intel CPU of later years", since=2021),
    Flag(58,      "nested_exception",     "Nested exception (FRED)",               qemu="vmx-nested-exception"),
    Flag(60,      "seamret_keeps_vmcs",   "SEAMRET keeps current VMCS"),
)

PINBASED_CTLS: tuple[Row, ...] = (
    Control( 0, "intr_exiting",     "External-interrupt exiting",    linux="INTR_EXITING",                    qemu="vmx-intr-exit"),
    Control( 3, "nmi_exiting",      "NMI exiting",                   linux="NMI_EXITING",                     qemu="vmx-nmi-exit"),
    Control( 5, "vnmi",             "Virtual NMIs",                  linux="VIRTUAL_NMIS",     cpuinfo=SHOWN, qemu="vmx-vnmi"),
    Control( 6, "preemption_timer", "Activate VMX-preemption timer", linux="PREEMPTION_TIMER", cpuinfo=SHOWN, qemu="vmx-preemption-timer"),
    Control( 7, "posted_intr",      "Process posted interrupts",     linux="POSTED_INTR",      cpuinfo=SHOWN, qemu="vmx-posted-intr"),
)

# QEMU calls bits 2 and 22 by what they wait for, and 21 by Linux' flexpriority, which is two bits (DERIVED below).
PROCBASED_CTLS: tuple[Row, ...] = (
    Control( 2, "intr_window_exiting", "Interrupt-window exiting",    linux="INTR_WINDOW_EXITING",                qemu="vmx-vintr-pending"),
    Control( 3, "tsc_offset",          "Use TSC offsetting",          linux="USE_TSC_OFFSETTING",  cpuinfo=SHOWN, qemu="vmx-tsc-offset"),
    Control( 7, "hlt_exiting",         "HLT exiting",                 linux="HLT_EXITING",                        qemu="vmx-hlt-exit"),
    Control( 9, "invlpg_exiting",      "INVLPG exiting",              linux="INVLPG_EXITING",                     qemu="vmx-invlpg-exit"),
    Control(10, "mwait_exiting",       "MWAIT exiting",               linux="MWAIT_EXITING",                      qemu="vmx-mwait-exit"),
    Control(11, "rdpmc_exiting",       "RDPMC exiting",               linux="RDPMC_EXITING",                      qemu="vmx-rdpmc-exit"),
    Control(12, "rdtsc_exiting",       "RDTSC exiting",               linux="RDTSC_EXITING",                      qemu="vmx-rdtsc-exit"),
    Control(15, "cr3_load_exiting",    "CR3-load exiting",            linux="CR3_LOAD_EXITING"),
    Control(16, "cr3_store_exiting",   "CR3-store exiting",           linux="CR3_STORE_EXITING"),
    Control(17, "tertiary_controls",   "Activate tertiary controls",  linux="TERTIARY_CONTROLS"),
    Control(19, "cr8_load_exiting",    "CR8-load exiting",            linux="CR8_LOAD_EXITING",                   qemu="vmx-cr8-load-exit"),
    Control(20, "cr8_store_exiting",   "CR8-store exiting",           linux="CR8_STORE_EXITING",                  qemu="vmx-cr8-store-exit"),
    Control(21, "vtpr",                "Use TPR shadow",              linux="VIRTUAL_TPR",         cpuinfo=SHOWN, qemu="vmx-flexpriority"),
    Control(22, "nmi_window_exiting",  "NMI-window exiting",          linux="NMI_WINDOW_EXITING",                 qemu="vmx-vnmi-pending"),
    Control(23, "mov_dr_exiting",      "MOV-DR exiting",              linux="MOV_DR_EXITING",                     qemu="vmx-movdr-exit"),
    Control(24, "uncond_io_exiting",   "Unconditional I/O exiting",   linux="UNCOND_IO_EXITING",                  qemu="vmx-io-exit"),
    Control(25, "use_io_bitmaps",      "Use I/O bitmaps",             linux="USE_IO_BITMAPS",                     qemu="vmx-io-bitmap"),
    Control(27, "mtf",                 "Monitor trap flag",           linux="MONITOR_TRAP_FLAG",   cpuinfo=SHOWN, qemu="vmx-mtf"),
    Control(28, "use_msr_bitmaps",     "Use MSR bitmaps",             linux="USE_MSR_BITMAPS",                    qemu="vmx-msr-bitmap"),
    Control(29, "monitor_exiting",     "MONITOR exiting",             linux="MONITOR_EXITING",                    qemu="vmx-monitor-exit"),
    Control(30, "pause_exiting",       "PAUSE exiting",               linux="PAUSE_EXITING",                      qemu="vmx-pause-exit"),
    Control(31, "sec_controls",        "Activate secondary controls", linux="SEC_CONTROLS",                       qemu="vmx-secondary-ctls"),
)

# QEMU's vmx-rdtscp-exit and vmx-invpcid-exit are not exits; the SDM and Linux agree on "enable".
# Bit 28 is gone from the newest SDM table; Linux and older editions have it.
PROCBASED_CTLS2: tuple[Row, ...] = (
    Control( 0, "vapic",               "Virtualize APIC accesses",               linux="VIRT_APIC_ACCESSES",  cpuinfo=SHOWN, qemu="vmx-apicv-xapic"),
    Control( 1, "ept",                 "Enable EPT",                             linux="EPT",                 cpuinfo=SHOWN, qemu="vmx-ept"),
    Control( 2, "desc_exiting",        "Descriptor-table exiting",               linux="DESC_EXITING",                       qemu="vmx-desc-exit"),
    Control( 3, "rdtscp",              "Enable RDTSCP",                          linux="RDTSCP",                             qemu="vmx-rdtscp-exit"),
    Control( 4, "virtual_x2apic",      "Virtualize x2APIC mode",                 linux="VIRTUAL_X2APIC",                     qemu="vmx-apicv-x2apic"),
    Control( 5, "vpid",                "Enable VPID",                            linux="VPID",                cpuinfo=SHOWN, qemu="vmx-vpid"),
    Control( 6, "wbinvd_exiting",      "WBINVD exiting",                         linux="WBINVD_EXITING",                     qemu="vmx-wbinvd-exit"),
    Control( 7, "unrestricted_guest",  "Unrestricted guest",                     linux="UNRESTRICTED_GUEST",  cpuinfo=SHOWN, qemu="vmx-unrestricted-guest"),
    Control( 8, "vapic_reg",           "APIC-register virtualization",           linux="APIC_REGISTER_VIRT",  cpuinfo=SHOWN, qemu="vmx-apicv-register"),
    Control( 9, "vid",                 "Virtual-interrupt delivery",             linux="VIRT_INTR_DELIVERY",  cpuinfo=SHOWN, qemu="vmx-apicv-vid"),
    Control(10, "ple",                 "PAUSE-loop exiting",                     linux="PAUSE_LOOP_EXITING",  cpuinfo=SHOWN, qemu="vmx-ple"),
    Control(11, "rdrand_exiting",      "RDRAND exiting",                         linux="RDRAND_EXITING",                     qemu="vmx-rdrand-exit"),
    Control(12, "invpcid",             "Enable INVPCID",                         linux="INVPCID",                            qemu="vmx-invpcid-exit"),
    Control(13, "vmfunc",              "Enable VM functions",                    linux="VMFUNC",                             qemu="vmx-vmfunc"),
    Control(14, "shadow_vmcs",         "VMCS shadowing",                         linux="SHADOW_VMCS",         cpuinfo=SHOWN, qemu="vmx-shadow-vmcs"),
    Control(15, "encls_exiting",       "Enable ENCLS exiting",                   linux="ENCLS_EXITING",                      qemu="vmx-encls-exit"),
    Control(16, "rdseed_exiting",      "RDSEED exiting",                         linux="RDSEED_EXITING",                     qemu="vmx-rdseed-exit"),
    Control(17, "pml",                 "Enable PML",                             linux="PAGE_MOD_LOGGING",    cpuinfo=SHOWN, qemu="vmx-pml"),
    Control(18, "ept_violation_ve",    "EPT-violation #VE",                      linux="EPT_VIOLATION_VE",    cpuinfo=SHOWN),
    Control(19, "pt_conceal_vmx",      "Conceal VMX from PT",                    linux="PT_CONCEAL_VMX"),
    Control(20, "xsaves",              "Enable XSAVES/XRSTORS",                  linux="XSAVES",                             qemu="vmx-xsaves"),
    Control(21, "pasid_translation",   "PASID translation"),
    Control(22, "ept_mode_based_exec", "Mode-based execute control for EPT",     linux="MODE_BASED_EPT_EXEC", cpuinfo=SHOWN, qemu="vmx-mbec"),
    Control(23, "ept_sub_page_write",  "Sub-page write permissions for EPT"),
    Control(24, "pt_use_gpa",          "Intel PT uses guest physical addresses", linux="PT_USE_GPA"),
    Control(25, "tsc_scaling",         "Use TSC scaling",                        linux="TSC_SCALING",         cpuinfo=SHOWN, qemu="vmx-tsc-scaling"),
    Control(26, "usr_wait_pause",      "Enable user wait and pause",             linux="USR_WAIT_PAUSE",      cpuinfo=SHOWN, qemu="vmx-enable-user-wait-pause"),
    Control(27, "pconfig",             "Enable PCONFIG"),
    Control(28, "enclv_exiting",       "Enable ENCLV exiting",                   linux="ENCLV_EXITING"),
    Unnamed(29, "Ice Lake clients", since=2019),
    Control(30, "bus_lock_detection",  "VMM bus-lock detection",                 linux="BUS_LOCK_DETECTION"),
    Control(31, "notify_vm_exiting",   "Instruction timeout",                    linux="NOTIFY_VM_EXITING",   cpuinfo=SHOWN),
)

PROCBASED_CTLS3: tuple[Row, ...] = (
    Flag( 0, "loadiwkey_exiting",         "LOADIWKEY exiting"),
    Flag( 1, "hlat",                      "Enable HLAT"),
    Flag( 2, "ept_paging_write",          "EPT paging-write control"),
    Flag( 3, "guest_paging_verification", "Guest-paging verification"),
    Flag( 4, "ipi_virt",                  "IPI virtualization",                 linux="IPI_VIRT", cpuinfo=SHOWN),
    Flag( 5, "seam_gpa_width",            "SEAM guest-physical address width"),
    Flag( 6, "msr_list",                  "Enable MSR-list instructions"),
    Flag( 7, "spec_ctrl_virt",            "Virtualize IA32_SPEC_CTRL"),
    Flag( 8, "apic_timer_virt",           "APIC-timer virtualization"),
    Flag( 9, "pbndkb",                    "Enable PBNDKB"),
    Flag(12, "pebs_use_gpa",              "PEBS uses guest physical addresses"),
)

# Bit 28: the SDM loads CET state here; QEMU's name says save.
EXIT_CTLS: tuple[Row, ...] = (
    Control( 2, "exit_save_debugctl",         "Save debug controls"),
    Control( 9, "exit_host_addr_space_size",  "Host address-space size"),
    Control(12, "exit_load_perf_global_ctrl", "Load IA32_PERF_GLOBAL_CTRL",      qemu="vmx-exit-load-perf-global-ctrl"),
    Control(15, "exit_ack_intr",              "Acknowledge interrupt on exit",   qemu="vmx-exit-ack-intr"),
    Control(18, "exit_save_pat",              "Save IA32_PAT",                   qemu="vmx-exit-save-pat"),
    Control(19, "exit_load_pat",              "Load IA32_PAT",                   qemu="vmx-exit-load-pat"),
    Control(20, "exit_save_efer",             "Save IA32_EFER",                  qemu="vmx-exit-save-efer"),
    Control(21, "exit_load_efer",             "Load IA32_EFER",                  qemu="vmx-exit-load-efer"),
    Control(22, "exit_save_preemption_timer", "Save VMX-preemption timer value", qemu="vmx-exit-save-preemption-timer"),
    Control(23, "exit_clear_bndcfgs",         "Clear IA32_BNDCFGS",              qemu="vmx-exit-clear-bndcfgs"),
    Control(24, "exit_conceal_pt",            "Conceal VMX from PT"),
    Control(25, "exit_clear_rtit_ctl",        "Clear IA32_RTIT_CTL",             qemu="vmx-exit-clear-rtit-ctl"),
    Control(26, "exit_clear_lbr_ctl",         "Clear IA32_LBR_CTL"),
    Control(27, "exit_clear_uinv",            "Clear UINV"),
    Control(28, "exit_load_cet",              "Load CET state",                  qemu="vmx-exit-save-cet"),
    Control(29, "exit_load_pkrs",             "Load PKRS",                       qemu="vmx-exit-load-pkrs"),
    Control(30, "exit_save_perf_global_ctrl", "Save IA32_PERF_GLOBAL_CTL"),
    Control(31, "exit_secondary_ctls",        "Activate secondary controls",     qemu="vmx-exit-secondary-ctls"),
)

EXIT_CTLS2: tuple[Row, ...] = (
    Flag( 0, "exit_save_fred",                     "Save FRED"),
    Flag( 1, "exit_load_fred",                     "Load FRED"),
    Flag( 2, "exit_load_spec_ctrl",                "Load IA32_SPEC_CTRL"),
    Flag( 3, "exit_prematurely_busy_shadow_stack", "Prematurely busy shadow stack"),
)

ENTRY_CTLS: tuple[Row, ...] = (
    Control( 2, "entry_load_debugctl",           "Load debug controls"),
    Control( 9, "entry_ia32e_mode",              "IA-32e mode guest",                 qemu="vmx-entry-ia32e-mode"),
    Control(10, "entry_smm",                     "Entry to SMM"),
    Control(11, "entry_deactivate_dual_monitor", "Deactivate dual-monitor treatment"),
    Control(13, "entry_load_perf_global_ctrl",   "Load IA32_PERF_GLOBAL_CTRL",        qemu="vmx-entry-load-perf-global-ctrl"),
    Control(14, "entry_load_pat",                "Load IA32_PAT",                     qemu="vmx-entry-load-pat"),
    Control(15, "entry_load_efer",               "Load IA32_EFER",                    qemu="vmx-entry-load-efer"),
    Control(16, "entry_load_bndcfgs",            "Load IA32_BNDCFGS",                 qemu="vmx-entry-load-bndcfgs"),
    Control(17, "entry_conceal_pt",              "Conceal VMX from PT"),
    Control(18, "entry_load_rtit_ctl",           "Load IA32_RTIT_CTL",                qemu="vmx-entry-load-rtit-ctl"),
    Control(19, "entry_load_uinv",               "Load UINV"),
    Control(20, "entry_load_cet",                "Load CET state",                    qemu="vmx-entry-load-cet"),
    Control(21, "entry_load_lbr_ctl",            "Load guest IA32_LBR_CTL"),
    Control(22, "entry_load_pkrs",               "Load PKRS",                         qemu="vmx-entry-load-pkrs"),
    Control(23, "entry_load_fred",               "Load FRED",                         qemu="vmx-entry-load-fred"),
    Control(24, "entry_load_spec_ctrl",          "Load IA32_SPEC_CTRL"),
    Control(25, "entry_seam_guest_telemetry",    "Allow SEAM-guest telemetry"),
)

MISC: tuple[Row, ...] = (
    Field( 4,  0, "preemption_timer_rate", "VMX-preemption timer rate"),
    Flag( 5,      "store_lma",             "Store EFER.LMA on exit",             qemu="vmx-store-lma"),
    Flag( 6,      "activity_hlt",          "Activity state HLT",                 qemu="vmx-activity-hlt"),
    Flag( 7,      "activity_shutdown",     "Activity state shutdown",            qemu="vmx-activity-shutdown"),
    Flag( 8,      "activity_wait_sipi",    "Activity state wait-for-SIPI",       qemu="vmx-activity-wait-sipi"),
    Unnamed( 9,   "some CPUs of the Core 2 era, VIA and old Zhaoxin", since=2006),
    Flag(14,      "pt_in_vmx",             "Intel PT in VMX operation"),
    Flag(15,      "smbase_readable",       "IA32_SMBASE readable in SMM"),
    Field(24, 16, "cr3_target_count",      "CR3-target count"),
    Field(27, 25, "msr_list_max",          "Recommended maximum of MSRs in a list", bias=1, scale=512),
    Flag(28,      "smm_monitor_ctl_bit2",  "IA32_SMM_MONITOR_CTL[2] settable"),
    Flag(29,      "vmwrite_vmexit_fields", "VMWRITE to exit-information fields", qemu="vmx-vmwrite-vmexit-fields"),
    Flag(30,      "zero_len_inject",       "Zero-length instruction injection",  qemu="vmx-zero-len-inject"),
    Field(63, 32, "mseg_revision_id",      "MSEG revision identifier"),
)

CR0_FIXED0: tuple[Row, ...] = (
    Field(63,  0, "cr0_fixed0", "CR0 fixed-to-1 bits"),
)
CR0_FIXED1: tuple[Row, ...] = (
    Field(63,  0, "cr0_fixed1", "CR0 allowed-1 bits"),
)
CR4_FIXED0: tuple[Row, ...] = (
    Field(63,  0, "cr4_fixed0", "CR4 fixed-to-1 bits"),
)
CR4_FIXED1: tuple[Row, ...] = (
    Field(63,  0, "cr4_fixed1", "CR4 allowed-1 bits"),
)

VMCS_ENUM: tuple[Row, ...] = (
    Field( 9,  1, "vmcs_max_index", "Highest VMCS field index"),
)

# QEMU says invept where bits 41 and 43 are INVVPID, and so names bits 25 and 41 alike; libvirt and the SDM are right.
EPT_VPID_CAP: tuple[Row, ...] = (
    Flag( 0,      "ept_x_only",                       "Execute-only EPT",                         linux="EPT_EXECUTE_ONLY", cpuinfo=SHOWN, qemu="vmx-ept-execonly", linux_bit=17),
    Flag( 6,      "ept_page_walk_4",                  "EPT page-walk length 4",                                                            qemu="vmx-page-walk-4"),
    Flag( 7,      "ept_5level",                       "EPT page-walk length 5",                   linux="EPT_5LEVEL",       cpuinfo=SHOWN, qemu="vmx-page-walk-5", linux_bit=20),
    Flag( 8,      "ept_uc",                           "EPT memory type UC",                                                                libvirt="vmx-ept-uc"),
    Flag(14,      "ept_wb",                           "EPT memory type WB",                                                                libvirt="vmx-ept-wb"),
    Flag(16,      "ept_2mb",                          "EPT 2-MByte pages",                                                                 qemu="vmx-ept-2mb"),
    Flag(17,      "ept_1gb",                          "EPT 1-GByte pages",                        linux="EPT_1GB",          cpuinfo=SHOWN, qemu="vmx-ept-1gb", linux_bit=19),
    Flag(20,      "invept",                           "INVEPT",                                                                            qemu="vmx-invept"),
    Flag(21,      "ept_ad",                           "EPT accessed and dirty flags",             linux="EPT_AD",           cpuinfo=SHOWN, qemu="vmx-eptad", linux_bit=18),
    Flag(22,      "ept_advanced_exitinfo",            "Advanced EPT-violation exit information",                                           qemu="vmx-ept-advanced-exitinfo"),
    Flag(23,      "ept_supervisor_shadow_stack",      "Supervisor shadow-stack control"),
    Flag(25,      "invept_single_context",            "INVEPT single-context",                                                             qemu="vmx-invept-single-context"),
    Flag(26,      "invept_all_context",               "INVEPT all-context",                                                                qemu="vmx-invept-all-context"),
    Flag(32,      "invvpid",                          "INVVPID",                                  linux="INVVPID",          cpuinfo=SHOWN, qemu="vmx-invvpid", linux_bit=16),
    Flag(40,      "invvpid_single_addr",              "INVVPID individual-address",                                                        qemu="vmx-invvpid-single-addr"),
    Flag(41,      "invvpid_single_context",           "INVVPID single-context",                                                            qemu="vmx-invept-single-context", libvirt="vmx-invvpid-single-context"),
    Flag(42,      "invvpid_all_context",              "INVVPID all-context",                                                               qemu="vmx-invvpid-all-context"),
    Flag(43,      "invvpid_single_context_noglobals", "INVVPID single-context-retaining-globals",                                          qemu="vmx-invept-single-context-noglobals", libvirt="vmx-invvpid-single-context-noglobals"),
    Field(53, 48, "hlat_max_prefix_size",             "Maximum HLAT prefix size"),
)

VMFUNC: tuple[Row, ...] = (
    Flag( 0, "eptp_switching", "EPTP switching", linux="EPTP_SWITCHING", cpuinfo=SHOWN, qemu="vmx-eptp-switching", linux_bit=28),
)

# exists_if, from hardware: 0x491 faults on a Westmere with BASIC[55] = 1 and 0x48B[45] = 0, so SDM Vol. 4, which ties it to
# BASIC[55], is wrong. 0x493 exists without FRED, since Alder Lake and Sapphire Rapids.
MSRS: tuple[Msr, ...] = (
    Msr(0x03A, "IA32_FEATURE_CONTROL",         "Enabling and Entering VMX Operation", Layout.PLAIN,      FEATURE_CONTROL),
    Msr(0x480, "IA32_VMX_BASIC",               "A.1",   Layout.PLAIN,      BASIC),
    Msr(0x481, "IA32_VMX_PINBASED_CTLS",       "A.3.1", Layout.CONTROLS,   PINBASED_CTLS,   default1=0x00000016, true=0x48D, linux_word=0),
    Msr(0x48D, "IA32_VMX_TRUE_PINBASED_CTLS",  "A.3.1", Layout.CONTROLS,   PINBASED_CTLS,   default1=0x00000016, twin_of=0x481, exists_if=(Bit(0x480, 55),)),
    Msr(0x482, "IA32_VMX_PROCBASED_CTLS",      "A.3.2", Layout.CONTROLS,   PROCBASED_CTLS,  default1=0x0401E172, true=0x48E, linux_word=1),
    Msr(0x48E, "IA32_VMX_TRUE_PROCBASED_CTLS", "A.3.2", Layout.CONTROLS,   PROCBASED_CTLS,  default1=0x0401E172, twin_of=0x482, exists_if=(Bit(0x480, 55),)),
    Msr(0x48B, "IA32_VMX_PROCBASED_CTLS2",     "A.3.3", Layout.CONTROLS,   PROCBASED_CTLS2, exists_if=(Bit(0x482, 63),), linux_word=2),
    Msr(0x492, "IA32_VMX_PROCBASED_CTLS3",     "A.3.4", Layout.CONTROLS64, PROCBASED_CTLS3, exists_if=(Bit(0x482, 49),), linux_word=3),
    Msr(0x483, "IA32_VMX_EXIT_CTLS",           "A.4.1", Layout.CONTROLS,   EXIT_CTLS,       default1=0x00036DFF, true=0x48F),
    Msr(0x48F, "IA32_VMX_TRUE_EXIT_CTLS",      "A.4.1", Layout.CONTROLS,   EXIT_CTLS,       default1=0x00036DFF, twin_of=0x483, exists_if=(Bit(0x480, 55),)),
    Msr(0x493, "IA32_VMX_EXIT_CTLS2",          "A.4.2", Layout.CONTROLS64, EXIT_CTLS2,      exists_if=(Bit(0x483, 63),)),
    Msr(0x484, "IA32_VMX_ENTRY_CTLS",          "A.5",   Layout.CONTROLS,   ENTRY_CTLS,      default1=0x000011FF, true=0x490),
    Msr(0x490, "IA32_VMX_TRUE_ENTRY_CTLS",     "A.5",   Layout.CONTROLS,   ENTRY_CTLS,      default1=0x000011FF, twin_of=0x484, exists_if=(Bit(0x480, 55),)),
    Msr(0x485, "IA32_VMX_MISC",                "A.6",   Layout.PLAIN,      MISC),
    Msr(0x486, "IA32_VMX_CR0_FIXED0",          "A.7",   Layout.PLAIN,      CR0_FIXED0),
    Msr(0x487, "IA32_VMX_CR0_FIXED1",          "A.7",   Layout.PLAIN,      CR0_FIXED1),
    Msr(0x488, "IA32_VMX_CR4_FIXED0",          "A.8",   Layout.PLAIN,      CR4_FIXED0),
    Msr(0x489, "IA32_VMX_CR4_FIXED1",          "A.8",   Layout.PLAIN,      CR4_FIXED1),
    Msr(0x48A, "IA32_VMX_VMCS_ENUM",           "A.9",   Layout.PLAIN,      VMCS_ENUM),
    Msr(0x48C, "IA32_VMX_EPT_VPID_CAP",        "A.10",  Layout.PLAIN,      EPT_VPID_CAP,    exists_if=(Bit(0x48B, 33), Bit(0x48B, 37)), probed=True),
    Msr(0x491, "IA32_VMX_VMFUNC",              "A.11",  Layout.PLAIN,      VMFUNC,          exists_if=(Bit(0x48B, 45),)),
)

# Features that are no single bit. The last four are QEMU's negated names: on where the control may be 0.
DERIVED: tuple[Derived, ...] = (
    AllOf("flexpriority", ("vtpr", "vapic"),                            "TPR shadow and APIC-access virtualization", linux="FLEXPRIORITY", cpuinfo=SHOWN, linux_bit=24),
    AllOf("apicv",        ("vtpr", "vapic_reg", "vid", "posted_intr"),  "APIC virtualization with posted interrupts", linux="APICV", cpuinfo=SHOWN, linux_bit=25),
    MayBeZero("cr3_load_noexit",       "cr3_load_exiting",    "CR3-load exiting may be 0",    qemu="vmx-cr3-load-noexit"),
    MayBeZero("cr3_store_noexit",      "cr3_store_exiting",   "CR3-store exiting may be 0",   qemu="vmx-cr3-store-noexit"),
    MayBeZero("exit_nosave_debugctl",  "exit_save_debugctl",  "Save debug controls may be 0", qemu="vmx-exit-nosave-debugctl"),
    MayBeZero("entry_noload_debugctl", "entry_load_debugctl", "Load debug controls may be 0", qemu="vmx-entry-noload-debugctl"),
)

# fmt: on

IA32_FEATURE_CONTROL: Final = 0x3A
IA32_VMX_BASIC: Final = 0x480
CAPABILITY_RANGE: Final = range(0x480, 0x4C0)
"""Where VMX capability MSRs are and new ones may be expected; IA32_A_PMC0 is at 0x4c1 (SDM Vol. 4, Table 2-2)."""

MSR_BY_INDEX: Final[dict[int, Msr]] = {msr.index: msr for msr in sorted(MSRS, key=lambda msr: msr.index)}
"""MSRs by index, ascending: each after those that its ``exists_if`` names, so this is the order to read them in."""


def msr_name(index: int) -> str:
    """Return the SDM's name of an MSR, or its index in hex if the tables do not have it."""
    msr = MSR_BY_INDEX.get(index)
    return msr.name if msr else f"{index:#x}"
