"""Between which hosts VMs can move, and what a larger baseline costs: the pools of each group told. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.fleet.alike import Alike, Features, in_order
from vmxd.fleet.answer import Answer, Table
from vmxd.fleet.groups import Grouped, unknown_table
from vmxd.fleet.pool_search import Choice, Pools, Step, differences, find_pools
from vmxd.fleet.words import few, group_text, hosts_text, known_text, model_text
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.pools/1"
_ROWS: Final = 20
"""Rows of a table for people; --csv and --json have all."""


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
