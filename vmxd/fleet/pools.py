"""Pools, groups of hosts between which VMs can move, and what it would take to make one of several. Pure.

Pools are hosts with equal features. A baseline that is larger than that of all pools is had by dropping those that
lack some feature, so only the sets of pools that lack none of some features matter: the intersections of the sets
"all that do not lack f" (the extents of formal concept analysis; Ganter and Wille, Formal Concept Analysis, 1999).
Hosts come in generations that add features, so these are about as many as there are pools; at worst 2 ** pools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.fleet.baseline import ALL, Alike, Known, common, feature_names, sort_out, union
from vmxd.fleet.model import FleetHost
from vmxd.tables import MSR_BY_INDEX
from vmxd.tables.rows import Field

MAX_EXTENTS: Final = 20_000
"""How many sets of pools are looked at: a second or two. Where there are more, the choices are the best of those
found until then, of what is left when the best step is taken again and again, and of every pool on its own."""


@dataclass(frozen=True, slots=True)
class Step:
    """What some features cost: to have them in the baseline, the pools that lack them are dropped, or fixed.

    features: what the same pools lack. without: these pools, by index. hosts: how many hosts that are.
    gain: by how many features the baseline grows where they are dropped; fixing gains just ``features``.
    fixable: how many of the hosts have a CPU of a signature of which another host has all of ``features``: there it
    is firmware, microcode, a hypervisor or a fault that takes them away.
    """

    features: tuple[str, ...]
    without: tuple[int, ...]
    hosts: int
    gain: int
    fixable: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The largest baseline that can be had with so many hosts. keep: pools by index; features: how many."""

    keep: tuple[int, ...]
    hosts: int
    features: int


@dataclass(frozen=True, slots=True)
class Pools:
    """The pools of some hosts.

    known: the hosts, of which ``known.alike`` are the pools, most hosts first.
    baseline, union: masks of the features that all pools have, and that some pool has.
    steps: by gain for each host dropped, best first.
    choices: fewer and fewer hosts with larger and larger baselines; the first is all of them.
    exact: whether choices are the best that there are; False where the search was cut at MAX_EXTENTS.
    """

    known: Known
    baseline: int
    union: int
    steps: tuple[Step, ...]
    choices: tuple[Choice, ...]
    exact: bool

    @property
    def pools(self) -> tuple[Alike, ...]:
        """The pools, most hosts first."""
        return self.known.alike


def find_pools(hosts: Iterable[FleetHost], among: int = ALL, limit: int = MAX_EXTENTS) -> Pools:
    """Return the pools of hosts and the choices between them.

    among: mask of the features that matter. limit: how many sets of pools to look at at most.
    """
    known = sort_out(hosts, among)
    pools = known.alike
    some = union(pools)
    lacked = _lacked(pools, some)
    choices, exact = _choices(pools, [*lacked], limit)
    return Pools(
        known=known,
        baseline=common(pools),
        union=some,
        steps=_steps(pools, lacked),
        choices=choices,
        exact=exact,
    )


def _lacked(pools: Sequence[Alike], some: int) -> dict[int, int]:
    """Return, by the mask of the pools that lack them, the mask of the features that some pool has and these lack."""
    found: dict[int, int] = {}
    while some:
        bit = some & -some
        some ^= bit
        without = sum(1 << number for number, pool in enumerate(pools) if pool.lacks & bit)
        if without:
            found[without] = found.get(without, 0) | bit
    return found


def _members(pools: Sequence[Alike], mask: int) -> list[Alike]:
    return [pool for number, pool in enumerate(pools) if mask >> number & 1]


def _numbers(mask: int) -> tuple[int, ...]:
    return tuple(number for number in range(mask.bit_length()) if mask >> number & 1)


def _hosts(pools: Iterable[Alike]) -> int:
    return sum(len(pool.hosts) for pool in pools)


def _steps(pools: Sequence[Alike], lacked: Mapping[int, int]) -> tuple[Step, ...]:
    everyone = (1 << len(pools)) - 1
    before = common(pools).bit_count()
    signatures = [Counter(host.signature for host in pool.hosts if host.signature) for pool in pools]
    steps = []
    for without, features in lacked.items():
        numbers = _numbers(without)
        having = {name for n, pool in enumerate(pools) if not features & ~pool.has for name in signatures[n]}
        steps.append(
            Step(
                features=feature_names(features),
                without=numbers,
                hosts=_hosts(pools[number] for number in numbers),
                gain=common(_members(pools, everyone & ~without)).bit_count() - before,
                fixable=sum(count for n in numbers for name, count in signatures[n].items() if name in having),
            )
        )
    return tuple(sorted(steps, key=lambda step: (-step.gain / step.hosts, step.hosts, step.without)))


def _choices(pools: Sequence[Alike], lacked: Sequence[int], limit: int) -> tuple[tuple[Choice, ...], bool]:
    """Return the Pareto front of hosts kept and features had, and whether it is all of it."""
    if not pools:
        return (), True
    extents, exact = _extents((1 << len(pools)) - 1, lacked, limit)
    if not exact:
        extents |= _greedy(pools, lacked) | {_covering(pools, pool) for pool in pools}
    found = []
    for extent in extents:
        members = _members(pools, extent)
        found.append((-_hosts(members), -common(members).bit_count(), extent))
    choices: list[Choice] = []
    for hosts, features, extent in sorted(found):
        if not choices or -features > choices[-1].features:
            choices.append(Choice(_numbers(extent), -hosts, -features))
    return tuple(choices), exact


def _extents(everyone: int, lacked: Sequence[int], limit: int) -> tuple[set[int], bool]:
    """Return the sets of pools that lack none of some features, and whether these are all."""
    extents = {everyone}
    for without in lacked:
        extents |= {rest for extent in extents if (rest := extent & ~without)}
        if len(extents) > limit:
            return extents, False
    return extents, True


def _covering(pools: Sequence[Alike], least: Alike) -> int:
    """Return the pools that lack nothing that a pool does not lack."""
    return sum(1 << number for number, pool in enumerate(pools) if not pool.lacks & ~least.lacks)


def _greedy(pools: Sequence[Alike], lacked: Sequence[int]) -> set[int]:
    """Return what is left, from all pools on, where that is dropped which gains most for a host."""
    left = (1 << len(pools)) - 1
    found = {left}
    while True:
        features = common(_members(pools, left)).bit_count()
        best: tuple[float, int] | None = None
        for without in lacked:
            rest = left & ~without
            if rest and rest != left:
                gain = common(_members(pools, rest)).bit_count() - features
                worth = gain / _hosts(_members(pools, left & without))
                best = max(best or (worth, rest), (worth, rest))
        if best is None:
            return found
        left = best[1]
        found.add(left)


def differences(pool: Alike) -> dict[str, int]:
    """Return what differs between hosts of a pool although their features are equal: what, and how many values.

    That is signature, microcode and kernel; numbers in the capability MSRs, by the names of their rows; unknown_bits;
    and other_features, where not all matter. What is not known of a host is no value.
    """
    found: dict[str, set[str | int]] = {}
    for host in pool.hosts:
        for name in ("signature", "microcode", "kernel"):
            found.setdefault(name, set()).add(getattr(host, name))
    for kind in {host.kind for host in pool.hosts if host.kind}:
        for index, value in kind.values.items():
            msr = MSR_BY_INDEX.get(index)
            for row in msr.rows if msr and msr.twin_of is None else ():
                if isinstance(row, Field):
                    found.setdefault(row.name, set()).add(row.get(value))
        found.setdefault("unknown_bits", set()).add(str(sorted(kind.unknown.items())))
        found.setdefault("other_features", set()).add(str(sorted(kind.features.items())))
    return {name: count for name, values in found.items() if (count := len(values - {None})) > 1}
