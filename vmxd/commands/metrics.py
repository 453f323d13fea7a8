"""vmxd metrics: print the metrics, or replace a file for node_exporter's textfile collector."""

from __future__ import annotations

import argparse
from typing import Final

from vmxd.commands import EXIT_FINE
from vmxd.commands.output import replace_file, say
from vmxd.commands.parser import Commands, export_options
from vmxd.commands.scanning import scan_to_export
from vmxd.server.self_metrics import SelfCollector
from vmxd.views.metrics import HostCollector, to_text

_EPILOG: Final = """
examples:
  vmxd metrics --root DIR | grep vmx_usable
      one series of a recording
  vmxd metrics -o /var/lib/prometheus/node-exporter/vmx.prom
      for node_exporter --collector.textfile.directory
  vmxd metrics --feature.include='ept.*|vpid'
      these features only, and all else
"""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "metrics",
        parents=export_options(),
        help="print the metrics, or write them for node_exporter",
        description="Print the metrics in the Prometheus text format, or write them for node_exporter's "
        "textfile collector.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="-",
        help="replace FILE in one step instead of printing; node_exporter wants a name in .prom (default: -, stdout)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print or write the metrics. Raises VmxdError."""
    result, features = scan_to_export(arguments)
    say(result.inventory.host.notes)
    text = to_text(HostCollector(result.inventory, features), SelfCollector(result))
    replace_file(arguments.output, text)
    return EXIT_FINE
