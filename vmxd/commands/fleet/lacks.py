"""vmxd fleet lacks, and vmxd fleet has: which hosts lack features, and which have them all."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from vmxd.commands import EXIT_CANNOT_TELL, EXIT_FINE, EXIT_NO
from vmxd.commands.fleet.options import fleet_options, output_options, print_answer, read_fleet
from vmxd.commands.fleet.wanted import wanted, wanted_options
from vmxd.commands.output import say, terminal_width
from vmxd.commands.parser import Commands

if TYPE_CHECKING:
    from vmxd.fleet.model import Fleet

_NAMED: Final = 10
"""Hosts of a group that are named on a terminal."""

_EPILOG: Final = """exit codes:
  0  every host has every feature
  1  some host lacks one
  2  none is known to lack one, but of some host it is not known

examples:
  vmxd fleet {name} --recordings hosts ept vpid
      two features, of a directory of recordings
  vmxd fleet {name} --prometheus http://prom:9090 "missing features: vmx-pml"
      an error of libvirt or QEMU, as it was printed
"""
_ORDERS: Final = {"lacks": ("lacks", "unknown", "has"), "has": ("has", "lacks", "unknown")}


def add(questions: Commands) -> None:
    """Add both questions to the parser."""
    helps = {
        "lacks": "hosts that lack a feature; what each host lacks for a VM that does not start or move",
        "has": "hosts that have every feature; where such a VM can go",
    }
    for name, text in helps.items():
        parser = questions.add_parser(
            name,
            parents=[fleet_options(), wanted_options(), output_options()],
            usage="%(prog)s [options] (--prometheus URL | --recordings DIR) NAME ...",
            help=text,
            description=f"Print the {text}. Both questions have the same answer, in another order.",
            epilog=_EPILOG.format(name=name),
        )
        parser.add_argument(
            "--view",
            choices=("hardware", "nested"),
            help="features of the hardware, or those that KVM offers to guests, which vmxd serve --collector.nested "
            "tells (default: hardware; for a pasted error nested, where any host tells)",
        )
        parser.set_defaults(run=run, question=name)


def run(arguments: argparse.Namespace) -> int:
    """Print the answer. Raises VmxdError."""
    from vmxd.fleet.lacks import document, sort_hosts, table, text
    from vmxd.model.answers import View

    asked = wanted(arguments)
    wants_nested = arguments.view == "nested" or (asked.pasted and arguments.view is None)
    fleet = read_fleet(arguments, nested=asked.features if wants_nested else None)
    found = sort_hosts(fleet, asked.features, View(arguments.view or _view(asked.pasted, fleet)))
    width = terminal_width()
    shown = text(found, _ORDERS[arguments.question], width, _NAMED if width else None)
    print_answer(arguments, document(found), [], table(found), shown)
    if found.unknown and found.view is View.NESTED and arguments.view is None:
        say(["of some hosts it is not known what KVM offers to guests: --view hardware asks the CPUs"])
    holds = None if found.holds and (fleet.warnings or not asked.whole) else found.holds
    return {True: EXIT_FINE, False: EXIT_NO, None: EXIT_CANNOT_TELL}[holds]


def _view(pasted: bool, fleet: Fleet) -> str:
    """Return the view to answer by where none was chosen; libvirt and QEMU ask KVM, where that is known."""
    if not pasted:
        return "hardware"
    if any(host.nested is not None for host in fleet.hosts):
        return "nested"
    say(["no host tells what KVM offers to guests (vmxd serve --collector.nested), so the hardware was asked"])
    return "hardware"
