"""Fleets made in memory for the questions about sets of features: few features, so that sets meet often."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Final

from hypothesis import strategies as st

from tests.helpers.support import HOSTS
from vmxd.fleet.model import Fleet, FleetHost, Kind
from vmxd.fleet.recordings import read_recordings
from vmxd.tables import FEATURES

SOME: Final = tuple(FEATURES)[:8]
"""The features on which made hosts differ; all of them lack the others."""


def kind_of(*has: str) -> Kind:
    """Return a kind that has some features and lacks the others."""
    return Kind(None, {name: name in has for name in FEATURES})


def host(name: str, *has: str, **facts: object) -> FleetHost:
    """Return a host with a kind of its own."""
    return FleetHost(name, status="usable", kind=kind_of(*has), **facts)  # type: ignore[arg-type]


@st.composite
def kinds(draw: st.DrawFn) -> Kind:
    """Draw what is known of SOME: has, lacks, or not known."""
    drawn = {name: draw(st.sampled_from((True, False, None))) for name in SOME}
    rest = dict.fromkeys(FEATURES, False)
    return Kind(None, {name: value for name, value in (rest | drawn).items() if value is not None})


@st.composite
def fleets(draw: st.DrawFn, strange: bool = True) -> tuple[FleetHost, ...]:
    """Draw hosts of a few kinds; strange: some of them not known, or with CPUs that could not be read."""
    found = draw(st.lists(kinds(), min_size=1, max_size=6))
    counts = draw(st.lists(st.integers(1, 4), min_size=len(found), max_size=len(found)))
    hosts = [kind for kind, count in zip(found, counts, strict=True) for _ in range(count)]
    extra: list[FleetHost] = []
    if strange:
        extra += [FleetHost(f"u{n}", reason="down") for n in range(draw(st.integers(0, 2)))]
        extra += [FleetHost(f"f{n}", failed=1, kind=draw(kinds())) for n in range(draw(st.integers(0, 2)))]
    return (*(FleetHost(f"h{n}", status="usable", kind=kind) for n, kind in enumerate(hosts)), *extra)


@functools.cache
def _recordings() -> Fleet:
    return read_recordings(str(HOSTS), lambda *_: None)


def recorded(*names: str) -> tuple[FleetHost, ...]:
    """Return recordings of tests/hosts; without names all real ones."""
    hosts = _recordings().hosts
    return tuple(host for host in hosts if (host.name in names if names else not host.name.startswith("made-")))


def values_of(hosts: Sequence[FleetHost], feature: str) -> Mapping[bool | None, int]:
    """Return how many hosts have a feature, lack it, or are not known."""
    values = [each.has(feature) for each in hosts]
    return {value: values.count(value) for value in (True, False, None)}
