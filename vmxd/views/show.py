"""What ``vmxd show`` prints: the host at a glance, then its features by MSR in SDM order, each with its state."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from vmxd.model.attribution import Attribution, missing
from vmxd.model.inventory import Inventory
from vmxd.model.offer import Offer, offer
from vmxd.model.states import State
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX, Feature
from vmxd.tables.bits import is_whole
from vmxd.tables.msrs import MSRS
from vmxd.tables.rows import AllOf, Control, Field, Flag, Msr, Unnamed
from vmxd.views.lines import Line, Part, Tone, beside
from vmxd.views.summary import summary_lines
from vmxd.views.words import condition, details, feature_details, msr_states, other_names

_LABEL: Final = 12
_MSR: Final = max(len(msr.name) for msr in MSRS)
_NAME: Final = max(len(name) for name in FEATURES)
_STATE: Final = 7
_NARROW: Final = 60
"""Columns below which names do not stand in a column of their own."""
WORD_TONES: Final = {
    State.OFF.value: Tone.FAINT,
    State.UNKNOWN.value: Tone.DOUBT,
    State.DIFFERS.value: Tone.BAD,
    State.INVALID.value: Tone.BAD,
}
_HEAD: Final = ("host", "cpu", "status", "profile", "note")
"""The lines of the summary that stand above a choice of features."""


ONLY: Final = {"missing": False, "present": True, "unknown": None}
"""Which features to show, by the answer to whether every CPU has them; also "inconsistent", those of any answer."""


def choose(inventory: Inventory, only: Collection[str]) -> frozenset[str]:
    """Choose the features that are any of these: words of ONLY, or inconsistent."""
    answers = {ONLY[word] for word in only if word in ONLY}
    disagreeing = {feature.name for feature in inventory.disagreeing} if "inconsistent" in only else set()
    return frozenset(
        name
        for name, states in inventory.features.items()
        if states.everywhere in answers or name in disagreeing or ("inconsistent" in only and len(states.known) > 1)
    )


def show_lines(
    inventory: Inventory, chosen: Collection[str] | None = None, *, long: bool = False, width: int | None = None
) -> list[Line]:
    """Lay out a host and its features.

    chosen: names of features, numbers and bits to show, below a shorter summary; None: all.
    long: with the SDM's words, bits and other names. width: columns of the terminal; None: do not wrap.
    """
    lines = list(summary(inventory, None if chosen is None else _HEAD, width))
    sections = list(_sections(inventory, chosen, long=long, width=width))
    for section in sections:
        lines += [(), *section]
    if not sections:
        lines += [(), (("none of the features is so", Tone.PLAIN),)]
    return lines


# The summary ------------------------------------------------------------------------------------------------------


def summary(inventory: Inventory, words: Collection[str] | None, width: int | None) -> Iterator[Line]:
    """Lay out the host at a glance; words: the labels to have, None: all. width: as of show_lines."""
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
    return {
        "failed": Tone.BAD,
        "broken": Tone.BAD,
        "unknown": Tone.DOUBT,
        "unlike": Tone.DOUBT,
        "note": Tone.DOUBT,
    }.get(word, Tone.PLAIN)


# Features by MSR --------------------------------------------------------------------------------------------------


Rows = dict[str, tuple[str, list[str]]]
"""By name: a number or the word for a state, and details."""


def _sections(
    inventory: Inventory, chosen: Collection[str] | None, *, long: bool, width: int | None
) -> Iterator[list[Line]]:
    why, found = missing(inventory), offer(inventory)
    for msr in [*(msr for msr in MSRS if msr.twin_of is None), None]:
        rows = _rows(inventory, msr, found, why)
        rows = {name: row for name, row in rows.items() if chosen is None or name in chosen}
        named = {row.name for row in msr.rows if not isinstance(row, Unnamed)} if msr else set()
        if not rows and (msr is None or (chosen is not None and named.isdisjoint(chosen))):
            continue
        section: list[Line] = list(_heading(inventory, msr, width, long=long)) if msr else [(("derived", Tone.TITLE),)]
        whole = {row.name for row in msr.rows if isinstance(row, Field) and is_whole(row)} if msr else set()
        for name, (word, texts) in rows.items():
            if name not in whole:
                section += _row(name, word, texts, width)
                section += [line for text in (_long(msr, name) if long else ()) for line in _aside(text, width)]
        yield section


def _rows(inventory: Inventory, msr: Msr | None, found: Offer, why: Mapping[str, Attribution]) -> Rows:
    """Say the rows of an MSR, its numbers, then its bits; of None the derived features."""
    rows: Rows = {}
    for row in msr.rows if msr else ():
        if isinstance(row, Field) and row.name in inventory.fields:
            rows[row.name] = str(inventory.fields[row.name]), []
    if msr and msr.index == IA32_FEATURE_CONTROL:
        rows |= {name: (bit.state.value, details(inventory, bit)) for name, bit in inventory.firmware.items()}
    for name, feature in FEATURES.items():
        if feature.msr is msr:
            texts = feature_details(inventory, name, found, why.get(name))
            rows[name] = inventory.features[name].state.value, texts
    return rows


def _heading(inventory: Inventory, msr: Msr, width: int | None, *, long: bool) -> Iterator[Line]:
    """Yield name, index and value of an MSR, then of its TRUE twin; where CPUs differ, each value on a line."""
    true = MSR_BY_INDEX[msr.true] if msr.true is not None and msr.true in inventory.msrs else None
    for each in (msr, true):
        if each is None:
            continue
        head: list[Part] = [(f"{each.name:<{_MSR}}", Tone.TITLE), (f"  {f'{each.index:#x}':>5}  ", Tone.FAINT)]
        first, *more = msr_states(inventory, each.index)
        if each.index in inventory.msrs and inventory.msrs[each.index].differing:
            yield from beside(head, (State.DIFFERS.value, Tone.BAD), _NAME + 4, width)
            more = [first, *more]
        else:
            yield from beside(head, (first[0], Tone.PLAIN), _NAME + 4, width)
        for text, cpus in more:
            yield from beside([(f"  {text}  ", Tone.PLAIN)], (cpus, Tone.BAD), 22, width)
    if long:
        yield from _aside(f"SDM {'Vol. 3D ' if msr.sdm.startswith('A.') else ''}{msr.sdm}; {_exists(msr)}", width, 2)


def _exists(msr: Msr) -> str:
    return f"exists if {condition(msr)}" if msr.exists_if else "exists wherever VMX does"


def _row(name: str, word: str, texts: list[str], width: int | None) -> list[Line]:
    names = 0 if width is not None and width < _NARROW else _NAME
    tone = WORD_TONES.get(word, Tone.PLAIN)
    said = Tone.FAINT if word == State.OFF.value else Tone.PLAIN
    head: list[Part] = [(f"  {name:<{names}}  ", Tone.PLAIN), (f"{word:<{_STATE}}  ", tone)]
    column = names + _STATE + 6
    first, *more = texts if texts and width is not None else ("; ".join(texts),)
    lines = beside(head, (first, said), column, width)
    return lines + [line for text in more for line in beside([], (text, said), column, width)]


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
    if feature and (names := list(other_names(feature))):
        yield ", ".join(names)


def _of_several(feature: Feature) -> str:
    row = feature.row
    return f"{row.sdm}: {', '.join(row.of)}" if isinstance(row, AllOf) else row.sdm


def _place(row: Flag | Field) -> str:
    return f"{row.sdm}: " + (f"bit {row.bit}" if isinstance(row, Flag) else f"bits {row.high}:{row.low}")
