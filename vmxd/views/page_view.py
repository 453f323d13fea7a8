"""An Inventory as what the page shows: text and small tables, whatever the number of CPUs. page.py lays it out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from vmxd import cpulist
from vmxd.model.answers import consistent
from vmxd.model.facts import Failed, Missing
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import NestedStatus
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.errnos import explain, explain_kvm
from vmxd.tables.kvm import KVM_PARAMETERS
from vmxd.tables.msrs import MSRS
from vmxd.tables.rows import Field, Flag, Layout, Msr, Unnamed
from vmxd.views.words import (
    CLEARABLE,
    DIFFERS,
    FORCED,
    INVALID,
    OFF,
    ON,
    UNKNOWN,
    describe_cpus,
    firmware_bits,
    parameter_text,
    state_here,
    state_text,
)

STATES: Final = {
    ON: "software may use it",
    CLEARABLE: "on; once always 1, and may be 0 here by the TRUE MSR",
    FORCED: "on, and may not be 0",
    OFF: "not there, or its MSR does not exist",
    DIFFERS: "some CPUs have it, others have not",
    UNKNOWN: "not read or not recorded; this never means off",
    INVALID: "must be 0 and must be 1: a fault of the CPU or hypervisor",
}
"""The states of a feature, and what they mean."""
REGISTERS: Final = {
    "CR0": {0: "PE", 1: "MP", 2: "EM", 3: "TS", 4: "ET", 5: "NE", 16: "WP", 18: "AM", 29: "NW", 30: "CD", 31: "PG"},
    "CR4": {0: "VME", 1: "PVI", 2: "TSD", 3: "DE", 4: "PSE", 5: "PAE", 6: "MCE", 7: "PGE", 8: "PCE", 9: "OSFXSR",
            10: "OSXMMEXCPT", 11: "UMIP", 12: "LA57", 13: "VMXE", 14: "SMXE", 16: "FSGSBASE", 17: "PCIDE",
            18: "OSXSAVE", 19: "KL", 20: "SMEP", 21: "SMAP", 22: "PKE", 23: "CET", 24: "PKS", 25: "UINTR", 27: "LASS",
            28: "LAM_SUP", 32: "FRED"},
}  # fmt: skip
"""The bits of CR0 and CR4, SDM Vol. 3A 2.5: those of IA32_VMX_CR0_FIXED0 and its like."""
_ON: Final = frozenset((ON, CLEARABLE, FORCED))
_VALUES_MAX: Final = 6
"""Distinct values of one MSR that are shown; a host that is whole has one, a hybrid one two."""


class FeatureRow(NamedTuple):
    """One feature.

    key: what the filter goes by; on, off, differs or unknown. guests: None where KVM was not asked. is_shown: whether
    /proc/cpuinfo has it, under this name. places: MSR[bit] with name and with index, for the search.
    """

    name: str
    bit: str
    sdm: str
    state: str
    key: str
    notes: tuple[str, ...]
    guests: str | None
    is_shown: bool
    names: tuple[str, ...]
    places: str
    caveats: tuple[str, ...]


class MsrGroup(NamedTuple):
    """The features that stand in one MSR; the derived ones stand in none. on: how many, None where none is known."""

    name: str
    short: str
    address: str
    sdm: str
    on: int | None
    rows: tuple[FeatureRow, ...]
    numbers: tuple[tuple[str, int], ...]


class SetBit(NamedTuple):
    """A bit, or a field, of a value: position as text, what it is, and where it stands (bit 63 at the left)."""

    bit: str
    text: str
    is_unknown: bool
    high: int
    low: int


class MsrValue(NamedTuple):
    """One value of an MSR, or why there is none. cpus: "" where all CPUs agree."""

    text: str
    cpus: str
    bits: tuple[SetBit, ...]


class MsrRow(NamedTuple):
    """One MSR and what was read. more: how many further values there are."""

    address: str
    name: str
    values: tuple[MsrValue, ...]
    more: int


class Finding(NamedTuple):
    """Something to look at. tone: bad, odd or note."""

    tone: str
    title: str
    text: str


class ParameterRow(NamedTuple):
    """One parameter of kvm_intel. unused: features that every CPU has and that it leaves off."""

    name: str
    value: str
    features: tuple[str, ...]
    unused: tuple[str, ...]
    is_doubted: bool


def counts(groups: tuple[MsrGroup, ...]) -> dict[str, int]:
    """Return how many features are on, off, differ, and are not known."""
    keys = [row.key for group in groups for row in group.rows]
    return {key: keys.count(key) for key in (ON, OFF, DIFFERS, UNKNOWN)}


def feature_groups(inventory: Inventory) -> tuple[MsrGroup, ...]:
    """Return every feature, by MSR in the order of the SDM, the derived ones last."""
    unused = {each.feature: each.parameter for each in inventory.kvm_unused}
    by_msr: dict[int | None, list[FeatureRow]] = {}
    for feature in FEATURES.values():
        index = None if feature.msr is None else feature.msr.index
        by_msr.setdefault(index, []).append(_feature(inventory, feature, unused.get(feature.name)))
    return tuple(
        _group(inventory, None if index is None else MSR_BY_INDEX[index], rows) for index, rows in by_msr.items()
    )


def _group(inventory: Inventory, msr: Msr | None, rows: list[FeatureRow]) -> MsrGroup:
    keys = [row.key for row in rows]
    on = None if set(keys) == {UNKNOWN} else keys.count(ON)
    if msr is None:
        return MsrGroup("Derived", "derived", "", "features that are no single bit", on, tuple(rows), ())
    numbers = [
        (row.name, inventory.fields[row.name])
        for row in msr.rows
        if isinstance(row, Field) and row.name in inventory.fields and not _is_whole(row)
    ]
    sdm = f"SDM Vol. 3D {msr.sdm}"
    return MsrGroup(msr.name, _short(msr), f"{msr.index:#x}", sdm, on, tuple(rows), tuple(numbers))


def _short(msr: Msr) -> str:
    return msr.name.removeprefix("IA32_").removeprefix("VMX_")


def _feature(inventory: Inventory, feature: Feature, parameter: str | None) -> FeatureRow:
    cpus: dict[tuple[str, str], list[int]] = {}
    for group in inventory.groups:
        cpus.setdefault(state_here(group, feature), []).extend(group.cpus)
    words = {state for state, _ in cpus}
    known = words - {UNKNOWN}
    if len(known) == 1:
        state = known.pop()
    elif known <= _ON and known:
        state = ON
    else:
        state = DIFFERS if known else UNKNOWN
    if len(cpus) == 1:
        notes = [why for _, why in cpus if why]
    else:
        notes = [
            f"{describe_cpus(inventory.host, at)}: {word}{f', {why}' if why else ''}"
            for (word, why), at in cpus.items()
        ]
    if parameter:
        notes.append(f"not used by KVM: {parameter}")
    row = feature.row
    return FeatureRow(
        name=feature.name,
        bit=str(row.bit) if isinstance(row, Flag) else "",
        sdm=row.sdm,
        state=state,
        key=ON if state in _ON else OFF if state == INVALID else state,
        notes=tuple(notes),
        guests=_guests(inventory, feature.name),
        is_shown=feature.cpuinfo_flag is not None,
        names=tuple(_names(feature)),
        places=_places(feature),
        caveats=CAVEATS.get(feature.name, ()),
    )


def _guests(inventory: Inventory, name: str) -> str | None:
    nested = inventory.nested
    if nested is None or nested.status is not NestedStatus.OFFERED:
        return None
    return {True: "yes", False: "no", None: "unknown"}[nested.values[name]]


def _names(feature: Feature) -> Iterator[str]:
    row = feature.row
    if feature.linux_name:
        yield feature.linux_name
    if feature.macro:
        yield feature.macro
    if row.qemu == row.libvirt:
        if row.qemu:
            yield row.qemu
    else:
        if row.qemu:
            yield f"{row.qemu} (QEMU)"
        if row.libvirt:
            yield f"{row.libvirt} (libvirt)"


def _places(feature: Feature) -> str:
    row, msr = feature.row, feature.msr
    if msr is None or not isinstance(row, Flag):
        return ""
    bit = msr.feature_bit(row)
    return f"{msr.name}[{bit}] {msr.index:#x}[{bit}]"


# Findings ---------------------------------------------------------------------------------------------------------


def findings(inventory: Inventory) -> tuple[Finding, ...]:
    """Return what is wrong or odd, the worst first."""
    return (*_bad(inventory), *_odd(inventory), *(Finding("note", "Note", note) for note in inventory.host.notes))


def _bad(inventory: Inventory) -> Iterator[Finding]:
    for name, count in inventory.failures.items():
        reads = "1 read" if count == 1 else f"{count} reads"
        errno = explain(name)
        yield Finding("bad", f"{reads} failed", f"{errno.meaning} ({name}) on {cpulist.describe(inventory.failed)}.")
    if inventory.inconsistent:
        reasons = "; ".join(reason.text for reason in consistent(inventory).against)
        yield Finding("odd", "CPUs differ", f"{reasons}.")
    for each in inventory.violations:
        text = f"“{each.rule.says}” does not hold on {cpulist.describe(each.cpus)}."
        yield Finding("bad", f"Rule broken: {each.rule.name}", text)


def _odd(inventory: Inventory) -> Iterator[Finding]:
    unknown = [f"{msr_name(index)}[{_bits(mask)}]" for index, mask in inventory.unknown.items() if mask]
    if unknown:
        yield Finding("odd", "Unknown bits", f"Set, and no source names them: {', '.join(unknown)}.")
    parameters = inventory.host.kvm_parameters
    if isinstance(parameters, Missing):
        return
    for name in dict.fromkeys(each.parameter for each in inventory.kvm_unused):
        features = ", ".join(each.feature for each in inventory.kvm_unused if each.parameter == name)
        value = parameter_text(parameters[name])
        yield Finding("odd", "Not used by KVM", f"{name}={value} leaves off what every CPU has: {features}.")


def _bits(mask: int) -> str:
    return ",".join(str(bit) for bit in range(64) if mask >> bit & 1)


def firmware(inventory: Inventory) -> str:
    """Return what IA32_FEATURE_CONTROL says, in a line."""
    if bits := firmware_bits(inventory):
        on, some = (", ".join(name for name, bit in bits.items() if bit.word == word) for word in (ON, DIFFERS))
        return f"{on or 'no bit'} set" + (f"; {some} on some CPUs only" if some else "")
    states = {group.decoded.msrs[IA32_FEATURE_CONTROL] for group in inventory.groups}
    if states == {Missing.ABSENT}:
        return "absent"
    return "could not be read" if any(isinstance(state, Failed) for state in states) else "not recorded"


def nested_text(inventory: Inventory) -> str:
    """Return what guests are offered, in a sentence; "" where KVM was not asked."""
    nested = inventory.nested
    if nested is None:
        return ""
    if nested.errno is not None:
        errno = explain_kvm(nested.errno)
        return f"What KVM offers to guests is not known: {errno.meaning} ({errno.name}). Hint: {errno.hint}."
    if nested.status is NestedStatus.NOT_OFFERED:
        return "KVM offers no VMX to guests."
    values = list(nested.values.values())
    return f"KVM offers {values.count(True)} of {len(values)} features to guests."


def parameter_rows(inventory: Inventory) -> tuple[ParameterRow, ...]:
    """Return the parameters of kvm_intel, those that stand for features first."""
    parameters = inventory.host.kvm_parameters
    if isinstance(parameters, Missing):
        return ()
    names = [name for name in KVM_PARAMETERS if name in parameters]
    names += sorted(parameters.keys() - KVM_PARAMETERS.keys())
    return tuple(
        ParameterRow(
            name=name,
            value=parameter_text(parameters[name]),
            features=tuple(KVM_PARAMETERS[name].features.split()) if name in KVM_PARAMETERS else (),
            unused=tuple(each.feature for each in inventory.kvm_unused if each.parameter == name),
            is_doubted=name in inventory.kvm_doubted,
        )
        for name in names
    )


# Raw values -------------------------------------------------------------------------------------------------------


def msr_rows(inventory: Inventory) -> tuple[MsrRow, ...]:
    """Return every MSR of the tables, and others that were recorded, with its values and what their bits are."""
    indexes = dict.fromkeys((*(msr.index for msr in MSRS), *inventory.unknown))
    return tuple(_msr(inventory, index) for index in indexes)


def _msr(inventory: Inventory, index: int) -> MsrRow:
    texts: dict[str, tuple[int | None, list[int]]] = {}
    for group in inventory.groups:
        state = group.decoded.msrs.get(index, Missing.NOT_RECORDED)
        value = state if isinstance(state, int) else None
        texts.setdefault(state_text(state), (value, []))[1].extend(group.cpus)
    ranked = sorted(texts.items(), key=lambda item: -len(item[1][1]))
    shown = tuple(
        MsrValue(
            text,
            describe_cpus(inventory.host, cpus) if len(texts) > 1 else "",
            () if value is None else tuple(_set_bits(index, value)),
        )
        for text, (value, cpus) in ranked[:_VALUES_MAX]
    )
    return MsrRow(f"{index:#x}", msr_name(index), shown, max(0, len(texts) - _VALUES_MAX))


def _set_bits(index: int, value: int) -> Iterator[SetBit]:
    """Yield what is set in a value, the highest bit first."""
    msr = MSR_BY_INDEX.get(index)
    rows = msr.rows if msr else ()
    fields = {row.high: row for row in rows if isinstance(row, Field) and not _is_whole(row)}
    bit = 63
    while bit >= 0:
        if (field := fields.get(bit)) is not None:
            if value & field.mask:
                text = f"{field.name} = {field.get(value)}"
                yield SetBit(f"{field.high}:{field.low}", text, False, field.high, field.low)
            bit = field.low
        elif value >> bit & 1:
            text, is_unknown = _bit(msr, bit)
            yield SetBit(str(bit), text, is_unknown, bit, bit)
        bit -= 1


def _is_whole(row: Field) -> bool:
    """Return whether a field is a whole MSR: those of CR0 and CR4, whose bits are the register's."""
    return row.high - row.low == 63


def _bit(msr: Msr | None, bit: int) -> tuple[str, bool]:
    """Return what a bit is, and whether that is not known."""
    if msr is None:
        return "unknown", True
    if (register := msr.name.removeprefix("IA32_VMX_")[:3]) in REGISTERS:
        return f"{register}.{REGISTERS[register].get(bit, bit)}", False
    controls = msr.layout is Layout.CONTROLS
    place = bit % 32 if controls else bit
    must = ", must be 1" if controls and bit < 32 else ""
    for row in msr.rows:
        if isinstance(row, Flag) and row.bit == place:
            return row.name + must, False
        if isinstance(row, Unnamed) and row.bit == place:
            return f"unnamed, {row.note}", True
    if controls and msr.default1 >> place & 1:
        return f"default1 control {place}{must}", False
    return "unknown", True
