"""vmxd fleet collect: record many hosts by ssh, without installing anything there."""

from __future__ import annotations

import argparse
import asyncio

from vmxd.commands import EXIT_FINE, EXIT_NO
from vmxd.commands.fleet.options import seconds, show_status, status_line
from vmxd.commands.output import terminal_width, write_lines
from vmxd.commands.parser import Commands
from vmxd.errors import UsageError
from vmxd.fleet.ssh_targets import Target, check_python, once, parse_list, parse_target, read_ansible

_EPILOG = """
examples:
  vmxd fleet collect hosts root@db-1 root@db-2
      into hosts/db-1 and hosts/db-2
  vmxd fleet collect hosts --sudo --inventory inventory.yml
      the hosts of an inventory of Ansible, as root by sudo
  vmxd fleet collect hosts - < hosts.txt
      a host a line
  vmxd fleet summary --recordings hosts
      what there is, and which hosts failed for what reason
"""
_JOBS_MAX = 256


def add(questions: Commands) -> None:
    """Add the command to the parser."""
    parser = questions.add_parser(
        "collect",
        usage="%(prog)s [options] DIR (HOST... | - | --inventory FILE)",
        help="record hosts by ssh, without installing anything there",
        description="Record hosts into DIR, each into a directory of its name. ssh runs vmxd there from memory, by the "
        "host's Python 3.11 or newer; nothing is installed, and nothing stays there. A host that fails has a "
        "failure.txt with the reason, unless an older recording is there, which is kept. Exit code 1 if any failed.",
        epilog=_EPILOG,
    )
    parser.add_argument("directory", metavar="DIR", help="where the recordings are; others there are left alone")
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="HOST or USER@HOST as for ssh; - reads one a line")
    parser.add_argument("--inventory", metavar="FILE", help="an inventory of Ansible, as ansible-inventory reads it")
    parser.add_argument("--sudo", action="store_true", help="become root there by sudo -n, which asks no password")
    parser.add_argument(
        "--python", type=_python, default="python3", metavar="PROGRAM", help="the Python there (default: %(default)s)"
    )
    parser.add_argument(
        "--ssh-option",
        dest="ssh_options",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="as after ssh -o: Port=2222, ProxyJump=bastion; may be given more than once",
    )
    parser.add_argument("--jobs", type=_jobs, default=16, metavar="N", help="hosts at a time (default: %(default)s)")
    parser.add_argument(
        "--connect-timeout", type=seconds, default=10, metavar="SECONDS", help="of a connection (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=seconds, default=60, metavar="SECONDS", help="of one host's answer (default: %(default)s)"
    )
    parser.add_argument("--skip-isolated", action="store_true", help="leave CPUs of the kernel's isolcpus alone")
    parser.add_argument(
        "--collector.nested", dest="nested", action="store_true", help="ask KVM there what it gives to guests"
    )
    parser.list_argument = "hosts"
    parser.set_defaults(run=run)


def _python(text: str) -> str:
    try:
        return check_python(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:9]) <= _JOBS_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_JOBS_MAX}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Record the hosts, and say which failed. Raises VmxdError."""
    from vmxd.fleet.collect import How, collect  # asyncio: 40 ms

    targets = _targets(arguments)
    flags = {"--skip-isolated": arguments.skip_isolated, "--collector.nested": arguments.nested}
    how = How(
        sudo=arguments.sudo,
        python=arguments.python,
        ssh_options=tuple(arguments.ssh_options),
        connect_seconds=max(1, round(arguments.connect_timeout)),
        seconds=arguments.timeout,
        arguments=tuple(flag for flag, given in flags.items() if given),
    )

    def progress(done: int, failed: int) -> None:
        show_status(f"{done} of {len(targets)} hosts" + (f", {failed} failed" if failed else ""))

    with status_line(f"0 of {len(targets)} hosts"):
        collected = asyncio.run(collect(arguments.directory, targets, how, arguments.jobs, progress))
    write_lines(collected.lines(terminal_width(), None))
    return EXIT_FINE if collected.holds else EXIT_NO


def _targets(arguments: argparse.Namespace) -> list[Target]:
    """Return the hosts that were given in whatever way. Raises VmxdError."""
    targets = read_ansible(arguments.inventory) if arguments.inventory else []
    for text in arguments.hosts:
        targets += parse_list(_stdin()) if text == "-" else [parse_target(text)]
    if not targets:
        raise UsageError("no host is given", "name hosts, or give - or --inventory; see vmxd fleet collect --help")
    return once(targets)


def _stdin() -> str:
    """Read standard input, whatever its encoding. Raises UsageError if there is none."""
    try:
        with open(0, "rb", closefd=False) as file:
            return file.read().decode(errors="replace")
    except OSError as error:
        raise UsageError(f"cannot read standard input: {error.strerror}", "give hosts by name") from error
