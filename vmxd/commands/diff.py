"""vmxd diff: say in what two hosts differ, or two CPUs of one."""

from __future__ import annotations

import argparse
import os
import re

from vmxd.commands import EXIT_CANNOT_TELL, EXIT_FINE, EXIT_NO
from vmxd.commands.output import say, terminal_width, write, write_lines
from vmxd.commands.parser import Commands
from vmxd.host.scan import scan
from vmxd.model.difference import host_difference
from vmxd.views.diff import Side, diff_document, diff_lines
from vmxd.views.json import to_json

_EPILOG = """exit codes:
  0  no feature and no value of an MSR differs
  1  some do
  2  none is known to, but of some it cannot be told
what counts:
  a value known on both sides       a difference, if it differs
  a value not known on a side       no difference: unknown, never off
  status, microcode, kernel         no difference, but shown: they may be why
what A and B can be:
  /      this machine            DIR      a recording
  /#4    CPU 4 of this machine   DIR#4    CPU 4 of a recording

examples:
  vmxd diff A B            two recordings
  vmxd diff DIR#0 DIR#4    two CPUs of one
"""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "diff",
        usage="%(prog)s [options] A B",
        help="say in what two hosts differ, or two CPUs of one",
        description="Print the features and the MSR values that differ between two hosts or CPUs, and what of the "
        "hosts may be why.",
        epilog=_EPILOG,
    )
    parser.add_argument("one", metavar="A", help="a host or one CPU of it")
    parser.add_argument("other", metavar="B", help="another")
    parser.add_argument(
        "--collector.nested",
        dest="nested",
        action="store_true",
        help="ask KVM, by /dev/kvm, what VMX it gives to guests, where A or B is a machine",
    )
    parser.add_argument("--json", action="store_true", help="print JSON (docs/schema/diff-1.json)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what differs. Raises VmxdError."""
    one, other = (_side(text, nested=arguments.nested) for text in (arguments.one, arguments.other))
    found = host_difference(one.inventory, other.inventory)
    if arguments.json:
        write(to_json(diff_document(one, other, found)).encode())
    else:
        write_lines(diff_lines(one, other, found, terminal_width()))
    return {True: EXIT_NO, False: EXIT_FINE, None: EXIT_CANNOT_TELL}[found.differs]


def _side(text: str, *, nested: bool) -> Side:
    """Scan a host, or one CPU of it if the text ends in # and a number and is no directory itself."""
    match = None if os.path.isdir(text) else re.fullmatch(r"(.+)#([0-9]{1,5})", text, re.ASCII)
    root, cpu = (match[1], int(match[2])) if match else (text, None)
    inventory = scan(root, None if cpu is None else (cpu,), nested=nested).inventory
    say(inventory.host.notes)
    return Side(inventory, cpu)
