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

    def is_numeric(self, column: int) -> bool:
        """Whether every cell of a column, counted from 0, is a number."""
        return bool(self.rows) and all(row[column].isdecimal() for row in self.rows)


def to_text(tables: Sequence[Table]) -> str:
    """Return tables as aligned columns, an empty line between them; what a terminal would obey is left out."""
    return "\n".join(_aligned(table) for table in tables)


def to_csv(table: Table) -> str:
    """Return a table as CSV (RFC 4180), column names first."""
    output = io.StringIO()
    csv.writer(output).writerows((table.columns, *table.rows))
    return output.getvalue()


def printable(text: str) -> str:
    """Return text with a question mark in place of each character that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _aligned(table: Table) -> str:
    lines = [tuple(map(printable, line)) for line in (table.columns, *table.rows)]
    columns = range(len(table.columns))
    widths = [max(len(line[column]) for line in lines) for column in columns]
    right = [table.is_numeric(column) for column in columns]
    rows = (
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )
    return (f"{table.title}\n" if table.title else "") + "".join(rows)
