"""A host is the same to vmxd fleet by its recording and by its metrics: every fact, and every sentence."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.promql import Scraped
from tests.helpers.strategies import failures, host_of, hosts, plausible_readings
from tests.helpers.support import HOSTS
from vmxd.fleet.diff import Side, compare
from vmxd.fleet.groups import Grouped
from vmxd.fleet.guests import as_guests, fleet_as_guests
from vmxd.fleet.lacks import sort_hosts
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.pools import answer as pools
from vmxd.fleet.prometheus import Asked, read_prometheus
from vmxd.fleet.recordings import Reader, read_recordings
from vmxd.fleet.summary import Summary
from vmxd.host.root import read_host
from vmxd.model.answers import View
from vmxd.model.facts import Failed, Host, Reading
from vmxd.model.inventory import take_inventory
from vmxd.model.offer import WhatIf
from vmxd.tables import FEATURES
from vmxd.views.lines import lines_text
from vmxd.views.metrics import HostCollector, to_text

BESIDE: Final = ("labels", "offer")
"""What only one source has, or what follows from the rest."""


def by_metrics(pages: dict[str, str]) -> Fleet:
    """Return the hosts as a Prometheus that scraped these pages has them."""
    return read_prometheus(Scraped(pages), Asked(nested=tuple(FEATURES), parameters=True))  # type: ignore[arg-type]


def exported(host: Host) -> str:
    """Return a host's metrics."""
    return to_text(HostCollector(take_inventory(host))).decode()


KERNELS: Final = ("6.12", "7.3")


def facts(host: FleetHost) -> dict[str, Any]:
    """Return all that is known of a host."""
    found = {each.name: getattr(host, each.name) for each in fields(host) if each.name not in BESIDE}
    kind = found.pop("kind")
    return found | {"kind": kind and {each.name: getattr(kind, each.name) for each in fields(kind)}}


def sentences(fleet: Fleet) -> str:
    """Return what people read of a fleet."""
    guests = fleet_as_guests(fleet)
    lacks = (sort_hosts(each, ["ept", "posted_intr", "entry_load_cet"]) for each in (fleet, guests))
    sides = (Side("", "", 0, as_guests(fleet.hosts, WhatIf(kernel)), View.GUEST, is_asked=True) for kernel in KERNELS)
    answers = (Summary(fleet), *lacks, pools(Grouped(guests, {None: guests.hosts}, (), None)), compare(*sides))
    return "".join(lines_text(answer.lines(None, None)) for answer in answers)


@st.composite
def readings(draw: st.DrawFn) -> dict[int, Reading]:
    """Draw a CPU of which every MSR was read, some with a failure."""
    found: dict[int, Reading] = dict(draw(plausible_readings()))
    return found | {index: draw(failures) for index in draw(st.sets(st.sampled_from(sorted(found)), max_size=3))}


@settings(max_examples=60)
@given(hosts(readings()))
def test_any_host(host: Host) -> None:
    """Whatever its CPUs answer, and however they differ."""
    recorded = Reader().understand("a", host)
    (scraped,) = by_metrics({"a": exported(host)}).hosts

    assert facts(recorded) == facts(scraped)
    assert sentences(Fleet((recorded,), "x", 0)) == sentences(Fleet((scraped,), "x", 0))


def test_values_of_different_cpus() -> None:
    """What no CPU tells is not put together from an MSR of one CPU and another MSR of the next."""
    basic, ctls, eio = 0x480, 0x482, Failed("EIO")
    forced = 0x0401E172_0401E172
    host = host_of({0: {basic: 1 << 54, ctls: eio, 0x48E: eio}, 1: {basic: eio, ctls: forced, 0x48E: eio}})
    recorded = Reader().understand("a", host)
    (scraped,) = by_metrics({"a": exported(host)}).hosts

    assert recorded.kind
    assert recorded.kind.features.get("cr3_load_noexit") is None
    assert facts(recorded) == facts(scraped)


def test_recorded_hosts() -> None:
    """All of tests/hosts at once."""
    recorded = read_recordings(str(HOSTS), lambda *_: None)
    scraped = by_metrics({host.name: exported(read_host(str(HOSTS / host.name))) for host in recorded.hosts})

    assert [facts(host) for host in recorded.hosts] == [facts(host) for host in scraped.hosts]
    assert sentences(recorded) == sentences(replace(scraped, source=recorded.source))
