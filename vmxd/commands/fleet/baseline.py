"""vmxd fleet baseline: the features that every host has, for people, programs, QEMU and libvirt."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vmxd.commands import EXIT_CANNOT_TELL, EXIT_FINE, EXIT_NO
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
from vmxd.commands.output import say, write
from vmxd.commands.parser import Commands
from vmxd.errors import UsageError

if TYPE_CHECKING:
    from vmxd.fleet.baseline import Baseline
    from vmxd.fleet.model import Fleet, FleetHost
    from vmxd.fleet.table import Table
    from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.baseline/1"
Baselines = Mapping[str | None, "Baseline"]

_EPILOG = """
A host of which nothing is known is left out, and listed; so is one with CPUs that could not be read, but for what it \
is known to lack. A feature with "?" is not known of some host of which others are: it counts for no CPU model, and no \
--format asks for it.

--format is about what guests get, which KVM decides: vmxd fleet asks the CPUs. It only names what QEMU can (vmx-*), \
and beyond the model what KVM can give; every kernel and module option may give less (docs/kvm.md). Of the model's \
other features nothing is known.

examples:
  vmxd fleet baseline --recordings hosts
      what every host of a directory has
  vmxd fleet baseline --prometheus http://prom:9090 --by cluster
      what every host of each cluster has
  vmxd fleet baseline --recordings hosts --format libvirt --model Haswell
      the same as <cpu>, relative to a CPU model
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "baseline",
        parents=[fleet_options(), group_options(), output_options()],
        help="the features that every host has; as -cpu of QEMU or <cpu> of libvirt too",
        description="Print the features that every host has, and those that only some have.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--format", choices=("qemu", "libvirt"), help="print it for guests, as differences from a CPU model"
    )
    parser.add_argument("--model", metavar="MODEL[-vN]", help="that CPU model of QEMU: vmxd check --list-cpu-models")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the baseline. Raises VmxdError.

    The exit code is 1 where a group has none, 2 where no host of a group is wholly read, or hosts may be missing.
    """
    from vmxd.fleet.baseline import find_baseline
    from vmxd.fleet.guest_cpu import satisfied_models

    _refuse(arguments)
    fleet, groups, left_out = read_groups(arguments)
    among = chosen_features(arguments)
    baselines = {value: find_baseline(hosts, among) for value, hosts in groups.items()}
    whole = {value: find_baseline(hosts) for value, hosts in groups.items()}  # models want what no guest gets yet
    if arguments.format:
        _print_guest_cpu(arguments, whole[None], left_out)
    else:
        models = {value: satisfied_models(baseline.certain) for value, baseline in whole.items()}
        document = _document(arguments, fleet, baselines, models, left_out) if arguments.json else {}
        if arguments.csv:
            tables = [_csv_table(arguments.by, baselines)]
        elif arguments.by is None:
            tables = _tables(baselines[None], models[None], noun(arguments))
        else:
            tables = _tables_by(arguments.by, baselines)
        print_answer(arguments, document, tables)
        say(left_out_notes(left_out))
    if any(baseline.hosts and not baseline.features for baseline in baselines.values()):
        return EXIT_NO
    whole_answer = not fleet.warnings and all(baseline.hosts for baseline in baselines.values())
    return EXIT_FINE if whole_answer else EXIT_CANNOT_TELL


def _refuse(arguments: argparse.Namespace) -> None:
    if arguments.model and not arguments.format:
        raise UsageError("--model goes with --format", "as in --format qemu --model Cascadelake-Server")
    if arguments.format and (arguments.json or arguments.csv):
        raise UsageError("--format is a form of its own", "leave out --json and --csv")
    if arguments.format and arguments.guest:
        raise UsageError("--format is for guests by itself", "leave out --guest")
    if arguments.format and arguments.by:
        raise UsageError("--format prints one CPU, --by asks for one for each group", "leave out --by")


# For guests -------------------------------------------------------------------------------------------------------


def _print_guest_cpu(arguments: argparse.Namespace, baseline: Baseline, left_out: tuple[FleetHost, ...]) -> None:
    from vmxd.fleet.guest_cpu import guest_cpu, in_libvirt, model_names, satisfied_models, to_libvirt, to_qemu

    if not arguments.model:
        satisfied = satisfied_models(baseline.certain)
        best = [name for name, count in satisfied.items() if count == max(satisfied.values())]
        raise UsageError(
            f"--format {arguments.format} needs --model, the CPU model of the guests",
            f"one whose other features every host has too; it has all that {names} wants of VMX"
            if (names := " or ".join(model_names(best)))
            else "no model's VMX features are on all hosts: choose one to take features away from",
        )
    cpu = guest_cpu(baseline.certain, arguments.model)
    write((to_qemu(cpu) if arguments.format == "qemu" else to_libvirt(cpu)).encode())
    notes = ["this is what the CPUs have; what KVM gives guests may be less: vmxd check --view nested"]
    if cpu.left_out:
        notes.append(f"not asked for, since they need CPUID flags too: {', '.join(cpu.left_out)}")
    if dark := [name for each in cpu.disable for name in each.features if name in baseline.open]:
        notes.append(f"turned off, since of no host they are known: {', '.join(dark)}")
    if baseline.doubtful:
        notes.append(f"not asked for, since some host may lack them: {', '.join(baseline.doubtful)}")
    if arguments.format == "libvirt" and (nearest := in_libvirt(cpu.model)) != cpu.model:
        notes.append(f"libvirt has no {cpu.model}: this is {nearest} with its VMX features, without what else it adds")
    if baseline.unknown:
        notes.append(
            f"nothing, or too little, is known of {hosts_text(len(baseline.unknown))}: {few(baseline.unknown)}"
        )
    say((*notes, *left_out_notes(left_out)))


# For people -------------------------------------------------------------------------------------------------------


def _tables(baseline: Baseline, models: Mapping[str, int], features: str) -> list[Table]:
    from vmxd.fleet.guest_cpu import model_names
    from vmxd.fleet.table import Table
    from vmxd.tables import FEATURES

    by_msr: dict[str, list[str]] = {}
    for name in baseline.features:
        msr = FEATURES[name].msr
        by_msr.setdefault(msr.name if msr else "of several bits", []).append(
            f"{name}?" if name in baseline.doubtful else name
        )
    by_count: dict[str, list[str]] = {}
    for name, count in baseline.lacking.items():
        by_count.setdefault(f"{count:,}", []).append(name)
    by_size: dict[str, list[str]] = {}
    for name in sorted(models, key=lambda name: -models[name]):
        by_size.setdefault(str(models[name]), []).append(name)
    doubt = ", with ? where it is not known of some" if baseline.doubtful else ""
    tables = [
        Table(
            ("MSR", "features"),
            _rows("MSR", by_msr),
            f"{len(baseline.features)} {features} that {_all_of(baseline.hosts)}{doubt}",
        ),
        Table(("lacked by", "features"), _rows("lacked by", by_count), f"{features.capitalize()} that only some have"),
        Table(
            ("wants", "models"),
            _rows("wants", {size: [f"{name}," for name in model_names(names)] for size, names in by_size.items()}),
            "QEMU's CPU models whose VMX features all hosts have",
        ),
        Table(
            ("features",),
            tuple((line,) for line in textwrap.wrap(" ".join(baseline.open), 78, break_on_hyphens=False)),
            f"{features.capitalize()} that are not known of any host",
        ),
    ]
    return [tables[0], *(table for table in (*tables[1:], unknown_table(baseline.unknown)) if table.rows)]


def _all_of(hosts: int) -> str:
    return "1 host has" if hosts == 1 else f"all of {hosts_text(hosts)} have"


def _rows(title: str, groups: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Return a row for each line of a group's words, its name in the first; title: that of the names' column."""
    width = 78 - max(len(title), *map(len, groups)) if groups else 78
    found = []
    for name, words in groups.items():
        lines = textwrap.wrap(" ".join(words).rstrip(","), width, break_long_words=False, break_on_hyphens=False)
        found += [(name if number == 0 else "", line) for number, line in enumerate(lines)]
    return tuple(found)


def _tables_by(label: str, baselines: Baselines) -> list[Table]:
    from vmxd.fleet.table import Table

    every = [baseline.features for baseline in baselines.values() if baseline.hosts]
    shared = set(every[0]).intersection(*every[1:])
    rows = []
    beyond = {}
    for value, baseline in baselines.items():
        own = [name for name in baseline.features if name not in shared]
        beyond[group_text(value)] = own
        rows.append(
            (
                group_text(value),
                f"{baseline.hosts:,}",
                str(len(baseline.features)),
                str(len(baseline.lacking)),
                f"{len(baseline.unknown):,}",
            )
        )
    return [
        Table((label, "hosts", "all have", "only some", "not known"), tuple(rows)),
        Table((label, "features"), _rows(label, beyond), f"Beyond the {len(shared)} features that every group has"),
    ]


# For programs -----------------------------------------------------------------------------------------------------


def _csv_table(label: str | None, baselines: Baselines) -> Table:
    from vmxd.fleet.table import Table
    from vmxd.tables import FEATURES

    rows = []
    for value, baseline in baselines.items():
        for name, feature in FEATURES.items():
            lacking = baseline.lacking.get(name, 0)
            if name in baseline.features or lacking:
                state = "some" if lacking else "doubtful" if name in baseline.doubtful else "all"
                names = (feature.location or "", feature.row.qemu or "", feature.row.libvirt or "")
                row = (name, state, str(lacking), str(baseline.doubtful.get(name, 0)), *names)
                rows.append(row if label is None else (value or "", *row))
    columns = ("feature", "had_by", "lacking_hosts", "unknown_hosts", "location", "qemu", "libvirt")
    return Table(columns if label is None else (label, *columns), tuple(rows))


def _document(
    arguments: argparse.Namespace,
    fleet: Fleet,
    baselines: Baselines,
    models: Mapping[str | None, Mapping[str, int]],
    left_out: Sequence[FleetHost],
) -> Json:
    return {
        **fleet_document(SCHEMA, arguments, fleet, left_out),
        "groups": [
            {
                "value": value,
                "hosts": baseline.hosts,
                "features": list(baseline.features),
                "doubtful": dict(baseline.doubtful),
                "lacking": dict(baseline.lacking),
                "open": list(baseline.open),
                "unknown": dict(baseline.unknown),
                "cpu_models": list(models[value]),
            }
            for value, baseline in baselines.items()
        ],
    }
