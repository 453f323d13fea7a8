"""Lists of features: "vmx flags" of /proc/cpuinfo, Xen, FreeBSD, ACRN, labels of KubeVirt, JSON of QEMU."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vmxd.pasted.findings import ControlsRefused, FeatureSet, Finding, Named, Of, VmxFlags, distinct, named
from vmxd.pasted.qemu import is_asked_for
from vmxd.pasted.text import pattern
from vmxd.tables.features import FEATURES
from vmxd.tables.msrs import MSR_BY_INDEX
from vmxd.tables.rows import Flag

_FLAGS: Final = re.compile(r"^(?:[^\n]{0,60}[ :])?vmx flags ?: ?([^\n]{0,6000})", re.MULTILINE)
_LABEL: Final = pattern(
    r"(?:cpu-feature|host-model-required-features)\.node\.kubevirt\.io/([\w.-]{1,80})(?:=|['\"]? ?: ?)['\"]?true"
)
_PROPERTY: Final = re.compile(r"[\"'](vmx-[\w-]{1,60})[\"'] ?: ?(true|false)\b")
_ACRN: Final = pattern(
    r"VMX ctrl (?:0x)?([0-9a-f]{3}) not fully enabled: request ?0x([0-9a-f]{1,8}) but get ?0x([0-9a-f]{1,8})"
)
_XEN_DIFFERS: Final = pattern(
    r"VMX (Pin-Based|CPU-Based|Secondary|Tertiary|VMExit|VMEntry|EPT and VPID|VMFUNC)"
    r"(?: Exec)? (?:Control|Capability): saw (0x[0-9a-f]{1,16}) expected (0x[0-9a-f]{1,16})"
)
_XEN_MSRS: Final = {
    "Pin-Based": 0x481, "CPU-Based": 0x482, "Secondary": 0x48B, "Tertiary": 0x492, "VMExit": 0x483, "VMEntry": 0x484,
    "EPT and VPID": 0x48C, "VMFUNC": 0x491,
}  # fmt: skip
"""xen/arch/x86/hvm/vmx/vmcs.c, cap_check(): controls as Xen uses them."""
_FREEBSD: Final = re.compile(r"\bVT-x: (?:\(disabled in BIOS\) )?((?:[A-Za-z]{2,12},){0,20}[A-Za-z]{2,12})(?![\w =])")
_VMCS: Final = re.compile(r"\b(PinBased|CPUBased|SecondaryExec|TertiaryExec|VMEntry|VMExit)=(?:0x)?([0-9a-f]{1,16})\b")
_VMCS_MSRS: Final = {
    "PinBased": 0x481, "CPUBased": 0x482, "SecondaryExec": 0x48B, "TertiaryExec": 0x492, "VMEntry": 0x484,
    "VMExit": 0x483,
}  # fmt: skip
"""Linux arch/x86/kvm/vmx/vmx.c, dump_vmcs(): the controls that a VMCS has on."""
_FREEBSD_WORDS: Final = re.compile(
    r"\b(Basic Features|Pin-Based Controls|Primary Processor Controls|Secondary Processor Controls|Exit Controls"
    r"|Entry Controls|EPT Features|VPID Features)=0x([0-9a-f]{1,8})<"
)
_FREEBSD_MSRS: Final = {
    "Basic Features": (0x480, 32), "Pin-Based Controls": (0x481, 32), "Primary Processor Controls": (0x482, 32),
    "Secondary Processor Controls": (0x48B, 32), "Exit Controls": (0x483, 32), "Entry Controls": (0x484, 32),
    "EPT Features": (0x48C, 0), "VPID Features": (0x48C, 32),
}  # fmt: skip
_FREEBSD_NAMES: Final = {
    "PAT": "exit_save_pat exit_load_pat entry_load_pat", "HLT": "hlt_exiting", "MTF": "mtf", "PAUSE": "pause_exiting",
    "EPT": "ept", "UG": "unrestricted_guest", "VPID": "vpid", "VID": "vid", "PostIntr": "posted_intr",
}  # fmt: skip
"""sys/x86/x86/identcpu.c, print_vmx_info()."""
_COREINFO: Final = re.compile(
    r"^(VMX|EPT|URG) ([*-]) Supports Intel|^(VMX|EPT) supported ([*-]) (?:Yes|No)", re.MULTILINE
)
_COREINFO_NAMES: Final = {"EPT": "ept", "URG": "unrestricted_guest"}
"""Sysinternals' Coreinfo for Windows, and the checktool of HAXM."""
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
    if lines := dict.fromkeys(_lines(text)):
        yield VmxFlags(tuple(tuple(_flag(name) for name in line) for line in lines))
    for match in _XEN.finditer(text):
        listed = [line.rpartition("- ")[2] for line in match[1].split("\n")[1:]]
        yield FeatureSet("Xen", Of.CPU, tuple(_translated(name, _XEN_NAMES) for name in listed))
    if shown := {m[1] or m[3]: (m[2] or m[4]) == "*" for m in _COREINFO.finditer(text)}:
        present, absent = (
            tuple(_translated(name, _COREINFO_NAMES) for name, has in shown.items() if has is each)
            for each in (True, False)
        )
        yield FeatureSet("HAXM" if " supported " in text else "Coreinfo", Of.CPU, present, absent)
    yield from _freebsd(text)
    on = {
        row.name: None
        for match in _VMCS.finditer(text)
        for row in MSR_BY_INDEX[_VMCS_MSRS[match[1]]].rows
        if isinstance(row, Flag) and int(match[2], 16) >> row.bit & 1
    }
    if on:
        yield FeatureSet("a VMCS", Of.VMCS, tuple(Named(name, FEATURES[name]) for name in on))
    if (labels := distinct(match[1] for match in _LABEL.finditer(text))) and not is_asked_for(text):
        yield FeatureSet("KubeVirt", Of.GUESTS, labels)
    properties = {match[1]: match[2] == "true" for match in _PROPERTY.finditer(text)}
    if properties:
        present = tuple(named(name) for name, value in properties.items() if value)
        yield FeatureSet("QEMU", Of.GUESTS, present, tuple(named(n) for n, value in properties.items() if not value))
    for match in _ACRN.finditer(text):
        if msr := MSR_BY_INDEX.get(int(match[1], 16)):
            yield ControlsRefused(msr, int(match[2], 16), int(match[3], 16))
    for match in _XEN_DIFFERS.finditer(text):
        msr = MSR_BY_INDEX[_XEN_MSRS[match[1].replace("\n", " ")]]
        yield ControlsRefused(msr, int(match[3], 16), int(match[2], 16), "Xen")


def _freebsd(text: str) -> Iterator[FeatureSet]:
    """Read the short line, and what a verbose boot prints: the words of allowed 1-settings."""
    for match in _FREEBSD.finditer(text):
        parts = [(short, _FREEBSD_NAMES.get(short, "").split()) for short in match[1].split(",")]
        names = [Named(short, FEATURES[name]) for short, found in parts for name in found]
        yield FeatureSet("FreeBSD", Of.CPU, (*names, *(Named(short, None) for short, found in parts if not found)))
    present: list[Named] = []
    absent: list[Named] = []
    for match in _FREEBSD_WORDS.finditer(text):
        index, shift = _FREEBSD_MSRS[match[1]]
        value = int(match[2], 16) << shift
        for row in MSR_BY_INDEX[index].rows:
            if isinstance(row, Flag) and shift <= MSR_BY_INDEX[index].feature_bit(row) < shift + 32:
                has = value >> MSR_BY_INDEX[index].feature_bit(row) & 1
                (present if has else absent).append(Named(row.name, FEATURES.get(row.name)))
    if present or absent:
        yield FeatureSet("FreeBSD", Of.CPU, tuple(present), tuple(absent))


def _lines(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the names of each "vmx flags" line, with what follows it if a mail has broken it."""
    for match in _FLAGS.finditer(text):
        names = match[1].split()
        for line in text[match.end() + 1 : match.end() + 6000].split("\n"):
            more = line.split()
            if not more or not all(_flag(name).feature for name in more):
                break
            names += more
        yield tuple(names)


def _flag(name: str) -> Named:
    found = named(name)
    return found if found.feature and found.feature.cpuinfo_flag == name else Named(name, None)


def _translated(name: str, names: Mapping[str, str]) -> Named:
    return Named(name, FEATURES[names[name]] if name in names else None)
