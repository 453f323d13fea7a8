"""vmxd fleet summary: what a fleet is made of."""

from __future__ import annotations

import argparse

from vmxd.commands import EXIT_FINE
from vmxd.commands.fleet.options import fleet_options, output_options, print_answer, read_fleet
from vmxd.commands.parser import Commands


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "summary",
        parents=[fleet_options(), output_options()],
        help="hosts by status, model, microcode and fingerprint",
        description="Count hosts by status, model, microcode and fingerprint.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the summary. Raises VmxdError."""
    from vmxd.fleet.summary import count_by
    from vmxd.fleet.table import Table

    counts = count_by(read_fleet(arguments), lambda host: host.status)
    table = Table(("status", "hosts"), tuple((status, str(count)) for status, count in counts.items()))
    print_answer(arguments, {"schema": "vmxd.fleet.summary/1", "statuses": counts}, [table])
    return EXIT_FINE
