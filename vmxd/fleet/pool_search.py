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

from vmxd.fleet.alike import Alike, Features, Known, common, in_order, sort_out, union
from vmxd.fleet.causes import Identity, identity, remedy
from vmxd.fleet.model import FleetHost
from vmxd.tables import MSR_BY_INDEX
from vmxd.tables.rows import Field

MAX_EXTENTS: Final = 20_000
"""Sets of pools that are looked at, a second or two: those of the best steps first, and that of each pool."""


@dataclass(frozen=True, slots=True)
class Step:
    """What some features cost: to have them in the baseline, the pools that lack them are dropped, or fixed.

    features: those that the same pools lack. without: these pools, by index. hosts: how many hosts that are.
    gain: by how many features the baseline grows where they are dropped; fixing gains just ``features``.
    fixable: by configuration, microcode, hypervisor, and for guests kernel or parameter, how many of these hosts can
    have all of ``features``; without evidence for that, a host is not counted.
    """

    features: tuple[str, ...]
    without: tuple[int, ...]
    hosts: int
    gain: int
    fixable: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Choice:
    """The largest baseline that can be had with so many hosts. keep: pools by index; features: how many."""

    keep: tuple[int, ...]
    hosts: int
    features: int


@dataclass(frozen=True, slots=True)
class Pools:
    """The pools of some hosts.

    known: the hosts by what is known of them; the pools are ``known.alike``.
    baseline, union: the features that all pools have, and that some pool has.
    steps: by gain for each host dropped, best first.
    choices: fewer and fewer hosts with larger and larger baselines; the first is all of them.
    exact: whether choices are the best that there are; False where the search was cut at MAX_EXTENTS.
    """

    known: Known
    baseline: Features
    union: Features
    steps: tuple[Step, ...]
    choices: tuple[Choice, ...]
    exact: bool

    @property
    def pools(self) -> tuple[Alike, ...]:
        """The pools, most hosts first."""
        return self.known.alike


def find_pools(hosts: Iterable[FleetHost], limit: int = MAX_EXTENTS) -> Pools:
    """Return the pools of hosts and the choices between them. limit: how many sets of pools to look at at most."""
    known = sort_out(hosts)
    search = _Search(known.alike)
    steps = search.steps()
    choices, exact = search.choices([step.without for step in steps], limit)
    return Pools(known, common(known.alike), union(known.alike), steps, choices, exact)


def _machines(hosts: Iterable[FleetHost]) -> tuple[tuple[FleetHost, int], ...]:
    """Group hosts with one CPU, microcode and setup: one of them, and how many they are."""
    found: dict[tuple[object, ...], list[FleetHost]] = {}
    for host in hosts:
        found.setdefault((host.cpu, host.status, id(host.offer)), []).append(host)
    return tuple((each[0], len(each)) for each in found.values())


class _Search:
    """Sets of pools, as masks over their indexes: what each keeps of hosts, and of features in common.

    _features: by the pools that lack them and the pools that have them, the features.
    """

    def __init__(self, pools: Sequence[Alike]) -> None:
        self._pools = pools
        self._all = (1 << len(pools)) - 1
        self._sizes = [len(pool.hosts) for pool in pools]
        self._features: dict[tuple[int, int], list[str]] = {}
        for name in in_order(union(pools)):
            lack = sum(1 << number for number, pool in enumerate(pools) if name in pool.lacks)
            have = sum(1 << number for number, pool in enumerate(pools) if name in pool.has)
            self._features.setdefault((lack, have), []).append(name)

    def hosts(self, pools: int) -> int:
        return sum(self._sizes[number] for number in _numbers(pools))

    def features(self, pools: int) -> int:
        """Count what some of these pools have and none of them lacks."""
        found = self._features.items()
        return sum(len(names) for (lack, have), names in found if not lack & pools and have & pools)

    def steps(self) -> tuple[Step, ...]:
        """Return a step for each set of features that the same pools lack, by gain for each host dropped."""
        before = self.features(self._all)
        machines = [_machines(pool.hosts) for pool in self._pools]
        lacked: dict[int, list[str]] = {}
        for (lack, _), names in self._features.items():
            if lack:
                lacked.setdefault(lack, []).extend(names)
        steps = []
        for lack, names in lacked.items():
            numbers, features = _numbers(lack), frozenset(names)
            elsewhere: dict[Identity | None, set[str | None]] = {}
            for n, pool in enumerate(self._pools):
                for host, _ in machines[n] if features <= pool.has else ():
                    elsewhere.setdefault(identity(host), set()).add(host.microcode)
            fixable: Counter[str] = Counter()
            for host, count in (item for n in numbers for item in machines[n]):
                same = identity(host)
                if by := remedy(host, features, elsewhere.get(same, ()) if same else ()):
                    fixable[by] += count
            steps.append(
                Step(
                    features=in_order(features),
                    without=numbers,
                    hosts=self.hosts(lack),
                    gain=self.features(self._all & ~lack) - before,
                    fixable=dict(fixable.most_common()),
                )
            )
        return tuple(sorted(steps, key=lambda step: (-step.gain / step.hosts, step.hosts, step.without)))

    def choices(self, lacked: Iterable[Sequence[int]], limit: int) -> tuple[tuple[Choice, ...], bool]:
        """Return the Pareto front of hosts kept and features had, and whether it is all of it."""
        if not self._pools:
            return (), True
        extents, exact = {self._all}, True
        for without in lacked:
            dropped = sum(1 << number for number in without)
            extents |= {rest for extent in extents if (rest := extent & ~dropped)}
            if exact := len(extents) <= limit:
                continue
            extents |= {self._covering(least) for least in self._pools}
            break
        found = sorted((-self.hosts(each), -self.features(each), each) for each in extents)
        choices: list[Choice] = []
        for hosts, features, extent in found:
            if not choices or -features > choices[-1].features:
                choices.append(Choice(_numbers(extent), -hosts, -features))
        return tuple(choices), exact

    def _covering(self, least: Alike) -> int:
        """Return the pools that lack nothing that a pool does not lack."""
        return sum(1 << number for number, pool in enumerate(self._pools) if pool.lacks <= least.lacks)


def _numbers(mask: int) -> tuple[int, ...]:
    return tuple(number for number in range(mask.bit_length()) if mask >> number & 1)


def differences(pool: Alike) -> dict[str, int]:
    """Count the distinct values of each attribute that differs between the hosts of a pool, whose features are equal.

    Attributes: signature, microcode and kernel; of the hardware, the fields of capability MSRs by row name, and
    unknown_bits; for guests, the parameters of kvm_intel. A host whose value is not known adds none.
    """
    found: dict[str, set[str | int]] = {}
    for host in pool.hosts:
        for name in ("signature", "microcode", "kernel"):
            found.setdefault(name, set()).add(getattr(host, name))
    for parameters in {host.parameters for host in pool.hosts if host.offer and host.parameters}:
        for name, number in parameters:
            found.setdefault(f"kvm_intel.{name}", set()).add(number)
    for kind in {host.kind for host in pool.hosts if host.kind}:
        for index, value in kind.values.items():
            msr = MSR_BY_INDEX.get(index)
            for row in msr.rows if msr and msr.twin_of is None else ():
                if isinstance(row, Field):
                    found.setdefault(row.name, set()).add(row.get(value))
        found.setdefault("unknown_bits", set()).add(str(sorted(kind.unknown.items())))
    return {name: count for name, values in found.items() if (count := len(values - {None})) > 1}
