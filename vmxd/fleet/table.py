"""A table, the same for a terminal, a pipe and a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column names, all of one length; title: a line above it, for people only."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


def to_text(tables: Sequence[Table]) -> str:
    """Return tables as aligned columns, an empty line between them."""
    return "\n".join(_aligned(table) for table in tables)


def to_csv(table: Table) -> str:
    """Return a table as CSV (RFC 4180), column names first."""
    output = io.StringIO()
    csv.writer(output).writerows((table.columns, *table.rows))
    return output.getvalue()


def _aligned(table: Table) -> str:
    lines = (table.columns, *table.rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.columns))]
    rows = ("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)
    return (f"{table.title}\n" if table.title else "") + "".join(rows)
