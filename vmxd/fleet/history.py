"""How one host was over time, as a Prometheus has it: what changed when, beside microcode and kernel.

Range queries of a bounded number of steps; where a step is longer than Prometheus looks back, each sees all of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import vmxd
from vmxd.fleet.answer import Answer, Table
from vmxd.fleet.api import Api, Series
from vmxd.fleet.model import FleetHost
from vmxd.fleet.prometheus import Asked, NoHostsError, read_prometheus
from vmxd.fleet.times import format_time
from vmxd.fleet.words import UNKNOWN
from vmxd.tables import FEATURES
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.history/1"

STEPS: Final = 1_000
"""Points in time that are looked at, at most."""
_STEP_MIN: Final = 60.0
_LOOKBACK: Final = 300.0
"""How long Prometheus takes a sample for the present, in seconds (--query.lookback-delta)."""
LOOKUPS: Final = 40
"""Fingerprints of which it is asked what features they mean, at most."""

_FROM_INFO: Final = ("model_name", "signature", "microcode", "fingerprint")
FACTS: Final = ("status", "kernel", *_FROM_INFO)

Facts = Mapping[str, tuple[str | None, str | None]]
"""By name, what a fact was and is; None: not known."""
State = Mapping[str, str | None]
"""What is known of a host at a time, by FACTS."""


@dataclass(frozen=True, slots=True)
class Interval:
    """From a step to another, both in it, Unix time in seconds. state: None where the host was not seen."""

    start: float
    end: float
    state: State | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a host has become, at the first step that shows it.

    facts: before and after, by name. lost, gained: features; None where they could not be told.
    """

    time: float
    facts: Facts
    lost: tuple[str, ...] | None
    gained: tuple[str, ...] | None

    @property
    def text(self) -> str:
        """All of it in one line."""
        return "; ".join((*facts_text(self.facts), *features_text(self.lost, self.gained)))


@dataclass(frozen=True, slots=True)
class History(Answer):
    """One host from a time to another. step: seconds between two looks; a change may be so much earlier."""

    source: str
    host: str
    start: float
    end: float
    step: float
    intervals: tuple[Interval, ...]
    changes: tuple[Change, ...] = field(default=())
    warnings: tuple[str, ...] = ()

    def document(self) -> Json:
        """Follow docs/schema/fleet-history-1.json."""
        return {
            "schema": SCHEMA,
            "vmxd": vmxd.__version__,
            "source": self.source,
            "host": self.host,
            "from": format_time(self.start),
            "to": format_time(self.end),
            "step_seconds": self.step,
            "intervals": [
                {
                    "from": format_time(each.start),
                    "to": format_time(each.end),
                    "state": None if each.state is None else dict(each.state),
                }
                for each in self.intervals
            ],
            "changes": [
                {
                    "time": format_time(change.time),
                    "facts": {name: {"before": a, "after": b} for name, (a, b) in change.facts.items()},
                    "lost": None if change.lost is None else list(change.lost),
                    "gained": None if change.gained is None else list(change.gained),
                }
                for change in self.changes
            ],
            "warnings": list(self.warnings),
        }

    def csv(self) -> Table:
        """Give each time at which something happened a row."""
        rows = []
        changes = {change.time: change for change in self.changes}
        first = True
        for each in self.intervals:
            if each.state is None:
                what = f"not seen until {format_time(each.end + self.step)}"
                what = "not seen since" if each is self.intervals[-1] else what
            elif first:
                what = f"seen first: {', '.join(f'{name} {each.state[name] or UNKNOWN}' for name in FACTS)}"
                first = False
            else:
                what = changes[each.start].text if each.start in changes else "seen again, unchanged"
            rows.append((format_time(each.start), what))
        return Table(("time", "what"), tuple(rows))

    def tables(self) -> Iterator[Table]:
        """Show the same."""
        yield self.csv()

    def sentences(self) -> Iterator[str]:
        """Count the changes."""
        count = len(self.changes)
        changes = f"{count} changes" if count != 1 else "1 change"
        span = f"from {format_time(self.start)} to {format_time(self.end)}"
        yield f"{self.host}: {changes} {span}, looked at every {self.step:.0f} s."


def read_history(api: Api, name: str, matchers: str, start: float, end: float) -> History:
    """Ask a Prometheus how a host was. Raises PrometheusError, NoHostsError where it has no sample of it."""
    step = max(_STEP_MIN, math.ceil((end - start) / STEPS))
    end = float(math.floor(end))
    start = end - math.ceil((end - start) / step) * step

    def ask(metric: str, suffix: str = "") -> list[Series]:
        selected = f"{metric}{{{matchers}}}"
        if step > _LOOKBACK:
            selected = f"last_over_time({selected}[{step:.0f}s])"
        return api.query_range(selected + suffix, start, end, step)

    infos = ask("vmx_host_info")
    if not infos:
        raise NoHostsError(
            f"{api.url} has seen no host {name} since {format_time(start)}", "look at --since, or at vmxd fleet summary"
        )
    seen = _by_step(infos, lambda labels: tuple(labels.get(each) or None for each in _FROM_INFO))
    statuses = _by_step(ask("vmx_status", " == 1"), lambda labels: (labels.get("status"),))
    kernels = _by_step(ask("vmx_kernel_info"), lambda labels: (labels.get("release"),))
    states: list[tuple[float, State | None]] = []
    for number in range(round((end - start) / step) + 1):
        at = start + number * step
        key = round(at)
        nothing: tuple[None] = (None,)
        values = (*statuses.get(key, nothing), *kernels.get(key, nothing), *seen[key]) if key in seen else None
        states.append((at, dict(zip(FACTS, values, strict=True)) if values else None))
    intervals = _merged(states)
    changes = _changes(api, matchers, intervals)
    return History(api.url, name, start, end, step, intervals, changes, tuple(api.warnings))


Values = tuple[str | None, ...]


def _by_step(found: Sequence[Series], values: Callable[[Mapping[str, str]], Values]) -> dict[int, Values]:
    """Return the values at each step; where a step has an old and a new one, the new one."""
    candidates: dict[int, dict[Values, None]] = {}
    for series in found:
        own = values(series.labels)
        for at, _ in series.samples:
            candidates.setdefault(round(at), {})[own] = None
    chosen: dict[int, Values] = {}
    current: Values | None = None
    for at in sorted(candidates):
        others = [each for each in candidates[at] if each != current]
        current = others[0] if others else current
        assert current is not None
        chosen[at] = current
    return chosen


def _merged(states: Sequence[tuple[float, State | None]]) -> tuple[Interval, ...]:
    intervals: list[Interval] = []
    for at, state in states:
        if intervals and intervals[-1].state == state:
            intervals[-1] = Interval(intervals[-1].start, at, state)
        else:
            intervals.append(Interval(at, at, state))
    return tuple(intervals)


def _changes(api: Api, matchers: str, intervals: Sequence[Interval]) -> tuple[Change, ...]:
    known = [each for each in intervals if each.state is not None]
    hosts: dict[object, FleetHost | None] = {}

    def host(interval: Interval) -> FleetHost | None:
        assert interval.state is not None
        key = interval.state["fingerprint"] or interval.state["status"]
        if key not in hosts:
            hosts[key] = _look_up(api, matchers, interval) if len(hosts) < LOOKUPS else None
        return hosts[key]

    changes = []
    for before, after in itertools.pairwise(known):
        assert before.state is not None
        assert after.state is not None
        facts = {
            name: (before.state[name], after.state[name]) for name in FACTS if before.state[name] != after.state[name]
        }
        lost, gained = ((), ()) if "fingerprint" not in facts else lost_and_gained(host(before), host(after))
        if facts:
            changes.append(Change(after.start, facts, lost, gained))
    return tuple(changes)


def _look_up(api: Api, matchers: str, interval: Interval) -> FleetHost | None:
    for at in (interval.end, interval.start):
        try:
            return read_prometheus(api, Asked(matchers, at)).hosts[0]
        except NoHostsError:
            continue
    return None


def lost_and_gained(
    before: FleetHost | None, after: FleetHost | None
) -> tuple[tuple[str, ...], tuple[str, ...]] | tuple[None, None]:
    """Return the features that a host is known to have lost and gained; None if too little is known of it."""
    if before is None or after is None or not before.kind or not after.kind:
        return None, None
    values = {name: (before.has(name), after.has(name)) for name in FEATURES}
    return (
        tuple(name for name, pair in values.items() if pair == (True, False)),
        tuple(name for name, pair in values.items() if pair == (False, True)),
    )


def facts_text(facts: Facts) -> Iterator[str]:
    """Say what facts were, and are."""
    return (f"{name} {a or UNKNOWN} -> {b or UNKNOWN}" for name, (a, b) in facts.items())


def features_text(lost: Sequence[str] | None, gained: Sequence[str] | None) -> list[str]:
    """Say which features were lost and gained; None: not known."""
    if lost is None or gained is None:
        return [f"features {UNKNOWN}"]
    lines = [f"lost {', '.join(lost)}"] if lost else []
    return lines + ([f"gained {', '.join(gained)}"] if gained else [])
