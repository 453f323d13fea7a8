"""vmxd fleet lacks, and vmxd fleet has: which hosts lack features, and which have them all."""

from __future__ import annotations

import argparse
from typing import Final

from vmxd.commands.fleet.options import fleet_options, output_options, print_answer, read_fleet
from vmxd.commands.fleet.wanted import wanted, wanted_options
from vmxd.commands.output import say
from vmxd.commands.parser import Commands
from vmxd.fleet.lacks import sort_hosts
from vmxd.fleet.model import Fleet
from vmxd.model.answers import View

_EPILOG: Final = """exit codes:
  0  every host has every feature, and no firmware forbids VMX
  1  some host lacks one, or may not use VMX
  2  none is known to lack one, but of some host it is not known

examples:
  vmxd fleet {name} --recordings hosts ept vpid
      two features, of a directory of recordings
  vmxd fleet {name} --prometheus http://prom:9090 "missing features: vmx-pml"
      an error of libvirt or QEMU, as it was printed
"""


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
    asked = wanted(arguments)
    wants_nested = arguments.view == "nested" or (asked.pasted and arguments.view is None)
    fleet = read_fleet(arguments, nested=asked.features if wants_nested else ())
    view = View(arguments.view or _view(asked.pasted, fleet))
    found = sort_hosts(fleet, asked.features, view, arguments.question, complete=asked.whole)
    code = print_answer(arguments, found)
    if found.unknown and found.view is View.NESTED and arguments.view is None:
        say(["of some hosts it is not known what KVM offers to guests: --view hardware asks the CPUs"])
    return code


def _view(pasted: bool, fleet: Fleet) -> str:
    """Return the view to answer by where none was chosen; libvirt and QEMU ask KVM, where that is known."""
    if not pasted:
        return "hardware"
    if any(host.nested is not None for host in fleet.hosts):
        return "nested"
    say(["no host tells what KVM offers to guests (vmxd serve --collector.nested), so the hardware was asked"])
    return "hardware"
