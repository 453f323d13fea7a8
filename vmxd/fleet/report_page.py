"""The report as one HTML page that needs nothing beside it: no network, no font, and no JavaScript to be read.

What is in it once a group is not in it once a host, so its size follows kinds. The Content-Security-Policy names its
one script and one style sheet by hash, and whatever a host or a label says is text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import vmxd
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.report import DIFFERS, HAS, LACKS, UNKNOWN, WORDS, Group, groups_of, label_names, utc
from vmxd.fleet.words import codename_text
from vmxd.model.profiles import Profile
from vmxd.tables import FEATURES, MSR_BY_INDEX, Feature, find_features
from vmxd.tables.cpu_models import CPU_MODELS, features_of
from vmxd.tables.msrs import MSRS
from vmxd.tables.platforms.brands import short_name
from vmxd.tables.purpose import PURPOSE
from vmxd.tables.rows import Flag, Layout
from vmxd.views.html import render
from vmxd.views.verdict_words import failed_sentence

COLUMNS_MAX: Final = 40
"""Groups that the matrix shows at a time: what fits on a wide screen, or on A4 in landscape."""

CHOICES_MAX: Final = 200
"""A label with more values than this is searched, not chosen from a list."""

STATUSES: Final = {
    "usable": "usable",
    "disabled_by_firmware": "disabled by firmware",
    "unlocked": "unlocked",
    "smx_only": "SMX only",
    "no_vmx": "no VMX",
    "unreadable": "unreadable",
    "unknown": "unknown",
    None: "no data",
}
"""Each vmx_status in words, in the order in which they are shown."""

CLASSES: Final = {HAS: "has", LACKS: "lacks", DIFFERS: "differs", UNKNOWN: "unknown"}
"""How a cell looks, by its mark."""


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A feature's row of the matrix.

    marks: of the groups shown. counts: of hosts, by mark. without_vmx: hosts that lack it as they lack every feature.
    """

    number: int
    feature: Feature
    marks: str
    counts: Counter[str]
    without_vmx: int

    @property
    def differs(self) -> bool:
        """Whether some hosts are known to have it and others, that have VMX, not to, or the CPUs of one disagree."""
        lacks = self.counts[LACKS] > self.without_vmx
        return bool(self.counts[DIFFERS] or (self.counts[HAS] and lacks))

    @property
    def lacking(self) -> int:
        """How many hosts are known to lack it, on one CPU at least."""
        return self.counts[LACKS] + self.counts[DIFFERS]


@dataclass(frozen=True, slots=True)
class Section:
    """The features of one MSR, under its name; derived ones under none."""

    name: str
    where: str
    rows: tuple[FeatureRow, ...]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group as it is told to people; number counts from 1, and stands over its column."""

    number: int
    group: Group

    @property
    def title(self) -> str:
        """The most frequent model name, shortened, and how many others there are; or why there is nothing to see."""
        if self.group.kind is None:
            return "not readable"
        if self.group.lacks_all:
            return "no VMX"
        models = Counter(host.model_name or "model not known" for host in self.group.hosts).most_common()
        return short_name(models[0][0]) + (f" +{len(models) - 1}" if len(models) > 1 else "")

    def distinct(self, attribute: str) -> str:
        """Return the values of an attribute of its hosts, the most frequent first, and how many are left out."""
        values = Counter(getattr(host, attribute) or "not known" for host in self.group.hosts).most_common()
        return _first([value for value, _ in values])

    @property
    def codenames(self) -> str:
        """The microarchitectures and product classes of its hosts, the most frequent first."""
        return _first([name for name, _ in Counter(map(codename_text, self.group.hosts)).most_common() if name])

    @property
    def statuses(self) -> list[tuple[str | None, int]]:
        """Statuses with their counts."""
        return _by_status(self.group.hosts)

    @property
    def has(self) -> int | None:
        """How many features its hosts have; None where they may have some, but none is known."""
        count = self.group.marks.count(HAS)
        return None if not count and UNKNOWN in self.group.marks else count

    @property
    def inconsistent(self) -> int:
        """How many of its hosts have CPUs that differ."""
        return sum(host.inconsistent > 0 for host in self.group.hosts)


def _first(values: Sequence[str]) -> str:
    left = len(values) - 3
    return ", ".join(values[:3]) + (f", {left} more" if left > 0 else "")


def render_report(fleet: Fleet, profiles: Iterable[Profile] = ()) -> bytes:
    """Render the page as UTF-8. profiles: those whose features can be searched by name."""
    groups = [GroupRow(number, group) for number, group in enumerate(groups_of(fleet), 1)]
    sections = _sections(groups)
    rows = [row for section in sections for row in section.rows]
    page, _ = render(
        "vmxd.fleet",
        "report",
        fleet=fleet,
        taken_at=utc(fleet),
        version=vmxd.__version__,
        groups=groups,
        shown=groups[:COLUMNS_MAX],
        sections=sections,
        differing=sum(row.differs for row in rows),
        agreed=_agreed(rows),
        statuses=_by_status(fleet.hosts),
        status_words=STATUSES,
        models=len({host.model_name for host in fleet.hosts} - {None}),
        inconsistent=sum(host.inconsistent > 0 for host in fleet.hosts),
        unreadable=sum(host.kind is None for host in fleet.hosts),
        choices=_choices(fleet),
        classes=CLASSES,
        words=WORDS,
        purposes=PURPOSE,
        data=_data(fleet, groups, profiles),
    )
    return page.encode(errors="replace")


def _by_status(hosts: Iterable[FleetHost]) -> list[tuple[str | None, int]]:
    counts = Counter(host.status for host in hosts)
    return [
        (status, counts[status])
        for status in (*STATUSES, *sorted(counts.keys() - STATUSES.keys(), key=str))
        if counts[status]
    ]


def _sections(groups: Sequence[GroupRow]) -> list[Section]:
    rows = {}
    without_vmx = sum(len(row.group.hosts) for row in groups if row.group.lacks_all)
    for number, feature in enumerate(FEATURES.values()):
        marks = [group.group.marks[number] for group in groups]
        counts: Counter[str] = Counter()
        for mark, group in zip(marks, groups, strict=True):
            counts[mark] += len(group.group.hosts)
        rows[feature.name] = FeatureRow(number, feature, "".join(marks[:COLUMNS_MAX]), counts, without_vmx)
    sections = [
        Section(msr.name, f"{msr.index:#x}, {msr.sdm}", tuple(row for row in rows.values() if row.feature.msr is msr))
        for msr in MSRS
    ]
    derived = tuple(row for row in rows.values() if row.feature.msr is None)
    return [*(section for section in sections if section.rows), Section("derived", "of several bits", derived)]


def _agreed(rows: Sequence[FeatureRow]) -> list[tuple[str, list[FeatureRow]]]:
    """Return the features that do not differ, under what is true of all hosts of which it is known."""
    everywhere = "all hosts with VMX have" if any(row.without_vmx for row in rows) else "all hosts have"
    nowhere, unknown = "no host has", "are known of no host"
    found: dict[str, list[FeatureRow]] = {everywhere: [], nowhere: [], unknown: []}
    for row in rows:
        if not row.differs:
            found[everywhere if row.counts[HAS] else nowhere if row.lacking else unknown].append(row)
    return [(word, features) for word, features in found.items() if features]


def _choices(fleet: Fleet) -> list[tuple[str, list[str]]]:
    """Return the labels that hosts can be chosen by, with their values."""
    values = {name: sorted({host.labels.get(name, "") for host in fleet.hosts}) for name in label_names(fleet)}
    return [(name, found) for name, found in values.items() if 1 < len(found) <= CHOICES_MAX]


def names_of(feature: Feature) -> list[str]:
    """Return every name that finds a feature, vmxd's own first; of a control, either bit, by MSR and index."""
    names = [feature.name, *feature.aliases]
    if feature.msr is not None and isinstance(feature.row, Flag):
        bits = [feature.row.bit]
        if feature.msr.layout is Layout.CONTROLS:
            bits.append(feature.row.bit + 32)
        twin = MSR_BY_INDEX.get(feature.msr.true) if feature.msr.true is not None else None
        for msr in filter(None, (feature.msr, twin)):
            names += [f"{name}[{bit}]" for name in (msr.name, f"{msr.index:#x}") for bit in bits]
    return [name for name in dict.fromkeys(names) if feature in find_features(name)]


def _sets(profiles: Iterable[Profile]) -> dict[str, list[int]]:
    """Return the features of profiles, and of the newest version of QEMU's CPU models, by their number."""
    numbers = {name: number for number, name in enumerate(FEATURES)}
    wanted: dict[str, Iterable[str]] = {profile.name: profile.features for profile in profiles}
    wanted |= {f"qemu-{model.name}-v{model.versions}": features_of(model, model.versions) for model in CPU_MODELS}
    found = {name: sorted(numbers[each] for each in features) for name, features in wanted.items()}
    return {name: features for name, features in found.items() if features}


def _data(fleet: Fleet, groups: Sequence[GroupRow], profiles: Iterable[Profile]) -> dict[str, Any]:
    """Return what the script works on: marks once a group, facts once for the hosts that share them, then names."""
    labels = label_names(fleet)
    return {
        "features": [names_of(feature) for feature in FEATURES.values()],
        "labels": labels,
        "columns": COLUMNS_MAX,
        "sets": _sets(profiles),
        "statuses": {status or "": word for status, word in STATUSES.items()},
        "groups": [
            {
                "title": row.title,
                "fingerprint": row.group.fingerprint or "",
                "marks": row.group.marks,
                "variants": _variants(row.group, labels),
            }
            for row in groups
        ],
    }


def _variants(group: Group, labels: Sequence[str]) -> list[list[Any]]:
    """Return the distinct facts of a group's hosts, each with the names of the hosts that they are true of."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for host in group.hosts:
        facts = (
            host.status or "",
            host.model_name or "",
            host.signature or "",
            host.microcode or "",
            host.kernel or "",
            _note(host),
            host.inconsistent > 0,
            tuple(host.labels.get(name, "") for name in labels),
        )
        found.setdefault(facts, []).append(host.name)
    return [[*facts, names] for facts, names in found.items()]


def _note(host: FleetHost) -> str:
    """Return what is odd about a host."""
    notes = [host.reason] if host.reason and host.status != "usable" else []
    if host.inconsistent:
        notes.append("1 CPU differs" if host.inconsistent == 1 else f"{host.inconsistent} CPUs differ")
    if host.failed:
        notes.append(failed_sentence(host.failed))
    if host.hypervisor:
        notes.append("under a hypervisor")
    return "; ".join(notes)
