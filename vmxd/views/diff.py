"""What ``vmxd diff`` prints: two hosts, or two CPUs, and what differs, by MSR in SDM order; the same as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

import vmxd
from vmxd.cpulist import format_cpus
from vmxd.model.compare import cpus_of
from vmxd.model.difference import HostDifference, Values
from vmxd.model.facts import Missing, Source
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import NestedStatus
from vmxd.model.states import State
from vmxd.tables import FEATURES, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.bits import Bits, is_whole, set_bits
from vmxd.tables.msrs import MSRS
from vmxd.tables.rows import Field, Flag, Layout, Msr
from vmxd.tables.vmx_h import MACROS
from vmxd.views.json import Json, feature_state, host_document, msr_state
from vmxd.views.lines import Line, Tone, beside
from vmxd.views.show import WORD_TONES
from vmxd.views.words import count, msr_states, parameter_text

DIFF_SCHEMA: Final = "vmxd.diff/1"

_LABEL: Final = 12
_NAME: Final = max(len(name) for name in FEATURES)
_VALUE: Final = 20
_MSR: Final = max(len(msr.name) for msr in MSR_BY_INDEX.values())
_WORDS: Final = {True: State.ON.value, False: State.OFF.value, None: State.UNKNOWN.value}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its inventory, and the CPU where it is one CPU of a host."""

    inventory: Inventory
    cpu: int | None


# As text ----------------------------------------------------------------------------------------------------------


def diff_lines(one: Side, other: Side, found: HostDifference, width: int | None = None) -> list[Line]:
    """Lay out what differs. width: columns of the terminal; None: do not wrap."""
    lines: list[Line] = []
    for word, side in (("A", one), ("B", other)):
        where, what = _side(side)
        lines += _labelled(word, where, Tone.PLAIN, width) + _labelled("", what, Tone.PLAIN, width)
    for word, text, tone in _answer(one.inventory, other.inventory, found):
        lines += _labelled(word, text, tone, width)
    first = True
    for title, rows in _tables(one.inventory, other.inventory, found):
        section = list(rows)
        if section or isinstance(title, Msr):
            lines.append(())
            if first:
                lines += _row("", "A", "B", width, Tone.TITLE)
                first = False
            lines += _heading(title, one.inventory, other.inventory, found, width)
            lines += [line for row in section for line in _row(f"  {row[0]}", *row[1:], width)]
    return lines


def _labelled(word: str, text: str, tone: Tone, width: int | None) -> list[Line]:
    return beside([(f"{word:<{_LABEL}}", Tone.TITLE)], (text, tone), _LABEL, width)


def _side(side: Side) -> tuple[str, str]:
    inventory, host = side.inventory, side.inventory.host
    cpu = "" if side.cpu is None else f", CPU {side.cpu}"
    kind = "recording " if host.source is Source.RECORDING else ""
    return f"{kind}{host.root}{cpu}", inventory.identity.model_name or "unknown model"


def _answer(one: Inventory, other: Inventory, found: HostDifference) -> Iterator[tuple[str, str, Tone]]:
    counts = [
        (len(found.features.differing), "feature"),
        (len(found.msrs.differing), "MSR"),
        (len(found.nested.differing) if found.nested else 0, "feature for guests"),
    ]
    if found.differs:
        yield "differ", ", ".join(count(number, noun) for number, noun in counts if number), Tone.BAD
    elif found.differs is None:
        yield "differ", "not in anything that is known of both", Tone.DOUBT
    else:
        yield "differ", "in no feature and no value", Tone.GOOD
    yield from _not_known(found)
    if (one.nested is None) is not (other.nested is None):
        yield "guests", f"what KVM offers them is not known of {'A' if one.nested is None else 'B'}", Tone.DOUBT


def _not_known(found: HostDifference) -> Iterator[tuple[str, str, Tone]]:
    """Yield what cannot be compared; MSRs whose features are named are not named again."""
    features, msrs = found.features.unknown, found.msrs.unknown
    counts = [
        (sum(_one_sided(pair) for pair in features.values()), "feature"),
        (sum(_one_sided(pair) for pair in msrs.values()), "MSR"),
    ]
    if one_sided := [count(number, noun) for number, noun in counts if number]:
        yield "not known", f"of one of them: {', '.join(one_sided)}", Tone.DOUBT
    neither = [name for name, pair in features.items() if not _one_sided(pair)]
    told = {msr.index for name in neither if (msr := FEATURES[name].msr)}
    silent = [msr_name(index) for index, pair in msrs.items() if index not in told and not _one_sided(pair)]
    if neither or silent:
        names = [*neither, *silent] if len(neither) < len(FEATURES) else ["any feature"]
        yield "not known", f"of either, or not on every CPU: {', '.join(names)}", Tone.DOUBT


def _one_sided(pair: Iterable[Values[Any] | None]) -> bool:
    """Tell whether other values are known of one side than of the other; if so, a row shows both."""
    return len({frozenset(values.known) if values else None for values in pair}) > 1


Row = tuple[str, str, str]
"""A name, and what stands for it in A and in B."""


def _tables(one: Inventory, other: Inventory, found: HostDifference) -> Iterator[tuple[Msr | str, Iterator[Row]]]:
    """Yield the sections and their rows: what differs, and what is known on one side only."""
    yield "host", _host_rows(one, other)
    yield "kvm_intel", _parameter_rows(one, other)
    for msr in _msrs(found):
        yield msr, _msr_rows(msr, one, other, found)
    yield "derived", _feature_rows(lambda feature: feature.msr is None, one, other, found)
    yield "offered to guests", _guest_rows(one, other, found)


def _guest_rows(one: Inventory, other: Inventory, found: HostDifference) -> Iterator[Row]:
    """Yield what KVM offers on one side alone; one row where on one side that is nothing, or not known."""
    if one.nested is None or other.nested is None or found.nested is None:
        return
    if one.nested.status is not other.nested.status:
        a, b = (
            {
                NestedStatus.OFFERED: count(list(view.values.values()).count(True), "feature"),
                NestedStatus.NOT_OFFERED: "none",
                NestedStatus.FAILED: f"unknown ({view.errno})",
            }[view.status]
            for view in (one.nested, other.nested)
        )
        yield "VMX", a, b
        return
    for name, (first, second) in found.nested.differing.items():
        yield name, _WORDS[first], _WORDS[second]


def _msrs(found: HostDifference) -> Iterator[Msr]:
    """Yield the MSRs that differ, or that are known on one side only, in SDM order; a TRUE one is with its own."""
    shown = found.msrs.differing.keys() | {index for index, pair in found.msrs.unknown.items() if _one_sided(pair)}
    yield from (msr for msr in MSRS if msr.twin_of is None and not shown.isdisjoint((msr.index, msr.true)))
    for index in sorted(shown - MSR_BY_INDEX.keys()):
        yield Msr(index, "unknown MSR", "", Layout.PLAIN, ())


def _host_rows(one: Inventory, other: Inventory) -> Iterator[Row]:
    for word, say in _FACTS.items():
        a, b = say(one), say(other)
        if a != b:
            yield word, a or "not recorded", b or "not recorded"


_FACTS: Final[dict[str, Callable[[Inventory], str | None]]] = {
    "signature": lambda inventory: inventory.identity.signature,
    "microcode": lambda inventory: inventory.identity.microcode,
    "kernel": lambda inventory: inventory.host.kernel,
    "hypervisor": lambda inventory: "yes" if inventory.identity.hypervisor else "no",
    "status": lambda inventory: inventory.verdict.status.value,
    "inconsistent CPUs": lambda inventory: format_cpus(inventory.inconsistent) or "none",
    "fingerprint": lambda inventory: inventory.identity.fingerprint or "none",
    "kvm_intel": lambda inventory: (
        inventory.host.kvm_parameters.value.replace("_", " ")
        if isinstance(inventory.host.kvm_parameters, Missing)
        else "loaded"
    ),
}


def _parameter_rows(one: Inventory, other: Inventory) -> Iterator[Row]:
    ours, theirs = one.host.kvm_parameters, other.host.kvm_parameters
    if isinstance(ours, Missing) or isinstance(theirs, Missing):
        return
    for name in dict.fromkeys((*ours, *theirs)):
        if ours.get(name) != theirs.get(name):
            a, b = (parameter_text(each[name]) if name in each else "no such parameter" for each in (ours, theirs))
            yield name, a, b


def _msr_rows(msr: Msr, one: Inventory, other: Inventory, found: HostDifference) -> Iterator[Row]:
    fields = [row for row in msr.rows if isinstance(row, Field) and not is_whole(row)]
    for row in fields:
        if row.name in found.fields.differing:
            a, b = found.fields.differing[row.name]
            yield row.name, str(a), str(b)
    yield from _feature_rows(lambda feature: feature.msr is msr, one, other, found)


def _xor(msr: Msr, found: HostDifference, width: int | None) -> Iterator[Line]:
    """Yield the exclusive or of two values and what its bits are, by the kernel's macro where it has one."""
    pair = found.msrs.differing.get(msr.index)
    values = [each.known[0] for each in pair or () if each and len(each.known) == 1]
    if len(values) < 2 or isinstance(values[0], Missing) or isinstance(values[1], Missing):
        return
    xor = values[0] ^ values[1]
    names = ", ".join(f"{bits.position} {_bits_name(bits)}" for bits in set_bits(msr, xor))
    yield from beside(
        [(f"{'  xor':<{_NAME + 4}}", Tone.PLAIN)], (f"{xor:#018x}: {names}", Tone.PLAIN), _NAME + 4, width
    )


def _bits_name(bits: Bits) -> str:
    """Name a bit by the kernel's macro (asm/vmx.h), else as the tables do; a number by its name."""
    if isinstance(bits.row, Flag) and (macro := MACROS.get(bits.row.name)):
        return bits.name.replace(bits.row.name, macro)
    return bits.name


def _feature_rows(
    belongs: Callable[[Feature], bool], one: Inventory, other: Inventory, found: HostDifference
) -> Iterator[Row]:
    for name, feature in FEATURES.items():
        if belongs(feature) and (name in found.features.differing or _one_sided(found.features.unknown.get(name, ()))):
            a, b = (inventory.features[name].state.value for inventory in (one, other))
            yield name, a, b


def _heading(
    title: Msr | str, one: Inventory, other: Inventory, found: HostDifference, width: int | None
) -> Iterator[Line]:
    if isinstance(title, str):
        yield ((title, Tone.TITLE),)
        return
    for msr in (title, MSR_BY_INDEX.get(title.true or 0)):
        if msr is not None:
            name = f"{msr.name:<{_MSR}}  {f'{msr.index:#x}':>5}"
            states = ([text for text, _ in msr_states(inventory, msr.index)] for inventory in (one, other))
            for a, b in zip_longest(*states, fillvalue=""):
                yield from _row(name, a, b, width, Tone.TITLE)
                name = ""
            yield from _xor(msr, found, width)


def _row(name: str, one: str, other: str, width: int | None, title: Tone = Tone.PLAIN) -> Iterator[Line]:
    """Yield one row; where the columns do not fit, the values stand below the name."""
    tones = [WORD_TONES.get(each, Tone.PLAIN if name else title) for each in (one, other)]
    if len(one) <= _VALUE and (width is None or _NAME + _VALUE + 6 + max(len(other), _VALUE) <= width):
        yield (f"{name:<{_NAME + 4}}", title), (f"{one:<{_VALUE}}  ", tones[0]), (other, tones[1])
    elif name:
        yield ((name, title),)
        yield from beside([("    A ", Tone.FAINT)], (one, tones[0]), 6, width)
        yield from beside([("    B ", Tone.FAINT)], (other, tones[1]), 6, width)


# As JSON ----------------------------------------------------------------------------------------------------------


def diff_document(one: Side, other: Side, found: HostDifference) -> Json:
    """Make what ``vmxd diff --json`` prints."""
    sides = {"a": one, "b": other}
    return {
        "schema": DIFF_SCHEMA,
        "vmxd": vmxd.__version__,
        "answer": {True: "differ", False: "same", None: "unknown"}[found.differs],
        **{key: _side_document(side) for key, side in sides.items()},
        "features": {
            word: {
                name: {key: feature_state(side.inventory.features[name]) for key, side in sides.items()}
                for name in names
            }
            for word, names in (("differing", found.features.differing), ("unknown", found.features.unknown))
        },
        "msrs": {
            word: {msr_name(i): {key: _states(side.inventory, i) for key, side in sides.items()} for i in indexes}
            for word, indexes in (("differing", found.msrs.differing), ("unknown", found.msrs.unknown))
        },
        "fields": _pairs(found.fields.differing),
        "kvm_parameters": _pairs(found.parameters.differing),
        "nested_features": None
        if found.nested is None
        else {"differing": _pairs(found.nested.differing), "unknown": _pairs(found.nested.unknown)},
    }


def _side_document(side: Side) -> Json:
    inventory = side.inventory
    return {
        "root": inventory.host.root,
        "source": inventory.host.source.value,
        "cpus": format_cpus(cpus_of(inventory.groups)),
        "host": host_document(inventory),
        "status": inventory.verdict.status.value,
    }


def _states(inventory: Inventory, index: int) -> list[Json]:
    states = dict.fromkeys(group.decoded.msrs.get(index, Missing.NOT_RECORDED) for group in inventory.groups)
    return [msr_state(state) for state in states]


def _pairs(pairs: Mapping[str, tuple[object, object]]) -> Json:
    return {name: {"a": a, "b": b} for name, (a, b) in pairs.items()}
