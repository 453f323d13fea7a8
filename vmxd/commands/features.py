"""vmxd features: list every feature that vmxd knows, with its names elsewhere."""

from __future__ import annotations

import argparse
from typing import Final

from vmxd.commands import EXIT_FINE
from vmxd.commands.output import terminal_width, write, write_lines
from vmxd.commands.parser import Commands
from vmxd.tables import FEATURES
from vmxd.tables.find import find_feature, split_names
from vmxd.tables.versions import SOURCES
from vmxd.views.features import feature_lines
from vmxd.views.json import tables_document, to_json

_EPILOG: Final = """
examples:
  vmxd features                      all of them, in the order of the SDM
  vmxd features ept VMX_FEATURE_PML  these two, by any of their names
  vmxd features --json               for programs, with MSRs and fields
"""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "features",
        usage="%(prog)s [options] [FEATURE ...]",
        help="list every feature that vmxd knows, with its names elsewhere",
        description="List features by vmxd's name, with their bit and their names in Linux, QEMU, libvirt and the SDM.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="FEATURE",
        help="only these; any name of a feature will do: ept, VMX_FEATURE_EPT, vmx-ept, 0x48b[33]",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, with MSRs and fields too (docs/schema/features-1.json)"
    )
    parser.add_argument(
        "--sources",
        action="store_true",
        help="print the versions of Linux, QEMU, libvirt and the SDM that these are of",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the features. Raises UsageError for a name that no feature has."""
    if arguments.sources:
        write("".join(f"{name} {version}\n" for name, version in SOURCES.items()).encode())
        return EXIT_FINE
    chosen = [find_feature(name) for name in split_names(arguments.names)] or list(FEATURES.values())
    if arguments.json:
        write(to_json(tables_document(chosen)).encode())
    else:
        write_lines(feature_lines(chosen, terminal_width()))
    return EXIT_FINE
