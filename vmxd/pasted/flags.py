"""Lists of features: "vmx flags" of /proc/cpuinfo, Xen, FreeBSD, ACRN, labels of KubeVirt, JSON of QEMU."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vmxd.pasted.findings import ControlsRefused, FeatureSet, Finding, Named, Of, VmxFlags, distinct, named
from vmxd.pasted.text import pattern
from vmxd.tables.features import FEATURES
from vmxd.tables.msrs import MSR_BY_INDEX

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


def find(text: str) -> Iterator[Finding]:
    """Yield the lists that a text has.

    >>> [found.program for found in find("VT-x: PAT,HLT,EPT")]
    ['FreeBSD']
    """
    if lines := dict.fromkeys(tuple(match[1].split()) for match in _FLAGS.finditer(text)):
        yield VmxFlags(tuple(tuple(_flag(name) for name in line) for line in lines))
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
