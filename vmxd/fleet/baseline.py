"""The features that every host of a group has, those that only some have, and the CPU models that all give. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.fleet.alike import ALL, Alike, common, in_order, sort_out, union
from vmxd.fleet.answer import Answer, Table
from vmxd.fleet.groups import Grouped, unknown_table
from vmxd.fleet.guest_cpu import Obstacle, model_names, next_model, satisfied_models
from vmxd.fleet.model import FleetHost
from vmxd.fleet.words import group_text, hosts_text, some
from vmxd.model.answers import View
from vmxd.tables import FEATURES
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.baseline/1"
_WIDTH: Final = 78
_MODELS: Final = {
    View.HARDWARE: "QEMU's CPU models whose VMX features the CPUs of all hosts have",
    View.GUEST: "QEMU's CPU models whose VMX features all hosts give",
}


@dataclass(frozen=True, slots=True)
class Baseline:
    """What every host of a group has, as far as it is known.

    hosts: how many are wholly read.
    features: what every one has on which it is known, at least one, and none is known to lack.
    doubtful: those of features that are not known on some hosts, with the number of these hosts.
    lacking: features that some hosts have and others lack, with the number of those that lack them, fewest first.
    open: features that no host is known to have or to lack.
    unknown: hosts that are not wholly read, with the reason; they are not in hosts, and add nothing to doubtful.
    groups: the hosts of which something is known, by what that is.
    """

    hosts: int
    features: tuple[str, ...]
    doubtful: Mapping[str, int]
    lacking: Mapping[str, int]
    open: tuple[str, ...]
    unknown: Mapping[str, str]
    groups: tuple[Alike, ...]

    @property
    def certain(self) -> tuple[str, ...]:
        """The features that are known on every host that is wholly read."""
        return tuple(name for name in self.features if name not in self.doubtful)


def find_baseline(hosts: Iterable[FleetHost]) -> Baseline:
    """Return the baseline of hosts."""
    known = sort_out(hosts)
    everyone = (*known.alike, *known.failed)
    features = common(everyone)
    some_have = union(known.alike)
    doubtful: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    seen = some_have
    for each in known.alike:
        doubtful.update(dict.fromkeys(each.unknown & features, len(each.hosts)))
    for each in everyone:
        lacking.update(dict.fromkeys(each.lacks & some_have, len(each.hosts)))
        seen |= each.lacks
    return Baseline(
        hosts=known.hosts,
        features=in_order(features),
        doubtful={name: doubtful[name] for name in in_order(doubtful)},
        lacking={name: lacking[name] for name in sorted(in_order(lacking), key=lacking.__getitem__)},
        open=in_order(ALL - seen) if known.alike else (),
        unknown=known.unknown,
        groups=everyone,
    )


@dataclass(frozen=True, slots=True)
class Found:
    """The answer for a group.

    baseline: of all its hosts. models: QEMU's CPU models, with version, whose VMX features all hosts have, most
    demanding first. obstacle: what keeps the next model from all hosts.
    bare: hosts without VMX. beside: if these leave nothing in common, the answer for the hosts where VMX may be usable.
    """

    baseline: Baseline
    models: Mapping[str, int]
    obstacle: Obstacle | None
    bare: tuple[str, ...] = ()
    beside: Found | None = None


def find(hosts: Sequence[FleetHost]) -> Found:
    """Answer for the hosts of a group."""
    baseline = find_baseline(hosts)
    models = satisfied_models(baseline.certain)
    bare = tuple(host.name for host in hosts if host.status == "no_vmx")
    usable = [host for host in hosts if host.usable is not False]
    if baseline.features or not bare or not any(host.kind and not host.failed for host in usable):
        return Found(baseline, models, next_model(baseline.certain, baseline.groups, models))
    return Found(baseline, models, None, bare, find(usable))


@dataclass(frozen=True, slots=True)
class Baselines(Answer):
    """The answer for each group."""

    asked: Grouped
    found: Mapping[str | None, Found]

    @property
    def holds(self) -> bool | None:
        """Whether every group has a baseline; None if no host of one is wholly read, or hosts may be missing."""
        baselines = [found.baseline for found in self.found.values()]
        if any(baseline.hosts and not baseline.features for baseline in baselines):
            return False
        return True if not self.asked.fleet.warnings and all(each.hosts for each in baselines) else None

    def notes(self) -> Iterable[str]:
        """Say which hosts were left out."""
        return self.asked.notes

    def document(self) -> Json:
        """Follow docs/schema/fleet-baseline-1.json."""
        groups = [_group(value, found) for value, found in self.found.items()]
        return {**self.asked.document(SCHEMA), "groups": groups}

    def csv(self) -> Table:
        """Give each feature that some host has a row."""
        rows = []
        for value, found in self.found.items():
            each = found.baseline
            for name, feature in FEATURES.items():
                lacking = each.lacking.get(name, 0)
                if name in each.features or lacking:
                    state = "some" if lacking else "doubtful" if name in each.doubtful else "all"
                    names = (feature.location or "", feature.row.qemu or "", feature.row.libvirt or "")
                    rows.append((value, (name, state, str(lacking), str(each.doubtful.get(name, 0)), *names)))
        columns = ("feature", "had_by", "lacking_hosts", "unknown_hosts", "location", "qemu", "libvirt")
        return self.asked.labelled(columns, rows)

    def sentences(self) -> Iterator[str]:
        """Say how it is known, and of which hosts, if those without VMX leave nothing in common."""
        if self.asked.sentence:
            yield self.asked.sentence
        for value, found in self.found.items():
            if found.beside:
                whose = "" if self.asked.by is None else f" of {group_text(value)}"
                count = found.baseline.hosts
                have = "has" if len(found.bare) == 1 else "have"
                nothing = f"have 0 {self.asked.noun} in common"
                yield f"All of {hosts_text(count)}{whose} {nothing}, since {some(found.bare, 3)} {have} no VMX."
        if self.asked.by is None and self.found[None].beside:
            yield "What follows is about the hosts on which VMX may be usable."

    def tables(self) -> Iterator[Table]:
        """Show the features of one group, or all groups side by side."""
        if self.asked.by is not None:
            return self._side_by_side(self.asked.by)
        found = self.found[None]
        return self._one(found.beside or found)

    def _one(self, found: Found) -> Iterator[Table]:
        each, noun = found.baseline, self.asked.noun
        by_msr: dict[str, list[str]] = {}
        for name in each.features:
            msr = FEATURES[name].msr
            by_msr.setdefault(msr.name if msr else "of several bits", []).append(
                f"{name}{'?' * (name in each.doubtful)}"
            )
        by_count: dict[str, list[str]] = {}
        for name, count in each.lacking.items():
            by_count.setdefault(f"{count:,}", []).append(name)
        by_size: dict[str, list[str]] = {}
        for name, size in found.models.items():
            by_size.setdefault(str(size), []).append(name)
        doubt = ", with ? where it is not known of some" if each.doubtful else ""
        having = "1 host has" if each.hosts == 1 else f"all of {hosts_text(each.hosts)} have"
        yield Table(("MSR", "features"), _rows("MSR", by_msr), f"{len(each.features)} {noun} that {having}{doubt}")
        yield Table(("lacked by", "features"), _rows("lacked by", by_count), f"{noun.capitalize()} that only some have")
        names = {size: [f"{name}," for name in model_names(models)] for size, models in by_size.items()}
        yield Table(("wants", "models"), _rows("wants", names), _MODELS[self.asked.fleet.view])
        if found.obstacle:
            rows = tuple(
                (name, some(names, 3, count) if count else "not known of some host")
                for name, (count, names) in found.obstacle.lacking.items()
            )
            yield Table(
                ("feature", "hosts without it"), rows, f"What keeps the next model, {found.obstacle.model}, from all"
            )
        lines = textwrap.wrap(" ".join(each.open), _WIDTH, break_on_hyphens=False)
        yield Table(
            ("features",), tuple((line,) for line in lines), f"{noun.capitalize()} that are not known of any host"
        )
        yield unknown_table(each.unknown)

    def _side_by_side(self, label: str) -> Iterator[Table]:
        baselines = {group_text(value): found.baseline for value, found in self.found.items()}
        every = [each.features for each in baselines.values() if each.hosts]
        shared = frozenset(every[0]).intersection(*every[1:])
        rows = tuple(
            (
                value,
                f"{each.hosts:,}",
                str(len(each.features)),
                str(len(each.lacking)),
                f"{len(each.unknown):,}",
            )
            for value, each in baselines.items()
        )
        yield Table((label, "hosts", "all have", "only some", "not known"), rows)
        beyond = {value: [name for name in each.features if name not in shared] for value, each in baselines.items()}
        yield Table(
            (label, "features"), _rows(label, beyond), f"Beyond the {len(shared)} features that every group has"
        )


def answer(asked: Grouped) -> Baselines:
    """Find the baseline of each group."""
    return Baselines(asked, {value: find(hosts) for value, hosts in asked.groups.items()})


def _group(value: str | None, found: Found) -> Json:
    each = found.baseline
    return {
        "value": value,
        "hosts": each.hosts,
        "features": list(each.features),
        "doubtful": dict(each.doubtful),
        "lacking": dict(each.lacking),
        "open": list(each.open),
        "unknown": dict(each.unknown),
        "cpu_models": list(found.models),
        "next_model": found.obstacle
        and {
            "name": found.obstacle.model,
            "lacking": {
                name: {"hosts": count, "such_as": list(names)}
                for name, (count, names) in found.obstacle.lacking.items()
            },
        },
        "without_vmx": list(found.bare),
        "usable": found.beside and _group(value, found.beside),
    }


def _rows(title: str, groups: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """Return a row for each line of a group's words, its name in the first; title: that of the names' column."""
    width = _WIDTH - max(len(title), *map(len, groups)) if groups else _WIDTH
    found = []
    for name, words in groups.items():
        lines = textwrap.wrap(" ".join(words).rstrip(","), width, break_long_words=False, break_on_hyphens=False)
        found += [(name if number == 0 else "", line) for number, line in enumerate(lines)]
    return tuple(found)
