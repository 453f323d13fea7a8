"""Lists of features: "vmx flags" of /proc/cpuinfo, vmxcap, Xen, FreeBSD, ACRN, labels of KubeVirt, JSON of QEMU."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vmxd.pasted.findings import ControlsRefused, FeatureSet, Finding, Named, Of, VmxFlags, distinct, named
from vmxd.pasted.text import pattern
from vmxd.tables.features import FEATURES
from vmxd.tables.msrs import MSR_BY_INDEX
from vmxd.tables.rows import Flag

_FLAGS: Final = re.compile(r"^(?:[^\n]{0,60}[ :])?vmx flags ?: ?([^\n]{0,6000})", re.MULTILINE)
_LABEL: Final = pattern(r"cpu-feature\.node\.kubevirt\.io/([\w.-]{1,80})(?:=|['\"]? ?: ?)['\"]?true")
_ASKED: Final = pattern(r"required features: map\[|nodeSelector|node affinity|node selector|node\(s\) didn't match")
_PROPERTY: Final = re.compile(r"[\"'](vmx-[\w-]{1,60})[\"'] ?: ?(true|false)\b")
_ACRN: Final = pattern(
    r"VMX ctrl (?:0x)?([0-9a-f]{3}) not fully enabled: request ?0x([0-9a-f]{1,8}) but get ?0x([0-9a-f]{1,8})"
)
_FREEBSD: Final = re.compile(r"\bVT-x: ((?:[A-Za-z]{2,12},){0,20}[A-Za-z]{2,12})")
_FREEBSD_NAMES: Final = {
    "PAT": "exit_save_pat exit_load_pat entry_load_pat", "HLT": "hlt_exiting", "MTF": "mtf", "PAUSE": "pause_exiting",
    "EPT": "ept", "UG": "unrestricted_guest", "VPID": "vpid", "VID": "vid", "PostIntr": "posted_intr",
}  # fmt: skip
"""sys/x86/x86/identcpu.c, print_vmx_info()."""
_XEN: Final = re.compile(r"VMX: Supported advanced features:((?:\n[^\n]{0,80}- [^\n]{1,60}){0,40})")
_XEN_NAMES: Final = {
    "APIC MMIO access virtualisation": "vapic", "APIC TPR shadow": "vtpr", "Extended Page Tables (EPT)": "ept",
    "Virtual-Processor Identifiers (VPID)": "vpid", "Virtual NMI": "vnmi",
    "MSR direct-access bitmap": "use_msr_bitmaps", "Unrestricted Guest": "unrestricted_guest",
    "Invalidate Process Context ID": "invpcid",
    "APIC Register Virtualization": "vapic_reg", "Virtual Interrupt Delivery": "vid",
    "Posted Interrupt Processing": "posted_intr", "VMCS shadowing": "shadow_vmcs", "VM Functions": "vmfunc",
    "Virtualisation Exceptions": "ept_violation_ve", "Page Modification Logging": "pml", "TSC Scaling": "tsc_scaling",
    "Bus Lock Detection": "bus_lock_detection", "Notify VM Exit": "notify_vm_exiting",
    "Virtualize SPEC_CTRL": "spec_ctrl_virt",
}  # fmt: skip
"""xen/arch/x86/hvm/vmx/vmcs.c, vmx_display_features()."""

VMXCAP: Final[Mapping[str, int]] = {
    "basic vmx information": 0x480,
    "pin-based controls": 0x481,
    "primary processor-based controls": 0x482,
    "secondary processor-based controls": 0x48B,
    "tertiary processor-based controls": 0x492,
    "vm-exit controls": 0x483,
    "vm-entry controls": 0x484,
    "miscellaneous data": 0x485,
    "vpid and ept capabilities": 0x48C,
    "vm functions": 0x491,
}
"""The titles of scripts/kvm/vmxcap of QEMU, in lower case, and the MSR that follows."""
_VMXCAP_LINE: Final = re.compile(r"([^\n]{3,60}?) (yes|no|default|forced)(?: !!)?$")
_VMXCAP_NAMES: Final = {
    (0x480, "dualmonitorsupport"): "dual_monitor", (0x480, "ia32vmxtruectlssupport"): "true_ctls",
    (0x48B, "apicregisteremulation"): "vapic_reg", (0x48B, "modebasedexecutecontrolxsxu"): "ept_mode_based_exec",
    (0x48B, "subpagewritepermissions"): "ept_sub_page_write", (0x48B, "tscscaling"): "tsc_scaling",
    (0x48B, "gpatranslationforpt"): "pt_use_gpa", (0x48B, "concealnonrootoperationfrompt"): "pt_conceal_vmx",
    (0x48B, "userwaitandpause"): "usr_wait_pause", (0x48B, "enclvexiting"): "enclv_exiting",
    (0x48B, "enableenclsexiting"): "encls_exiting", (0x48B, "vmmbuslockdetection"): "bus_lock_detection",
    (0x483, "concealvmexitsfrompt"): "exit_conceal_pt", (0x484, "concealvmentriesfrompt"): "entry_conceal_pt",
    (0x484, "64bitguest"): "entry_ia32e_mode",
    (0x485, "storeeferlmaintoia32emodeguestcontrol"): "store_lma", (0x485, "hltactivitystate"): "activity_hlt",
    (0x485, "shutdownactivitystate"): "activity_shutdown", (0x485, "waitforsipiactivitystate"): "activity_wait_sipi",
    (0x485, "ptinvmxoperation"): "pt_in_vmx", (0x485, "ia32smbasesupport"): "smbase_readable",
    (0x485, "vmwritetovmexitinformationfields"): "vmwrite_vmexit_fields",
    (0x485, "injecteventwithinsnlength0"): "zero_len_inject",
    (0x48C, "executeonlyepttranslation"): "ept_x_only", (0x48C, "pagewalklength4"): "ept_page_walk_4",
    (0x48C, "pagewalklength5"): "ept_5level", (0x48C, "pagingstructurememorytypeuc"): "ept_uc",
    (0x48C, "pagingstructurememorytypewb"): "ept_wb", (0x48C, "2mbeptpage"): "ept_2mb",
    (0x48C, "1gbeptpage"): "ept_1gb", (0x48C, "inveptsupported"): "invept",
    (0x48C, "eptaccessedanddirtyflag"): "ept_ad",
    (0x48C, "advancedvmexitinformationforeptviolation"): "ept_advanced_exitinfo",
    (0x48C, "singlecontextinvept"): "invept_single_context", (0x48C, "allcontextinvept"): "invept_all_context",
    (0x48C, "invvpidsupported"): "invvpid", (0x48C, "individualaddressinvvpid"): "invvpid_single_addr",
    (0x48C, "singlecontextinvvpid"): "invvpid_single_context", (0x48C, "allcontextinvvpid"): "invvpid_all_context",
    (0x48C, "singlecontextretainingglobalsinvvpid"): "invvpid_single_context_noglobals",
}  # fmt: skip
"""Where vmxcap's words are not the SDM's: MSR and words, as _words() makes them -> vmxd's name."""


def find(text: str) -> Iterator[Finding]:
    """Yield the lists that a text has.

    >>> [found.program for found in find("VT-x: PAT,HLT,EPT")]
    ['FreeBSD']
    """
    if lines := dict.fromkeys(tuple(match[1].split()) for match in _FLAGS.finditer(text)):
        yield VmxFlags(tuple(tuple(_flag(name) for name in line) for line in lines))
    yield from _vmxcap(text)
    for match in _XEN.finditer(text):
        listed = [line.rpartition("- ")[2] for line in match[1].split("\n")[1:]]
        yield FeatureSet("Xen", Of.CPU, tuple(_translated(name, _XEN_NAMES) for name in listed))
    for match in _FREEBSD.finditer(text):
        parts = [(short, _FREEBSD_NAMES.get(short, "").split()) for short in match[1].split(",")]
        names = [Named(short, FEATURES[name]) for short, found in parts for name in found]
        yield FeatureSet("FreeBSD", Of.CPU, (*names, *(Named(short, None) for short, found in parts if not found)))
    if (labels := distinct(match[1] for match in _LABEL.finditer(text))) and not _ASKED.search(text):
        yield FeatureSet("KubeVirt", Of.GUESTS, labels)
    properties = {match[1]: match[2] == "true" for match in _PROPERTY.finditer(text)}
    if properties:
        present = tuple(named(name) for name, value in properties.items() if value)
        yield FeatureSet("QEMU", Of.GUESTS, present, tuple(named(n) for n, value in properties.items() if not value))
    for match in _ACRN.finditer(text):
        if msr := MSR_BY_INDEX.get(int(match[1], 16)):
            yield ControlsRefused(msr, int(match[2], 16), int(match[3], 16))


def _flag(name: str) -> Named:
    found = named(name)
    return found if found.feature and found.feature.cpuinfo_flag == name else Named(name, None)


def _translated(name: str, names: Mapping[str, str]) -> Named:
    return Named(name, FEATURES[names[name]] if name in names else None)


def _vmxcap(text: str) -> Iterator[FeatureSet]:
    msr = 0
    present: list[Named] = []
    absent: list[Named] = []
    for line in text.split("\n"):
        if len(line) > 80:
            continue
        if title := VMXCAP.get(line.casefold()):
            msr = title
        elif msr and (match := _VMXCAP_LINE.fullmatch(line)):
            name = _vmxcap_name(msr, match[1])
            (absent if match[2] == "no" else present).append(Named(match[1], FEATURES[name] if name else None))
    if present or absent:
        yield FeatureSet("vmxcap", Of.CPU, tuple(present), tuple(absent))


def _vmxcap_name(msr: int, said: str) -> str | None:
    words = _words(said)
    if found := _VMXCAP_NAMES.get((msr, words)):
        return found
    rows = (row for row in MSR_BY_INDEX[msr].rows if isinstance(row, Flag))
    return next((row.name for row in rows if _words(row.sdm) == words), None)


def _words(text: str) -> str:
    """Strip words of what is written now so, now otherwise: case, hyphens, the plural of the last."""
    return re.sub(r"[^a-z0-9]", "", text.casefold()).removesuffix("s")
