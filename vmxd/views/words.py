"""What is said of a host, in words: the summary, and the states of MSRs and features. The views lay it out."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from vmxd import cpulist
from vmxd.model.answers import consistent
from vmxd.model.compare import Group
from vmxd.model.decode import ControlState, Presence
from vmxd.model.facts import Failed, Host, Missing, MsrState, Parameter, Source
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import NestedStatus
from vmxd.model.profiles import Fit
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.errnos import explain, explain_kvm
from vmxd.tables.rows import Bit, Flag, Msr

_STATUS: Final = {
    "usable": "VMX may be used",
    "disabled_by_firmware": "firmware has locked VMX off in IA32_FEATURE_CONTROL",
    "smx_only": "firmware allows VMX inside SMX (Intel TXT) only",
    "unlocked": "IA32_FEATURE_CONTROL is not locked, so VMXON faults",
    "no_vmx": "there is no VMX",
    "unreadable": "the CPU has or may have VMX, but its MSRs cannot be read",
    "unknown": "whether VMX may be used is not known: IA32_FEATURE_CONTROL was not recorded or could not be read",
}
_NOISE: Final = re.compile(
    r"\((?:R|TM)\)|\b(?:CPU|Processor)\b|\bIntel(?=\W+[A-Z])|\b\d+(?:st|nd|rd|th) Gen\b|(?:\b0 )?@ *[\d.]+\+? ?GHz",
    re.IGNORECASE,
)


def status_sentence(status: str) -> str:
    """Word a status, as in vmx_status; one that this vmxd does not know is its own word."""
    return _STATUS.get(status, status)


def failed_sentence(count: int) -> str:
    """Say on how many CPUs an MSR could not be read."""
    return f"an MSR could not be read on {count:,} CPU{'s' * (count != 1)}"


def short_model_name(name: str) -> str:
    """Shorten a CPU's model name: no trademarks, generation, frequency, nor words that most names have."""
    return " ".join(_NOISE.sub(" ", name).split()) or name


def summary_lines(inventory: Inventory) -> list[tuple[str, str]]:
    """Return the host at a glance: pairs of a word and what is to be said of it; shared by text and page."""
    identity, host = inventory.identity, inventory.host
    kind = "recording " if host.source is Source.RECORDING else ""
    parts = [("signature", identity.signature), ("microcode", identity.microcode), ("kernel", host.kernel)]
    lines = [
        ("host", f"{kind}{host.root}"),
        ("cpu", ", ".join([identity.model_name or "unknown model", identity.vendor or "unknown vendor"])),
        (
            "",
            ", ".join(f"{word} {value or 'not recorded'}" for word, value in parts)
            + (", under a hypervisor" if identity.hypervisor else ""),
        ),
        ("status", f"{inventory.verdict.status.value}: {inventory.verdict.reason}"),
    ]
    if inventory.verdict.hint:
        lines.append(("", inventory.verdict.hint))
    lines.append(("cpus", _cpu_counts(inventory)))
    lines += [("failed", text) for text in _failures(inventory)]
    lines.append(("consistent", _consistency(inventory)))
    lines += [("unknown", text) for text in _unknown_bits(inventory)]
    lines += [
        ("broken", f"{each.rule.name} on {cpulist.describe(each.cpus)}: {each.rule.says}")
        for each in inventory.violations
    ]
    lines += [("kvm", text) for text in _kvm(inventory)]
    lines += [("guests", text) for text in _nested(inventory)]
    lines += [("profile", _profile(found)) for found in inventory.profiles]
    lines += [("note", note) for note in host.notes]
    lines.append(("features", _feature_counts(inventory)))
    lines.append(("fingerprint", identity.fingerprint or no_fingerprint(inventory)))
    return lines


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


def _failures(inventory: Inventory) -> Iterator[str]:
    for group in inventory.groups:
        errnos = Counter(state.errno for state in group.decoded.failed.values())
        for name, count in errnos.items():
            msrs = "1 MSR" if count == 1 else f"{count} MSRs"
            yield f"{msrs} on {cpulist.describe(group.cpus)}: {explain(name).meaning} ({name})"


def _consistency(inventory: Inventory) -> str:
    if not inventory.inconsistent:
        if unknown := consistent(inventory).unknown:
            agree = "; the others agree" if len(inventory.scanned) > 1 else ""
            return f"not known: {'; '.join(reason.text for reason in unknown)}{agree}"
        return "yes" if len(inventory.comparable) > 1 else "only one CPU is known"
    cpus = tuple(inventory.inconsistent)
    indexes = dict.fromkeys(index for indexes in inventory.inconsistent.values() for index in indexes)
    names = [feature.name for feature in inventory.differing]
    if IA32_FEATURE_CONTROL in indexes:
        names += [name for name, state in firmware_bits(inventory).items() if state.word == DIFFERS]
    differ = "differs" if len(cpus) == 1 else "differ"
    where = f"{describe_cpus(inventory.host, cpus)} {differ} in {', '.join(map(msr_name, indexes))}"
    return f"no: {where} ({', '.join(names) or 'no named feature'})"


def _unknown_bits(inventory: Inventory) -> Iterator[str]:
    for index, mask in inventory.unknown.items():
        if mask:
            bits = ",".join(str(bit) for bit in range(64) if mask >> bit & 1)
            yield f"{msr_name(index)}[{bits}] set, and no source names it"


def _kvm(inventory: Inventory) -> Iterator[str]:
    """Say which module parameters leave off what every CPU has."""
    parameters = inventory.host.kvm_parameters
    if isinstance(parameters, Missing):
        if parameters is Missing.ABSENT:
            yield "kvm_intel is not loaded"
        return
    for name in dict.fromkeys(each.parameter for each in inventory.kvm_unused):
        features = ", ".join(each.feature for each in inventory.kvm_unused if each.parameter == name)
        yield f"{name}={parameter_text(parameters[name])} leaves off what every CPU has: {features}"
    if inventory.kvm_doubted:
        doubted = ", ".join(f"{name}={parameter_text(parameters[name])}" for name in inventory.kvm_doubted)
        yield f"{doubted}: whether the CPUs have what is left off is not known"
    elif not inventory.kvm_unused:
        yield "kvm_intel leaves off no feature that every CPU has"


def parameter_text(value: Parameter) -> str:
    """Return a module parameter as sysfs shows it."""
    return ("N", "Y")[value] if isinstance(value, bool) else str(value)


def _nested(inventory: Inventory) -> Iterator[str]:
    """Say what KVM offers to guests, if it was asked."""
    nested = inventory.nested
    if nested is None:
        return
    if nested.errno is not None:
        errno = explain_kvm(nested.errno)
        yield f"what KVM offers them is not known: {errno.meaning} ({errno.name}); {errno.hint}"
    elif nested.status is NestedStatus.NOT_OFFERED:
        off = isinstance(parameters := inventory.host.kvm_parameters, dict) and parameters.get("nested") is False
        yield f"KVM offers them no VMX{': nested=N' if off else ''}"
    else:
        values = list(nested.values.values())
        yield f"KVM offers them {values.count(True)} of {len(values)} features" + (
            f", {values.count(None)} not known" if None in values else ""
        )


def _profile(found: Fit) -> str:
    wanted = len(found.profile.features)
    if found.fits:
        return f"{found.profile.name}: the CPUs have all {wanted} features"
    texts = [(found.lacking, f"lacks {len(found.lacking)} of {wanted}: "), (found.unknown, "not known: ")]
    return f"{found.profile.name}: " + "; ".join(word + ", ".join(names) for names, word in texts if names)


def _feature_counts(inventory: Inventory) -> str:
    values = [feature.value for feature in inventory.features.values()]
    text = f"{values.count(True)} of {len(values)} on every CPU"
    return text + (f", {values.count(None)} not known" if None in values else "")


def describe_cpus(host: Host, cpus: Collection[int]) -> str:
    """Return CPUs for people, with their package and kind of core where the host has several and these are of one."""
    text = cpulist.describe(cpus)
    packages = {cpu.package for cpu in host.cpus.values()}
    here = {host.cpus[cpu].package if cpu in host.cpus else None for cpu in cpus}
    if len(packages) > 1 and len(here) == 1 and None not in here:
        text += f" of package {here.pop()}"
    kinds = {host.core_types.get(cpu) for cpu in cpus}
    if len(set(host.core_types.values())) > 1 and len(kinds) == 1 and None not in kinds:
        text += f" (cpu_{kinds.pop()})"
    return text


def state_text(state: MsrState) -> str:
    """Return what is known of an MSR: its value, an errno, "absent" or "not recorded"."""
    if isinstance(state, int):
        return f"{state:#018x}"
    return state.value.replace("_", " ") if isinstance(state, Missing) else f"failed ({state.errno})"


def msr_states(inventory: Inventory, index: int) -> list[tuple[str, str]]:
    """Return each state of an MSR with the CPUs that it is of, in words; "" for these where it is of all.

    What failed or was not recorded comes last.
    """
    by_state = _by_cpus(inventory, lambda group: group.decoded.msrs.get(index, Missing.NOT_RECORDED))
    states = sorted(by_state, key=lambda state: isinstance(state, Failed) or state is Missing.NOT_RECORDED)
    if len(states) == 1:
        return [(state_text(states[0]), "")]
    return [(state_text(state), describe_cpus(inventory.host, by_state[state])) for state in states]


ON: Final = "on"
OFF: Final = "off"
UNKNOWN: Final = "unknown"
DIFFERS: Final = "differs"
CLEARABLE: Final = ControlState.DEFAULT1_CLEARABLE.value
FORCED: Final = ControlState.FORCED.value
INVALID: Final = ControlState.INVALID.value
_CONTROL_WORDS: Final = {ControlState.OPTIONAL: ON, ControlState.UNAVAILABLE: OFF}
_PRESENCE_WORDS: Final = {Presence.PRESENT: ON, Presence.ABSENT: OFF}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a feature stands on a host, for people.

    word: on (software can set it, or need not), off (it cannot), default1-clearable, forced and invalid (decode.py,
    ControlState), unknown, or differs where CPUs disagree. details: what else there is to say, one thing each.
    """

    word: str
    details: tuple[str, ...]


def standing(inventory: Inventory, feature: Feature) -> Standing:
    """Return how a feature stands on a host."""
    found = _stands(inventory, lambda group: state_here(group, feature))
    unused = next((each.parameter for each in inventory.kvm_unused if each.feature == feature.name), None)
    more = (f"left off by KVM ({unused})" if unused else "", _guests(inventory, feature.name))
    return Standing(found.word, (*found.details, *(text for text in more if text)))


def firmware_bits(inventory: Inventory) -> dict[str, Standing]:
    """Return how each bit of IA32_FEATURE_CONTROL stands, by name; none where no CPU's value is known."""
    rows = (row for row in MSR_BY_INDEX[IA32_FEATURE_CONTROL].rows if isinstance(row, Flag))
    told = [row for row in rows if row.name in inventory.feature_control]
    return {row.name: _stands(inventory, functools.partial(_firmware_bit, bit=row.bit)) for row in told}


def _firmware_bit(group: Group, bit: int) -> tuple[str, str]:
    state = group.decoded.msrs[IA32_FEATURE_CONTROL]
    if isinstance(state, int):
        return (OFF, ON)[state >> bit & 1], ""
    return (OFF, "MSR absent") if state is Missing.ABSENT else (UNKNOWN, state_text(state))


def _stands(inventory: Inventory, describe: Callable[[Group], tuple[str, str]]) -> Standing:
    """Return how a bit stands, of which describe() says the state on a group's CPUs, and why."""
    states = _by_cpus(inventory, describe)
    known = {word for word, _ in states} - {UNKNOWN}
    word = DIFFERS if len(known) > 1 else known.pop() if known else UNKNOWN
    return Standing(
        word, tuple(text for state, cpus in states.items() if (text := _said(inventory, word, state, cpus)))
    )


def _said(inventory: Inventory, word: str, state: tuple[str, str], cpus: Collection[int]) -> str:
    """Return what remains to be said of a state beside the word that stands for all of them."""
    here, why = state
    where = (
        describe_cpus(inventory.host, cpus) if len(cpus) < sum(len(group.cpus) for group in inventory.groups) else ""
    )
    if here == word:
        return "" if where else why
    return f"{where} {here}" + (f": {why}" if why else "")


def state_here(group: Group, feature: Feature) -> tuple[str, str]:
    """Return a feature's state on a group's CPUs, and why where that is not plain."""
    presence = group.decoded.features[feature.name]
    if presence in (Presence.FAILED, Presence.NOT_RECORDED):
        return UNKNOWN, presence.value.replace("_", " ")
    if feature.msr is not None and group.decoded.msrs[feature.msr.index] is Missing.ABSENT:
        return OFF, "MSR absent"
    control = group.decoded.controls.get(feature.name)
    return (_CONTROL_WORDS.get(control, control.value) if control else _PRESENCE_WORDS[presence]), ""


def _guests(inventory: Inventory, name: str) -> str:
    """Say whether guests get a feature, where KVM was asked and that is not what the CPUs say."""
    if inventory.nested is None or inventory.nested.status is not NestedStatus.OFFERED:
        return ""
    here, there = inventory.features[name].value, inventory.nested.values[name]
    if there is None or here is there:
        return ""
    return "for guests" if there else "not for guests"


State = TypeVar("State", bound=Hashable)


def _by_cpus(inventory: Inventory, describe: Callable[[Group], State]) -> dict[State, tuple[int, ...]]:
    """Return each thing that is so, with the CPUs that it is so on."""
    found: dict[State, list[int]] = {}
    for group in inventory.groups:
        found.setdefault(describe(group), []).extend(group.cpus)
    return {state: tuple(sorted(cpus)) for state, cpus in found.items()}


def condition(msr: Msr) -> str:
    """Return when an MSR exists, where VMX is: the bits, and those that their own MSRs take."""
    if not msr.exists_if:
        return "there is VMX"
    outer = dict.fromkeys(condition(above) for bit in msr.exists_if if (above := MSR_BY_INDEX[bit.msr]).exists_if)
    return ", and so ".join((" or ".join(_is_set(bit) for bit in msr.exists_if), *outer))


def _is_set(bit: Bit) -> str:
    location = f"{msr_name(bit.msr)}[{bit.bit}]"
    named = next((f" ({feature.name})" for feature in FEATURES.values() if feature.location == location), "")
    return f"{location} = 1{named}"
