"""vmxd fleet history: how one host was over time."""

from __future__ import annotations

import argparse
import time

from vmxd.commands import EXIT_FINE
from vmxd.commands.fleet.options import (
    asking,
    chosen_api,
    chosen_selector,
    chosen_time,
    output_options,
    print_answer,
    prometheus_options,
)
from vmxd.commands.output import complain
from vmxd.commands.parser import Commands
from vmxd.errors import UsageError

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
        parents=[output_options()],
        help="what changed on a host when, beside its microcode and kernel",
        description="Print what changed on a host and when, as Prometheus has it: status, microcode, kernel, "
        "fingerprint, and which features were lost or gained. Times at which it was not seen are named.",
        epilog=_EPILOG,
    )
    prometheus_options(parser, parser, required=True)  # recordings have no past
    parser.add_argument("--since", default="30d", metavar="TIME", help="a time, or 30d, 12h (default: %(default)s)")
    parser.add_argument("host", metavar="HOST", help="its instance label, with or without the port")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the history. Raises VmxdError."""
    from vmxd.fleet.history import document, read_history, table, text
    from vmxd.fleet.prometheus import all_of, host_matchers
    from vmxd.fleet.times import parse_since

    api = chosen_api(arguments)
    at = chosen_time(arguments)
    end = time.time() if at is None else at
    start = parse_since(arguments.since, end)
    if start >= end:
        raise UsageError(f"--since {arguments.since} is not before --at, or in the future", "as in --since 30d")
    with asking(api):
        matchers = all_of(chosen_selector(arguments), host_matchers(arguments.host))
        history = read_history(api, arguments.host, matchers, start, end)
    for warning in history.warnings:
        complain(f"vmxd: warning: {warning}; changes may be missing")
    print_answer(arguments, document(history), [table(history)], text=text(history))
    return EXIT_FINE
