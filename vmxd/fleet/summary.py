"""What a fleet is made of: its hosts by status, model, microcode and fingerprint. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import vmxd
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.table import Table
from vmxd.fleet.times import format_time
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.summary/1"
UNKNOWN: Final = "not known"
"""In a table's cell: not known."""


def source_document(fleet: Fleet, schema: str) -> Json:
    """Return what every document about a fleet begins with."""
    return {
        "schema": schema,
        "vmxd": vmxd.__version__,
        "source": fleet.source,
        "time": format_time(fleet.taken_at),
        "warnings": list(fleet.warnings),
    }


def summary_document(fleet: Fleet) -> Json:
    """Return what ``vmxd fleet summary --json`` prints."""
    return {
        **source_document(fleet, SCHEMA),
        "hosts": len(fleet.hosts),
        "statuses": _counted(fleet, ("status",), lambda host: (host.status,)),
        "models": _counted(fleet, ("model_name", "signature"), _model),
        "microcodes": _counted(fleet, ("signature", "microcode"), _microcode),
        "kernels": _counted(fleet, ("kernel",), lambda host: (host.kernel,)),
        "fingerprints": _counted(fleet, ("fingerprint", "model_name", "signature"), _fingerprint),
        "inconsistent": {host.name: _inconsistent(host) for host in fleet.hosts if host.inconsistent},
        "failed": {host.name: host.failed for host in fleet.hosts if host.failed},
        "unusable": {host.name: host.reason for host in fleet.hosts if _is_unusable(host)},
        "undecided": {host.name: host.reason for host in fleet.hosts if _is_undecided(host)},
        "unknown": {host.name: host.reason for host in fleet.hosts if is_unknown(host)},
    }


def is_unknown(host: FleetHost) -> bool:
    """Whether nothing is known of a host's features."""
    return host.kind is None


def _is_unusable(host: FleetHost) -> bool:
    return host.status in ("disabled_by_firmware", "unlocked", "smx_only")


def _is_undecided(host: FleetHost) -> bool:
    """Whether it is not known if VMX may be used on a host, although its features are."""
    return host.status == "unknown" and not is_unknown(host)


Key = tuple[str | None, ...]


def _model(host: FleetHost) -> Key:
    return host.model_name, host.signature


def _microcode(host: FleetHost) -> Key:
    return host.signature, host.microcode


def _fingerprint(host: FleetHost) -> Key:
    return (host.kind.fingerprint if host.kind else None, *_model(host))


def _counted(fleet: Fleet, names: Sequence[str], key: Callable[[FleetHost], Key]) -> list[Json]:
    return [
        {**dict(zip(names, values, strict=True)), "hosts": count} for values, count in _counts(fleet.hosts, key).items()
    ]


def _counts(hosts: Iterable[FleetHost], key: Callable[[FleetHost], Key]) -> dict[Key, int]:
    """Return how many hosts have each key, the most frequent first, equal counts by key."""
    counts = Counter(map(key, hosts))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], *(text or "" for text in item[0]))))


def _inconsistent(host: FleetHost) -> Json:
    return {"cpus": host.inconsistent, "features": list(host.kind.differing if host.kind else ())}


def summary_text(fleet: Fleet) -> str:
    """Return the sentence above the tables."""
    usable = sum(host.status == "usable" for host in fleet.hosts)
    undecided = sum(map(_is_undecided, fleet.hosts))
    unknown = sum(map(is_unknown, fleet.hosts))
    kinds = "1 kind" if len(fleet.kinds) == 1 else f"{len(fleet.kinds)} kinds"
    text = f"{hosts_text(len(fleet.hosts))}, of {kinds}: on {usable:,} VMX may be used"
    text += f", on {undecided:,} that is not known" if undecided else ""
    return f"{text}; of {unknown:,} nothing is known." if unknown else f"{text}."


def summary_tables(fleet: Fleet) -> list[Table]:
    """Return the summary for people."""
    hosts = fleet.hosts
    tables = [
        _table(hosts, ("status",), lambda host: (host.status,)),
        _table(hosts, ("model", "signature"), _model),
        _table(hosts, ("signature", "microcode"), _microcode),
        _table(hosts, ("kernel",), lambda host: (host.kernel,)),
        _table(hosts, ("fingerprint", "model", "signature"), _fingerprint),
    ]
    if rows := [
        (host.name, str(host.inconsistent), ", ".join(host.kind.differing if host.kind else ()) or "no named feature")
        for host in hosts
        if host.inconsistent
    ]:
        tables.append(Table(("host", "CPUs", "features that some CPUs lack"), tuple(rows), "Hosts whose CPUs differ"))
    if failed := _by_reason((host, host.failure) for host in hosts if host.failed and host.kind):
        tables.append(Table(("hosts", "what", "which"), failed, "Hosts that are known in part"))
    if unusable := _by_reason((host, host.reason or "") for host in hosts if _is_unusable(host)):
        tables.append(Table(("hosts", "why", "which"), unusable, "Hosts where VMX may not be used"))
    if undecided := _by_reason((host, host.reason or "") for host in hosts if _is_undecided(host)):
        title = "Hosts whose features are known, but not whether VMX may be used"
        tables.append(Table(("hosts", "why", "which"), undecided, title))
    if unknown := _by_reason((host, host.reason or "") for host in hosts if is_unknown(host)):
        tables.append(Table(("hosts", "why", "which"), unknown, "Hosts of which nothing is known"))
    return tables


def _table(hosts: Sequence[FleetHost], columns: tuple[str, ...], key: Callable[[FleetHost], Key]) -> Table:
    rows = ((*(text or UNKNOWN for text in values), str(count)) for values, count in _counts(hosts, key).items())
    return Table((*columns, "hosts"), tuple(rows))


def _by_reason(found: Iterable[tuple[FleetHost, str]]) -> tuple[tuple[str, ...], ...]:
    names: dict[str, list[str]] = {}
    for host, reason in found:
        names.setdefault(reason, []).append(host.name)
    return tuple((str(len(each)), reason, some(each, 4)) for reason, each in names.items())


def some(names: Sequence[str], limit: int) -> str:
    """Return the first of several names, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


def hosts_text(count: int) -> str:
    """Return how many hosts."""
    return "1 host" if count == 1 else f"{count:,} hosts"


def hosts_table(fleet: Fleet) -> Table:
    """Return one row a host, for CSV."""
    columns = ("host", "status", "vendor", "model_name", "signature", "microcode", "kernel", "hypervisor")
    return Table(
        (*columns, "fingerprint", "inconsistent_cpus", "failed_cpus", "reason"),
        tuple(
            (
                host.name,
                *(getattr(host, name) or "" for name in columns[1:-1]),
                "true" if host.hypervisor else "false",
                (host.kind.fingerprint if host.kind else None) or "",
                str(host.inconsistent),
                str(host.failed),
                host.reason or "",
            )
            for host in fleet.hosts
        ),
    )
