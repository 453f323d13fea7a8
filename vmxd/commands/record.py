"""vmxd record: write what was read as a directory that every command takes as --root."""

from __future__ import annotations

import argparse
from typing import Final

from vmxd.commands import EXIT_FINE
from vmxd.commands.output import say
from vmxd.commands.parser import Commands, host_options
from vmxd.host.files import Files
from vmxd.host.msr import SWEEP, MsrDevices
from vmxd.host.record import write_recording
from vmxd.host.root import read_host

_EPILOG: Final = """
examples:
  vmxd record /tmp/host                of this machine, as root
  vmxd record --collector.nested DIR   with what KVM offers to guests
  vmxd show --root /tmp/host           look at it, here or on another machine
"""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "record",
        usage="%(prog)s [options] DIR",
        parents=[host_options()],
        help="write a recording, which every command takes as --root",
        description="Write a recording: proc/, sys/, msr.txt and, with --collector.nested, kvm.txt; without serial "
        "numbers, host name or addresses. An older recording in its place is replaced in one step.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "directory", metavar="DIR", help="directory to write; a link there is refused, a parent that is missing made"
    )
    parser.add_argument(
        "--sweep",
        action="store_true",
        help=f"read also MSRs {SWEEP[0]:#x} to {SWEEP[-1]:#x}, above the last known one, once on each CPU: for a CPU "
        "that is newer than vmxd",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the recording. Raises VmxdError."""
    files = Files(arguments.root)
    devices = MsrDevices(files, sweep=True) if arguments.sweep else None
    host = read_host(arguments.root, arguments.cpus, arguments.skip_isolated, devices, nested=arguments.nested)
    say(host.notes)
    write_recording(files, host, arguments.directory)
    return EXIT_FINE
