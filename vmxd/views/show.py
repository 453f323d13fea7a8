"""What ``vmxd show`` prints: the host at a glance, then its features by MSR in SDM order, each with its state."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from vmxd.model.inventory import Inventory
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX, Feature
from vmxd.tables.msrs import MSRS
from vmxd.tables.rows import AllOf, Control, Field, Flag, Msr, Unnamed
from vmxd.views.lines import Line, Part, Tone, beside
from vmxd.views.words import (
    DIFFERS,
    OFF,
    UNKNOWN,
    Standing,
    condition,
    firmware_bits,
    msr_states,
    standing,
    summary_lines,
)

_LABEL: Final = 12
_MSR: Final = max(len(msr.name) for msr in MSRS)
_NAME: Final = max(len(name) for name in FEATURES)
_STATE: Final = 7
_NARROW: Final = 60
"""Columns below which names do not stand in a column of their own."""
WORD_TONES: Final = {OFF: Tone.FAINT, UNKNOWN: Tone.DOUBT, DIFFERS: Tone.BAD, "invalid": Tone.BAD}
_HEAD: Final = ("host", "cpu", "status", "profile", "note")
"""The lines of the summary that stand above a choice of features."""


class Only(enum.Enum):
    """Which features to show. Each is one of the first three; what is inconsistent is one of these too."""

    PRESENT = "present"
    """Known to be on every CPU."""
    MISSING = "missing"
    """Known not to be on some CPU."""
    UNKNOWN = "unknown"
    """Neither: not known on some CPU, and nowhere known to be missing."""
    INCONSISTENT = "inconsistent"
    """CPUs disagree."""


def choose(inventory: Inventory, only: Collection[Only]) -> frozenset[str]:
    """Return the names of the features that are any of these."""
    disagreeing = {feature.name for feature in inventory.disagreeing}
    presence = {True: Only.PRESENT, False: Only.MISSING, None: Only.UNKNOWN}
    return frozenset(
        name
        for name, feature in inventory.features.items()
        if presence[feature.everywhere] in only
        or (Only.INCONSISTENT in only and (name in disagreeing or _word(inventory, name) == DIFFERS))
    )


def _word(inventory: Inventory, name: str) -> str:
    return standing(inventory, FEATURES[name]).word


def show_lines(
    inventory: Inventory, chosen: Collection[str] | None = None, *, long: bool = False, width: int | None = None
) -> list[Line]:
    """Return what is shown.

    chosen: names of features, numbers and bits to show, below a shorter summary; None: all.
    long: with the SDM's words, bits and other names. width: columns of the terminal; None: do not wrap.
    """
    lines = list(_summary(inventory, None if chosen is None else _HEAD, width))
    sections = list(_sections(inventory, chosen, long=long, width=width))
    for section in sections:
        lines += [(), *section]
    if not sections:
        lines += [(), (("none of the features is so", Tone.PLAIN),)]
    return lines


# The summary ------------------------------------------------------------------------------------------------------


def _summary(inventory: Inventory, words: Collection[str] | None, width: int | None) -> Iterator[Line]:
    last = ""
    for word, text in summary_lines(inventory):
        last = word or last
        if words is None or last in words:
            tone = _tone(inventory, last) if word else Tone.PLAIN
            yield from beside([(f"{word:<{_LABEL}}", Tone.TITLE)], (text, tone), _LABEL, width)


def _tone(inventory: Inventory, word: str) -> Tone:
    if word == "status":
        return {True: Tone.GOOD, False: Tone.BAD, None: Tone.DOUBT}[inventory.verdict.usable]
    if word == "consistent":
        return Tone.BAD if inventory.inconsistent else Tone.PLAIN
    return {"failed": Tone.BAD, "broken": Tone.BAD, "unknown": Tone.DOUBT, "note": Tone.DOUBT}.get(word, Tone.PLAIN)


# Features by MSR --------------------------------------------------------------------------------------------------


def _sections(
    inventory: Inventory, chosen: Collection[str] | None, *, long: bool, width: int | None
) -> Iterator[list[Line]]:
    sections = {msr: _rows(inventory, msr) for msr in MSRS if msr.twin_of is None}
    derived = {name: standing(inventory, each) for name, each in FEATURES.items() if each.msr is None}
    shown = {
        msr: {name: state for name, state in rows.items() if chosen is None or name in chosen}
        for msr, rows in [*sections.items(), (None, derived)]
    }
    for msr, rows in shown.items():
        whole = {row.name for row in msr.rows if isinstance(row, Field) and row.high - row.low == 63} if msr else set()
        named = {row.name for row in msr.rows if not isinstance(row, Unnamed)} if msr else set()
        if not rows and (msr is None or (chosen is not None and named.isdisjoint(chosen))):
            continue
        section: list[Line] = [(("derived", Tone.TITLE),)]
        if msr is not None:
            section = list(_heading(inventory, msr, width, long=long))
        for name, state in rows.items():
            if name not in whole:
                section += _row(name, state, width)
                section += [line for text in (_long(msr, name) if long else ()) for line in _aside(text, width)]
        yield section


def _rows(inventory: Inventory, msr: Msr) -> dict[str, Standing]:
    """Return the rows of an MSR: its numbers, then its bits."""
    fields = [row.name for row in msr.rows if isinstance(row, Field) and row.name in inventory.fields]
    rows = {name: Standing(str(inventory.fields[name]), ()) for name in fields}
    if msr.index == IA32_FEATURE_CONTROL:
        return rows | firmware_bits(inventory)
    return rows | {name: standing(inventory, each) for name, each in FEATURES.items() if each.msr is msr}


def _heading(inventory: Inventory, msr: Msr, width: int | None, *, long: bool) -> Iterator[Line]:
    """Yield name, index and value of an MSR, then of its TRUE twin; where CPUs differ, each value on a line."""
    true = MSR_BY_INDEX[msr.true] if msr.true is not None and msr.true in inventory.msrs else None
    for each in (msr, true):
        if each is None:
            continue
        head: list[Part] = [(f"{each.name:<{_MSR}}", Tone.TITLE), (f"  {f'{each.index:#x}':>5}  ", Tone.FAINT)]
        first, *more = msr_states(inventory, each.index)
        if each.index in inventory.msrs and inventory.msrs[each.index].differing:
            yield from beside(head, (DIFFERS, Tone.BAD), _NAME + 4, width)
            more = [first, *more]
        else:
            yield from beside(head, (first[0], Tone.PLAIN), _NAME + 4, width)
        for text, cpus in more:
            yield from beside([(f"  {text}  ", Tone.PLAIN)], (cpus, Tone.BAD), 22, width)
    if long:
        yield from _aside(f"SDM {'Vol. 3D ' if msr.sdm.startswith('A.') else ''}{msr.sdm}; {_exists(msr)}", width, 2)


def _exists(msr: Msr) -> str:
    return f"exists if {condition(msr)}" if msr.exists_if else "exists wherever VMX does"


def _row(name: str, state: Standing, width: int | None) -> list[Line]:
    names = 0 if width is not None and width < _NARROW else _NAME
    tone = WORD_TONES.get(state.word, Tone.PLAIN)
    said = Tone.FAINT if state.word == OFF else Tone.PLAIN
    head: list[Part] = [(f"  {name:<{names}}  ", Tone.PLAIN), (f"{state.word:<{_STATE}}  ", tone)]
    column = names + _STATE + 6
    if width is None:
        return beside(head, ("; ".join(state.details), said), column, None)
    first, *more = state.details or ("",)
    lines = beside(head, (first, said), column, width)
    for detail in more:
        lines += beside([], (detail, said), column, width)
    return lines


# --long -----------------------------------------------------------------------------------------------------------


def _aside(text: str, width: int | None, indent: int = 6) -> list[Line]:
    return beside([], (text, Tone.FAINT), indent, width)


def _long(msr: Msr | None, name: str) -> Iterator[str]:
    """Yield the SDM's words for a row and where it stands, then its other names."""
    feature = FEATURES.get(name)
    if feature is None or msr is None:
        rows: Mapping[str, Flag | Field] = {r.name: r for r in msr.rows if isinstance(r, Flag | Field)} if msr else {}
        yield _of_several(feature) if feature else _place(rows[name])
    else:
        assert isinstance(feature.row, Flag)
        high, low = msr.feature_bit(feature.row), feature.row.bit
        bits = f"bits {high} (may be 1) and {low} (must be 1)" if isinstance(feature.row, Control) else f"bit {high}"
        yield f"{feature.row.sdm}: {bits}"
    if feature and (names := _names(feature)):
        yield ", ".join(names)


def _of_several(feature: Feature) -> str:
    row = feature.row
    return f"{row.sdm}: {', '.join(row.of)}" if isinstance(row, AllOf) else row.sdm


def _place(row: Flag | Field) -> str:
    return f"{row.sdm}: " + (f"bit {row.bit}" if isinstance(row, Flag) else f"bits {row.high}:{row.low}")


def _names(feature: Feature) -> list[str]:
    row = feature.row
    names = [f"{feature.cpuinfo_flag} (cpuinfo)" if feature.cpuinfo_flag else None, feature.linux_name, feature.macro]
    if row.qemu == row.libvirt:
        names.append(row.qemu)
    else:
        names += [f"{row.qemu} (QEMU)" if row.qemu else None, f"{row.libvirt} (libvirt)" if row.libvirt else None]
    return [name for name in names if name]
