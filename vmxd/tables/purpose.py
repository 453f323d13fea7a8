"""What a feature is for: a sentence each for those that decide what a VM can do, how fast, and where it can go.

A feature that is not listed is one that every CPU with VMX has had for long, or that nothing but a debugger, SMM or TDX
uses. Sources: SDM Vol. 3C chapters "VM exits", "VMX support for address translation" and "APIC virtualization and
virtual interrupts"; Linux 6.16 arch/x86/kvm/vmx (vmx_hardware_setup(), capabilities.h, nested.c).
"""

from __future__ import annotations

from typing import Final

PURPOSE: Final = {
    "true_ctls": "Lets a hypervisor turn off exits that the first CPUs with VMX always took.",
    "vnmi": "The CPU keeps track of NMIs in a guest; without it KVM has to guess when the guest can take the next one.",
    "preemption_timer": "KVM runs a guest's APIC timer on it; without it a timer of the host does, and costs more.",
    "posted_intr": "A running guest gets interrupts of other CPUs, and by VT-d of its devices, without an exit.",
    "tsc_offset": "A guest's time-stamp counter starts where the VM did, also after a migration.",
    "tertiary_controls": "The switch for the newest controls, such as ipi_virt; without it none of them exists.",
    "vtpr": "A guest changes its task priority (CR8) without an exit, which 64-bit Windows does all the time.",
    "use_msr_bitmaps": "A guest reads and writes harmless MSRs without an exit; without it every access is one.",
    "sec_controls": "The switch for EPT, VPID and nearly all that is newer; without it there is none of them.",
    "vapic": "The CPU recognises accesses to a guest's APIC page; flexpriority, vapic_reg and vid stand on it.",
    "ept": "Guests have page tables of their own; without it KVM shadows them, and each change of one costs exits.",
    "rdtscp": "Guests can execute RDTSCP; without it KVM hides the instruction from them.",
    "virtual_x2apic": "A guest in x2APIC mode reaches its APIC's MSRs without exits.",
    "vpid": "Guest and host share the TLB; without it the TLB is flushed at each entry and each exit.",
    "unrestricted_guest": "Guests run real mode on the CPU; without it KVM emulates it, and their firmware is slow.",
    "vapic_reg": "A guest reads most registers of its APIC without an exit.",
    "vid": "The CPU delivers a guest's pending interrupts and takes its end-of-interrupt without an exit.",
    "ple": "A virtual CPU that spins for a lock yields; it matters where virtual CPUs outnumber CPUs.",
    "invpcid": "Guests can execute INVPCID, which makes their page-table isolation cheaper.",
    "shadow_vmcs": "A hypervisor in a guest reads and writes its VMCS without an exit each time.",
    "encls_exiting": "KVM can give SGX to guests; without it they have none.",
    "pml": "The CPU logs which pages a guest writes; without it live migration costs a fault for each page.",
    "ept_violation_ve": "A guest's own agent is told of EPT violations without an exit; introspection and TDX use it.",
    "xsaves": "Guests can execute XSAVES, which supervisor state such as CET takes.",
    "ept_mode_based_exec": "Pages can be executable for user mode only; Windows' memory integrity is slow without it.",
    "pt_use_gpa": "A guest can trace itself with Intel PT.",
    "tsc_scaling": "A guest keeps its TSC's frequency on a host that has another: live migration between CPU models.",
    "usr_wait_pause": "Guests can execute UMWAIT and TPAUSE, which wait in a light sleep.",
    "bus_lock_detection": "The host is told when a guest locks the bus, and can slow a VM that disturbs others.",
    "notify_vm_exiting": "The host gets its CPU back from a guest that lets no interrupt through.",
    "ipi_virt": "A guest's CPUs interrupt each other without an exit.",
    "spec_ctrl_virt": "The hypervisor holds bits of IA32_SPEC_CTRL for a guest that may otherwise write it freely.",
    "entry_load_cet": "Guests can use CET, shadow stacks and indirect-branch tracking.",
    "vmwrite_vmexit_fields": "KVM takes shadow_vmcs only with it: then any field can be written without an exit.",
    "ept_5level": "Guests can have more than 256 TiB of physical address space.",
    "ept_2mb": "EPT maps guest memory by 2 MByte; without it there are far more TLB misses.",
    "ept_1gb": "EPT maps the memory of large guests by 1 GByte, with fewer TLB misses.",
    "ept_ad": "The CPU marks the pages that a guest uses; without it KVM learns it by faults, and pml cannot work.",
    "flexpriority": "A guest's task priority costs no exits, in an xAPIC too; it is vtpr and vapic together.",
    "apicv": "A guest's interrupts cost hardly any exits; it is what KVM's parameter enable_apicv takes.",
}
"""By vmxd's name of the feature, in the order of FEATURES."""
