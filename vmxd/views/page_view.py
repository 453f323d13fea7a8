"""An Inventory as the page shows it: small tables, whatever the number of CPUs. page.py renders them."""

from __future__ import annotations

from typing import Final, NamedTuple

from vmxd.model.attribution import Attribution, missing
from vmxd.model.facts import Failed, Missing
from vmxd.model.findings import (
    BrokenRule,
    CpusDiffer,
    Doubted,
    FailedReads,
    Finding,
    FlagDiffers,
    Judged,
    KvmAnswersOtherwise,
    KvmRefuses,
    LeftOff,
    MicrocodesDiffer,
    Note,
    UnknownBits,
    UnlikeItsKind,
)
from vmxd.model.findings import findings as findings_of
from vmxd.model.guest import Source
from vmxd.model.inventory import Inventory
from vmxd.model.offer import Offer, offer
from vmxd.model.states import State
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.bits import Bits, is_whole, set_bits
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.kvm import KVM_PARAMETERS
from vmxd.tables.msrs import MSRS
from vmxd.tables.purpose import PURPOSE
from vmxd.tables.rows import Field, Flag, Msr
from vmxd.views.finding_words import sentence
from vmxd.views.words import describe_cpus, feature_details, other_names, parameter_text, state_text

STATES: Final = {
    State.ON: "software may use it on every CPU",
    State.DEFAULT1_CLEARABLE: "on; once always 1, and may be 0 here by the TRUE MSR",
    State.FORCED: "on, and may not be 0",
    State.OFF: "not there, or its MSR does not exist",
    State.DIFFERS: "some CPUs have it, others have not",
    State.UNKNOWN: "not read or not recorded; this never means off",
    State.INVALID: "must be 0 and must be 1: a fault of the CPU or hypervisor",
}
"""The states of a feature, and what they mean."""
_VALUES_MAX: Final = 6
"""Distinct values of one MSR that are shown; a host that is whole has one, a hybrid one two."""


class FeatureRow(NamedTuple):
    """One feature.

    key: what the filter goes by; on, off, differs or unknown. guests: None where it is not known what a VM gets.
    is_shown: whether /proc/cpuinfo has it, under this name. places: MSR[bit] with name and with index, for the search.
    purpose: what it is for, "" of those that matter less.
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
    purpose: str
    caveats: tuple[str, ...]


class MsrGroup(NamedTuple):
    """The features that stand in one MSR; the derived ones stand in none.

    on: how many, None where none is known. notes: what is to be said of every one of them, and is not in its row.
    """

    name: str
    short: str
    address: str
    sdm: str
    on: int | None
    rows: tuple[FeatureRow, ...]
    numbers: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]


class MsrValue(NamedTuple):
    """One value of an MSR, or why there is none. cpus: "" if all CPUs agree. bits: what is set, and in words."""

    text: str
    cpus: str
    bits: tuple[tuple[Bits, str], ...]


class MsrRow(NamedTuple):
    """One MSR and what was read. more: how many further values there are."""

    address: str
    name: str
    values: tuple[MsrValue, ...]
    more: int


class ParameterRow(NamedTuple):
    """One parameter of kvm_intel. unused: features that every CPU has and that it leaves off."""

    name: str
    value: str
    features: tuple[str, ...]
    unused: tuple[str, ...]
    is_doubted: bool


def counts(groups: tuple[MsrGroup, ...]) -> dict[str, int]:
    """Count the features that are on, off, differ, and are not known."""
    keys = [row.key for group in groups for row in group.rows]
    return {state.value: keys.count(state.value) for state in (State.ON, State.OFF, State.DIFFERS, State.UNKNOWN)}


def feature_groups(inventory: Inventory) -> tuple[MsrGroup, ...]:
    """Put every feature under its MSR, in the order of the SDM, the derived ones last."""
    by_msr: dict[int | None, list[FeatureRow]] = {}
    why, found = missing(inventory), offer(inventory)
    for feature in FEATURES.values():
        row = _feature(inventory, feature, found, why.get(feature.name))
        by_msr.setdefault(feature.msr.index if feature.msr else None, []).append(row)
    return tuple(
        _group(inventory, None if index is None else MSR_BY_INDEX[index], rows) for index, rows in by_msr.items()
    )


def _group(inventory: Inventory, msr: Msr | None, rows: list[FeatureRow]) -> MsrGroup:
    keys = [row.key for row in rows]
    on = None if set(keys) == {State.UNKNOWN.value} else keys.count(State.ON.value)
    notes = tuple(note for note in rows[0].notes if all(note in row.notes for row in rows)) if len(rows) > 1 else ()
    rows = [row._replace(notes=tuple(note for note in row.notes if note not in notes)) for row in rows]
    if msr is None:
        return MsrGroup("Derived", "derived", "", "features that are no single bit", on, tuple(rows), (), notes)
    numbers = [
        (row.name, inventory.fields[row.name])
        for row in msr.rows
        if isinstance(row, Field) and row.name in inventory.fields and not is_whole(row)
    ]
    sdm = f"SDM Vol. 3D {msr.sdm}"
    return MsrGroup(msr.name, _short(msr), f"{msr.index:#x}", sdm, on, tuple(rows), tuple(numbers), notes)


def _short(msr: Msr) -> str:
    return msr.name.removeprefix("IA32_").removeprefix("VMX_")


def _feature(inventory: Inventory, feature: Feature, found: Offer, why: Attribution | None) -> FeatureRow:
    row, state = feature.row, inventory.features[feature.name].state
    plain = {True: State.ON, False: State.OFF, None: State.UNKNOWN}[state.usable]
    return FeatureRow(
        name=feature.name,
        bit=str(row.bit) if isinstance(row, Flag) else "",
        sdm=row.sdm,
        state=state.value,
        key=(state if state is State.DIFFERS else plain).value,
        notes=tuple(feature_details(inventory, feature.name, found, why)),
        guests=_guests(found, feature.name),
        is_shown=feature.cpuinfo_flag is not None,
        names=tuple(name for name in other_names(feature) if not name.endswith(" (cpuinfo)")),
        places=_places(feature),
        purpose=PURPOSE.get(feature.name, ""),
        caveats=CAVEATS.get(feature.name, ()),
    )


def _guests(found: Offer, name: str) -> str | None:
    if found.source is Source.UNKNOWN or found.expected is None:
        return None
    return {True: "yes", False: "no", None: "unknown"}[found.features[name]]


def _places(feature: Feature) -> str:
    row, msr = feature.row, feature.msr
    if msr is None or not isinstance(row, Flag):
        return ""
    bit = msr.feature_bit(row)
    return f"{msr.name}[{bit}] {msr.index:#x}[{bit}]"


# Findings ---------------------------------------------------------------------------------------------------------

_TITLES: Final[dict[type[Finding], tuple[str, str]]] = {
    FailedReads: ("bad", "Reads failed"),
    CpusDiffer: ("odd", "CPUs differ"),
    MicrocodesDiffer: ("odd", "Microcode differs"),
    BrokenRule: ("bad", "Rule broken"),
    UnknownBits: ("odd", "Unknown bits"),
    UnlikeItsKind: ("odd", "Unlike its kind"),
    KvmRefuses: ("bad", "KVM does not load"),
    FlagDiffers: ("bad", "CPU flags differ"),
    KvmAnswersOtherwise: ("odd", "KVM answers otherwise"),
    LeftOff: ("odd", "Left off by KVM"),
    Doubted: ("note", "Maybe left off by KVM"),
    Note: ("note", "Note"),
}


def findings(inventory: Inventory) -> list[tuple[str, str, str]]:
    """Say each finding: tone (bad, odd or note), title, sentence; the status stands above them."""
    found = (each for each in findings_of(inventory) if not isinstance(each, Judged))
    return [(*_TITLES[type(each)], f"{sentence(each)}.") for each in found]


def firmware(inventory: Inventory) -> str:
    """Say in a line which bits of IA32_FEATURE_CONTROL are set."""
    if bits := inventory.firmware:
        on, some = (
            ", ".join(name for name, bit in bits.items() if bit.state is state) for state in (State.ON, State.DIFFERS)
        )
        return f"{on or 'no bit'} set" + (f"; {some} on some CPUs only" if some else "")
    states = inventory.msr_states(IA32_FEATURE_CONTROL)
    if states.keys() == {Missing.ABSENT}:
        return "absent"
    return "could not be read" if any(isinstance(state, Failed) for state in states) else "not recorded"


def parameter_rows(inventory: Inventory) -> tuple[ParameterRow, ...]:
    """List the parameters of kvm_intel, those that stand for features first."""
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
    """List every MSR of the tables, and others that were recorded, with its values and what their bits are."""
    indexes = dict.fromkeys((*(msr.index for msr in MSRS), *inventory.unknown))
    return tuple(_msr(inventory, index) for index in indexes)


def _msr(inventory: Inventory, index: int) -> MsrRow:
    states = inventory.msr_states(index)
    ranked = sorted(states.items(), key=lambda item: -len(item[1]))
    shown = tuple(
        MsrValue(
            state_text(state),
            describe_cpus(inventory.host, cpus) if len(states) > 1 else "",
            tuple((bits, _bits_text(bits, state)) for bits in set_bits(MSR_BY_INDEX.get(index), state))
            if isinstance(state, int)
            else (),
        )
        for state, cpus in ranked[:_VALUES_MAX]
    )
    return MsrRow(f"{index:#x}", msr_name(index), shown, max(0, len(states) - _VALUES_MAX))


def _bits_text(bits: Bits, value: int) -> str:
    return f"{bits.name} = {bits.row.get(value)}" if isinstance(bits.row, Field) else bits.name
