"""vmxd fleet pools: between which hosts VMs can move, and what a larger baseline costs."""

from __future__ import annotations

import argparse

from vmxd.commands.fleet.options import (
    fleet_options,
    group_options,
    output_options,
    print_answer,
    read_groups,
    view_options,
)
from vmxd.commands.parser import Commands
from vmxd.fleet.pools import answer

_EPILOG = """
Hosts of one pool give guests equal features, by their CPUs, kernels and parameters of KVM, so VMs with nested VMX \
move freely between them.

A feature that is not known of a host never counts as lacking. Hosts with CPUs that could not be read are in no pool; \
they are listed.

"fixable" are hosts with a CPU of a signature of which another host has these features: there it is the kernel, a \
parameter, firmware, microcode, a hypervisor or a fault that takes them away.

examples:
  vmxd fleet pools --recordings hosts
      who can move where, and what a larger baseline costs
  vmxd fleet pools --prometheus http://prom:9090 --by cluster
      whether each cluster is of one kind, and what would make it so
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "pools",
        usage="%(prog)s [options] (--prometheus URL | --recordings DIR)",
        parents=[fleet_options(), group_options(), view_options(), output_options()],
        help="hosts between which VMs can move, and which few to drop or fix for a larger baseline",
        description="Group hosts by equal features, and rank what it costs to have more features on all of them.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the pools; 2 where hosts may be missing. Raises VmxdError."""
    return print_answer(arguments, answer(read_groups(arguments)))
