"""A table, the same for a terminal, a pipe and a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_NUMBER: Final = re.compile(r"\+?\d[\d,]*(\.\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column names, all of one length; title: a line above it, for people only."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""

    def is_numeric(self, column: int) -> bool:
        """Whether the cells of a column, counted from 0, are numbers; some may be empty, or a dash for none."""
        cells = {row[column] for row in self.rows} - {"", "-"}
        return bool(cells) and all(map(_NUMBER.fullmatch, cells))


def to_text(tables: Sequence[Table]) -> str:
    """Return tables as aligned columns, an empty line between them; what a terminal would obey is left out."""
    return "\n".join(_aligned(table) for table in tables)


def to_csv(table: Table) -> str:
    """Return a table as CSV (RFC 4180), column names first.

    A text that a spreadsheet would run as a formula begins with an apostrophe: hosts choose their names and models.
    """
    output = io.StringIO()
    csv.writer(output).writerows([_inert(cell) for cell in row] for row in (table.columns, *table.rows))
    return output.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


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
