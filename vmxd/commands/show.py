"""vmxd show: print the host, and every feature with its state."""

from __future__ import annotations

import argparse

from vmxd.commands import EXIT_FINE
from vmxd.commands.output import write
from vmxd.commands.parser import Commands, host_options, scan_chosen


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "show",
        parents=[host_options()],
        help="print every feature and its state",
        description="Print the host, and every VMX feature with its state.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON (docs/schema/show-1.json)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the host. Raises VmxdError."""
    inventory = scan_chosen(arguments).inventory
    if arguments.json:
        from vmxd.export.json import inventory_document, to_json

        write(to_json(inventory_document(inventory)).encode(errors="replace"))
    else:
        from vmxd.export.text import to_text

        write(to_text(inventory).encode(errors="replace"))
    return EXIT_FINE
