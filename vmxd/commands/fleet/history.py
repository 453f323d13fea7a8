"""vmxd fleet history: how one host was over time."""

from __future__ import annotations

import argparse

from vmxd.commands.fleet.options import (
    chosen_api,
    chosen_matchers,
    chosen_span,
    output_options,
    print_answer,
    prometheus_options,
    since_option,
    warn,
)
from vmxd.commands.parser import Commands
from vmxd.fleet.history import read_history
from vmxd.fleet.prometheus import host_matchers

_EPILOG = """
examples:
  vmxd fleet history --prometheus http://prom:9090 host-1
      the last 30 days
  vmxd fleet history --prometheus http://prom:9090 --since 2026-09-01 host-1
      since a day
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "history",
        usage="%(prog)s [options] --prometheus URL HOST",
        parents=[output_options()],
        help="what changed on a host when, beside its microcode and kernel",
        description="Print what changed on a host and when, as Prometheus has it: status, microcode, kernel, "
        "fingerprint, and which features were lost or gained. Times at which it was not seen are named.",
        epilog=_EPILOG,
    )
    prometheus_options(parser, parser, required=True)  # recordings have no past
    since_option(parser, "30d")
    parser.add_argument("host", metavar="HOST", help="its instance label, with or without the port")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the history. Raises VmxdError."""
    start, end = chosen_span(arguments)
    matchers = chosen_matchers(arguments, host_matchers(arguments.host))
    with chosen_api(arguments) as api:
        history = read_history(api, arguments.host, matchers, start, end)
    warn(history.warnings, "changes")
    return print_answer(arguments, history)
