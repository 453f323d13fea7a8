"""vmxd fleet summary: what a fleet is made of."""

from __future__ import annotations

import argparse

from vmxd.commands import EXIT_FINE
from vmxd.commands.fleet.options import fleet_options, output_options, print_answer, read_fleet
from vmxd.commands.parser import Commands

_EPILOG = """
examples:
  vmxd fleet summary --recordings hosts
      a directory of recordings
  vmxd fleet summary --prometheus http://prom:9090 --selector 'cluster="a"'
      the hosts of one pool
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "summary",
        parents=[fleet_options(), output_options()],
        help="hosts by status, model, microcode and fingerprint",
        description="Count hosts by status, model, microcode, kernel and fingerprint, and name those that differ from "
        "CPU to CPU, where VMX may not be used, and of which nothing is known, with the reason. CSV has a row a host.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the summary. Raises VmxdError."""
    from vmxd.fleet.summary import hosts_table, summary_document, summary_tables, summary_text

    fleet = read_fleet(arguments)
    print_answer(arguments, summary_document(fleet), summary_tables(fleet), hosts_table(fleet), summary_text(fleet))
    return EXIT_FINE
