"""vmxd record: write what was read as a directory that every command takes as --root."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from vmxd.commands import EXIT_FINE
from vmxd.commands.output import say, write
from vmxd.commands.parser import Commands, host_options
from vmxd.errors import UsageError
from vmxd.host.cpus import CPUINFO, redact_cpuinfo
from vmxd.host.files import Files
from vmxd.host.msr import SWEEP, MsrDevices
from vmxd.host.record import archive_recording, write_recording
from vmxd.host.recording import KERNEL
from vmxd.host.root import read_host
from vmxd.model.facts import Host, Source
from vmxd.model.platform import Platform, is_wanted, platform_of
from vmxd.tables.platforms.brands import class_text

_EPILOG: Final = """
examples:
  vmxd record /tmp/host                of this machine, as root
  vmxd record --collector.nested DIR   with what KVM offers to guests
  vmxd record --no-hostname DIR        without the host's name, to give away
  vmxd show --root /tmp/host           look at it, here or on another machine
  vmxd record - > host.tar             as a tar archive
  vmxd record --from VBox.log DIR      of a machine that is out of reach
"""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "record",
        usage="%(prog)s [options] DIR",
        parents=[host_options()],
        help="write a recording, which every command takes as --root",
        description="Write a recording: proc/, sys/, msr.txt and, with --collector.nested, kvm.txt; without serial "
        "numbers or addresses. An older recording in its place is replaced in one step.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "directory",
        metavar="DIR",
        help="directory to write; a link there is refused, a parent that is missing made; - prints a tar archive",
    )
    parser.add_argument(
        "--no-hostname",
        dest="named",
        action="store_false",
        help="leave out the host's name",
    )
    parser.add_argument(
        "--sweep",
        action="store_true",
        help=f"read also MSRs {SWEEP[0]:#x} to {SWEEP[-1]:#x}, above the last known one, once on each CPU: for a CPU "
        "that is newer than vmxd",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="record what a text says of a machine, - for standard input: rdmsr, vmxcap, VBox.log, a dump of AIDA64, "
        "/proc/cpuinfo; what is not in it is not recorded, and named",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the recording. Raises VmxdError."""
    if arguments.source is not None:
        return _import(arguments)
    files = Files(arguments.root)
    devices = MsrDevices(files, sweep=True) if arguments.sweep else None
    host = read_host(arguments.root, arguments.cpus, arguments.skip_isolated, devices, nested=arguments.nested)
    say(host.notes)
    _hand_out(arguments.directory, files, host if arguments.named else replace(host, name=None), {})
    if arguments.directory != "-":
        _say_if_wanted(host)
    return EXIT_FINE


def _say_if_wanted(host: Host) -> None:
    """Say that the table of real CPUs lacks this one."""
    platform = platform_of(host)
    has_values = any(isinstance(reading, int) for by_cpu in host.readings.values() for reading in by_cpu.values())
    if has_values and platform is not None and is_wanted(platform):
        say((wanted_text(platform),))


def wanted_text(platform: Platform) -> str:
    """Say that the table lacks a CPU, and how it gets in."""
    kind = f"{class_text(platform.product)} of {platform.signature}"
    return (
        f"the table of vmxd platforms has no {kind} yet; a recording made with --no-hostname, which holds nothing that "
        "identifies this host, adds them: docs/platforms.md says how"
    )


def _hand_out(directory: str, files: Files | None, host: Host, contents: Mapping[str, bytes]) -> None:
    """Write a recording into a directory, or as an archive to standard output. Raises VmxdError."""
    if directory == "-":
        write(archive_recording(files, host, contents))
    else:
        write_recording(files, host, directory, contents)


def _import(arguments: argparse.Namespace) -> int:
    """Write the recording of a machine that a text tells of. Raises VmxdError."""
    from vmxd.commands.input import read_file, standard_input
    from vmxd.pasted.machine import machine

    if arguments.root != "/" or arguments.cpus or arguments.skip_isolated or arguments.nested or arguments.sweep:
        raise UsageError("--from reads a text, not a host", "leave out --root, --cpus and the like")
    source = arguments.source
    if source == "-":
        text, read_at = standard_input(), time.time()
    else:
        text, read_at = read_file(source, "--from takes a file, or -")
    found = machine(text)
    contents = {CPUINFO: redact_cpuinfo(found.cpuinfo.encode(errors="replace"))} if found.cpuinfo else {}
    if found.kernel:
        contents[KERNEL] = f"{found.kernel}\n".encode()
    host = Host(
        root="",
        source=Source.RECORDING,
        read_at=read_at,
        cpus={},
        online=found.online,
        present=found.online,
        isolated=(),
        excluded=(),
        readings=found.readings,
    )
    _hand_out(arguments.directory, None, host, contents)
    say(found.left_out)
    return EXIT_FINE
