"""What is said of a host, in words: each finding, state and count once. The views lay it out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

import vmxd
from vmxd import cpulist
from vmxd.model import findings as kinds
from vmxd.model.answers import consistent, is_nested_off
from vmxd.model.attribution import Attribution, missing
from vmxd.model.decode import Status
from vmxd.model.facts import Failed, Host, Missing, MsrState, Parameter, Source
from vmxd.model.guest import Source as Known
from vmxd.model.guest import Why
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import NestedStatus, Taken
from vmxd.model.offer import Offer, offer
from vmxd.model.profiles import Fit
from vmxd.model.states import CpuStates
from vmxd.model.states import Why as WhyState
from vmxd.model.status import Verdict
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.errnos import Errno, explain, explain_kvm
from vmxd.tables.rows import Bit, Msr, Unnamed
from vmxd.views.guest_words import mismatch_text, reason_text, refusal_text, source_text, taken_text, why_text
from vmxd.views.platform_words import brief_text, missing_text, unlike_text

_NAMED: Final = 3
"""Features that a sentence on many names."""


# Whether VMX may be used --------------------------------------------------------------------------------------------

_STATUS: Final = {
    "usable": "VMX may be used{where}",
    "disabled_by_firmware": "firmware has locked VMX off{where} in IA32_FEATURE_CONTROL",
    "smx_only": "firmware allows VMX{where} inside SMX (Intel TXT) only",
    "unlocked": "IA32_FEATURE_CONTROL is not locked{where}, so VMXON faults",
    "no_vmx": "there is no VMX{where}",
    "unreadable": "the CPU {has} VMX, but its MSRs cannot be read{where}",
    "unknown": "whether VMX may be used is not known{where}",
}
_STATUS_HINTS: Final = {
    Status.DISABLED_BY_FIRMWARE: "enable VT-x in the firmware setup, then power-cycle",
    Status.SMX_ONLY: "enable VMX outside SMX in the firmware setup, or boot with tboot",
    Status.UNLOCKED: "firmware should lock it, or Linux as it boots (CONFIG_IA32_FEAT_CTL); after a suspend, Linux "
    "before 5.7.7 did not on the boot CPU",
    Status.UNREADABLE: "vmxd show there says why: mostly modprobe msr, or too few rights",
}


def status_sentence(status: str) -> str:
    """Word a status, as in vmx_status; one that this vmxd does not know is its own word."""
    cause = ": IA32_FEATURE_CONTROL was not recorded or could not be read" if status == "unknown" else ""
    return _STATUS.get(status, status).format(where="", has="has or may have") + cause


def status_hint(status: Status) -> str | None:
    """Name the next step for a status, None if nothing needs doing."""
    return _STATUS_HINTS.get(status)


def verdict_sentence(verdict: Verdict) -> str:  # noqa: PLR0911 (one a status)
    """Word the status of a host, with the CPUs that have it if not all do, and what shows it."""
    if not verdict.cpus:
        return "no CPU was read"
    where = "" if verdict.everywhere else f" on {cpulist.describe(verdict.cpus)}"
    text = _STATUS[verdict.status.value].format(where=where, has="has" if verdict.vmx_flag else "may have")
    match verdict.status:
        case Status.NO_VMX if verdict.vmx_flag:
            return f"IA32_VMX_BASIC reads 0{where}: a hypervisor shows the vmx flag but hides VMX"
        case Status.NO_VMX:
            return f"{text}: /proc/cpuinfo shows no vmx flag"
        case Status.UNREADABLE:
            return f"{text}: {errno_text(explain(verdict.failed or ''))}"
        case Status.UNKNOWN if verdict.failed:
            return f"{text}: IA32_FEATURE_CONTROL cannot be read: {errno_text(explain(verdict.failed))}"
        case Status.UNKNOWN:
            return f"{text}: IA32_FEATURE_CONTROL was not recorded"
    return text


def verdict_hint(verdict: Verdict) -> str | None:
    """Name the next step, None if nothing needs doing."""
    if not verdict.cpus:
        return "see --cpus and --skip-isolated"
    if verdict.failed:
        return explain(verdict.failed).hint
    if verdict.status is not Status.NO_VMX:
        return _STATUS_HINTS.get(verdict.status)
    if verdict.vmx_flag:
        return "expose VMX to this guest"
    if verdict.is_svm:
        return "AMD's virtualization is SVM, which vmxd does not read"
    return "this is a guest: its hypervisor would have to offer it nested VMX" if verdict.in_guest else None


def errno_text(errno: Errno) -> str:
    """Say what an errno means, with its name."""
    return f"{errno.meaning} ({errno.name})"


def failed_sentence(count: int) -> str:
    """Say on how many CPUs an MSR could not be read."""
    return f"an MSR could not be read on {count:,} CPU{'s' * (count != 1)}"


# Findings -----------------------------------------------------------------------------------------------------------

LABELS: Final[dict[type[kinds.Finding], str]] = {
    kinds.FailedReads: "failed",
    kinds.CpusDiffer: "differ",
    kinds.MicrocodesDiffer: "microcode",
    kinds.UnknownBits: "unknown",
    kinds.UnlikeItsKind: "unlike",
    kinds.BrokenRule: "broken",
    kinds.KvmRefuses: "kvm",
    kinds.FlagDiffers: "kvm",
    kinds.KvmAnswersOtherwise: "guests",
    kinds.LeftOff: "kvm",
    kinds.Doubted: "kvm",
    kinds.Note: "note",
}
"""What a finding about a host is called, in a word."""


def told(finding: kinds.Finding) -> str:
    """Say a finding and the next step."""
    return sentence(finding) + (f" (hint: {step})" if (step := next_step(finding)) else "")


def next_step(finding: kinds.Finding) -> str | None:
    """Name the next step, None if there is none."""
    match finding:
        case kinds.Judged(verdict=verdict, features=()):
            return verdict_hint(verdict)
        case kinds.GuestsNotKnown(errno=str(name)):
            return explain_kvm(name).hint
    return None


def sentence(finding: kinds.Finding) -> str:  # noqa: PLR0911, PLR0912 (one a kind)
    """Say a finding in a sentence, without a capital and without a full stop."""
    cpus = cpulist.describe(finding.cpus)
    match finding:
        case kinds.Judged(verdict=verdict):
            return verdict_sentence(verdict)
        case kinds.NotJudged():
            return f"whether VMX may be used on {cpus} is not known"
        case kinds.FailedReads(errno=errno, msrs=msrs):
            return f"{count(len(msrs), 'MSR')} could not be read on {cpus}: {errno_text(explain(errno))}"
        case kinds.NotCompared():
            return f"{cpus} could not be read, or not wholly" if finding.cpus else "no CPU was read"
        case kinds.CpusDiffer(host=host, msrs=msrs, features=features, kvm=kvm):
            differ = f"{describe_cpus(host, finding.cpus)} differ{'s' * (len(finding.cpus) == 1)}"
            where = f"{differ} in {', '.join(map(msr_name, msrs))} ({', '.join(features) or 'no named feature'})"
            return f"{where}: {_taken(msrs, kvm, host.kernel)}"
        case kinds.MicrocodesDiffer(revisions=revisions):
            texts = (f"{revision} on {cpulist.describe(of)}" for revision, of in revisions)
            return f"CPUs have different microcode: {', '.join(texts)}"
        case kinds.UnknownBits(msr=msr, bits=bits):
            return unknown_bits_text(msr, bits)
        case kinds.UnlikeItsKind(platform=platform, found=found):
            return unlike_text(platform, found)
        case kinds.UnnamedBit(msr=msr, bit=bit, row=row):
            return unnamed_bit_text(msr, bit, row)
        case kinds.BrokenRule(rule=rule):
            return f"{cpus} break{'s' * (len(finding.cpus) == 1)} {rule.name}: {rule.says}"
        case kinds.LeftOff(parameter=name, value=value, features=features):
            return f"{name}={parameter_text(value)} leaves off what every CPU has: {', '.join(features)}"
        case kinds.Doubted(parameters=parameters):
            off = ", ".join(f"{name}={parameter_text(value)}" for name, value in parameters)
            return f"{off}: whether the CPUs have what is left off is not known"
        case kinds.FlagDiffers(flag=flag):
            return f"{cpus} and the others differ in the flag {flag} of /proc/cpuinfo, and KVM refuses CPUs for that"
        case kinds.KvmAnswersOtherwise(mismatch=mismatch):
            return mismatch_text(mismatch)
        case kinds.Note(text=text):
            return text
    return _reason(finding, cpus)


def _taken(msrs: Sequence[int], kvm: Sequence[Taken], release: str | None) -> str:
    """Say what KVM does with CPUs that differ, of each MSR if that is not the same of all."""
    if len(set(kvm)) == 1:
        return taken_text(kvm[0], release)
    return "; ".join(f"{msr_name(index)}: {taken_text(each, release)}" for index, each in zip(msrs, kvm, strict=True))


def _reason(finding: kinds.Finding, cpus: str) -> str:  # noqa: PLR0911, PLR0912 (one a kind)
    """Say why a feature that was asked for is not there, or not known."""
    names = _are(finding.features)
    match finding:
        case kinds.Lacks(everywhere=everywhere, cause=cause):
            where = "every CPU" if everywhere else cpus
            return f"{names} missing on {where}: {_cause(finding.features[0], cause)}"
        case kinds.NotKnown(msr=msr, why=Failed(errno)):
            return f"{names} not known: {msr_name(msr)} could not be read on {cpus}: {errno_text(explain(errno))}"
        case kinds.NotKnown(msr=msr):
            return f"{names} not known: {msr_name(msr)} was not recorded on {cpus}"
        case kinds.NothingKnown(verdict=verdict):
            return f"{names} not known: {verdict_sentence(verdict)}"
        case kinds.GuestsGetNoVmx(is_nested_off=off):
            return f"KVM offers no VMX to guests{': nested=N' * off}"
        case kinds.GuestsLack(cause=cause, parameter=parameter, hardware=hardware):
            has = {
                True: "the hardware has it",
                False: "the hardware lacks it too",
                None: "of the hardware it is not known",
            }
            why = left_off(parameter) if parameter else has[hardware]
            return f"{names} {offered(False)}: {_cause(finding.features[0], cause)}; {why}"
        case kinds.NotInTables():
            return f"{names} not known to vmxd {vmxd.__version__}"
        case kinds.KvmRefuses(refusal=refusal):
            return f"kvm_intel does not load: {refusal_text(refusal)}"
        case kinds.GuestMayLack(reason=reason, release=release):
            return f"{names} not known for guests: {reason_text(reason, release)}"
        case kinds.GuestLacks(reason=reason, release=release):
            return f"{names} not given to guests: {reason_text(reason, release)}"
        case kinds.GuestsNotKnown(errno=str(name)):
            return f"what KVM offers to guests is not known: {errno_text(explain_kvm(name))}"
        case kinds.GuestsNotKnown(is_asked=False):
            return "what KVM offers to guests is not known: KVM was not asked"
        case kinds.GuestsNotKnown():
            return f"{names} not known: KVM did not say"
    raise TypeError(finding)


def _are(names: Sequence[str]) -> str:
    """Name the first of several features, and their verb."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more} {'is' if len(names) == 1 else 'are'}"


def _cause(name: str, cause: kinds.Cause) -> str:
    row = FEATURES[cause.part or name].row
    called = f" ({row.libvirt or row.qemu})" if row.libvirt or row.qemu else ""
    bits = " and ".join(f"{msr_name(bit.msr)}[{bit.bit}]" for bit in cause.bits)
    are = f"{'is' if len(cause.bits) == 1 else 'are'} {int(cause.is_set)}"
    if cause.absent:
        absent = ", since ".join(f"there is no {msr_name(index)}" for index in cause.absent)
        text = f"{absent}, since {f'{bits} {are}' if bits else 'there is no VMX'}{called}"
        return f"it takes {cause.part}, and {text}" if cause.part else text
    return f"it takes {bits}, which {are}{called}" if cause.part else f"{bits} {are}{called}"


def unknown_bits_text(msr: int, bits: Collection[int]) -> str:
    """Name the bits of an MSR that are set and that no row explains."""
    return f"{msr_name(msr)}[{','.join(map(str, bits))}] set, and no source names it"


def unnamed_bit_text(msr: int, bit: int, row: Unnamed) -> str:
    """Name a bit of an MSR that is set, that no source names, and that other CPUs set too."""
    return f"{msr_name(msr)}[{bit}] set: undocumented; seen since {row.since}, on {row.note}"


def left_off(parameter: str) -> str:
    """Say that KVM leaves a feature off."""
    return f"left off by KVM ({parameter})"


def offered(value: bool) -> str:
    """Say whether KVM offers a feature to guests."""
    return "offered to guests" if value else "not offered to guests"


# The host at a glance -----------------------------------------------------------------------------------------------


def summary_lines(inventory: Inventory) -> list[tuple[str, str]]:
    """Say the host at a glance: pairs of a label, "" if it is that of the line above, and a text."""
    identity, host = inventory.identity, inventory.host
    parts = [("signature", identity.signature), ("microcode", identity.microcode), ("kernel", host.kernel)]
    lines = [
        ("host", host_text(host)),
        ("cpu", ", ".join([identity.model_name or "unknown model", identity.vendor or "unknown vendor"])),
        (
            "",
            ", ".join(f"{word} {value or 'not recorded'}" for word, value in parts)
            + (", under a hypervisor" if identity.hypervisor else ""),
        ),
        ("status", f"{inventory.verdict.status.value}: {verdict_sentence(inventory.verdict)}"),
    ]
    if step := verdict_hint(inventory.verdict):
        lines.append(("", step))
    said: dict[str, list[str]] = {}
    for each in kinds.findings(inventory):
        said.setdefault(LABELS.get(type(each), ""), []).append(sentence(each))
    lines.append(("cpus", _cpu_counts(inventory)))
    lines += [("failed", text) for text in said.get("failed", ())]
    lines.append(("consistent", _consistency(inventory, said.get("differ", ()))))
    lines += [(label, text) for label in ("microcode", "unknown", "unlike", "broken") for text in said.get(label, ())]
    lines += [("unnamed", sentence(each)) for each in kinds.unnamed_bits(inventory)]
    lines += [("kvm", text) for text in said.get("kvm", ())]
    if text := module_text(inventory):
        lines.append(("kvm", text))
    if text := guests_text(inventory):
        lines.append(("guests", text))
    lines += [("guests", text) for text in said.get("guests", ())]
    lines += [("profile", _profile(found)) for found in inventory.profiles]
    lines += [("note", text) for text in said.get("note", ())]
    lines.append(("features", _feature_counts(inventory)))
    if text := missing_text(missing(inventory)):
        lines.append(("missing", text))
    lines.append(("fingerprint", identity.fingerprint or no_fingerprint(inventory)))
    return lines


def host_text(host: Host) -> str:
    """Name a host and where it was read: db-03; recording DIR of db-03, this machine."""
    if host.source is Source.LIVE:
        return " of ".join(filter(None, (None if host.root == "/" else host.root, host.name))) or host.root
    text = f"recording {host.root}" + (f" of {host.name}" if host.name else "")
    return f"{text}, this machine since boot" if host.same_boot else text


def no_fingerprint(inventory: Inventory) -> str:
    """Say why a host has no fingerprint."""
    read = any(not group.decoded.failed.keys() - {IA32_FEATURE_CONTROL} for group in inventory.groups)
    return f"none: {'no capability MSR has a value' if read else 'reads failed on every CPU'}"


def _cpu_counts(inventory: Inventory) -> str:
    host = inventory.host
    counts = [
        (host.online, "online"),
        (inventory.scanned, "scanned"),
        (inventory.failed, "failed"),
        (host.excluded, "excluded"),
        (host.offline, "offline"),
    ]
    return ", ".join(f"{len(cpus)} {word} ({cpulist.format_cpus(cpus)})" for cpus, word in counts if cpus)


def _consistency(inventory: Inventory, differ: Sequence[str]) -> str:
    if differ:
        return f"no: {'; '.join(differ)}"
    if unknown := consistent(inventory).unknown:
        agree = "; the others agree" if len(inventory.scanned) > 1 else ""
        return f"not known: {'; '.join(map(sentence, unknown))}{agree}"
    return "yes" if len(inventory.comparable) > 1 else "only one CPU is known"


def module_text(inventory: Inventory) -> str:
    """Say that kvm_intel is not loaded, or leaves nothing off; "" if findings say more, or it was not recorded."""
    if isinstance(inventory.host.kvm_parameters, Missing):
        return "kvm_intel is not loaded" if inventory.host.kvm_parameters is Missing.ABSENT else ""
    if inventory.kvm_unused or inventory.kvm_doubted:
        return ""
    return "kvm_intel leaves off no feature that every CPU has"


def guests_text(inventory: Inventory) -> str:
    """Say what a VM gets, as KVM answered or as is expected; "" if there is no VMX."""
    found, nested = offer(inventory), inventory.nested
    if found.source is Known.RECORDED:
        if nested is not None and nested.status is NestedStatus.NOT_OFFERED:
            return sentence(kinds.GuestsGetNoVmx(is_nested_off=is_nested_off(inventory)))
        return f"KVM offers {_of_all(found.features.values(), ' to guests')}"
    texts = [told(kinds.GuestsNotKnown(errno=nested.errno, is_asked=True))] if nested is not None else []
    if found.source is Known.UNKNOWN:
        texts.append(f"what a VM gets is not known: {why_text(found, next(iter(FEATURES)))}")
    elif found.expected is not None:
        texts.append(f"{_of_all(found.features.values())}, {source_text(found, brief=True)}")
    return "; ".join(texts)


def _of_all(values: Iterable[bool | None], whom: str = "") -> str:
    """Count the features that are there, and those of which it is not known."""
    values = list(values)
    unknown = f", {values.count(None)} not known" if None in values else ""
    return f"{values.count(True)} of {len(values)} features{whom}{unknown}"


def _profile(found: Fit) -> str:
    wanted = len(found.profile.features)
    if found.fits:
        return f"{found.profile.name}: the CPUs have all {wanted} features"
    if len(found.unknown) == wanted:
        return f"{found.profile.name}: not known"
    texts = [(found.lacking, f"lacks {len(found.lacking)} of {wanted}: "), (found.unknown, "not known: ")]
    return f"{found.profile.name}: " + "; ".join(word + ", ".join(names) for names, word in texts if names)


def _feature_counts(inventory: Inventory) -> str:
    values = [feature.value for feature in inventory.features.values()]
    text = f"{values.count(True)} of {len(values)} on every CPU"
    return text + (f", {values.count(None)} not known" if None in values else "")


# CPUs, states and names ---------------------------------------------------------------------------------------------


def on_cpus(cpus: Collection[int]) -> str:
    """Name the CPUs that something stands on, behind it; "" of none: it is about the host."""
    return f" on {cpulist.describe(cpus)}" if cpus else ""


def not_in_tables(names: Iterable[str]) -> str:
    """Say that no table has names of vmx-* features."""
    return f"{', '.join(names)}: no VMX feature that vmxd knows"


def describe_cpus(host: Host, cpus: Collection[int]) -> str:
    """Name CPUs, with the package and kind of core that all of them are of, if the host has several."""
    text = cpulist.describe(cpus)
    packages = {cpu.package for cpu in host.cpus.values()}
    here = {host.cpus[cpu].package if cpu in host.cpus else None for cpu in cpus}
    if len(packages) > 1 and len(here) == 1 and None not in here:
        text += f" of package {here.pop()}"
    cores = {host.core_types.get(cpu) for cpu in cpus}
    if len(set(host.core_types.values())) > 1 and len(cores) == 1 and None not in cores:
        text += f" (cpu_{cores.pop()})"
    return text


def state_text(state: MsrState) -> str:
    """Say what is known of an MSR: its value, an errno, "absent" or "not recorded"."""
    if isinstance(state, int):
        return f"{state:#018x}"
    return state.value.replace("_", " ") if isinstance(state, Missing) else f"failed ({state.errno})"


def msr_states(inventory: Inventory, index: int) -> list[tuple[str, str]]:
    """Say each state of an MSR, with the CPUs that have it, "" if all do."""
    states = inventory.msr_states(index)
    one = len(states) == 1
    return [(state_text(state), "" if one else describe_cpus(inventory.host, at)) for state, at in states.items()]


def details(inventory: Inventory, states: CpuStates) -> list[str]:
    """Say what the word for all CPUs leaves out: which CPUs have another state, and why one is off or unknown."""
    scanned = sum(map(len, states.cpus.values()))
    texts = []
    for (state, why), cpus in states.cpus.items():
        reason = _why(why)
        if len(cpus) == scanned:
            texts.append(reason)
        elif state is not states.state:
            texts.append(f"{describe_cpus(inventory.host, cpus)} {state.value}{f': {reason}' if reason else ''}")
    return [text for text in texts if text]


def _why(why: WhyState) -> str:
    return "" if why is None else "MSR absent" if why is Missing.ABSENT else state_text(why)


def feature_details(inventory: Inventory, name: str, found: Offer, why: Attribution | None = None) -> list[str]:
    """Say what remains to be said of a feature: of the CPUs, and if that is something else, of KVM and of guests.

    found: what a VM gets. why: why no CPU has it, as far as the table of real CPUs tells.
    """
    layers = inventory.layers(name)
    texts = details(inventory, layers.hardware)
    if why is not None and (text := brief_text(why)):
        texts.append(text)
    if layers.kvm:
        texts.append(left_off(layers.kvm))
    return [*texts, *guest_notes(found, name, layers.hardware.value)]


def guest_notes(found: Offer, name: str, hardware: bool | None) -> Iterator[str]:
    """Say whether guests get a feature if that is not what the CPUs have, and why; not of a VM without any VMX."""
    value = found.features[name]
    if value is hardware or (value is None and not hardware):
        return
    reason = found.reasons.get(name)
    if reason is None or reason.why not in (Why.NESTED, Why.NOT_LOADED, Why.NOT_OFFERED):
        because = f": {why_text(found, name)}" if reason else ""
        yield (f"not known for guests{because}" if value is None else f"{offered(value)}{because}")
    elif reason.why is Why.NOT_OFFERED:
        yield offered(False)


def parameter_text(value: Parameter) -> str:
    """Say a module parameter as sysfs shows it."""
    return ("N", "Y")[value] if isinstance(value, bool) else str(value)


def count(number: int, noun: str) -> str:
    """Say how many there are of something; of a noun of several words the first is the one that is many."""
    word, _, more = noun.partition(" ")
    return f"{number} {word}{'' if number == 1 else 's'} {more}".rstrip()


def other_names(feature: Feature) -> Iterator[str]:
    """Yield what others call a feature: /proc/cpuinfo, Linux, QEMU and libvirt."""
    row = feature.row
    if feature.cpuinfo_flag:
        yield f"{feature.cpuinfo_flag} (cpuinfo)"
    yield from (name for name in (feature.linux_name, feature.macro) if name)
    if row.qemu and row.qemu == row.libvirt:
        yield row.qemu
    else:
        yield from (f"{name} ({who})" for name, who in ((row.qemu, "QEMU"), (row.libvirt, "libvirt")) if name)


def condition(msr: Msr) -> str:
    """Say when an MSR exists on a CPU that has VMX: the bits, and those that their own MSRs take."""
    if not msr.exists_if:
        return "there is VMX"
    outer = dict.fromkeys(condition(above) for bit in msr.exists_if if (above := MSR_BY_INDEX[bit.msr]).exists_if)
    return ", and so ".join((" or ".join(_is_set(bit) for bit in msr.exists_if), *outer))


def _is_set(bit: Bit) -> str:
    location = f"{msr_name(bit.msr)}[{bit.bit}]"
    named = next((f" ({feature.name})" for feature in FEATURES.values() if feature.location == location), "")
    return f"{location} = 1{named}"
