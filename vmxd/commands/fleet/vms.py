"""vmxd fleet vms: which host can start which VM, and which VMs keep a host from being drained."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection, Iterator
from typing import Final

from vmxd.commands.fleet.options import fleet_options, output_options, print_answer, read_fleet
from vmxd.commands.input import read_file
from vmxd.commands.output import say
from vmxd.commands.parser import Commands, what_if_options
from vmxd.commands.vms import HINT, NOT_JUDGED, notes_on, read_vms
from vmxd.errors import UsageError
from vmxd.fleet.guests import fleet_as_guests
from vmxd.fleet.vms import FleetVm, place
from vmxd.model.offer import WhatIf
from vmxd.tables import FEATURES

_ENDINGS: Final = (".xml", ".yaml", ".yml", ".json", ".txt", ".conf", ".log", ".sh")
_EPILOG: Final = """what DIR has:
  web-1.xml          a VM: virsh dumpxml web-1, KubeVirt's YAML, ...
  host-1/web-1.xml   a VM that runs on the host host-1 of the fleet

exit codes:
  0  every VM has another host to go to, and loses none by what was asked
  1  some VM has none, or loses one
  2  of some VM it is not known

examples:
  vmxd fleet vms --recordings hosts vms
      where each VM can go
  vmxd fleet vms --prometheus http://prom:9090 --kernel 7.3 vms
      what VMs gain or lose by a kernel
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "vms",
        usage="%(prog)s [options] (--prometheus URL | --recordings DIR) DIR",
        parents=[fleet_options(), what_if_options(), output_options()],
        help="which host can start which VM, which VMs keep a host, which have VMX",
        description="Print for each VM of a directory the hosts that can start it, as far as VMX decides it, the VMs "
        "that keep a host from being drained, and what they would gain or lose by another kernel.",
        epilog=_EPILOG,
    )
    parser.add_argument("directory", metavar="DIR", help="a file for each VM")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the answer. Raises VmxdError."""
    what_if = WhatIf(arguments.kernel, dict(arguments.kvm_parameters) or None)
    raw = read_fleet(arguments, tuple(FEATURES))
    vms = list(_read(arguments.directory, {host.name for host in raw.hosts}))
    now = fleet_as_guests(raw)
    then = fleet_as_guests(raw, what_if) if what_if.asked else None
    unknown_models = (note for note in notes_on((vm.name, vm.cpu) for vm in vms) if "no CPU model" in note)
    say([NOT_JUDGED, *unknown_models])
    return print_answer(arguments, place(vms, now, then, what_if))


def _read(directory: str, hosts: Collection[str]) -> Iterator[FleetVm]:
    """Yield the VMs of a directory, and say what in it is none. Raises UsageError if there is none."""
    found = False
    without: list[str] = []
    for path, runs_on in _files(directory, hosts):
        vms = read_vms(read_file(path, HINT)[0])
        name = os.path.basename(path)
        stem, ending = os.path.splitext(name)
        name = stem if ending in _ENDINGS else name
        for number, cpu in enumerate(vms, 1):
            found = True
            yield FleetVm(f"{name} {number}" if len(vms) > 1 else name, cpu, runs_on)
        if not vms:
            without.append(os.path.relpath(path, directory))
    if without:
        say([f"no VM that vmxd can read is in {', '.join(without[:8])}{' ...' * (len(without) > 8)}"])
    if not found:
        raise UsageError(
            f"{directory} has no VM that vmxd can read", "put one there: virsh dumpxml NAME > DIR/NAME.xml"
        )


def _files(directory: str, hosts: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each file with the host that its VMs run on, None if its directory is no host's. Raises UsageError."""
    by_name = {name.rpartition(":")[0] or name: name for name in hosts} | {name: name for name in hosts}
    try:
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_file():
                yield entry.path, None
            elif entry.is_dir() and entry.name in by_name:
                inner = sorted(os.scandir(entry.path), key=lambda each: each.name)
                yield from ((each.path, by_name[entry.name]) for each in inner if each.is_file())
            elif entry.is_dir():
                say([f"{entry.name} is no host of this fleet, so what is in it is left out"])
    except OSError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}", "name a directory of VMs") from error
