"""Messages of kernels and hypervisors about VMX: Linux 2.6 to 7.3, Xen, VirtualBox, and tools that load modules.

A message is one line of MESSAGES. Named groups: cpu is a CPU's number, everything else a detail that is kept as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vmxd.pasted.findings import Finding, Message, Mismatch, Refused
from vmxd.pasted.text import pattern
from vmxd.tables.msrs import MSR_BY_INDEX

_CPU: Final = r"CPU ?#?(?P<cpu>\d{1,5})"
_INDEX: Final = r"(?P<msr>0x[0-9a-f]{1,8})"
_HEX: Final = r"(?:0x)?[0-9a-f]{1,8}(?: \(0x[0-9a-f]{1,8}\))?"
_INSERT: Final = (
    r"(?:[Cc]ould not insert|[Ee]rror inserting|[Ff]ailed to insert|can't load module)(?: module)? '?"
    r"[\w./+-]{0,200}kvm[_-]intel[\w.]{0,10}'?"
)
_ERR: Final = r"(?: (?:val=|value )[0-9a-f]{1,16})?(?: \(?err[= ]?(?P<error>-?\d{1,3})\)?)?"
_OFF: Final = r"(?:disabled|not enabled|not turned on|turned off)"
_BY: Final = r"(?:by|in) (?:the |your )?(?:system )?(?:BIOS|bios|firmware|UEFI)"

MESSAGES: Final = tuple(
    (kind, pattern(words))
    for kind, words in (
        ("disabled", r"VMX \((?P<where>inside|outside) TXT\) disabled by BIOS"),
        ("disabled", r"VMX not enabled(?: \(by BIOS\))? in MSR_IA32_FEAT_CTL on " + _CPU),
        ("disabled", r"kvm(?:_intel)?: (?:support for '?kvm_intel'? )?disabled by (?:bios|BIOS)"),
        ("disabled", _CPU + r": VMX disabled by BIOS"),
        ("disabled", r"VMX (?:is )?disabled by (?:the )?(?:BIOS|firmware)"),
        ("disabled", rf"\b(?:VMX|VT-x|VT|Virtualization Technology)(?: \(VT-x\))? (?:operation )?(?:is )?{_OFF} {_BY}"),
        ("disabled", r"KVM \(vmx\) is disabled by your BIOS|Virtualization Enabled In Firmware: No"),
        ("disabled", r"but Intel VT-x is disabled|Technology \(VT-x\) is not turned on|HV Support\.{3,90}2\b"),
        ("disabled", r"HyperVRequirementVirtualizationFirmwareEnabled ?: ?False|doesn't have VT-[Xx]/AMD-[vV] enabled"),
        ("disabled", r"Either VMX not present or not enabled in BIOS|VT-x: \(disabled in BIOS\)"),
        ("disabled", r"IA32_FEAT\w{4,20} (?:already )?locked(?: with VMX off|; VMX status: disabled)"),
        ("disabled", r"VERR_VMX_MSR_(?:ALL_VMX_DISABLED|VMX_DISABLED|VMXON_DISABLED|LOCKED_OR_DISABLED)"),
        ("no_vmx", r"kvm(?:_intel)?: no hardware support(?! for '?kvm_amd)"),
        ("no_vmx", r"VMX not supported by " + _CPU),
        ("no_vmx", _CPU + r" does(?: not|n't) support VMX"),
        ("no_vmx", r"VERR_VMX_NO_VMX|HV Support\.{3,90}0\b"),
        ("no_vmx", r"\bCPU does(?: not|n't) support (?:VMX|VT-x|KVM extensions)"),
        ("no_vmx", r"\bVMX (?:is )?not supported(?! by CPU)"),
        ("no_vmx", r"processor does not support VMX operation|[Cc]hecking for hardware virtualization ?: ?FAIL"),
        ("no_vmx", r"does not appear to provide a virtualization platform supported by Hyper-V"),
        ("vmxon", r"VMXON faulted, MSR_IA32_FEAT_CTL \(0x3a\) = (?P<value>0x[0-9a-f]{1,16})"),
        ("vmxon", _CPU + r": (?:unexpected VMXON failure|VMXON failed)"),
        ("vmxon", r"(?<!: )VMXON failed(?: on " + _CPU + ")?"),
        ("enabling", r"enabling virtualization on " + _CPU + r" failed"),
        ("inconsistent", _CPU + r" feature inconsistency"),
        ("inconsistent", r"VMX: Capabilities fatally differ between " + _CPU),
        ("setup", r"[Ff]ailed to set ?up VMCS config"),
        ("refuses", r"VMX: " + _CPU + r" has insufficient (?:CPU support|VMX support) ?\(?(?P<what>[\w\x20/-]{0,60})"),
        ("refuses", r"processor does not support (?P<what>desired [\w\x20-]{3,60} controls|unrestricted guest)"),
        ("capability", r"(?P<which>EPT|VPID) CAP should not exist if not support 1-setting enable"),
        ("pair", rf"Inconsistent VM-Entry/VM-Exit pair, entry = (?P<entry>{_HEX}), exit = (?P<exit>{_HEX})"),
        ("insert", _INSERT + r"(?: \([^)\n]{0,200}\))?: (?P<error>[A-Z][A-Za-z/,\x20]{3,50})"),
        ("loaded", r"kvm: already loaded (?:the other module|vendor module '?(?P<module>kvm_\w{3,6}))"),
        ("in_use", r"VERR_VMX_IN_VMX_ROOT_MODE|VT-x is being used by another hypervisor"),
        ("evmcs", r"[Uu]sing Hyper-V [Ee]nlightened VMCS"),
        ("no_nested", r"Virtualized Intel VT-x/EPT is (?:not supported on this platform|disabled)"),
        ("instruction", rf"(?P<what>vmread|vmwrite) (?:failed: field=|error: reg )(?P<field>[0-9a-f]{{1,8}}){_ERR}"),
        ("instruction", r"(?P<what>vmptrld|vmclear|invept|invvpid) fail(?:ed)?: ?[0-9a-fx]{1,20}/[0-9a-f]{1,16}"),
        ("perf", r"VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL does not work properly"),
        ("unchecked", r"unchecked MSR access error: (?P<what>RDMSR|WRMSR) (?:from|to) " + _INDEX),
        ("ignored", r"(?:ignored|unhandled) (?P<what>rdmsr|wrmsr): " + _INDEX),
        ("cannot_read", _CPU + r" cannot read MSR (?P<msr>0x[0-9a-fA-F]{1,8})"),
        ("cannot_read", r"\brdmsr: ?pread: (?P<error>[A-Z][A-Za-z/\x20]{3,40})"),
        ("cannot_set", _CPU + r" cannot set MSR (?P<msr>0x[0-9a-fA-F]{1,8})"),
        ("cannot_get", r"failed to get MSR " + _INDEX),
        ("no_msr", r"\b(?:rdmsr|wrmsr): ?open: (?P<error>[A-Z][A-Za-z\x20]{3,40})"),
        ("internal", r"KVM internal error\. Suberror: \d{1,3}"),
        ("entry_failed", r"entry failed, hardware error (?P<value>0x[0-9a-f]{1,8})"),
        ("no_kvm", r"[Cc]ould not access KVM kernel module: (?P<error>[A-Z][A-Za-z\x20]{3,40})"),
        ("no_kvm", r"[Ff]ailed to initialize (?:kvm|KVM): (?P<error>[A-Z][A-Za-z\x20]{3,40})"),
        ("no_kvm", r"KVM virtualisation configured, but not available|[Cc]hecking if device /dev/kvm exists ?: ?FAIL"),
    )
)  # fmt: skip
"""What a message is about, and its words; the first of a kind is the newest Linux'."""

_CONFIG: Final = pattern(
    r"(?:VMCS config on CPU (\d{1,5}) doesn't match reference config|Inconsistent VMCS config on CPU (\d{1,5}))"
)
_OFFSET: Final = pattern(r"Offset (\d{1,4}) REF = 0x([0-9a-fA-F]{1,8}), CPU(\d{1,5}) = 0x([0-9a-fA-F]{1,8})")


def find(text: str) -> Iterator[Finding]:
    """Yield each kind of message once, with the CPUs and details of all of them.

    >>> [message.kind for message in find("[ 3.6] kvm: enabling virtualization on CPU7 failed")]
    ['enabling']
    """
    if refused := _refused(text):
        yield Refused(refused)
    found: dict[str, tuple[dict[int, None], dict[str, None]]] = {}
    for kind, words in MESSAGES:
        for match in words.finditer(text):
            groups = {name: value.replace("\n", " ") for name, value in match.groupdict().items() if value}
            if "msr" in groups:
                msr = MSR_BY_INDEX.get(int(groups["msr"], 16))
                if msr is None:
                    continue
                groups["msr"] = msr.name
            cpus, details = found.setdefault(kind, ({}, {}))
            if cpu := groups.pop("cpu", ""):
                cpus[int(cpu)] = None
            if groups:
                details[" ".join(groups.values())] = None
    for kind, (cpus, details) in found.items():
        yield Message(kind, tuple(sorted(cpus)), tuple(details))


def _refused(text: str) -> dict[int, tuple[Mismatch, ...]]:
    found: dict[int, dict[Mismatch, None]] = {int(match[1] or match[2]): {} for match in _CONFIG.finditer(text)}
    for match in _OFFSET.finditer(text):
        mismatch = Mismatch(int(match[1]), int(match[2], 16), int(match[4], 16))
        found.setdefault(int(match[3]), {})[mismatch] = None
    return {cpu: tuple(mismatches) for cpu, mismatches in found.items()}
