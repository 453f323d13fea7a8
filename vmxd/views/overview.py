"""What ``vmxd show`` prints on a terminal: a host on one screen, and what it lacks of the features that matter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vmxd.model.decode import Status
from vmxd.model.inventory import Inventory
from vmxd.tables import FEATURES
from vmxd.tables.purpose import PURPOSE
from vmxd.views.lines import Line, Tone, beside
from vmxd.views.show import summary

_IDENTITY: Final = ("host", "cpu", "status")
_NAME: Final = max(map(len, PURPOSE)) + 4
_WIDE: Final = _NAME + max(map(len, PURPOSE.values()))
"""Columns that a feature and what it is for take on one line; with fewer, features are named alone."""


def overview_lines(inventory: Inventory, width: int) -> list[Line]:
    """Lay out a host for a terminal of so many columns; one without VMX is what it is, and no more."""
    if inventory.verdict.status is Status.NO_VMX and inventory.verdict.everywhere:
        return list(summary(inventory, _IDENTITY, width))
    lines = list(summary(inventory, None, width))
    values = {name: inventory.features[name].everywhere for name in PURPOSE}
    lines += _named(f"lacks, of the {len(PURPOSE)} features that matter most", values, False, width)
    if set(values.values()) != {None}:
        lines += _named("not known, of these", values, None, width)
    how = f"vmxd explain NAME says why; vmxd show --all has all {len(FEATURES)} features"
    return [*lines, (), *beside([("", Tone.PLAIN)], (how, Tone.FAINT), 0, width)]


def _named(title: str, values: dict[str, bool | None], wanted: bool | None, width: int) -> Iterator[Line]:
    """Yield the features that have a value, each with what it is for."""
    names = [name for name, value in values.items() if value is wanted]
    if not names:
        return
    yield ()
    yield ((title, Tone.TITLE),)
    if width < _WIDE:
        yield from beside([], (", ".join(names), Tone.PLAIN), 2, width)
        return
    for name in names:
        yield from beside([(f"  {name}", Tone.PLAIN)], (PURPOSE[name], Tone.FAINT), _NAME, width)
