"""Two hosts, two pools or one of them at two times, side by side: what differs, and on which hosts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import vmxd
from vmxd.fleet.answer import Answer, Table
from vmxd.fleet.model import FleetHost
from vmxd.fleet.times import format_time
from vmxd.fleet.words import UNKNOWN, features_text, few, guests_sentence, hosts_text, known_by_host, some
from vmxd.model.answers import View
from vmxd.tables import FEATURES, msr_name
from vmxd.views.guest_words import why_text
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.diff/1"
_VALUES: Final = 2
"""Of a fact of a pool, how many are named to people."""
_UNKNOWN: Final = 40
"""Features that cannot be compared are named to people where there are no more of them; --json names them all."""

_FACTS: Final[Mapping[str, Callable[[FleetHost], str | None]]] = {
    "status": lambda host: host.status,
    "model_name": lambda host: host.model_name,
    "signature": lambda host: host.signature,
    "microcode": lambda host: host.microcode,
    "kernel": lambda host: host.kernel,
    "hypervisor": lambda host: ("true" if host.hypervisor else "false") if host.status else None,
    "fingerprint": lambda host: host.fingerprint,
    "inconsistent_cpus": lambda host: str(host.inconsistent) if host.status else None,
}
"""What is compared beside features and values; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its name as it was typed, where its hosts come from, when, and these.

    is_asked: whether it is what these hosts would be with another kernel or other parameters: facts are not compared.
    """

    name: str
    source: str
    taken_at: float
    hosts: tuple[FleetHost, ...]
    view: View = View.HARDWARE
    is_asked: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """How many hosts of a side have a feature, lack it, or are not known to do either."""

    yes: int
    no: int
    unknown: int

    @property
    def word(self) -> str:
        """yes: every host has it; no: none is known to; some; unknown: none is known to lack it."""
        if self.no:
            return "some" if self.yes else "no"
        return "unknown" if self.unknown else "yes"

    @property
    def text(self) -> str:
        """The same for people, with numbers where it is about several hosts."""
        count = self.yes + self.no + self.unknown
        if self.word in ("yes", "no") and not self.unknown:
            return self.word
        if count == 1:
            return UNKNOWN
        return f"{self.yes} of {count}" + (f", {self.unknown} {UNKNOWN}" if self.unknown else "")


@dataclass(frozen=True, slots=True)
class Changed:
    """The hosts that are on both sides and had or have a feature on one of these alone, by name."""

    lost: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Both, for people."""
        lost, gained = ([f"-{few(self.lost, 2)}"] * bool(self.lost), [f"+{few(self.gained, 2)}"] * bool(self.gained))
        return " ".join(lost + gained)


@dataclass(frozen=True, slots=True)
class Difference(Answer):
    """How two sides differ.

    facts: by name, each distinct value with its number of hosts. features: by name, where both are known.
    changed: the hosts of both sides that have one of these features on one side alone.
    why: by feature, why guests do not get it where they do not, most hosts first.
    unknown: features that cannot be compared, by name, since of one side they are not known.
    msrs: by index, the values of two single hosts' hardware; None where one has none.
    """

    sides: tuple[Side, Side]
    facts: Mapping[str, tuple[Counter[str | None], Counter[str | None]]]
    features: Mapping[str, tuple[Counts, Counts]]
    changed: Mapping[str, Changed]
    unknown: Mapping[str, tuple[Counts, Counts]]
    msrs: Mapping[int, tuple[int | None, int | None]]
    why: Mapping[str, tuple[str, ...]]

    @property
    def holds(self) -> bool | None:
        """Whether nothing differs; None where nothing is known to, but not everything is known."""
        facts = (a.keys() - {None} and b.keys() - {None} for a, b in self.facts.values())
        msrs = (a is not None and b is not None for a, b in self.msrs.values())
        if self.features or any(facts) or any(msrs):
            return False
        return None if self.unknown or self.facts or self.msrs else True

    def document(self) -> Json:
        """Follow docs/schema/fleet-diff-1.json."""
        sides = dict(zip("ab", self.sides, strict=True))
        return {
            "schema": SCHEMA,
            "vmxd": vmxd.__version__,
            "view": self.sides[0].view.value,
            **{key: _side(side) for key, side in sides.items()},
            "facts": {name: {"a": _values(a), "b": _values(b)} for name, (a, b) in self.facts.items()},
            "features": {name: {"a": a.word, "b": b.word} for name, (a, b) in self.features.items()},
            "changed": {
                name: {"lost": list(each.lost), "gained": list(each.gained)}
                for name, each in self.changed.items()
                if each.text
            },
            "why": {name: list(texts) for name, texts in self.why.items()},
            "unknown": list(self.unknown),
            "msrs": {msr_name(index): {"a": _hex(a), "b": _hex(b)} for index, (a, b) in self.msrs.items()},
        }

    def csv(self) -> Table:
        """Give every difference a row."""
        rows = tuple((*row, "; ".join(self.why.get(row[1], ()))) for row in self._rows(None))
        return Table(("what", "name", *(side.name for side in self.sides), "why"), rows)

    def _rows(self, values: int | None) -> Iterator[tuple[str, ...]]:
        """Yield every difference. values: of a fact to name at most, None for all."""
        for fact, counts in self.facts.items():
            yield ("fact", fact, *(_counts(each, values) for each in counts))
        for feature, (a, b) in self.features.items():
            yield "feature", feature, a.text, b.text
        for index, (one, other) in self.msrs.items():
            yield "msr", msr_name(index), _hex(one) or "", _hex(other) or ""

    def tables(self) -> Iterator[Table]:
        """Show the differences; of pools with common hosts, which of these lost a feature (-) and gained one (+)."""
        by_kind: dict[str, list[tuple[str, ...]]] = {}
        hosts = any(each.text for each in self.changed.values()) and len(self.sides[0].hosts) > 1
        more = (*["hosts"] * hosts, *["why"] * bool(self.why))
        for kind, name, *values in self._rows(_VALUES):
            cells = [name, *(value or "none" for value in values)]
            if kind == "feature":
                cells += [self.changed[name].text] * hosts
                cells += [some(self.why.get(name, ()), 1)] * bool(self.why)
            by_kind.setdefault(kind, []).append(tuple(cells))
        names = tuple(side.name for side in self.sides)
        for kind, rows in by_kind.items():
            yield Table((kind, *names, *(more if kind == "feature" else ())), tuple(rows))
        if len(self.unknown) <= _UNKNOWN:
            unknown = tuple((name, a.text, b.text) for name, (a, b) in self.unknown.items())
            yield Table(("cannot be compared", *names), unknown)

    def sentences(self) -> Iterator[str]:
        """Say whether they differ, and in how much."""
        if dark := [side for side in self.sides if all(host.kind is None for host in side.hosts)]:
            reasons = "; ".join(host.reason for side in dark for host in side.hosts[:1] if host.reason)
            yield f"Of {' and '.join(side.name for side in dark)} no feature is known: {reasons or 'no reason is'}."
            return
        a, b = (side.name for side in self.sides)
        if any(side.is_asked for side in self.sides) and _same_hosts(self.sides):
            yield self._change(a, b)
            yield from self._known()
            return
        if self.holds is not False:
            sentence = f"{a} and {b} do not differ" + (" as far as is known" if self.holds is None else "")
        elif self.features:
            sentence = self._verdict(a, b)
        else:
            sentence = f"{a} and {b} have the same features"
        sentence += f"; {features_text(len(self.unknown))} cannot be compared" if self.unknown else ""
        counts = [len(side.hosts) for side in self.sides]
        yield f"{sentence} ({' and '.join(map(hosts_text, counts))})." if counts != [1, 1] else f"{sentence}."
        yield from self._known()

    def _known(self) -> Iterator[str]:
        """Say how it is known what guests get, once if that is the same of both."""
        texts = {side.name: text for side in self.sides if (text := guests_sentence(side.hosts))}
        if len(set(texts.values())) == 1:
            yield from dict.fromkeys(texts.values())
        else:
            yield from (f"{name}: {text}" for name, text in texts.items())

    def _change(self, a: str, b: str) -> str:
        """Say what guests gain and lose on the same hosts."""
        parts = []
        for verb, lists in (
            ("gain", [each.gained for each in self.changed.values()]),
            ("lose", [each.lost for each in self.changed.values()]),
        ):
            hosts = len({name for names in lists for name in names})
            where = f" on {hosts:,} of {hosts_text(len(self.sides[0].hosts))}" if len(self.sides[0].hosts) > 1 else ""
            count = sum(map(bool, lists))
            parts.append(f"{verb} {features_text(count)}{where}" if count else f"{verb} nothing")
        sentence = f"From {a} to {b}, guests {' and '.join(parts)}"
        return f"{sentence}; {features_text(len(self.unknown))} cannot be compared." if self.unknown else f"{sentence}."

    def _verdict(self, a: str, b: str) -> str:
        gone = sum(one.word == "yes" for one, _ in self.features.values())
        come = sum(other.word == "yes" for _, other in self.features.values())
        partly = len(self.features) - gone - come
        parts = [f"{b} lacks {features_text(gone)} that {a} has, and has {features_text(come)} that {a} lacks"]
        parts = parts if gone or come or not partly else []
        parts += [f"{features_text(partly)} {'is' if partly == 1 else 'are'} on more or fewer hosts"] if partly else []
        hosts = sorted({name for each in self.changed.values() for name in (*each.lost, *each.gained)})
        if hosts and len(self.sides[0].hosts) > 1:
            parts.append(f"changed {'has' if len(hosts) == 1 else 'have'} {some(hosts, 4)}")
        return "; ".join(parts)


def compare(first: Side, second: Side) -> Difference:
    """Compare two sides. Counts are compared, so that one host of many that lost a feature is a difference."""
    sides = (first, second)
    is_asked = first.is_asked or second.is_asked
    facts = {} if is_asked and _same_hosts(sides) else _facts(sides)
    features, changed, unknown = {}, {}, {}
    for name in FEATURES:
        one, other = (_counted(side.hosts, name) for side in sides)
        hosts = _changed(sides, name)
        if "unknown" in (one.word, other.word) and not hosts.text:
            unknown[name] = (one, other)
        elif one.word != other.word or one.yes * other.no != other.yes * one.no or hosts.text:
            features[name], changed[name] = (one, other), hosts
    why = {name: texts for name in features if (texts := _why(sides, name))}
    return Difference(sides, facts, features, changed, unknown, _msrs(sides), why)


def _facts(sides: tuple[Side, Side]) -> dict[str, tuple[Counter[str | None], Counter[str | None]]]:
    facts = {}
    for name, fact in _FACTS.items():
        a, b = (Counter(map(fact, side.hosts)) for side in sides)
        if (a != b) if _same_hosts(sides) else (a.keys() != b.keys()):
            facts[name] = (a, b)
    if sides[0].view is View.HARDWARE:
        return facts
    given = [[dict(host.parameters or ()) for host in side.hosts] for side in sides]
    for name in sorted({name for side in given for values in side for name in values}):
        a, b = (Counter(values.get(name) for values in side) for side in given)
        if a.keys() != b.keys() and a.keys() - {None} and b.keys() - {None}:
            facts[f"kvm_intel.{name}"] = (a, b)
    return facts


def _why(sides: tuple[Side, Side], feature: str) -> tuple[str, ...]:
    """Say why guests do not get a feature: of hosts that differ from the other side, if that has the same hosts."""
    changed = _changed(sides, feature)
    of = (changed.gained, changed.lost)
    hosts = [
        host
        for side, names in zip(sides, of, strict=True)
        for host in side.hosts
        if (host.name in names if changed.text else True)
    ]
    lacking = (host.offer for host in hosts if host.offer and host.offer.expected and host.has(feature) is False)
    return tuple(text for text, _ in Counter(why_text(offer, feature) for offer in lacking).most_common())


def _same_hosts(sides: tuple[Side, Side]) -> bool:
    a, b = ({host.name for host in side.hosts} for side in sides)
    return a == b


def _counted(hosts: tuple[FleetHost, ...], feature: str) -> Counts:
    values = Counter(host.has(feature) for host in hosts)
    return Counts(values[True], values[False], values[None])


def _changed(sides: tuple[Side, Side], feature: str) -> Changed:
    before, after = ({host.name: host.has(feature) for host in side.hosts} for side in sides)
    both = [name for name in before if name in after]
    return Changed(
        tuple(name for name in both if (before[name], after[name]) == (True, False)),
        tuple(name for name in both if (before[name], after[name]) == (False, True)),
    )


def _msrs(sides: tuple[Side, Side]) -> dict[int, tuple[int | None, int | None]]:
    kinds = [side.hosts[0].kind for side in sides if len(side.hosts) == 1 and side.view is View.HARDWARE]
    if len(kinds) != 2 or kinds[0] is None or kinds[1] is None:
        return {}
    a, b = kinds[0].values, kinds[1].values
    return {index: (a.get(index), b.get(index)) for index in sorted({*a, *b}) if a.get(index) != b.get(index)}


def _side(side: Side) -> Json:
    return {
        "name": side.name,
        "source": side.source,
        "time": format_time(side.taken_at),
        "hosts": [host.name for host in side.hosts],
        "known": dict(known_by_host(side.hosts)),
    }


def _values(values: Counter[str | None]) -> Json:
    return {value or "": count for value, count in values.items()}


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:#018x}"


def _counts(values: Counter[str | None], limit: int | None) -> str:
    if sum(values.values()) == 1:
        return next(iter(values)) or UNKNOWN
    texts = [f"{value or UNKNOWN} ({count})" for value, count in values.most_common()]
    return some(texts, limit or len(texts))
