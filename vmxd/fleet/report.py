"""Every host and every feature of a fleet: hosts in groups that are alike, as JSON and as a table. Pure.

The page (report_page.py) is made of the same groups.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from vmxd.fleet.model import Fleet, FleetHost, Kind
from vmxd.fleet.summary import source_document
from vmxd.fleet.table import Table
from vmxd.tables import FEATURES

SCHEMA: Final = "vmxd.fleet.report/1"


class Mark(enum.Enum):
    """How a host stands to a feature; the value is what a group's marks are written with."""

    HAS = "+"
    """Every CPU has it."""
    LACKS = "-"
    """No CPU whose value is known has it."""
    DIFFERS = "/"
    """Some CPUs have it and others have not, so the host has it not."""
    UNKNOWN = "?"
    """It could not be read, on some CPU at least, and no CPU is known to lack it."""


WORD: Final = {Mark.HAS: "has", Mark.LACKS: "lacks", Mark.DIFFERS: "CPUs differ", Mark.UNKNOWN: "unknown"}


@dataclass(frozen=True, slots=True)
class Group:
    """Hosts, sorted by name, that are of one kind and stand alike to every feature.

    kind: None for the hosts of which no feature is known. marks: one for each of FEATURES, in its order.
    """

    kind: Kind | None
    marks: tuple[Mark, ...]
    hosts: tuple[FleetHost, ...]

    @property
    def fingerprint(self) -> str | None:
        """That of its hosts; None where they have none."""
        return self.kind.fingerprint if self.kind else None

    @property
    def lacks_all(self) -> bool:
        """Whether its hosts are known to have no feature at all, as those without VMX."""
        return set(self.marks) == {Mark.LACKS}


def groups_of(fleet: Fleet) -> tuple[Group, ...]:
    """Return a fleet's groups, those with the most hosts first; last those without VMX and those not known."""
    members: dict[tuple[Kind | None, bool], list[FleetHost]] = {}
    for host in fleet.hosts:
        members.setdefault((host.kind, host.kind is not None and host.failed > 0), []).append(host)
    groups = (Group(kind, _marks(hosts[0]), tuple(hosts)) for (kind, _), hosts in members.items())
    return tuple(sorted(groups, key=lambda group: (group.kind is None, group.lacks_all, -len(group.hosts))))


def _marks(host: FleetHost) -> tuple[Mark, ...]:
    differing = frozenset(host.kind.differing) if host.kind else frozenset()
    by_value = {True: Mark.HAS, False: Mark.LACKS, None: Mark.UNKNOWN}
    return tuple(Mark.DIFFERS if name in differing else by_value[host.has(name)] for name in FEATURES)


def utc(fleet: Fleet) -> datetime:
    """Return when a fleet was read."""
    return datetime.fromtimestamp(fleet.taken_at, UTC)


def label_names(fleet: Fleet) -> list[str]:
    """Return the names of all labels that some host has, sorted."""
    return sorted({name for host in fleet.hosts for name in host.labels})


def report_document(fleet: Fleet) -> dict[str, Any]:
    """Return what ``vmxd fleet report --json`` prints: features once a group, hosts below it."""
    return {
        **source_document(fleet, SCHEMA),
        "groups": [_group(group) for group in groups_of(fleet)],
    }


def _group(group: Group) -> dict[str, Any]:
    value = {Mark.HAS: True, Mark.LACKS: False, Mark.DIFFERS: False, Mark.UNKNOWN: None}
    return {
        "fingerprint": group.fingerprint,
        "features": {name: value[mark] for name, mark in zip(FEATURES, group.marks, strict=True)},
        "differing": [name for name, mark in zip(FEATURES, group.marks, strict=True) if mark is Mark.DIFFERS],
        "hosts": [_host(host) for host in group.hosts],
    }


def _host(host: FleetHost) -> dict[str, Any]:
    return {
        "name": host.name,
        "labels": dict(host.labels),
        "status": host.status,
        "reason": host.reason,
        "vendor": host.vendor,
        "model_name": host.model_name,
        "signature": host.signature,
        "microcode": host.microcode,
        "kernel": host.kernel,
        "hypervisor": host.hypervisor,
        "inconsistent_cpus": host.inconsistent,
        "failed_cpus": host.failed,
    }


_FACTS: Final = ("status", "vendor", "model_name", "signature", "microcode", "kernel", "fingerprint")
_COUNTS: Final = ("inconsistent_cpus", "failed_cpus")


def report_table(fleet: Fleet) -> Table:
    """Return what ``vmxd fleet report --csv`` prints: a row for each host, a column for each feature."""
    labels = label_names(fleet)
    columns = ("host", *(f"label_{name}" for name in labels), *_FACTS, *_COUNTS, *FEATURES)
    rows = {host.name: _row(host, group, labels) for group in groups_of(fleet) for host in group.hosts}
    return Table(columns, tuple(rows[host.name] for host in fleet.hosts))


def _row(host: FleetHost, group: Group, labels: Sequence[str]) -> tuple[str, ...]:
    facts = (host.status, host.vendor, host.model_name, host.signature, host.microcode, host.kernel, group.fingerprint)
    texts = [host.name, *(host.labels.get(name, "") for name in labels), *(fact or "" for fact in facts)]
    marks = (WORD[mark] for mark in group.marks)
    return (*texts, str(host.inconsistent), str(host.failed), *marks)
