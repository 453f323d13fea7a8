"""An Inventory as plain text: a summary, then every feature by MSR in SDM order, with its state where CPUs agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from vmxd import cpulist
from vmxd.compare import Group
from vmxd.facts import Missing, Parameter, Source
from vmxd.inventory import Inventory
from vmxd.kvm import NestedStatus
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, Feature, msr_name
from vmxd.tables.errnos import explain, explain_kvm
from vmxd.tables.msrs import MSRS
from vmxd.tables.rows import Field, Msr

_VALUE: Final = {True: "yes", False: "no", None: "?"}
_WIDTH: Final = max(len(name) for name in FEATURES)


def to_text(inventory: Inventory) -> str:
    """Return the text that ``vmxd show`` prints, newline at the end."""
    return "\n".join([*_summary(inventory), *_features(inventory)]) + "\n"


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
    lines += [("note", note) for note in host.notes]
    lines.append(("features", _feature_counts(inventory)))
    lines.append(("fingerprint", identity.fingerprint or "none, no capability MSR is known"))
    return lines


def _summary(inventory: Inventory) -> Iterator[str]:
    return (f"{word:<12}{text}".rstrip() for word, text in summary_lines(inventory))


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
        count = len(inventory.comparable)
        return "yes" if count > 1 else "only one CPU is known" if count else "not known"
    cpus = tuple(inventory.inconsistent)
    names = dict.fromkeys(msr_name(index) for indexes in inventory.inconsistent.values() for index in indexes)
    features = ", ".join(feature.name for feature in inventory.differing) or "no named feature"
    return (
        f"no: {cpulist.describe(cpus)} {'differs' if len(cpus) == 1 else 'differ'} in {', '.join(names)} ({features})"
    )


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


def _feature_counts(inventory: Inventory) -> str:
    values = [feature.value for feature in inventory.features.values()]
    text = f"{values.count(True)} of {len(values)} on every CPU"
    return text + (f", {values.count(None)} not known" if None in values else "")


def _features(inventory: Inventory) -> Iterator[str]:
    for msr in MSRS:
        if msr.twin_of is None:
            yield from ("", _msr_heading(inventory, msr))
            yield from _fields(inventory, msr)
            if msr.index == IA32_FEATURE_CONTROL:
                yield from (_row(name, "yes" if is_set else "no") for name, is_set in inventory.feature_control.items())
            yield from (_feature(inventory, feature) for feature in FEATURES.values() if feature.msr is msr)
    yield from ("", "derived")
    yield from (_feature(inventory, feature) for feature in FEATURES.values() if feature.msr is None)


def _row(name: str, value: str, state: str = "") -> str:
    return f"  {name:<{_WIDTH}}  {value:<4} {state}".rstrip()


def _msr_heading(inventory: Inventory, msr: Msr) -> str:
    """Name, index and values of an MSR, those of its TRUE twin behind a slash."""
    texts = [_by_cpus(inventory, lambda group: state_text(group, msr.index))]
    if (true := msr.true) is not None and true in inventory.msrs:
        texts.append("TRUE " + _by_cpus(inventory, lambda group: state_text(group, true)))
    return f"{msr.name} ({msr.index:#x})  {' / '.join(texts)}"


def _fields(inventory: Inventory, msr: Msr) -> Iterator[str]:
    """Yield the numbers that an MSR holds; one that is the whole MSR stands in its heading already."""
    rows = (row for row in msr.rows if isinstance(row, Field) and row.name in inventory.fields)
    return (_row(row.name, str(inventory.fields[row.name])) for row in rows if row.high - row.low < 63)


def _feature(inventory: Inventory, feature: Feature) -> str:
    value = _VALUE[inventory.features[feature.name].value]
    state = _by_cpus(inventory, lambda group: feature_text(group, feature))
    shown = ["" if state in ("present", "absent") else state, _guests(inventory, feature.name)]
    return _row(feature.name, value, ", ".join(filter(None, shown)))


def _guests(inventory: Inventory, name: str) -> str:
    """Say whether guests get a feature, where KVM was asked and that is not what the CPUs say."""
    if inventory.nested is None or inventory.nested.status is not NestedStatus.OFFERED:
        return ""
    here, there = inventory.features[name].value, inventory.nested.values[name]
    if there is None or here is there:
        return ""
    return "for guests" if there else "not for guests"


def _by_cpus(inventory: Inventory, describe: Callable[[Group], str]) -> str:
    """Say one thing where all groups agree, else each thing with the CPUs that it holds for."""
    texts: dict[str, list[int]] = {}
    for group in inventory.groups:
        texts.setdefault(describe(group), []).extend(group.cpus)
    if len(texts) == 1:
        return next(iter(texts))
    return "; ".join(f"{text} on {cpulist.describe(tuple(sorted(cpus)))}" for text, cpus in texts.items())


def state_text(group: Group, index: int) -> str:
    """Return what is known of an MSR on a group's CPUs: its value, an errno, "absent" or "not recorded"."""
    state = group.decoded.msrs.get(index, Missing.NOT_RECORDED)
    if isinstance(state, int):
        return f"{state:#018x}"
    return state.value.replace("_", " ") if isinstance(state, Missing) else f"failed ({state.errno})"


def feature_text(group: Group, feature: Feature) -> str:
    """Return a feature's state on a group's CPUs: that of its control, or why it has none, or whether it is there."""
    if feature.msr is not None and group.decoded.msrs[feature.msr.index] is Missing.ABSENT:
        return "MSR absent"
    control = group.decoded.controls.get(feature.name)
    return control.value if control else group.decoded.features[feature.name].value.replace("_", " ")
