"""Every host and every feature of a fleet: hosts in groups that are alike, as JSON and as a table. Pure.

The page (report_page.py) is made of the same groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from vmxd.fleet.answer import Answer, Table, source_document
from vmxd.fleet.model import Fleet, FleetHost, Kind
from vmxd.tables import FEATURES
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.report/1"


HAS: Final = "+"
LACKS: Final = "-"
DIFFERS: Final = "/"
"""Some CPUs have it and others have not, so the host has it not."""
UNKNOWN: Final = "?"
"""It could not be read, on some CPU at least, and no CPU is known to lack it."""
WORDS: Final = {HAS: "has", LACKS: "lacks", DIFFERS: "CPUs differ", UNKNOWN: "unknown"}
"""Whether a host has a feature: how a group's marks are written, and what they mean."""
_VALUES: Final = {HAS: True, LACKS: False, DIFFERS: False, UNKNOWN: None}


@dataclass(frozen=True, slots=True)
class Group:
    """Hosts, sorted by name, that are of one kind and stand alike to every feature.

    kind: None for the hosts of which no feature is known. marks: a character for each of FEATURES, in its order.
    """

    kind: Kind | None
    marks: str
    hosts: tuple[FleetHost, ...]

    @property
    def fingerprint(self) -> str | None:
        """That of its hosts; None where they have none."""
        return self.kind.fingerprint if self.kind else None

    @property
    def lacks_all(self) -> bool:
        """Whether its hosts are known to have no feature at all, as those without VMX."""
        return set(self.marks) == {LACKS}


def groups_of(fleet: Fleet) -> tuple[Group, ...]:
    """Return a fleet's groups, those with the most hosts first; last those without VMX and those not known."""
    members: dict[tuple[Kind | None, bool], list[FleetHost]] = {}
    for host in fleet.hosts:
        members.setdefault((host.kind, host.kind is not None and host.failed > 0), []).append(host)
    groups = (Group(kind, _marks(hosts[0]), tuple(hosts)) for (kind, _), hosts in members.items())
    return tuple(sorted(groups, key=lambda group: (group.kind is None, group.lacks_all, -len(group.hosts))))


def _marks(host: FleetHost) -> str:
    differing = frozenset(host.differing)
    by_value = {True: HAS, False: LACKS, None: UNKNOWN}
    return "".join(DIFFERS if name in differing else by_value[host.has(name)] for name in FEATURES)


def utc(fleet: Fleet) -> datetime:
    """Return when a fleet was read."""
    return datetime.fromtimestamp(fleet.taken_at, UTC)


def label_names(fleet: Fleet) -> list[str]:
    """Return the names of all labels that some host has, sorted."""
    return sorted({name for host in fleet.hosts for name in host.labels})


@dataclass(frozen=True, slots=True)
class Report(Answer):
    """Every host and every feature."""

    fleet: Fleet

    def document(self) -> Json:
        """Follow docs/schema/fleet-report-1.json: features once a group, hosts below it."""
        return {**source_document(self.fleet, SCHEMA), "groups": [_group(group) for group in groups_of(self.fleet)]}

    def csv(self) -> Table:
        """Give each host a row, and each feature a column."""
        labels = label_names(self.fleet)
        columns = ("host", *(f"label_{name}" for name in labels), *_FACTS, *_COUNTS, *FEATURES)
        rows = {host.name: _row(host, group, labels) for group in groups_of(self.fleet) for host in group.hosts}
        return Table(columns, tuple(rows[host.name] for host in self.fleet.hosts))


def _group(group: Group) -> Json:
    marks = dict(zip(FEATURES, group.marks, strict=True))
    return {
        "fingerprint": group.fingerprint,
        "features": {name: _VALUES[mark] for name, mark in marks.items()},
        "differing": [name for name, mark in marks.items() if mark == DIFFERS],
        "hosts": [_host(host) for host in group.hosts],
    }


def _host(host: FleetHost) -> Json:
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


def _row(host: FleetHost, group: Group, labels: Sequence[str]) -> tuple[str, ...]:
    facts = (host.status, host.vendor, host.model_name, host.signature, host.microcode, host.kernel, group.fingerprint)
    texts = [host.name, *(host.labels.get(name, "") for name in labels), *(fact or "" for fact in facts)]
    marks = (WORDS[mark] for mark in group.marks)
    return (*texts, str(host.inconsistent), str(host.failed), *marks)
