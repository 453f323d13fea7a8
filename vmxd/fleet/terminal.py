"""Tables on a terminal, by rich: as wide as it is, in colour unless NO_COLOR is set."""

from __future__ import annotations

from collections.abc import Sequence

import rich.box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from vmxd.fleet.table import Table, printable


def print_tables(tables: Sequence[Table], text: str = "") -> None:
    """Print tables to standard output, an empty line between them, text above."""
    console = Console(highlight=False)
    if text:
        console.print(Text(text), end="\n\n" if tables else "\n")
    for number, table in enumerate(tables):
        if number:
            console.print()
        if table.title:
            console.print(Text(table.title, style="bold"))
        console.print(_rich(table))


def _rich(table: Table) -> RichTable:
    shown = RichTable(
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        header_style="dim",
    )
    for number, column in enumerate(table.columns):
        right = table.is_numeric(number)
        shown.add_column(Text(printable(column)), justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(printable(cell)) for cell in row))
    return shown
