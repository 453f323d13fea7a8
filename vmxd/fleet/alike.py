"""Hosts of which the same is known, and what they have in common. Pure; the cost follows kinds, not hosts.

A feature that is not known of a host is neither in what it has nor in what it lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.fleet.model import FleetHost, Kind
from vmxd.tables import FEATURES

Features = frozenset[str]
ALL: Final[Features] = frozenset(FEATURES)


def in_order(features: Iterable[str]) -> tuple[str, ...]:
    """Sort features as the SDM does."""
    given = frozenset(features)
    return tuple(name for name in FEATURES if name in given)


@dataclass(frozen=True, slots=True)
class Alike:
    """Hosts of which the same is known: what all of them have, and what all of them lack."""

    hosts: tuple[FleetHost, ...]
    has: Features
    lacks: Features

    @property
    def unknown(self) -> Features:
        """What is not known of them."""
        return ALL - self.has - self.lacks


@dataclass(frozen=True, slots=True)
class Known:
    """Hosts by what is known of them.

    alike: hosts all of whose CPUs could be read, by equal features, most hosts first.
    failed: hosts with CPUs that could not be read: what they lack is certain, what they have is not.
    nothing: hosts of which nothing is known.
    """

    alike: tuple[Alike, ...]
    failed: tuple[Alike, ...]
    nothing: tuple[FleetHost, ...]

    @property
    def hosts(self) -> int:
        """How many hosts are wholly read."""
        return sum(len(each.hosts) for each in self.alike)

    @property
    def unknown(self) -> Mapping[str, str]:
        """Hosts that are not wholly read, by name, with the reason."""
        failed = {
            host.name: f"{host.failure}; what it is known to lack counts" for each in self.failed for host in each.hosts
        }
        nothing = {host.name: host.reason or "no feature of it is known" for host in self.nothing}
        return dict(sorted((failed | nothing).items()))


def sort_out(hosts: Iterable[FleetHost]) -> Known:
    """Sort hosts by what is known of them."""
    sets: dict[Kind, tuple[Features, Features]] = {}
    alike: dict[tuple[Features, Features], list[FleetHost]] = {}
    failed: dict[tuple[Features, Features], list[FleetHost]] = {}
    nothing = []
    for host in hosts:
        if host.kind is None:
            nothing.append(host)
            continue
        if host.kind not in sets:
            known = host.kind.features
            has = frozenset(name for name, value in known.items() if value)
            sets[host.kind] = has, frozenset(known) - has
        has, lacks = sets[host.kind]
        if host.failed:
            failed.setdefault((frozenset(), lacks), []).append(host)
        else:
            alike.setdefault((has, lacks), []).append(host)
    return Known(_sorted(alike), _sorted(failed), tuple(nothing))


def _sorted(found: Mapping[tuple[Features, Features], list[FleetHost]]) -> tuple[Alike, ...]:
    groups = (Alike(tuple(hosts), has, lacks) for (has, lacks), hosts in found.items())
    return tuple(sorted(groups, key=lambda each: (-len(each.hosts), -len(each.has), each.hosts[0].name)))


def union(groups: Iterable[Alike]) -> Features:
    """Return what some of these hosts have."""
    return frozenset().union(*(each.has for each in groups))


def common(groups: Iterable[Alike]) -> Features:
    """Return what some of these hosts have, and none of them is known to lack."""
    groups = tuple(groups)
    return union(groups).difference(*(each.lacks for each in groups))
