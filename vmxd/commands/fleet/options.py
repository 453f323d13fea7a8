"""What every question about a fleet shares: where the hosts come from, and how the answer is printed."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from vmxd.commands.output import write
from vmxd.commands.parser import Parser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmxd.export.json import Json
    from vmxd.fleet.model import Fleet
    from vmxd.fleet.table import Table


def fleet_options() -> Parser:
    """Return the options that choose a fleet, as a parent for a question's parser."""
    options = Parser(add_help=False)
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--recordings", metavar="DIR", help="a directory that has one recording in each of its own")
    return options


def output_options() -> Parser:
    """Return the options that choose the form of an answer, as a parent for a question's parser."""
    options = Parser(add_help=False)
    form = options.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON (docs/schema)")
    form.add_argument("--csv", action="store_true", help="print CSV")
    return options


def read_fleet(arguments: argparse.Namespace) -> Fleet:
    """Read the fleet that fleet_options() chose, and show progress on a terminal. Raises VmxdError."""
    from vmxd.fleet.recordings import read_recordings

    return read_recordings(arguments.recordings, _progress)


def _progress(done: int, count: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {count} hosts", end="\n" if done == count else "", file=sys.stderr, flush=True)


def print_answer(arguments: argparse.Namespace, document: Json, tables: Sequence[Table]) -> None:
    """Print an answer in the form that output_options() chose; the first table is the one for CSV."""
    from vmxd.export.json import to_json
    from vmxd.fleet.table import to_csv, to_text

    text = to_json(document) if arguments.json else to_csv(tables[0]) if arguments.csv else to_text(tables)
    write(text.encode(errors="replace"))
