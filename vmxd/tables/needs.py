"""Which controls VM entry refuses without others: SDM Vol. 3C 29.2.1, "Checks on VMX Controls" (26.2.1 of old)."""

from __future__ import annotations

from typing import Final

# fmt: off
NEEDS: Final = {name: tuple(needs.split()) for name, needs in (
    ("vnmi",                       "nmi_exiting"),
    ("posted_intr",                "vid exit_ack_intr"),
    ("nmi_window_exiting",         "vnmi"),
    ("virtual_x2apic",             "vtpr"),
    ("unrestricted_guest",         "ept"),
    ("vapic_reg",                  "vtpr"),
    ("vid",                        "vtpr intr_exiting"),
    ("pml",                        "ept ept_ad"),  # without accessed and dirty flags nothing is logged, 31.3.6
    ("ept_mode_based_exec",        "ept"),
    ("ept_sub_page_write",         "ept"),
    ("pt_use_gpa",                 "ept exit_clear_rtit_ctl entry_load_rtit_ctl"),
    ("hlat",                       "ept"),
    ("ept_paging_write",           "ept"),
    ("guest_paging_verification",  "ept"),
    ("ipi_virt",                   "vtpr"),
    ("apic_timer_virt",            "vid"),  # and rdtsc_exiting 0
    ("pebs_use_gpa",               "ept"),
    ("exit_save_preemption_timer", "preemption_timer"),
    ("eptp_switching",             "ept"),
)}
"""By vmxd's name of the feature; what each takes must be 1 where it is. Beyond this, a feature takes its MSR."""
# fmt: on
