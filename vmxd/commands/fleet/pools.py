"""vmxd fleet pools: between which hosts VMs can move, and what a larger baseline costs."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vmxd.commands import EXIT_CANNOT_TELL, EXIT_FINE
from vmxd.commands.fleet.groups import (
    chosen_features,
    few,
    fleet_document,
    group_options,
    group_text,
    hosts_text,
    left_out_notes,
    noun,
    read_groups,
    unknown_table,
)
from vmxd.commands.fleet.options import fleet_options, output_options, print_answer
from vmxd.commands.output import say
from vmxd.commands.parser import Commands

if TYPE_CHECKING:
    from vmxd.fleet.baseline import Alike
    from vmxd.fleet.model import Fleet, FleetHost
    from vmxd.fleet.pools import Choice, Pools, Step
    from vmxd.fleet.table import Table
    from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.pools/1"
MAX_ROWS: Final = 20
"""Rows of a table for people; --csv and --json have all."""

_EPILOG = """
Hosts of one pool have equal features, so VMs with nested VMX move freely between them, as far as the CPUs decide it: \
KVM's version and options do too (docs/fleet.md).

A feature that is not known of a host never counts as lacking. Hosts with CPUs that could not be read are in no pool; \
they are listed.

"fixable" are hosts with a CPU of a signature of which another host has these features: there it is firmware, \
microcode, a hypervisor or a fault that takes them away.

examples:
  vmxd fleet pools --recordings hosts
      who can move where, and what a larger baseline costs
  vmxd fleet pools --prometheus http://prom:9090 --by cluster
      whether each cluster is of one kind, and what would make it so
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "pools",
        parents=[fleet_options(), group_options(), output_options()],
        help="hosts between which VMs can move, and which few to drop or fix for a larger baseline",
        description="Group hosts by equal features, and rank what it costs to have more features on all of them.",
        epilog=_EPILOG,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the pools; 2 where hosts may be missing. Raises VmxdError."""
    from vmxd.fleet.pools import find_pools

    fleet, groups, left_out = read_groups(arguments)
    found = {value: find_pools(hosts, chosen_features(arguments)) for value, hosts in groups.items()}
    document = _document(arguments, fleet, found, left_out) if arguments.json else {}
    if arguments.csv:
        tables = [_csv_table(arguments.by, found)]
    elif arguments.by is None:
        tables = _tables(found[None], noun(arguments))
    else:
        tables = _tables_by(arguments.by, found, noun(arguments))
    print_answer(arguments, document, tables)
    say(left_out_notes(left_out))
    if not all(pools.exact for pools in found.values()):
        say(["there are too many ways to drop pools to look at all: better ones may exist"])
    return EXIT_CANNOT_TELL if fleet.warnings else EXIT_FINE


# For people -------------------------------------------------------------------------------------------------------


def _tables(found: Pools, features: str) -> list[Table]:
    from vmxd.fleet.table import Table

    pools, baseline = found.pools, found.baseline.bit_count()
    tables = [
        Table(
            ("pool", "hosts", "features", "lacks", "CPU", "such as"),
            _cut([_pool_row(number, pool, found.union) for number, pool in enumerate(pools, 1)]),
            f"{_pools_text(len(pools))} of hosts with equal {features}, {hosts_text(found.known.hosts)}",
        ),
        Table(("pool", "differs in, although the features are equal"), tuple(_differing_rows(pools))),
        Table(
            ("gain", "drop hosts", "a host", "fixable", "pools", "features that these lack"),
            _cut([_step_row(step) for step in found.steps]),
            f"All have {baseline} {features}; what more cost, best gain for a host first",
        ),
        Table(
            ("keep hosts", "drop", "features", "gain", "without pools"),
            _cut([_choice_row(choice, found) for choice in found.choices[1:]]),
            f"The most {features} for so many hosts" + ("" if found.exact else " (of those looked at)"),
        ),
        unknown_table(found.known.unknown),
    ]
    return [table for table in tables if table.rows]


def _pools_text(count: int) -> str:
    return "1 pool" if count == 1 else f"{count:,} pools"


def _cut(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Return the rows that people see, and one that says how many more there are."""
    if len(rows) <= MAX_ROWS:
        return tuple(rows)
    more = f"+{len(rows) - MAX_ROWS:,}"
    return (*rows[:MAX_ROWS], (more, *[""] * (len(rows[0]) - 1)))


def _pool_row(number: int, pool: Alike, union: int) -> tuple[str, ...]:
    models = dict.fromkeys(_short_model(host) for host in pool.hosts)
    lacks = (pool.lacks & union).bit_count()
    return (
        str(number),
        f"{len(pool.hosts):,}",
        str(pool.has.bit_count()),
        f"{lacks}" + (f" +{unknown}?" if (unknown := (pool.unknown & union).bit_count()) else ""),
        few(models, 1),
        few((host.name for host in pool.hosts), 1),
    )


def _differing_rows(pools: Sequence[Alike]) -> Iterator[tuple[str, str]]:
    from vmxd.fleet.pools import differences

    for number, pool in enumerate(pools[:MAX_ROWS], 1):
        differs = ", ".join(f"{name} ({count})" for name, count in differences(pool).items())
        for line, text in enumerate(textwrap.wrap(differs, 74)):
            yield ("" if line else str(number), text)


def _short_model(host: FleetHost) -> str:
    """Return a model's name without what all names have, at most 26 characters; the signature where there is none."""
    name = re.sub(r"\((?:R|TM|tm)\)|\bCPU\b|@.*|\bIntel\b|\bProcessor\b|\d+(?:th|nd) Gen\b", "", host.model_name or "")
    name = " ".join(name.split()) or host.signature or "?"
    return name if len(name) <= 26 else name[:23] + "..."


def _step_row(step: Step) -> tuple[str, ...]:
    return (
        f"+{step.gain}",
        f"{step.hosts:,}",
        f"{step.gain / step.hosts:.2g}",
        f"{step.fixable:,}" if step.fixable else "-",
        few((str(number + 1) for number in step.without), 3),
        few(step.features, 1),
    )


def _choice_row(choice: Choice, found: Pools) -> tuple[str, ...]:
    dropped = sorted(set(range(len(found.pools))).difference(choice.keep))
    return (
        f"{choice.hosts:,}",
        f"{found.known.hosts - choice.hosts:,}",
        str(choice.features),
        f"+{choice.features - found.baseline.bit_count()}",
        few((str(number + 1) for number in dropped), 8),
    )


def _tables_by(label: str, groups: Mapping[str | None, Pools], features: str) -> list[Table]:
    from vmxd.fleet.table import Table

    overview = [
        (
            group_text(value),
            f"{found.known.hosts:,}",
            f"{len(found.pools):,}",
            str(found.baseline.bit_count()),
            str((found.union & ~found.baseline).bit_count()),
            f"{len(found.known.unknown):,}" if found.known.unknown else "-",
        )
        for value, found in groups.items()
    ]
    rows = [row for value, found in groups.items() for row in _rows_apart(group_text(value), found)]
    columns = (label, "hosts", "pools", "all have", "only some", "not known")
    tables = [
        Table(columns, tuple(overview), f"Hosts of one pool have equal {features}; a group of one pool is uniform"),
        Table(
            (label, "hosts", "lack", "have", "first feature", "such as"),
            tuple(rows),
            "Hosts unlike the largest pool of their group: features they lack (-), have (+)",
        ),
    ]
    return [table for table in tables if table.rows]


def _rows_apart(value: str, found: Pools) -> Iterator[tuple[str, ...]]:
    from vmxd.fleet.baseline import feature_names

    for pool in found.pools[1:]:
        most = found.pools[0]
        lacks, beyond = feature_names(most.has & pool.lacks), feature_names(pool.has & most.lacks)
        doubtful = feature_names((pool.unknown ^ most.unknown) & found.union)
        signed = [*(f"-{name}" for name in lacks), *(f"+{name}" for name in beyond), *(f"?{name}" for name in doubtful)]
        yield value, f"{len(pool.hosts):,}", str(len(lacks)), str(len(beyond)), signed[0], pool.hosts[0].name


# For programs -----------------------------------------------------------------------------------------------------


def _csv_table(label: str | None, groups: Mapping[str | None, Pools]) -> Table:
    from vmxd.fleet.baseline import feature_names
    from vmxd.fleet.table import Table

    rows = []
    for value, found in groups.items():
        for number, pool in enumerate(found.pools, 1):
            lacks, unknown = (" ".join(feature_names(mask & found.union)) for mask in (pool.lacks, pool.unknown))
            for host in pool.hosts:
                facts = (host.signature or "", host.microcode or "", host.kernel or "")
                row = (host.name, str(number), str(pool.has.bit_count()), lacks, unknown, *facts)
                rows.append(row if label is None else (value or "", *row))
    columns = ("host", "pool", "features", "lacks", "unknown", "signature", "microcode", "kernel")
    return Table(columns if label is None else (label, *columns), tuple(rows))


def _document(
    arguments: argparse.Namespace, fleet: Fleet, groups: Mapping[str | None, Pools], left_out: Sequence[FleetHost]
) -> Json:
    return {
        **fleet_document(SCHEMA, arguments, fleet, left_out),
        "groups": [
            {
                "value": value,
                "hosts": found.known.hosts,
                "baseline": found.baseline.bit_count(),
                "union": found.union.bit_count(),
                "pools": _pools(found),
                "steps": [
                    {
                        "features": list(step.features),
                        "without": [number + 1 for number in step.without],
                        "hosts": step.hosts,
                        "gain": step.gain,
                        "fixable": step.fixable,
                    }
                    for step in found.steps
                ],
                "choices": [
                    {
                        "keep": [number + 1 for number in choice.keep],
                        "hosts": choice.hosts,
                        "features": choice.features,
                    }
                    for choice in found.choices
                ],
                "exact": found.exact,
                "unknown": dict(found.known.unknown),
            }
            for value, found in groups.items()
        ],
    }


def _pools(found: Pools) -> list[Json]:
    from vmxd.fleet.baseline import feature_names
    from vmxd.fleet.pools import differences

    return [
        {
            "pool": number,
            "hosts": [host.name for host in pool.hosts],
            "features": pool.has.bit_count(),
            "lacks": list(feature_names(pool.lacks & found.union)),
            "unknown": list(feature_names(pool.unknown & found.union)),
            "differs": differences(pool),
        }
        for number, pool in enumerate(found.pools, 1)
    ]
