"""The list of features that vmxd knows, as text."""

from __future__ import annotations

from collections.abc import Iterable

from vmxd.tables import Feature
from vmxd.views.lines import Line, table
from vmxd.views.words import other_names


def feature_lines(features: Iterable[Feature], width: int | None = None) -> list[Line]:
    """Lay out one row a feature: name, MSR and bit, then its other names. width: columns of the terminal."""
    rows = [(each.name, each.location or "derived", ", ".join((each.row.sdm, *other_names(each)))) for each in features]
    return table((), rows, width)
