"""What messages of kernels and hypervisors mean, and the next step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from vmxd.model.decode import Status
from vmxd.model.inventory import Inventory
from vmxd.pasted.findings import Message
from vmxd.views.explain import Block, Said
from vmxd.views.verdict_words import status_hint, status_sentence, verdict_hint, verdict_sentence
from vmxd.views.words import on_cpus


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
        "a hypervisor found CPUs that differ",
        "its controls are not those of the CPU that came first: Linux before 6.3 does not load kvm_intel then, "
        "Xen does not take the CPU",
        "vmxd check --consistent names the bits; firmware and microcode should be alike on every CPU",
    ),
    "setup": _Meaning(
        "kvm_intel could not make its VMCS config",
        "a control that KVM requires is missing, or the MSRs contradict each other",
        "vmxd check --require EPT and the like; a hypervisor below may hide controls",
    ),
    "refuses": _Meaning(
        "a hypervisor lacks a control that it requires",
        "Xen or bhyve does not start on this CPU: it lacks what is named, or a hypervisor below hides it",
        "vmxd check --require asks for a control here; vmxd platforms says which CPUs have it",
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
    "no_nested": _Meaning(
        "VMware gives the VM no VMX",
        "VMware cannot give VMX to a VM on its host: EPT or unrestricted guest is missing there, or another hypervisor "
        "(Hyper-V, Device Guard) holds VMX",
        "on the host of VMware: turn Hyper-V off, or run vmxd there",
    ),
    "instruction": _Meaning(
        "a VMX instruction failed",
        "error 12: the VMCS has no such field on this CPU, since a control is missing; 7: controls are invalid; "
        "8: the host's state is (SDM Vol. 3C, VM-instruction error numbers); under a hypervisor, a fault of that one",
    ),
    "perf": _Meaning(
        "KVM does not use a VM-exit control",
        "an erratum of the CPU: exit_load_perf_global_ctrl does not work, and KVM switches the MSR by its list instead",
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
    "cannot_set": _Meaning(
        "wrmsr could not write an MSR",
        "capability MSRs are read-only, and IA32_FEATURE_CONTROL is once it is locked, until the CPU is reset",
        _FIRMWARE,
    ),
    "cannot_get": _Meaning(
        "QEMU could not read an MSR of a guest",
        "KVM does not have it for this guest: the kernel is older than this QEMU expects, or guests get no VMX",
        "vmxd check --view nested --require true_ctls asks KVM whether guests get VMX",
    ),
    "no_msr": _Meaning(
        "rdmsr finds no MSR device", "the module msr is not loaded, or you may not use it", "modprobe msr, as root"
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
    return f"{MEANINGS[found.kind].title}{on_cpus(found.cpus)}", _explained(found, inventory)


def _explained(found: Message, inventory: Inventory) -> Iterator[Said]:
    meaning = MEANINGS[found.kind]
    yield "means", meaning.means
    for detail in found.details:
        yield (
            "says",
            next((text for error, text in _ERRORS.items() if detail.startswith(error)), _WHERE.get(detail, detail)),
        )
    if found.kind == "vmxon" and any(not int(detail, 16) & 1 for detail in found.details):
        yield "", f"{status_sentence(Status.UNLOCKED.value)}: {status_hint(Status.UNLOCKED)}"
    if found.kind == "vmxon" and any(int(detail, 16) & 5 == 5 for detail in found.details):
        yield "", _NOT_WHY
    if found.kind == "vmxon" and any(int(detail, 16) & 5 == 1 for detail in found.details):
        yield "", f"it is locked without VMX outside SMX: {status_hint(Status.DISABLED_BY_FIRMWARE)}"
    if meaning.next:
        yield "next", meaning.next
    if found.kind not in _NOT_OF_HOST:
        yield "here", verdict_sentence(inventory.verdict)
        if hint := verdict_hint(inventory.verdict):
            yield "", hint


_NOT_WHY: Final = (
    "it is locked with VMX on, so it is not why: the CPU is in VMX operation already, or the hypervisor below does not "
    "give what it shows"
)
_NOT_OF_HOST: Final = frozenset(
    ("internal", "entry_failed", "ignored", "unchecked", "evmcs", "instruction", "perf", "no_nested")
)
