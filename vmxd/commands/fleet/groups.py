"""What the questions about sets of features share: which hosts, in which groups."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vmxd.commands.fleet.options import read_fleet
from vmxd.commands.parser import Parser
from vmxd.errors import VmxdError

if TYPE_CHECKING:
    from vmxd.fleet.groups import Groups
    from vmxd.fleet.model import Fleet, FleetHost
    from vmxd.fleet.table import Table
    from vmxd.views.json import Json


def group_options() -> Parser:
    """Return the options that choose hosts and group them, as a parent for a question's parser."""
    options = Parser(add_help=False)
    options.add_argument(
        "--by",
        metavar="LABEL",
        help="answer for each value of a label of the hosts' targets, or of vendor, model_name, signature, microcode "
        "or kernel",
    )
    options.add_argument(
        "--usable",
        action="store_true",
        help="leave out hosts on which VMX is known not to be usable: no_vmx, disabled_by_firmware, unlocked, smx_only",
    )
    options.add_argument(
        "--guest",
        action="store_true",
        help="only those features that KVM can give to guests (Linux 6.12): no VM can notice the others",
    )
    return options


def chosen_features(arguments: argparse.Namespace) -> int:
    """Return the mask of the features that group_options() chose."""
    from vmxd.fleet.baseline import ALL, mask_of

    if not arguments.guest:
        return ALL
    from vmxd.tables.nested import OFFERED

    return mask_of(OFFERED)


def noun(arguments: argparse.Namespace) -> str:
    """Return what to call the features that group_options() chose."""
    return "features for guests" if arguments.guest else "features"


def read_groups(arguments: argparse.Namespace) -> tuple[Fleet, Groups, tuple[FleetHost, ...]]:
    """Return the fleet, its hosts as group_options() grouped them, and those left out. Raises VmxdError."""
    from vmxd.fleet.groups import group_by, split_usable

    fleet = read_fleet(arguments)
    hosts, left_out = split_usable(fleet.hosts) if arguments.usable else (fleet.hosts, ())
    if not any(host.kind and not host.failed for host in hosts):
        raise VmxdError(f"{fleet.source}: the features of no host are known", "vmxd fleet summary says why")
    return fleet, group_by(hosts, arguments.by) if arguments.by else {None: hosts}, left_out


def left_out_notes(left_out: tuple[FleetHost, ...]) -> list[str]:
    """Return what to say of hosts that --usable left out."""
    return [f"{hosts_text(len(left_out))} left out, where VMX is not usable"] if left_out else []


def hosts_text(count: int) -> str:
    """Return a number of hosts for people."""
    return "1 host" if count == 1 else f"{count:,} hosts"


def group_text(value: str | None) -> str:
    """Return a group's name for people."""
    return "(none)" if value is None else value


def few(names: Iterable[str], most: int = 3) -> str:
    """Return the first of some names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" +{len(names) - most:,}" if len(names) > most else "")


def unknown_table(unknown: Mapping[str, str], most: int = 20) -> Table:
    """Return a table of the hosts of which nothing, or too little, is known."""
    from vmxd.fleet.table import Table

    width = 78 - max(map(len, unknown), default=0)
    rows = [(name, textwrap.shorten(reason, max(width, 30), placeholder="...")) for name, reason in unknown.items()]
    if len(rows) > most:
        rows = [*rows[:most], (f"+{len(rows) - most:,}", "")]
    return Table(("host", "reason"), tuple(rows), f"Not known, and not counted: {hosts_text(len(unknown))}")


def fleet_document(schema: str, arguments: argparse.Namespace, fleet: Fleet, left_out: Iterable[FleetHost]) -> Json:
    """Return what every --json starts with."""
    from vmxd.fleet.summary import source_document

    return {
        **source_document(fleet, schema),
        "by": arguments.by,
        "guest": arguments.guest,
        "left_out": {host.name: host.status for host in left_out},
    }
