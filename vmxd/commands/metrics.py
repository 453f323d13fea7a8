"""vmxd metrics: print the metrics, or replace a file for node_exporter's textfile collector."""

from __future__ import annotations

import argparse

from vmxd.commands import EXIT_FINE
from vmxd.commands.output import replace_file, say, write
from vmxd.commands.parser import (
    Commands,
    chosen_features,
    chosen_profiles,
    feature_options,
    host_options,
    profile_options,
    scan_chosen,
)


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "metrics",
        parents=[host_options(), profile_options(), feature_options()],
        help="print the metrics, or write them for node_exporter's textfile collector",
        description="Print the metrics in the Prometheus text format.",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="replace FILE in one step instead of printing; node_exporter wants a name in .prom",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print or write the metrics. Raises VmxdError."""
    from vmxd.export.metrics import HostCollector, to_text
    from vmxd.export.self_metrics import SelfCollector

    features = chosen_features(arguments)
    result = scan_chosen(arguments, chosen_profiles(arguments))
    say(result.inventory.host.notes)
    text = to_text(HostCollector(result.inventory, features), SelfCollector(result))
    if arguments.output is None:
        write(text)
    else:
        replace_file(arguments.output, text)
    return EXIT_FINE
