"""vmxd fleet changes: which hosts lost or gained features since a time."""

from __future__ import annotations

import argparse

from vmxd.commands.fleet.options import (
    chosen_api,
    chosen_matchers,
    chosen_span,
    chosen_time,
    output_options,
    print_answer,
    prometheus_options,
    since_option,
    warn,
)
from vmxd.commands.parser import Commands
from vmxd.fleet.changes import read_changes

_EPILOG = """exit codes:
  0  no host lost or gained a feature
  1  some did, or became unusable
  2  none is known to, but of some host it is not known

examples:
  vmxd fleet changes --prometheus http://prom:9090
      since yesterday
  vmxd fleet changes --prometheus http://prom:9090 --since 2w --at 2026-11-01
      in the two weeks before
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "changes",
        usage="%(prog)s [options] --prometheus URL",
        parents=[output_options()],
        help="which hosts lost or gained features, beside microcode, kernel and parameters",
        description="Print which hosts lost or gained features since a time, hosts that changed alike as one group, "
        "beside the microcode, kernel, status and parameters of KVM that changed with it. CSV has a row a host.",
        epilog=_EPILOG,
    )
    prometheus_options(parser, parser, required=True)  # recordings have no past
    since_option(parser, "1d")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the changes. Raises VmxdError."""
    since, _ = chosen_span(arguments)
    with chosen_api(arguments) as api:
        changes = read_changes(api, chosen_matchers(arguments), since, chosen_time(arguments))
    warn(changes.fleet.warnings, "hosts")
    return print_answer(arguments, changes)
