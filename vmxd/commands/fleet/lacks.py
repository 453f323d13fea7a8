"""vmxd fleet lacks, and vmxd fleet has: which hosts lack features, and which have them all."""

from __future__ import annotations

import argparse
from typing import Final

from vmxd.commands.fleet.options import fleet_options, output_options, print_answer, read_viewed, view_options
from vmxd.commands.fleet.wanted import wanted, wanted_options
from vmxd.commands.parser import Commands
from vmxd.fleet.lacks import sort_hosts

_EPILOG: Final = """exit codes:
  0  every host has every feature, and no firmware forbids VMX
  1  some host lacks one, or may not use VMX
  2  none is known to lack one, but of some host it is not known

examples:
  vmxd fleet {name} --recordings hosts ept vpid
      two features, of a directory of recordings
  vmxd fleet {name} --prometheus http://prom:9090 "missing features: vmx-pml"
      an error of libvirt or QEMU, as it was printed
  vmxd fleet {name} --recordings hosts --cpu-model SapphireRapids-v8 --kernel 7.3
      a CPU model of QEMU, if all hosts had another kernel
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
            parents=[fleet_options(), wanted_options(), view_options(), output_options()],
            usage="%(prog)s [options] (--prometheus URL | --recordings DIR) NAME ...",
            help=text,
            description=f"Print the {text}. Both questions have the same answer, in another order.",
            epilog=_EPILOG.format(name=name),
        )
        parser.set_defaults(run=run, question=name)


def run(arguments: argparse.Namespace) -> int:
    """Print the answer. Raises VmxdError."""
    asked = wanted(arguments)
    fleet = read_viewed(arguments, asked.features)
    return print_answer(arguments, sort_hosts(fleet, asked.features, arguments.question, complete=asked.whole))
