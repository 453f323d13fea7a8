"""Of which hosts a fleet consists: by status, model, microcode, kernel and fingerprint, and what is odd. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from vmxd.fleet.answer import Answer, Table, source_document
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.report import groups_of
from vmxd.fleet.words import UNKNOWN, hosts_text, some
from vmxd.model.decode import Status
from vmxd.views.json import Json
from vmxd.views.verdict_words import status_hint

SCHEMA: Final = "vmxd.fleet.summary/1"
_NAMED: Final = 4

Key = tuple[str | None, ...]
_COUNTED: Final[tuple[tuple[str, tuple[str, ...], Callable[[FleetHost], Key]], ...]] = (
    ("statuses", ("status",), lambda host: (host.status,)),
    ("models", ("model_name", "signature"), lambda host: (host.model_name, host.signature)),
    ("microcodes", ("signature", "microcode"), lambda host: (host.signature, host.microcode)),
    ("kernels", ("kernel",), lambda host: (host.kernel,)),
    (
        "fingerprints",
        ("fingerprint", "model_name", "signature"),
        lambda host: (host.fingerprint, host.model_name, host.signature),
    ),
)
"""What hosts are counted by: the document's key, the columns, and a host's values."""


@dataclass(frozen=True, slots=True)
class Summary(Answer):
    """A fleet at a glance."""

    fleet: Fleet

    def document(self) -> Json:
        """Follow docs/schema/fleet-summary-1.json."""
        hosts = self.fleet.hosts
        return {
            **source_document(self.fleet, SCHEMA),
            "hosts": len(hosts),
            **{
                name: [{**dict(zip(columns, values, strict=True)), "hosts": n} for values, n in _counts(hosts, key)]
                for name, columns, key in _COUNTED
            },
            "inconsistent": {
                host.name: {"cpus": host.inconsistent, "features": list(host.differing)}
                for host in hosts
                if host.inconsistent
            },
            "failed": {host.name: host.failed for host in hosts if host.failed},
            "unusable": {host.name: host.reason for host in hosts if host.is_forbidden},
            "undecided": {host.name: host.reason for host in hosts if _is_undecided(host)},
            "unknown": {host.name: host.reason for host in hosts if host.kind is None},
        }

    def sentences(self) -> Iterable[str]:
        """Say on how many hosts VMX may be used."""
        hosts = self.fleet.hosts
        usable = sum(host.status == "usable" for host in hosts)
        undecided = sum(map(_is_undecided, hosts))
        unknown = sum(host.kind is None for host in hosts)
        groups = len(groups_of(self.fleet))
        text = f"{hosts_text(len(hosts))} in {groups:,} group{'s' * (groups != 1)} of equal MSRs: "
        text += f"on {usable:,} VMX may be used"
        text += f", on {undecided:,} that is not known" if undecided else ""
        yield f"{text}; of {unknown:,} nothing is known." if unknown else f"{text}."

    def tables(self) -> Iterator[Table]:
        """Show what is odd, then what is counted."""
        hosts = self.fleet.hosts
        yield _odd("Hosts where VMX may not be used", (host for host in hosts if host.is_forbidden))
        yield Table(
            ("host", "CPUs", "features that some CPUs lack"),
            tuple(
                (host.name, str(host.inconsistent), ", ".join(host.differing) or "no named feature")
                for host in hosts
                if host.inconsistent
            ),
            "Hosts whose CPUs differ",
        )
        yield _odd("Hosts of which nothing is known", (host for host in hosts if host.kind is None))
        failed = ((host, host.failure) for host in hosts if host.failed and host.kind)
        yield Table(("hosts", "what", "which"), _by_reason(failed), "Hosts that are known in part")
        yield _odd("Hosts whose features are known, but not whether VMX may be used", filter(_is_undecided, hosts))
        for _, columns, key in _COUNTED:
            rows = ((*(text or UNKNOWN for text in values), f"{n:,}") for values, n in _counts(hosts, key))
            yield Table((*(name.removesuffix("_name") for name in columns), "hosts"), tuple(rows))

    def csv(self) -> Table:
        """Give each host a row."""
        columns = ("host", "status", "vendor", "model_name", "signature", "microcode", "kernel", "hypervisor")
        rows = (
            (
                host.name,
                *(getattr(host, name) or "" for name in columns[1:-1]),
                "true" if host.hypervisor else "false",
                host.fingerprint or "",
                str(host.inconsistent),
                str(host.failed),
                host.reason or "",
            )
            for host in self.fleet.hosts
        )
        return Table((*columns, "fingerprint", "inconsistent_cpus", "failed_cpus", "reason"), tuple(rows))


def _is_undecided(host: FleetHost) -> bool:
    """Whether it is not known if VMX may be used on a host, although its features are."""
    return host.status == "unknown" and host.kind is not None


def _counts(hosts: Iterable[FleetHost], key: Callable[[FleetHost], Key]) -> list[tuple[Key, int]]:
    """Count hosts by a key, the most frequent first, equal counts by key."""
    counts = Counter(map(key, hosts))
    return sorted(counts.items(), key=lambda item: (-item[1], *(text or "" for text in item[0])))


def _odd(title: str, hosts: Iterable[FleetHost]) -> Table:
    """List hosts by what is odd about them, with the next step if there is one."""
    hints: dict[str, str] = {}
    found = list(hosts)
    for host in found:
        hint = next((status_hint(each) for each in Status if each.value == host.status), None)
        hints.setdefault(host.reason or "", hint or "")
    rows = ((*row, hints[row[1]]) for row in _by_reason((host, host.reason or "") for host in found))
    if any(hints.values()):
        return Table(("hosts", "why", "which", "hint"), tuple(rows), title)
    return Table(("hosts", "why", "which"), tuple(row[:-1] for row in rows), title)


def _by_reason(found: Iterable[tuple[FleetHost, str]]) -> tuple[tuple[str, ...], ...]:
    names: dict[str, list[str]] = {}
    for host, reason in found:
        names.setdefault(reason, []).append(host.name)
    return tuple((f"{len(each):,}", reason, some(each, _NAMED)) for reason, each in names.items())
