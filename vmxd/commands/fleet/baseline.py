"""vmxd fleet baseline: the features that every host has, for people, programs, QEMU and libvirt."""

from __future__ import annotations

import argparse

from vmxd.commands.fleet.options import (
    chosen_view,
    fleet_options,
    group_options,
    output_options,
    print_answer,
    read_groups,
    view_options,
)
from vmxd.commands.parser import Commands
from vmxd.errors import UsageError
from vmxd.fleet.baseline import answer, find_baseline
from vmxd.fleet.groups import Grouped
from vmxd.fleet.guest_cpu import GuestAnswer, choose_model, for_qemu, guest_cpu
from vmxd.model.answers import View
from vmxd.tables.qemu_names import OLDEST, Version, parse_version

_EPILOG = """
A host of which nothing is known is left out, and listed; so is one with CPUs that could not be read, but for what it \
is known to lack. A feature with "?" is not known of some host of which others are: it counts for no CPU model, and no \
--format asks for it.

A feature of guests is what KVM gives them, as it answered or as MSRs, kernel and parameters lead to expect \
(docs/kvm.md). --format only names what QEMU can (vmx-*). Of the model's other features nothing is known.

examples:
  vmxd fleet baseline --recordings hosts
      what every host of a directory has
  vmxd fleet baseline --prometheus http://prom:9090 --by cluster
      what every host of each cluster has
  vmxd fleet baseline --recordings hosts --format libvirt --model Haswell
      the same as <cpu>, relative to a CPU model
  vmxd fleet baseline --recordings DIR --format qemu --model Haswell --qemu 7.2
      as -cpu, with names that an older QEMU knows
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "baseline",
        usage="%(prog)s [options] (--prometheus URL | --recordings DIR)",
        parents=[fleet_options(), group_options(), view_options(), output_options()],
        help="the features that every host has; as -cpu of QEMU or <cpu> of libvirt too",
        description="Print the features that every host has, and those that only some have.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--format", choices=("qemu", "libvirt"), help="print it for guests, as differences from a CPU model"
    )
    parser.add_argument("--model", metavar="MODEL[-vN]", help="that CPU model of QEMU: vmxd check --list-cpu-models")
    parser.add_argument(
        "--qemu",
        metavar="RELEASE",
        type=_qemu,
        help="with --format: the QEMU of the guests, as in 7.2; names of properties that it may not know are left out",
    )
    parser.set_defaults(run=run)


def _qemu(text: str) -> Version:
    version = parse_version(text)
    if version is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no version of QEMU, as 7.2 is")
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise argparse.ArgumentTypeError(f"QEMU {text} is older than {oldest}, the oldest whose names were read")
    return version


def run(arguments: argparse.Namespace) -> int:
    """Print the baseline. Raises VmxdError.

    The exit code is 1 if a group has none, 2 if no host of a group is wholly read, or hosts may be missing.
    """
    _refuse(arguments)
    asked = read_groups(arguments)
    return print_answer(arguments, _guest_cpu(arguments, asked) if arguments.format else answer(asked))


def _refuse(arguments: argparse.Namespace) -> None:
    if arguments.qemu and not arguments.format:
        raise UsageError("--qemu goes with --format", "as in --format qemu --model Haswell --qemu 7.2")
    if arguments.model and not arguments.format:
        raise UsageError("--model goes with --format", "as in --format qemu --model Cascadelake-Server")
    if arguments.format and (arguments.json or arguments.csv):
        raise UsageError("--format is a form of its own", "leave out --json and --csv")
    if arguments.format and chosen_view(arguments) is View.HARDWARE:
        raise UsageError("--format is about guests", "leave out --view hardware")
    if arguments.format and arguments.by:
        raise UsageError("--format prints one CPU, --by asks for one for each group", "leave out --by")


def _guest_cpu(arguments: argparse.Namespace, asked: Grouped) -> GuestAnswer:
    baseline = find_baseline(asked.groups[None])
    if not arguments.model:
        raise choose_model(baseline, arguments.format)
    cpu = guest_cpu(baseline.certain, arguments.model)
    if arguments.qemu:
        cpu = for_qemu(cpu, arguments.qemu)
    whole = not asked.fleet.warnings
    return GuestAnswer(baseline, cpu, arguments.format, asked.notes, complete=whole, known=asked.sentence)
