"""What messages of kernels and hypervisors mean, and the next step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from vmxd import cpulist
from vmxd.model.inventory import Inventory
from vmxd.pasted.findings import Message
from vmxd.views.explain import Block, Said
from vmxd.views.pasted_values import UNLOCKED
from vmxd.views.words import verdict_hint, verdict_sentence


class _Meaning(NamedTuple):
    """What a kind of message is about, what it means, and what to do next."""

    title: str
    means: str
    next: str = ""


_FIRMWARE: Final = "enable VT-x (VMX, Intel Virtualization Technology) in the firmware setup, then power-cycle"
_READ: Final = (
    "vmxd show, or rdmsr -a 0x3a, for IA32_FEATURE_CONTROL of each CPU; lsmod: another hypervisor may hold VMX"
)

MEANINGS: Final = {
    "disabled": _Meaning("VMX is locked off by firmware", "IA32_FEATURE_CONTROL is locked without VMX", _FIRMWARE),
    "no_vmx": _Meaning(
        "there is no VMX",
        "CPUID.1:ECX[5] is 0: the CPU has none, it is not Intel's, or firmware or a hypervisor hides it",
        "in a guest: the outer hypervisor has to offer nested VMX",
    ),
    "vmxon": _Meaning(
        "VMXON faulted", "the CPU refused to enter VMX operation, with IA32_FEATURE_CONTROL as shown", _READ
    ),
    "enabling": _Meaning(
        "KVM could not enable VMX", "VMXON failed, or the CPU was refused, so no VM can run on it", _READ
    ),
    "inconsistent": _Meaning(
        "kvm_intel found CPUs that differ",
        "Linux before 6.3: its VMCS config is not that of the CPU which loaded the module, so kvm_intel does not load",
        "vmxd check --consistent names the bits; firmware and microcode should be alike on every CPU",
    ),
    "setup": _Meaning(
        "kvm_intel could not make its VMCS config",
        "a control that KVM requires is missing, or the MSRs contradict each other",
        "vmxd check --require EPT and the like; a hypervisor below may hide controls",
    ),
    "capability": _Meaning(
        "capabilities without their control",
        "IA32_VMX_EPT_VPID_CAP has bits of EPT or VPID without the secondary control: a fault of the hypervisor below",
        "load kvm_intel with error_on_inconsistent_vmcs_config=0, and report it to whoever makes the hypervisor",
    ),
    "pair": _Meaning(
        "of a pair of VM-entry and VM-exit controls only one is there",
        "KVM loads and saves state in pairs: a CPU with one half only is a hypervisor's fault",
        "load kvm_intel with error_on_inconsistent_vmcs_config=0, and report it",
    ),
    "insert": _Meaning("kvm_intel does not load", "the module refused this machine"),
    "loaded": _Meaning("another KVM module is loaded", "kvm_intel and kvm_amd exclude each other", "lsmod | grep kvm"),
    "in_use": _Meaning(
        "another hypervisor holds VMX", "the CPU is in VMX operation already", "unload kvm_intel, or stop the other"
    ),
    "evmcs": _Meaning(
        "KVM runs on Hyper-V, with its enlightened VMCS",
        "what an enlightened VMCS has no field for is off for guests here: posted interrupts and APICv, EPTP "
        "switching, VMCS shadowing, PML, the preemption timer, TSC scaling",
        "kvm_intel's enlightened_vmcs=0 does without, and is slower",
    ),
    "unchecked": _Meaning(
        "the kernel read or wrote an MSR that is not there",
        "RDMSR or WRMSR faulted: the CPU or a hypervisor below does not have it; harmless by itself",
    ),
    "ignored": _Meaning(
        "a guest read or wrote an MSR that KVM does not give it",
        "KVM has these MSRs for guests with VMX only (0x3a also with SGX or LMCE): harmless for others",
    ),
    "cannot_read": _Meaning(
        "rdmsr could not read an MSR", "it does not exist on this CPU, or there is no VMX: the read faulted"
    ),
    "internal": _Meaning(
        "KVM internal error",
        "something else: KVM could not emulate an instruction of the guest; no VMX feature is missing",
    ),
    "entry_failed": _Meaning(
        "VM entry failed",
        "something else: the guest's state was refused (0x80000021) or a control (0x7); without unrestricted_guest, "
        "real mode is a usual cause",
    ),
    "no_kvm": _Meaning(
        "QEMU finds no /dev/kvm",
        "kvm_intel is not loaded, or may not be used",
        "modprobe kvm_intel; dmesg | vmxd explain -",
    ),
}
"""By the kinds of pasted/kernel_log.py."""
_ERRORS: Final = {
    "Operation not supported": "EOPNOTSUPP: there is no VMX, or firmware has locked it off",
    "Input/output error": "EIO: a control that KVM requires is missing, the MSRs contradict each other, or CPUs differ",
    "Device or resource busy": "EBUSY: another hypervisor holds VMX",
    "File exists": "EEXIST: another module of KVM is loaded",
    "Invalid argument": "EINVAL: a parameter that this kernel's module does not have",
}
_WHERE: Final = {"inside": "inside SMX: the kernel was started by tboot", "outside": "outside SMX, the ordinary case"}


def message_block(found: Message, inventory: Inventory) -> Block:
    """Say what a message means, the next step, and the verdict on this host."""
    where = f" on {cpulist.describe(found.cpus)}" if found.cpus else ""
    return f"{MEANINGS[found.kind].title}{where}", _explained(found, inventory)


def _explained(found: Message, inventory: Inventory) -> Iterator[Said]:
    meaning = MEANINGS[found.kind]
    yield "means", meaning.means
    for detail in found.details:
        yield (
            "says",
            next((text for error, text in _ERRORS.items() if detail.startswith(error)), _WHERE.get(detail, detail)),
        )
    if found.kind == "vmxon" and any(not int(detail, 16) & 1 for detail in found.details):
        yield "", f"it is not locked, so VMXON faults: {UNLOCKED}"
    if found.kind == "vmxon" and any(int(detail, 16) & 5 == 1 for detail in found.details):
        yield "", "it is locked without VMX outside SMX: firmware has locked VMX off"
    if meaning.next:
        yield "next", meaning.next
    if found.kind not in _NOT_OF_HOST:
        yield "here", verdict_sentence(inventory.verdict)
        if hint := verdict_hint(inventory.verdict):
            yield "", hint


_NOT_OF_HOST: Final = frozenset(("internal", "entry_failed", "ignored", "unchecked", "evmcs"))
