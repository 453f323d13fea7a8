"""Pools, groups of hosts between which VMs can move, and what it would take to make one of several. Pure.

Pools are hosts with equal features. A baseline that is larger than that of all pools is had by dropping those that
lack some feature, so only the sets of pools that lack none of some features matter: the intersections of the sets
"all that do not lack f" (the extents of formal concept analysis; Ganter and Wille, Formal Concept Analysis, 1999).
Hosts come in generations that add features, so these are about as many as there are pools; at worst 2 ** pools.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.fleet.alike import Alike, Features, Known, common, in_order, sort_out, union
from vmxd.fleet.answer import Answer, Table
from vmxd.fleet.causes import Identity, identity, remedy
from vmxd.fleet.groups import Grouped, unknown_table
from vmxd.fleet.model import FleetHost
from vmxd.fleet.words import few, group_text, hosts_text, known_text, model_text
from vmxd.tables import MSR_BY_INDEX
from vmxd.tables.rows import Field
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.pools/1"
MAX_EXTENTS: Final = 20_000
"""Sets of pools that are looked at, a second or two: those of the best steps first, and that of each pool."""
_ROWS: Final = 20
"""Rows of a table for people; --csv and --json have all."""


@dataclass(frozen=True, slots=True)
class Step:
    """What some features cost: to have them in the baseline, the pools that lack them are dropped, or fixed.

    features: those that the same pools lack. without: these pools, by index. hosts: how many hosts that are.
    gain: by how many features the baseline grows where they are dropped; fixing gains just ``features``.
    fixable: by configuration, microcode, hypervisor, and for guests kernel or parameter, how many of these hosts can
    have all of ``features``. Hosts of which that is not established are not counted.
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

    known: the hosts, of which ``known.alike`` are the pools, most hosts first.
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
        cpu = (host.vendor, host.signature, host.model_name, host.microcode, host.hypervisor)
        found.setdefault((*cpu, host.status, id(host.offer)), []).append(host)
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
        """Return what each set of features costs, best gain for a host first."""
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
    """Return what differs between hosts of a pool although their features are equal: what, and how many values.

    That is signature, microcode and kernel; of the hardware, numbers in the capability MSRs, by the names of their
    rows, and unknown_bits; for guests, parameters of kvm_intel. What is not known of a host is no value.
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


@dataclass(frozen=True, slots=True)
class PoolsAnswer(Answer):
    """The pools of each group."""

    asked: Grouped
    found: Mapping[str | None, Pools]

    @property
    def holds(self) -> bool | None:
        """Nothing to deny; None if hosts may be missing."""
        return None if self.asked.fleet.warnings else True

    def notes(self) -> Iterator[str]:
        """Say which hosts were left out, and that better choices may exist."""
        yield from self.asked.notes
        if not all(found.exact for found in self.found.values()):
            yield "there are too many ways to drop pools to look at all: better ones may exist"

    def document(self) -> Json:
        """Follow docs/schema/fleet-pools-1.json; pools are numbered from 1."""
        groups = [{"value": value, **_group(found)} for value, found in self.found.items()]
        return {**self.asked.document(SCHEMA), "groups": groups}

    def csv(self) -> Table:
        """Give each host a row."""
        rows = []
        for value, found in self.found.items():
            for number, pool in enumerate(found.pools, 1):
                lacks, unknown = (" ".join(in_order(each & found.union)) for each in (pool.lacks, pool.unknown))
                for host in pool.hosts:
                    facts = (host.signature or "", host.microcode or "", host.kernel or "", known_text(host))
                    rows.append((value, (host.name, str(number), str(len(pool.has)), lacks, unknown, *facts)))
        columns = ("host", "pool", "features", "lacks", "unknown", "signature", "microcode", "kernel", "known")
        return self.asked.labelled(columns, rows)

    def sentences(self) -> Iterator[str]:
        """Say how it is known what guests get."""
        if self.asked.sentence:
            yield self.asked.sentence

    def tables(self) -> Iterator[Table]:
        """Show the pools of one group, or all groups side by side."""
        return self._one(self.found[None]) if self.asked.by is None else self._side_by_side(self.asked.by)

    def _one(self, found: Pools) -> Iterator[Table]:
        pools, noun = found.pools, self.asked.noun
        count = "1 pool" if len(pools) == 1 else f"{len(pools):,} pools"
        yield Table(
            ("pool", "hosts", "features", "lacks", "?", "CPU", "such as"),
            _cut([_pool_row(number, pool, found.union) for number, pool in enumerate(pools, 1)]),
            f"{count} of hosts with equal {noun}, {hosts_text(found.known.hosts)}; ? is not known",
        )
        yield Table(("pool", "differs in, although the features are equal"), tuple(_differing_rows(pools)))
        yield Table(
            ("gain", "drop hosts", "a host", "fixable", "pools", "features that these lack"),
            _cut([_step_row(step) for step in found.steps]),
            f"All have {len(found.baseline)} {noun}; what more cost, best gain for a host first",
        )
        yield Table(
            ("fixable", "by", "features"),
            _cut([row for step in found.steps for row in _fix_rows(step)]),
            "What hosts can have without another CPU, and by what",
        )
        yield Table(
            ("keep hosts", "drop", "features", "gain", "without pools"),
            _cut([_choice_row(choice, found) for choice in found.choices[1:]]),
            f"The most {noun} for so many hosts" + ("" if found.exact else " (of those looked at)"),
        )
        yield unknown_table(found.known.unknown)

    def _side_by_side(self, label: str) -> Iterator[Table]:
        rows = tuple(
            (
                group_text(value),
                f"{found.known.hosts:,}",
                f"{len(found.pools):,}",
                str(len(found.baseline)),
                str(len(found.union - found.baseline)),
                f"{len(found.known.unknown):,}" if found.known.unknown else "-",
            )
            for value, found in self.found.items()
        )
        yield Table(
            (label, "hosts", "pools", "all have", "only some", "not known"),
            rows,
            f"Hosts of one pool have equal {self.asked.noun}; a group of one pool is uniform",
        )
        apart = tuple(row for value, found in self.found.items() for row in _rows_apart(group_text(value), found))
        yield Table(
            (label, "hosts", "lack", "have", "first feature", "such as"),
            apart,
            "Hosts unlike the largest pool of their group: features they lack (-), have (+)",
        )


def answer(asked: Grouped) -> PoolsAnswer:
    """Find the pools of each group."""
    return PoolsAnswer(asked, {value: find_pools(hosts) for value, hosts in asked.groups.items()})


def _cut(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Return the rows that people see, and one that counts the others."""
    if len(rows) <= _ROWS:
        return tuple(rows)
    return (*rows[:_ROWS], (f"+{len(rows) - _ROWS:,}", *[""] * (len(rows[0]) - 1)))


def _pool_row(number: int, pool: Alike, union: Features) -> tuple[str, ...]:
    return (
        str(number),
        f"{len(pool.hosts):,}",
        str(len(pool.has)),
        str(len(pool.lacks & union)),
        str(len(pool.unknown & union) or "-"),
        few(dict.fromkeys(map(model_text, pool.hosts)), 1),
        few((host.name for host in pool.hosts), 1),
    )


def _differing_rows(pools: Sequence[Alike]) -> Iterator[tuple[str, str]]:
    for number, pool in enumerate(pools[:_ROWS], 1):
        differs = ", ".join(f"{name} ({count})" for name, count in differences(pool).items())
        for line, text in enumerate(textwrap.wrap(differs, 74)):
            yield ("" if line else str(number), text)


def _step_row(step: Step) -> tuple[str, ...]:
    return (
        f"+{step.gain}",
        f"{step.hosts:,}",
        f"{step.gain / step.hosts:.2g}",
        f"{fixable:,}" if (fixable := sum(step.fixable.values())) else "-",
        few((str(number + 1) for number in step.without), 3),
        few(step.features, 1),
    )


def _fix_rows(step: Step) -> Iterator[tuple[str, ...]]:
    for by, count in step.fixable.items():
        yield f"{count:,}", by, few(step.features, 1)


def _choice_row(choice: Choice, found: Pools) -> tuple[str, ...]:
    dropped = sorted(set(range(len(found.pools))).difference(choice.keep))
    return (
        f"{choice.hosts:,}",
        f"{found.known.hosts - choice.hosts:,}",
        str(choice.features),
        f"+{choice.features - len(found.baseline)}",
        few((str(number + 1) for number in dropped), 8),
    )


def _rows_apart(value: str, found: Pools) -> Iterator[tuple[str, ...]]:
    for pool in found.pools[1:]:
        most = found.pools[0]
        lacks, beyond = in_order(most.has & pool.lacks), in_order(pool.has & most.lacks)
        doubtful = in_order((pool.unknown ^ most.unknown) & found.union)
        signed = [*(f"-{name}" for name in lacks), *(f"+{name}" for name in beyond), *(f"?{name}" for name in doubtful)]
        yield value, f"{len(pool.hosts):,}", str(len(lacks)), str(len(beyond)), signed[0], pool.hosts[0].name


def _group(found: Pools) -> Json:
    return {
        "hosts": found.known.hosts,
        "baseline": len(found.baseline),
        "union": len(found.union),
        "pools": [
            {
                "pool": number,
                "hosts": [host.name for host in pool.hosts],
                "features": len(pool.has),
                "lacks": list(in_order(pool.lacks & found.union)),
                "unknown": list(in_order(pool.unknown & found.union)),
                "differs": differences(pool),
            }
            for number, pool in enumerate(found.pools, 1)
        ],
        "steps": [
            {
                "features": list(step.features),
                "without": [number + 1 for number in step.without],
                "hosts": step.hosts,
                "gain": step.gain,
                "fixable": sum(step.fixable.values()),
                "fixable_by": dict(step.fixable),
            }
            for step in found.steps
        ],
        "choices": [
            {"keep": [number + 1 for number in choice.keep], "hosts": choice.hosts, "features": choice.features}
            for choice in found.choices
        ],
        "exact": found.exact,
        "unknown": dict(found.known.unknown),
    }
