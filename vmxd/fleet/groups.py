"""The hosts that a question is about: all or those on which VMX may be usable, as one group or by a label. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.errors import UsageError, VmxdError
from vmxd.fleet.answer import Table, source_document
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.words import guests_sentence, hosts_text, known_by_host
from vmxd.model.answers import View
from vmxd.views.json import Json

FACTS: Final = ("vendor", "model_name", "signature", "microcode", "kernel")
"""What hosts can be grouped by where they have no such label: the labels of vmx_host_info, and the kernel."""
_UNKNOWN_SHOWN: Final = 20

Groups = Mapping[str | None, tuple[FleetHost, ...]]
"""Hosts by a label's value, sorted by it; None, the last: those without the label."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """Hosts of a fleet as a question takes them.

    by: the label that they are grouped by. left_out: hosts left out since VMX is known not to be usable there.
    """

    fleet: Fleet
    groups: Groups
    left_out: tuple[FleetHost, ...]
    by: str | None

    @property
    def noun(self) -> str:
        """How to call the features."""
        return "features for guests" if self.fleet.view is View.GUEST else "features"

    @property
    def sentence(self) -> str:
        """How it is known what guests get; "" if the answer is by the hardware."""
        return guests_sentence(host for hosts in self.groups.values() for host in hosts)

    @property
    def notes(self) -> list[str]:
        """What to say of hosts that were left out."""
        return [f"{hosts_text(len(self.left_out))} left out, where VMX is not usable"] if self.left_out else []

    def document(self, schema: str) -> Json:
        """Return what the document begins with."""
        return {
            **source_document(self.fleet, schema),
            "by": self.by,
            "view": self.fleet.view.value,
            "known": dict(known_by_host(host for hosts in self.groups.values() for host in hosts)),
            "left_out": {host.name: host.status for host in self.left_out},
        }

    def labelled(self, columns: tuple[str, ...], rows: Iterable[tuple[str | None, tuple[str, ...]]]) -> Table:
        """Return rows as a table, each behind its group's value if hosts are grouped."""
        if self.by is None:
            return Table(columns, tuple(row for _, row in rows))
        return Table((self.by, *columns), tuple((value or "", *row) for value, row in rows))


def group(fleet: Fleet, by: str | None = None, *, usable: bool = False) -> Grouped:
    """Group the hosts of a fleet. usable: leave out those on which VMX is known not to be usable.

    Raises UsageError if there is no such label, VmxdError if no feature of any host is known.
    """
    left_out = tuple(host for host in fleet.hosts if usable and host.usable is False)
    hosts = tuple(host for host in fleet.hosts if not usable or host.usable is not False)
    if not any(host.kind and not host.failed for host in hosts):
        if any(host.offer and not host.failed for host in hosts):
            raise VmxdError(f"{fleet.source}: what guests get is known of no host", "--view hardware asks the CPUs")
        raise VmxdError(f"{fleet.source}: the features of no host are known", "vmxd fleet summary says why")
    return Grouped(fleet, group_by(hosts, by) if by else {None: hosts}, left_out, by)


def group_by(hosts: Iterable[FleetHost], label: str) -> Groups:
    """Group hosts by a label of theirs or, where none has it, by one of FACTS. Raises UsageError."""
    hosts = tuple(hosts)
    labels = {name for host in hosts for name in host.labels}
    if label not in labels and label not in FACTS:
        names = ", ".join((*sorted(labels), *FACTS))
        raise UsageError(f"no host has the label {label!r}", f"there are {names}")
    found: dict[str | None, list[FleetHost]] = {}
    for host in hosts:
        value = host.labels.get(label) if label in labels else getattr(host, label)
        found.setdefault(value or None, []).append(host)
    return {value: tuple(found[value]) for value in sorted(found, key=lambda value: (value is None, value or ""))}


def unknown_table(unknown: Mapping[str, str]) -> Table:
    """List the hosts of which nothing, or too little, is known."""
    width = max(30, 78 - max(map(len, unknown), default=0))
    rows = [(name, textwrap.shorten(reason, width, placeholder="...")) for name, reason in unknown.items()]
    if len(rows) > _UNKNOWN_SHOWN:
        rows = [*rows[:_UNKNOWN_SHOWN], (f"+{len(rows) - _UNKNOWN_SHOWN:,}", "")]
    return Table(("host", "reason"), tuple(rows), f"Not known, and not counted: {hosts_text(len(unknown))}")
