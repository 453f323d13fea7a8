"""Two hosts, two pools or one host at two times, side by side: what differs. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import vmxd
from vmxd.fleet.model import FleetHost
from vmxd.fleet.summary import UNKNOWN, hosts_text, some
from vmxd.fleet.table import Table
from vmxd.fleet.times import format_time
from vmxd.tables import FEATURES, msr_name
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.diff/1"
_VALUES: Final = 2
"""Of a fact of a pool, how many are named to people."""
_UNKNOWN: Final = 40
"""Features that cannot be compared are named to people where there are no more of them; --json names them all."""

FACTS: Final[Mapping[str, Callable[[FleetHost], str | None]]] = {
    "status": lambda host: host.status,
    "model_name": lambda host: host.model_name,
    "signature": lambda host: host.signature,
    "microcode": lambda host: host.microcode,
    "kernel": lambda host: host.kernel,
    "hypervisor": lambda host: ("true" if host.hypervisor else "false") if host.status else None,
    "fingerprint": lambda host: host.kind.fingerprint if host.kind else None,
    "inconsistent_cpus": lambda host: str(host.inconsistent) if host.status else None,
}
"""What is compared beside features and values; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its name as it was typed, where its hosts come from, when, and these."""

    name: str
    source: str
    taken_at: float
    hosts: tuple[FleetHost, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How many hosts of a side have a feature, lack it, or are not known to do either."""

    has: int
    lacks: int
    unknown: int

    @property
    def word(self) -> str:
        """yes: every host has it; no: none is known to; some; unknown: none is known to lack it."""
        if self.lacks:
            return "some" if self.has else "no"
        return "unknown" if self.unknown else "yes"

    @property
    def text(self) -> str:
        """The same for people, with numbers where it is about several hosts."""
        count = self.has + self.lacks + self.unknown
        if self.word in ("yes", "no") and not self.unknown:
            return self.word
        if count == 1:
            return UNKNOWN
        return f"{self.has} of {count}" + (f", {self.unknown} {UNKNOWN}" if self.unknown else "")


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two sides.

    facts: by name, each distinct value with its number of hosts. features: by name, where both are known.
    unknown: features that cannot be compared, by name, since of one side they are not known.
    msrs: by index, the values of two single hosts; None where one has none.
    """

    sides: tuple[Side, Side]
    facts: Mapping[str, tuple[Counter[str | None], Counter[str | None]]]
    features: Mapping[str, tuple[Standing, Standing]]
    unknown: Mapping[str, tuple[Standing, Standing]]
    msrs: Mapping[int, tuple[int | None, int | None]]

    @property
    def same(self) -> bool | None:
        """Whether nothing differs; None where nothing is known to, but not everything is known."""
        facts = (a.keys() - {None} and b.keys() - {None} for a, b in self.facts.values())
        msrs = (a is not None and b is not None for a, b in self.msrs.values())
        if self.features or any(facts) or any(msrs):
            return False
        return None if self.unknown or self.facts or self.msrs else True


def compare(first: Side, second: Side) -> Difference:
    """Return what differs between two sides."""
    sides = (first, second)
    facts = {}
    for name, fact in FACTS.items():
        a, b = (Counter(map(fact, side.hosts)) for side in sides)
        if a.keys() != b.keys():
            facts[name] = (a, b)
    features = {}
    unknown = {}
    for name in FEATURES:
        one, other = (_standing(side.hosts, name) for side in sides)
        if "unknown" in (one.word, other.word):
            unknown[name] = (one, other)
        elif one.word != other.word:
            features[name] = (one, other)
    return Difference(sides, facts, features, unknown, _msrs(sides))


def _standing(hosts: Sequence[FleetHost], feature: str) -> Standing:
    values = [host.has(feature) for host in hosts]
    return Standing(values.count(True), values.count(False), values.count(None))


def _msrs(sides: tuple[Side, Side]) -> dict[int, tuple[int | None, int | None]]:
    kinds = [side.hosts[0].kind for side in sides if len(side.hosts) == 1]
    if len(kinds) != 2 or kinds[0] is None or kinds[1] is None:
        return {}
    a, b = kinds[0].values, kinds[1].values
    return {index: (a.get(index), b.get(index)) for index in sorted({*a, *b}) if a.get(index) != b.get(index)}


def document(found: Difference) -> Json:
    """Return what ``vmxd fleet diff --json`` prints."""
    return {
        "schema": SCHEMA,
        "vmxd": vmxd.__version__,
        **{key: _side(side) for key, side in zip("ab", found.sides, strict=True)},
        "facts": {name: {"a": _hosts(a), "b": _hosts(b)} for name, (a, b) in found.facts.items()},
        "features": {name: {"a": a.word, "b": b.word} for name, (a, b) in found.features.items()},
        "unknown": list(found.unknown),
        "msrs": {msr_name(index): {"a": _hex(a), "b": _hex(b)} for index, (a, b) in found.msrs.items()},
    }


def _side(side: Side) -> Json:
    return {
        "name": side.name,
        "source": side.source,
        "time": format_time(side.taken_at),
        "hosts": [host.name for host in side.hosts],
    }


def _hosts(values: Counter[str | None]) -> Json:
    return {value or "": count for value, count in values.items()}


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:#018x}"


def table(found: Difference) -> Table:
    """Return every difference as a row, for CSV."""
    return _table(found, None)


def _table(found: Difference, values: int | None) -> Table:
    """Return every difference as a row; values: of a fact to name at most, None for all."""
    rows = [("fact", name, _counts(a, values), _counts(b, values)) for name, (a, b) in found.facts.items()]
    rows += [("feature", name, a.text, b.text) for name, (a, b) in found.features.items()]
    rows += [("msr", msr_name(index), _hex(a) or "", _hex(b) or "") for index, (a, b) in found.msrs.items()]
    return Table(("what", "name", *(side.name for side in found.sides)), tuple(rows))


def tables(found: Difference) -> list[Table]:
    """Return the differences for people."""
    by_kind: dict[str, list[tuple[str, ...]]] = {}
    for kind, *row in _table(found, _VALUES).rows:
        by_kind.setdefault(kind, []).append(tuple(cell or "none" for cell in row))
    names = tuple(side.name for side in found.sides)
    shown = [Table((kind, *names), tuple(rows)) for kind, rows in by_kind.items()]
    if 0 < len(found.unknown) <= _UNKNOWN:
        rows = tuple((name, a.text, b.text) for name, (a, b) in found.unknown.items())
        shown.append(Table(("cannot be compared", *names), rows))
    return shown


def text(found: Difference) -> str:
    """Return the sentence above the tables."""
    a, b = (side.name for side in found.sides)
    if dark := [side for side in found.sides if all(host.kind is None for host in side.hosts)]:
        reasons = "; ".join(host.reason for side in dark for host in side.hosts[:1] if host.reason)
        return f"Of {' and '.join(side.name for side in dark)} no feature is known: {reasons or 'no reason is'}."
    if found.same is not False:
        sentence = f"{a} and {b} do not differ" + (" as far as is known" if found.same is None else "")
    elif found.features:
        gone = sum(one.word == "yes" for one, _ in found.features.values())
        come = sum(other.word == "yes" for _, other in found.features.values())
        sentence = f"{b} lacks {_features(gone)} that {a} has, and has {_features(come)} that {a} lacks"
    else:
        sentence = f"{a} and {b} have the same features"
    sentence += f"; {_features(len(found.unknown))} cannot be compared" if found.unknown else ""
    counts = [len(side.hosts) for side in found.sides]
    return f"{sentence} ({' and '.join(map(hosts_text, counts))})." if counts != [1, 1] else f"{sentence}."


def _features(count: int) -> str:
    return "1 feature" if count == 1 else f"{count} features"


def _counts(values: Counter[str | None], limit: int | None) -> str:
    if sum(values.values()) == 1:
        return next(iter(values)) or UNKNOWN
    texts = [f"{value or UNKNOWN} ({count})" for value, count in values.most_common()]
    return some(texts, limit or len(texts))
