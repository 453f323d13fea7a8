"""Where the names of a feature mislead, one sentence each, by the sources of versions.py."""

from __future__ import annotations

from typing import Final

from vmxd.tables.versions import LINUX_SERIES

_NEGATED: Final = "QEMU's name is negated: it is on where the control may be 0."
_LIBVIRT_ONLY: Final = "Only libvirt has a name for it; QEMU takes none."
_APICV: Final = "QEMU's vmx-apicv-xapic, -x2apic, -register and -vid are single bits; Linux' apicv is four at once."

CAVEATS: Final[dict[str, tuple[str, ...]]] = {
    "any_errcode": ("Linux calls the bit NO_HW_ERROR_CODE_CC.",),
    "seamret_keeps_vmcs": (
        "The SDM has no such bit; Linux names it NO_SEAMRET_INVD_VMCS (7.2.13) and works around TDX where it is 0.",
    ),
    "intr_window_exiting": ("QEMU names it by what waits for the window: vmx-vintr-pending.",),
    "nmi_window_exiting": ("QEMU names it by what waits for the window: vmx-vnmi-pending.",),
    "vtpr": ("QEMU's vmx-flexpriority is this bit alone; Linux' flexpriority takes vapic too.",),
    "flexpriority": ("QEMU's vmx-flexpriority is vtpr alone, not this.",),
    "vapic": ("QEMU's vmx-apicv-register is not this but vapic_reg.", _APICV),
    "virtual_x2apic": (_APICV,),
    "vapic_reg": ("Linux' vapic is another bit, QEMU's vmx-apicv-xapic.", _APICV),
    "vid": (_APICV,),
    "apicv": (_APICV,),
    "rdtscp": ("In spite of QEMU's name it is no exit: it enables RDTSCP in the guest.",),
    "invpcid": ("In spite of QEMU's name it is no exit: it enables INVPCID in the guest.",),
    "vnmi": (
        f'Linux 5.6 to {LINUX_SERIES} shows the older flag "vpid" of /proc/cpuinfo\'s "flags" where this is there.',
    ),
    "vpid": (
        f'The older flag "vpid" of /proc/cpuinfo\'s "flags" follows vnmi in Linux 5.6 to {LINUX_SERIES}, not this.',
    ),
    "enclv_exiting": ("The newest SDM has no such bit any more; Linux and older editions do.",),
    "notify_vm_exiting": ("The SDM calls it instruction timeout, Linux and Xen notify VM exiting.",),
    "exit_load_cet": ("QEMU's name says save; the control loads the CET state.",),
    "exit_prematurely_busy_shadow_stack": ("It is there without FRED, since Alder Lake and Sapphire Rapids.",),
    "pt_in_vmx": ("kvm-unit-tests of 2026 takes the bit for reserved, and fails where it is there.",),
    "ept_uc": (_LIBVIRT_ONLY,),
    "ept_wb": (_LIBVIRT_ONLY,),
    "cr3_load_noexit": (_NEGATED,),
    "cr3_store_noexit": (_NEGATED,),
    "exit_nosave_debugctl": (_NEGATED,),
    "entry_noload_debugctl": (_NEGATED,),
    "invept_single_context": ("QEMU has this name twice: also for INVVPID, IA32_VMX_EPT_VPID_CAP[41].",),
    "invvpid_single_context": ("QEMU names it as if it were INVEPT, and IA32_VMX_EPT_VPID_CAP[25] the same.",),
    "invvpid_single_context_noglobals": ("QEMU names it as if it were INVEPT.",),
    "eptp_switching": (
        f"Linux 5.6 to {LINUX_SERIES} takes the wrong half of the MSR, so /proc/cpuinfo never shows it.",
        "SDM Vol. 4 ties the MSR to IA32_VMX_BASIC[55]; a Westmere shows that this is wrong.",
    ),
}
"""By vmxd's name of the feature."""
