"""Which hosts lost or gained features since a time, beside what else changed on them; hosts that changed alike as one.

The fleet is read at both times, so the cost follows kinds; parameters of KVM are asked for where they changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from vmxd.fleet.answer import Answer, Table, paragraph, section, source_document
from vmxd.fleet.api import Api
from vmxd.fleet.history import Facts, facts_text, features_text, lost_and_gained
from vmxd.fleet.later import at_once
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.prometheus import Asked, read_parameter_changes, read_prometheus
from vmxd.fleet.times import format_time
from vmxd.fleet.words import hosts_text
from vmxd.views.json import Json
from vmxd.views.lines import Line, Tone

SCHEMA: Final = "vmxd.fleet.changes/1"
_FACTS: Final = ("status", "microcode", "kernel", "model_name", "signature")


@dataclass(frozen=True, slots=True)
class Changed:
    """How a host has changed. facts: status, microcode, kernel, CPU and parameters of kvm_intel, those that differ."""

    lost: tuple[str, ...]
    gained: tuple[str, ...]
    facts: Facts = field(default_factory=dict)

    @property
    def said(self) -> tuple[str, ...]:
        """What became of the features, then what changed with them."""
        return tuple(filter(None, (*features_text(self.lost, self.gained), "; ".join(facts_text(self.facts)))))


@dataclass(frozen=True, slots=True)
class Changes(Answer):
    """What became of a fleet.

    fleet: as it is now. since: Unix time in seconds. changed: by host. unknown: hosts of whose features too little is
    known now or was then, with the reason. new, gone: hosts seen at one of the two times alone.
    """

    fleet: Fleet
    since: float
    changed: Mapping[str, Changed]
    unknown: Mapping[str, str]
    new: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def holds(self) -> bool | None:
        """Whether no host lost or gained a feature or became unusable; None if that is not known of some host."""
        if any(each.lost or each.gained or "status" in each.facts for each in self.changed.values()):
            return False
        return None if self.unknown or self.fleet.warnings else True

    def document(self) -> Json:
        """Follow docs/schema/fleet-changes-1.json."""
        return {
            **source_document(self.fleet, SCHEMA),
            "since": format_time(self.since),
            "changed": [
                {
                    "hosts": hosts,
                    "lost": list(each.lost),
                    "gained": list(each.gained),
                    "facts": {name: {"before": a, "after": b} for name, (a, b) in each.facts.items()},
                }
                for each, hosts in self._alike()
            ],
            "unknown": dict(self.unknown),
            "new": list(self.new),
            "gone": list(self.gone),
        }

    def csv(self) -> Table:
        """Give each host that changed a row."""
        rows = [
            (name, " ".join(each.lost), " ".join(each.gained), "; ".join(facts_text(each.facts)))
            for name, each in self.changed.items()
        ]
        rows += [(name, "", "", reason) for name, reason in self.unknown.items()]
        rows += [(name, "", "", "new") for name in self.new] + [(name, "", "", "gone") for name in self.gone]
        return Table(("host", "lost", "gained", "changed"), tuple(sorted(rows)))

    def sentences(self) -> Iterator[str]:
        """Count the hosts that lost and gained features."""
        lost, gained = (sum(bool(getattr(each, name)) for each in self.changed.values()) for name in ("lost", "gained"))
        text = f"Since {format_time(self.since)}, {lost:,} of {hosts_text(len(self.fleet.hosts))} lost features"
        text += f", {gained:,} gained some"
        yield f"{text}; of {len(self.unknown):,} that is not known." if self.unknown else f"{text}."

    def lines(self, width: int | None, names: int | None) -> Iterator[Line]:
        """Show losses first, then gains, other changes, and hosts that came and went."""
        for sentence in self.sentences():
            yield from paragraph(sentence, 0, width)
        titles = {"LOST": Tone.BAD, "GAINED": Tone.GOOD, "CHANGED OTHERWISE": Tone.TITLE}
        groups: dict[str, dict[tuple[str, ...], list[str]]] = {title: {} for title in titles}
        for each, hosts in self._alike():
            title = "LOST" if each.lost else "GAINED" if each.gained else "CHANGED OTHERWISE"
            groups[title][each.said] = hosts
        for title, tone in titles.items():
            yield from section(title, tone, groups[title], width, names)
        unknown: dict[tuple[str, ...], list[str]] = {}
        for name, reason in self.unknown.items():
            unknown.setdefault((reason,), []).append(name)
        yield from section("NOT KNOWN", Tone.DOUBT, unknown, width, names)
        for title, seen in (("NEW", self.new), ("GONE", self.gone)):
            yield from section(title, Tone.TITLE, {(): seen} if seen else {}, width, names)

    def _alike(self) -> list[tuple[Changed, list[str]]]:
        """Return the hosts that changed alike, most hosts first."""
        found: dict[tuple[str, ...], tuple[Changed, list[str]]] = {}
        for name, each in self.changed.items():
            found.setdefault(each.said, (each, []))[1].append(name)
        return sorted(found.values(), key=lambda item: (not item[0].lost, -len(item[1])))


def read_changes(api: Api, matchers: str, since: float, at: float | None) -> Changes:
    """Ask a Prometheus what became of hosts. at: Unix time, None for now. Raises PrometheusError."""
    now, then = at_once([partial(read_prometheus, api, Asked(matchers, each)) for each in (at, since)])
    return compare(then, now, read_parameter_changes(api, matchers, since, now))


def compare(then: Fleet, now: Fleet, parameters: Mapping[str, Facts]) -> Changes:
    """Compare a fleet at two times. parameters: of kvm_intel that changed, by host."""
    before, after = ({host.name: host for host in fleet.hosts} for fleet in (then, now))
    changed, unknown = {}, {}
    seen: dict[tuple[object, ...], tuple[tuple[str, ...] | None, tuple[str, ...] | None]] = {}
    for name, host in after.items():
        if name not in before:
            continue
        old = before[name]
        kinds = (old.evidence, host.evidence)
        if kinds not in seen:
            seen[kinds] = lost_and_gained(old, host)
        lost, gained = seen[kinds]
        facts = {**_facts(old, host), **parameters.get(name, {})}
        if lost is None or gained is None:
            unknown[name] = f"now: {host.reason}" if host.kind is None else f"then: {old.reason}"
            continue
        if not lost and (old.failed or host.failed):
            unknown[name] = f"now: {host.failure}" if host.failed else f"then: {old.failure}"
        if lost or gained or facts:
            changed[name] = Changed(lost, gained, facts)
    return Changes(
        now,
        then.taken_at,
        changed,
        unknown,
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
    )


def _facts(old: FleetHost, host: FleetHost) -> Facts:
    pairs = {name: (getattr(old, name), getattr(host, name)) for name in _FACTS}
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b and a is not None and b is not None}
