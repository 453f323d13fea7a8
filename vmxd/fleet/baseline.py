"""The features that every host of a group has. Pure.

Sets of features are masks: bit n is the n-th of FEATURES. What is not known of a host is in neither of its two masks,
so it never counts as lacking.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.fleet.model import FleetHost, Kind
from vmxd.tables import FEATURES

ALL: Final = (1 << len(FEATURES)) - 1
_BITS: Final = {name: 1 << number for number, name in enumerate(FEATURES)}


def feature_names(mask: int) -> tuple[str, ...]:
    """Return the features of a mask, in the order of the SDM."""
    return tuple(name for name, bit in _BITS.items() if mask & bit)


def mask_of(names: Iterable[str]) -> int:
    """Return the mask of some features."""
    return sum(_BITS[name] for name in set(names))


@dataclass(frozen=True, slots=True)
class Alike:
    """Hosts of which the same is known: what they have, and what they lack. has and lacks: masks over FEATURES."""

    hosts: tuple[FleetHost, ...]
    has: int
    lacks: int

    @property
    def unknown(self) -> int:
        """What is not known of them."""
        return ALL & ~self.has & ~self.lacks


@dataclass(frozen=True, slots=True)
class Known:
    """Hosts by what is known of them.

    alike: hosts all of whose CPUs could be read, by equal features, most hosts first.
    failed: hosts with CPUs that could not be read: what the others lack is certain, what they have is not.
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
        failed = {host.name: _failed_reason(host) for each in self.failed for host in each.hosts}
        nothing = {host.name: host.reason or "no feature of it is known" for host in self.nothing}
        return dict(sorted((failed | nothing).items()))


def _failed_reason(host: FleetHost) -> str:
    cpus = "CPU has MSRs" if host.failed == 1 else "CPUs have MSRs"
    return f"{host.failed} {cpus} that could not be read; what it is known to lack counts"


def sort_out(hosts: Iterable[FleetHost], among: int = ALL) -> Known:
    """Return hosts by what is known of them; among: mask of the features that matter.

    The cost of decoding follows the number of kinds.
    """
    masks: dict[Kind, tuple[int, int]] = {}
    alike: dict[tuple[int, int], list[FleetHost]] = {}
    failed: dict[tuple[int, int], list[FleetHost]] = {}
    nothing = []
    for host in hosts:
        if host.kind is None:
            nothing.append(host)
            continue
        if host.kind not in masks:
            masks[host.kind] = _masks(host.kind, among)
        has, lacks = masks[host.kind]
        if host.failed:
            failed.setdefault((0, lacks), []).append(host)
        else:
            alike.setdefault((has, lacks), []).append(host)
    return Known(_sorted(alike), _sorted(failed), tuple(nothing))


def _masks(kind: Kind, among: int) -> tuple[int, int]:
    has = lacks = 0
    for name, bit in _BITS.items():
        value = kind.features.get(name)
        has |= bit if value else 0
        lacks |= bit if value is False else 0
    return has & among, lacks & among


def _sorted(found: Mapping[tuple[int, int], list[FleetHost]]) -> tuple[Alike, ...]:
    groups = (Alike(tuple(hosts), has, lacks) for (has, lacks), hosts in found.items())
    return tuple(sorted(groups, key=lambda each: (-len(each.hosts), -each.has.bit_count(), each.hosts[0].name)))


def union(groups: Iterable[Alike]) -> int:
    """Return the mask of what some of these hosts have."""
    has = 0
    for each in groups:
        has |= each.has
    return has


def common(groups: Iterable[Alike]) -> int:
    """Return the mask of what some of these hosts have, and none of them is known to lack."""
    has = lacks = 0
    for each in groups:
        has |= each.has
        lacks |= each.lacks
    return has & ~lacks


@dataclass(frozen=True, slots=True)
class Baseline:
    """What every host of a group has, as far as it is known.

    hosts: how many are wholly read.
    features: what every one has on which it is known, at least one, and none is known to lack.
    doubtful: those of features that are not known on some hosts, with the number of these hosts.
    lacking: features that some hosts have and others lack, with the number of those that lack them, fewest first.
    open: features that no host is known to have or to lack, of those that matter.
    unknown: hosts that are not wholly read, with the reason; they are not in hosts, and add nothing to doubtful.
    """

    hosts: int
    features: tuple[str, ...]
    doubtful: Mapping[str, int]
    lacking: Mapping[str, int]
    open: tuple[str, ...]
    unknown: Mapping[str, str]

    @property
    def certain(self) -> tuple[str, ...]:
        """The features that are known on every host that is wholly read."""
        return tuple(name for name in self.features if name not in self.doubtful)


def find_baseline(hosts: Iterable[FleetHost], among: int = ALL) -> Baseline:
    """Return the baseline of hosts; among: mask of the features that matter."""
    known = sort_out(hosts, among)
    everyone = (*known.alike, *known.failed)
    features = common(everyone)
    some = union(known.alike)
    doubtful: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    seen = some
    for each in known.alike:
        doubtful.update(dict.fromkeys(feature_names(each.unknown & features), len(each.hosts)))
    for each in everyone:
        lacking.update(dict.fromkeys(feature_names(each.lacks & some), len(each.hosts)))
        seen |= each.lacks
    return Baseline(
        hosts=known.hosts,
        features=feature_names(features),
        doubtful={name: doubtful[name] for name in FEATURES if name in doubtful},
        lacking=dict(sorted(lacking.items(), key=lambda item: (item[1], _BITS[item[0]]))),
        open=feature_names(among & ~seen) if known.alike else (),
        unknown=known.unknown,
    )
