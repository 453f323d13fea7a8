"""What is understood of a pasted text, told: what each finding means, the next step, and how this host stands to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from vmxd import cpulist
from vmxd.model.answers import consistent
from vmxd.model.decode import decode
from vmxd.model.facts import Missing
from vmxd.model.guest import Source
from vmxd.model.inventory import Inventory
from vmxd.model.offer import Offer, offer
from vmxd.pasted.findings import (
    By,
    ControlsRefused,
    FeatureSet,
    Finding,
    Lacking,
    Message,
    Mismatch,
    MsrValue,
    MsrValues,
    Named,
    Of,
    Refused,
    SetRefused,
    UnknownNames,
    Vm,
    VmxFlags,
)
from vmxd.pasted.plausible import broken_by, is_cut
from vmxd.pasted.vm import wants
from vmxd.tables.bits import set_bits
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.cpu_models import features_of, find_cpu_model
from vmxd.tables.features import FEATURES, Feature
from vmxd.tables.msrs import IA32_FEATURE_CONTROL, MSR_BY_INDEX
from vmxd.tables.rows import Flag, Layout, Msr
from vmxd.tables.versions import LIBVIRT, LINUX_SERIES, QEMU
from vmxd.tables.vmcs_config import WORDS
from vmxd.views.explain import Block, Said, state_here, value_bits
from vmxd.views.guest_words import reason_text, source_text
from vmxd.views.words import sentence, status_sentence, verdict_hint, verdict_sentence

_LOW: Final = 0xFFFF_FFFF
_VMX: Final = "vmx"
_PERF: Final = frozenset(("exit_load_perf_global_ctrl", "entry_load_perf_global_ctrl"))


def needs_host(findings: Iterable[Finding]) -> bool:
    """Whether a host must be read to tell of these."""
    return any(
        (isinstance(each, Lacking) and each.by is By.KVM)
        or isinstance(each, SetRefused | Refused | ControlsRefused | Message | Vm)
        for each in findings
    )


def pasted_blocks(findings: Sequence[Finding], inventory: Inventory | None) -> Iterator[Block]:
    """Yield what each finding says. inventory: of the host, None if needs_host() is false."""
    for finding in findings:
        if isinstance(finding, MsrValues):
            yield from _values(finding)
        elif isinstance(finding, VmxFlags):
            yield from (("vmx flags", _flags(line)) for line in finding.lines)
        elif isinstance(finding, FeatureSet):
            yield _feature_set(finding)
        elif isinstance(finding, UnknownNames):
            yield from _unknown_names(finding)
        elif isinstance(finding, Lacking) and finding.by is By.TCG:
            yield _tcg(finding)
        else:
            assert inventory is not None
            yield from _of_host(finding, inventory)


def _of_host(finding: Finding, inventory: Inventory) -> Iterator[Block]:
    if isinstance(finding, Lacking):
        yield from _lacking(finding, inventory)
    elif isinstance(finding, SetRefused):
        yield from (_set_refused(value, inventory) for value in finding.values)
    elif isinstance(finding, Refused):
        yield from _refused(finding, inventory)
    elif isinstance(finding, ControlsRefused):
        yield _controls(finding, inventory)
    elif isinstance(finding, Vm):
        yield _vm(finding, inventory)
    elif isinstance(finding, Message):
        yield _message(finding, inventory)


def _how(gives: Offer, inventory: Inventory) -> str:
    """Say how it is known what a VM gets here."""
    return (
        source_text(gives)
        if inventory.msrs or gives.source is Source.RECORDED
        else "the MSRs of this host are not known"
    )


# Values -----------------------------------------------------------------------------------------------------------


def _values(found: MsrValues) -> Iterator[Block]:
    cut = any(is_cut(each.msr, each.value) and broken_by(each.msr, each.value) for each in found.values)
    seen: dict[int, list[MsrValue]] = {}
    for each in found.values:
        seen.setdefault(each.msr.index, []).append(each)
    for values in seen.values():
        for each in values:
            where = f" on {cpulist.describe(each.cpus)}" if each.cpus else ""
            title = f"{each.msr.name} ({each.msr.index:#x}) = {each.value:#018x}{where}"
            yield title, _value(each, differ=len(values) > 1 and bool(each.cpus), cut=cut)
    if found.too_long:
        yield "too long", [("beware", f"of more than 64 bits, so no value: {', '.join(found.too_long)}")]
    if found.strange:
        yield "not known", [("is", f"no MSR that vmxd knows: {', '.join(found.strange)}")]


def _value(found: MsrValue, *, differ: bool, cut: bool) -> Iterator[Said]:
    msr, value = found.msr, found.value
    if differ:
        yield "beware", "the CPUs differ: each value is told apart"
    if broken := broken_by(msr, value):
        half = "; its upper half is missing" if is_cut(msr, value) else ""
        yield "beware", f"no CPU has this value{half}: {'; '.join(broken)} (SDM Vol. 3D {msr.sdm})"
        yield "", "nothing is concluded from it"
        return
    if cut and msr.index != IA32_FEATURE_CONTROL:
        yield "beware", "other values of this text have lost their upper half: nothing is concluded from this one"
        return
    if msr.index == IA32_FEATURE_CONTROL:
        status = decode(None, {IA32_FEATURE_CONTROL: value}).status
        yield "verdict", status_sentence(status.value)
        if status.value == "unlocked":
            yield "next", _UNLOCKED
    yield from value_bits(msr, value)


_UNLOCKED: Final = (
    "firmware should lock it, and else Linux does as it boots; after a suspend, Linux before 5.7.7 did not set it "
    "again on the boot CPU (commit 5d5103595e9e): rdmsr -a 0x3a shows which CPUs have it"
)


# Lists of features ------------------------------------------------------------------------------------------------


def _flags(line: Sequence[Named]) -> Iterator[Said]:
    known = [each.feature for each in line if each.feature]
    by_msr: dict[str, list[str]] = {}
    for feature in known:
        by_msr.setdefault(feature.msr.name if feature.msr else "", []).append(feature.name)
    yield "names", f"{len(known)} of {len(FEATURES)} features"
    for name, names in by_msr.items():
        yield "", f"{name or 'of several bits'}: {', '.join(names)}"
    if strange := [each.text for each in line if not each.feature]:
        yield "not known", f"{', '.join(strange)}: no flag of Linux {LINUX_SERIES}"
    present = {feature.name for feature in known}
    lacking = [feature for feature in FEATURES.values() if feature.cpuinfo_flag and feature.name not in present]
    hidden = sum(not feature.cpuinfo_flag for feature in FEATURES.values())
    yield "not there", ", ".join(each.name for each in lacking) or f"nothing that Linux {LINUX_SERIES} would show"
    yield "beware", f"the line is silent on {hidden} more features, among them every VM-exit and VM-entry control"
    yield "", "it says what may be 1, never what must be, and nothing of the TRUE MSRs"
    yield "", "it is of one CPU, from when that CPU was brought up; later microcode does not show"
    if "eptp_switching" not in present:
        yield "", f"eptp_switching: {CAVEATS['eptp_switching'][0]}"
    yield "", "names depend on the kernel: an older one shows fewer"


def _feature_set(found: FeatureSet) -> Block:
    of = "what guests of a host get" if found.of is Of.GUESTS else "a CPU"
    return f"{found.program} on {of}", _listed(found)


def _listed(found: FeatureSet) -> Iterator[Said]:
    yield from _names("has", found.present)
    yield from _names("lacks", found.absent)
    strange = [each.text for each in (*found.present, *found.absent) if each.feature is None]
    vmx = [text for text in strange if text.startswith("vmx-") or found.of is Of.CPU]
    if vmx:
        yield "not known", f"{', '.join(vmx)}: no VMX feature that vmxd knows"
    if others := [text for text in strange if text not in vmx and text != _VMX]:
        yield "not VMX", ", ".join(others)
    if found.of is Of.GUESTS:
        yield "beware", "this is what KVM gives to guests there, not what the CPUs have"
    elif not found.absent:
        yield "beware", "what the list does not name may be there all the same"


def _names(word: str, listed: Sequence[Named]) -> Iterator[Said]:
    if names := list(dict.fromkeys(each.feature.name for each in listed if each.feature)):
        yield word, ", ".join(names)


# libvirt and QEMU -------------------------------------------------------------------------------------------------


def _tcg(found: Lacking) -> Block:
    names = ", ".join(each.feature.name if each.feature else each.text for each in found.missing)
    return "QEMU runs without KVM", [
        ("means", f"the line says TCG: QEMU's emulator has no VMX, so no host lacks anything: {names}"),
        ("next", "run QEMU with -accel kvm; without /dev/kvm, vmxd check --usable says what keeps KVM away"),
    ]


def _lacking(found: Lacking, inventory: Inventory) -> Iterator[Block]:
    gives = offer(inventory)
    others = [each.text for each in (*found.missing, *found.extra) if each.feature is None and each.text != _VMX]
    for each in (*found.missing, *found.extra):
        title = f"{each.text}: {'missing' if each in found.missing else 'not asked for'}"
        if each.feature:
            yield title, _missing(each.feature, gives, inventory)
        elif each.text == _VMX:
            yield title, vmx_itself(inventory)
    if vmx := [text for text in others if text.startswith("vmx-")]:
        yield "not known", [("is", f"{', '.join(vmx)}: no VMX feature that vmxd knows")]
    if rest := [text for text in others if text not in vmx]:
        yield "not VMX", [("is", f"{', '.join(rest)}: not of VMX; look at the line flags of /proc/cpuinfo")]


def _missing(feature: Feature, gives: Offer, inventory: Inventory) -> Iterator[Said]:
    place = f", {feature.location}" if feature.location else ""
    yield "is", f"{feature.name}: {feature.row.sdm}{place}"
    yield from (("beware", text) for text in CAVEATS.get(feature.name, ()))
    if feature.name in _PERF:
        yield (
            "beware",
            "KVM gives the pair to guests since Linux 5.5, and only with a virtual PMU; without, it is harmless",
        )
    yield "guests", _given(feature.name, gives, inventory)
    yield from ((word or "", text) for word, text in state_here(feature, inventory) if word != "guests")


def _given(name: str, gives: Offer, inventory: Inventory) -> str:
    """Say whether KVM gives a feature to guests here, why not, and how that is known."""
    value = gives.features.get(name)
    reason = gives.reasons.get(name)
    why = f": {reason_text(reason, gives.kernel)}" if reason and (value is not True) else ""
    words = {True: "KVM gives it to guests here", False: "KVM does not give it to guests here", None: "not known"}
    return f"{words[value]}{why} ({_how(gives, inventory)})"


def vmx_itself(inventory: Inventory) -> Iterator[Said]:
    """Say what it means that VMX itself is missing or asked for."""
    yield "is", "VMX itself: CPUID.1:ECX[5], the flag vmx of /proc/cpuinfo"
    yield (
        "means",
        "the CPU has no VMX; firmware or an outer hypervisor hides it; or kvm_intel's parameter nested is N",
    )
    yield "here", status_sentence(inventory.verdict.status.value)
    if hint := verdict_hint(inventory.verdict):
        yield "next", hint
    parameters = inventory.host.kvm_parameters
    if isinstance(parameters, Missing):
        yield "guests", "kvm_intel's parameter nested is not known: cat /sys/module/kvm_intel/parameters/nested"
    else:
        nested = parameters.get("nested")
        given = "guests get VMX" if nested else "guests get no VMX: load kvm_intel with nested=1"
        yield "guests", f"kvm_intel's parameter nested is {'Y' if nested else 'N'}: {given}"


def _set_refused(found: MsrValue, inventory: Inventory) -> Block:
    return f"KVM refused {found.msr.name} = {found.value:#018x} for a guest", _beyond(found, inventory)


def _beyond(found: MsrValue, inventory: Inventory) -> Iterator[Said]:
    msr, value = found.msr, found.value
    yield "means", "QEMU asked KVM to give the guest this value, and KVM takes no more than it offers itself"
    gives = offer(inventory)
    most = gives.msrs.get(msr.index) if gives.msrs else None
    if most is None:
        yield "asks for", ", ".join(name for _, name in _asked(msr, value)) or "nothing"
        yield "guests", f"which of these KVM does not offer here is not known ({_how(gives, inventory)})"
    else:
        beyond = [name for bit, name in _asked(msr, value) if not most >> bit & 1]
        if msr.layout is Layout.CONTROLS:
            low = _LOW & most & ~value
            beyond += [f"{_control(msr, bit)} may be 0" for bit in range(32) if low >> bit & 1]
        yield "beyond", ", ".join(beyond) or "nothing: this host's KVM offers all of it, so another kernel refused it"
        yield "guests", f"KVM offers {most:#018x} here ({_how(gives, inventory)})"
        if not beyond:
            return
    yield "next", "turn these off in -cpu, as vmx-NAME=off, or run a kernel that offers them"


def _asked(msr: Msr, value: int) -> Iterator[tuple[int, str]]:
    """Yield the position and name of each bit that a guest would get: of controls, those that may be 1."""
    controls = msr.layout is Layout.CONTROLS
    for bits in reversed(list(set_bits(msr, value))):
        if not controls or (bits.low >= 32 and (isinstance(bits.row, Flag) or bits.is_unknown)):
            yield bits.low, f"bit {bits.position}" if bits.is_unknown else bits.name


def _unknown_names(found: UnknownNames) -> Iterator[Block]:
    if found.features:
        names = ", ".join(
            f"{each.text} ({each.feature.name})" if each.feature else each.text for each in found.features
        )
        yield (
            "a QEMU or libvirt does not know a name",
            [
                ("is", names),
                ("means", "the program is older than the name: it says nothing about this host"),
                ("next", f"leave it out, or update; QEMU {QEMU} and libvirt {LIBVIRT} know every name that vmxd has"),
            ],
        )
    for name in found.models:
        model = find_cpu_model(name)
        last = (
            f"QEMU {QEMU} has {model[0].name} up to -v{model[0].versions}, libvirt {LIBVIRT} to -v{model[0].in_libvirt}"
            if model
            else f"no model with VMX of QEMU {QEMU} is called so"
        )
        yield f"a QEMU or libvirt does not know the CPU model {name}", [("is", last)]


# VMs --------------------------------------------------------------------------------------------------------------


def _vm(found: Vm, inventory: Inventory) -> Block:
    return f"a VM with CPU {found.mode or found.model or 'of no named model'}", _wants(found, inventory)


def _wants(found: Vm, inventory: Inventory) -> Iterator[Said]:
    required, disabled = ({each.text for each in listed} for listed in (found.require, found.disable))
    on_top = [each.feature.name for each in found.require if each.feature]
    off = [each.feature.name for each in found.disable if each.feature]
    model = find_cpu_model(found.model) if found.model else None
    of_model = features_of(*model) if model else ()
    if _VMX in disabled:
        yield "vmx", "off: the VM gets no VMX, so its features of VMX do not count"
        return
    gets = _VMX in required or bool(on_top) or bool(found.mode)
    yield "vmx", "on" if _VMX in required else "not asked for by name" if gets else "not asked for: the VM gets no VMX"
    if found.mode:
        yield "model", f"{found.mode}: what it has depends on the host: all that KVM gives to guests there"
    elif model:
        yield (
            "model",
            f"{model[0].name}-v{model[1]} of QEMU {QEMU} wants {len(of_model)} features: {', '.join(of_model)}",
        )
    elif found.model:
        yield "model", f"{found.model}: no CPU model with VMX that vmxd knows"
    if on_top:
        yield "on top", ", ".join(name for name in on_top if name not in of_model) or "nothing that the model lacks"
    if off:
        yield "without", ", ".join(off)
    yield from _names("if there", found.optional)
    everything = (*found.require, *found.disable, *found.optional)
    strange = [each.text for each in everything if not each.feature and each.text != _VMX]
    if newer := [text for text in strange if text.startswith("vmx-")]:
        yield "not known", f"{', '.join(newer)}: no VMX feature that vmxd knows"
    if rest := [text for text in strange if text not in newer]:
        yield "not VMX", f"{', '.join(rest)}: QEMU's and libvirt's matter, and not judged here"
    if gets:
        yield from _fits(wants(found), inventory)


def _fits(wanted: Iterable[str], inventory: Inventory) -> Iterator[Said]:
    """Say what of these KVM does not give to guests here, and why."""
    gives = offer(inventory)
    names = list(wanted)
    missing = [name for name in names if gives.features.get(name) is False]
    unknown = [name for name in names if gives.features.get(name) is None]
    for name in missing:
        yield "missing", f"{name}: {_given(name, gives, inventory)}"
    if unknown:
        yield "not known", f"whether guests get {', '.join(unknown)} here ({_how(gives, inventory)})"
    if not missing and not unknown:
        yield "here", f"KVM gives guests all of it ({_how(gives, inventory)})"


# Controls and VMCS config -----------------------------------------------------------------------------------------


def _controls(found: ControlsRefused, inventory: Inventory) -> Block:
    title = f"{found.msr.name} ({found.msr.index:#x}): asked for {found.asked:#x}, got {found.got:#x}"
    return title, _refused_controls(found, inventory)


def _refused_controls(found: ControlsRefused, inventory: Inventory) -> Iterator[Said]:
    refused = [bit for bit in range(32) if (found.asked & ~found.got) >> bit & 1]
    if not refused:
        yield "means", "every control that was asked for is there"
    for bit in refused:
        yield "refused", f"control {bit}: {_control(found.msr, bit)}"
    features = [
        each for each in FEATURES.values() if each.msr is found.msr and getattr(each.row, "bit", None) in refused
    ]
    for feature in features:
        yield from (
            (word, f"{feature.name}: {text}") for word, text in state_here(feature, inventory) if word == "here"
        )


def _refused(found: Refused, inventory: Inventory) -> Iterator[Block]:
    for cpu, mismatches in found.cpus.items():
        silent = [("beware", "this kernel does not say what differs; later ones print offsets")]
        title = f"kvm_intel refuses CPU {cpu}: its VMCS config differs from the reference CPU's"
        yield title, [] if mismatches else silent
        yield from (_mismatch(each, cpu) for each in mismatches)
    answer = consistent(inventory)
    reasons = [("here", sentence(reason)) for reason in answer.reasons]
    yield "MSRs of this host", reasons or [("here", "the MSRs of all CPUs agree")]


def _mismatch(mismatch: Mismatch, cpu: int) -> Block:
    word = WORDS.get(mismatch.offset)
    title = f"offset {mismatch.offset}: {f'vmcs_config.{word.field}' if word else 'no field of vmcs_config'}"
    return title, _differences(mismatch, cpu)


def _differences(mismatch: Mismatch, cpu: int) -> Iterator[Said]:
    word = WORDS.get(mismatch.offset)
    if word is None:
        yield "beware", "vmxd knows the layout that Linux has since 6.12 on x86-64; this kernel has another"
        return
    msr = MSR_BY_INDEX[word.msr]
    halves = {True: "what KVM uses of", False: "what KVM offers guests of"}
    scope = "" if word.field in ("basic", "misc") else f"{halves[word.used]} "
    yield "from", f"{scope}{msr.name} ({msr.index:#x}), bits {word.shift + 31}:{word.shift}"
    if msr.layout is Layout.CONTROLS:
        yield "", "1 in bits 63:32: it may be 1" if word.shift else "1 in bits 31:0: it must be 1"
    values = [value << word.shift for value in (mismatch.value, mismatch.reference)]
    for bits in reversed(list(set_bits(msr, values[0] ^ values[1]))):
        here, there = ((value >> bits.low) & ((2 << (bits.high - bits.low)) - 1) for value in values)
        name = "a bit without a name" if bits.is_unknown else bits.name
        yield (
            f"bit{'s' * (bits.high != bits.low)} {bits.position}",
            f"{name}: {here} on CPU {cpu}, {there} on the reference",
        )


def _control(msr: Msr, bit: int) -> str:
    """Name a control of an MSR by its number in the VMCS field."""
    row = next((row for row in msr.rows if isinstance(row, Flag) and row.bit == bit), None)
    return row.name if row else "a bit without a name"


# Messages ---------------------------------------------------------------------------------------------------------


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


def _message(found: Message, inventory: Inventory) -> Block:
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
        yield "", f"it is not locked, so VMXON faults: {_UNLOCKED}"
    if found.kind == "vmxon" and any(int(detail, 16) & 5 == 1 for detail in found.details):
        yield "", "it is locked without VMX outside SMX: firmware has locked VMX off"
    if meaning.next:
        yield "next", meaning.next
    if found.kind not in _NOT_OF_HOST:
        yield "here", verdict_sentence(inventory.verdict)
        if hint := verdict_hint(inventory.verdict):
            yield "", hint


_NOT_OF_HOST: Final = frozenset(("internal", "entry_failed", "ignored", "unchecked", "evmcs"))
