"""vmxd fleet summary: what a fleet is made of."""

from __future__ import annotations

import argparse

from vmxd.commands.fleet.options import fleet_options, output_options, print_answer, read_fleet
from vmxd.commands.parser import Commands
from vmxd.fleet.summary import Summary

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
        usage="%(prog)s [options] (--prometheus URL | --recordings DIR)",
        parents=[fleet_options(), output_options()],
        help="hosts by status, model, microcode and fingerprint",
        description="Count hosts by status, model, microcode, kernel and fingerprint, and name those that differ from "
        "CPU to CPU, where VMX may not be used, and of which nothing is known, with the reason. CSV has a row a host.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the summary. Raises VmxdError."""
    return print_answer(arguments, Summary(read_fleet(arguments)))
