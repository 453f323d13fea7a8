"""Plain-text tables, ratios and goals; and medians of functions that take turns."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that should be at most its limit; None: it could not be measured, so the goal is not met."""

    what: str
    value: float | None
    limit: float
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the number is within its limit."""
        return self.value is not None and self.value <= self.limit

    def row(self) -> tuple[str, ...]:
        """Return it as cells of a table."""
        limit = f"{self.limit:g}{self.unit}"
        if self.value is None:
            return (self.what, "-", limit, "NOT MEASURED")
        return (self.what, number(self.value) + self.unit, limit, "met" if self.is_met else "MISSED")


def print_title(title: str) -> None:
    """Print a heading, underlined."""
    print(f"\n{title}\n{'-' * len(title)}", flush=True)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headers: the first column to the left, the others to the right; an empty row as a gap."""
    full = [headers, *rows]
    widths = [max(len(row[column]) for row in full if row) for column in range(len(headers))]
    for row in full:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=bool(row))]
        print("  ".join([row[0].ljust(widths[0]), *cells[1:]]) if row else "")
    print(flush=True)


def print_goals(goals: Sequence[Goal]) -> None:
    """Print each goal with its number and whether it was met."""
    print_table(("goal", "measured", "at most", ""), [goal.row() for goal in goals])


def number(value: float) -> str:
    """Return a number with three significant digits, never in powers of ten."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) >= 1 else 3}f}"


def with_ratios(measured: Mapping[str, Sequence[float]], subject: str) -> list[list[str]]:
    """Return a row of numbers for each name, and below a gap the ratios of the subject to each of the others."""
    rows = [[name, *map(number, values)] for name, values in measured.items()]
    own = measured[subject]
    ratios = [
        [f"{subject} : {name}", *(number(a / b) if b else "-" for a, b in zip(own, values, strict=True))]
        for name, values in measured.items()
        if name != subject
    ]
    return [*rows, [], *ratios] if ratios else rows


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile, 1 to 99."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def medians(functions: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, float]:
    """Return each function's median seconds over rounds in which all take turns, so that noise hits all alike."""
    seconds: dict[Name, list[float]] = {name: [] for name in functions}
    gc.collect()
    gc.freeze()  # what the benchmark itself holds is no work for the collector while a function runs
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            result = function()
            seconds[name].append(time.perf_counter() - start)
            del result  # after the clock: a scan keeps what it made
    gc.unfreeze()
    return {name: statistics.median(each) for name, each in seconds.items()}
