"""Fleets for tests: all recordings, and simulated ones of any size made of the same recordings as bench/fleet's."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Final

from bench.fleet import hosts as simulation
from bench.fleet.kinds import PML, POSTED_INTERRUPTS
from bench.fleet.kinds import Kind as Simulated
from tests.helpers.support import HOSTS
from vmxd.fleet.model import Fleet, FleetHost, Kind
from vmxd.fleet.recordings import read_recordings

HIDDEN: Final = {PML: "pml", POSTED_INTERRUPTS: "posted_intr"}
"""What the simulation clears, as a feature."""


@functools.cache
def recorded() -> Fleet:
    """Return tests/hosts as a fleet."""
    return read_recordings(str(HOSTS), lambda _done, _count: None)


@functools.cache
def simulated(count: int) -> Fleet:
    """Return a fleet of so many hosts in pools: mixed server models, and one host in fifty odd."""
    hosts = simulation.Fleet(count).hosts.values()
    return Fleet(tuple(_host(host.kind, host.name, host.cluster) for host in hosts), "a simulation", 1_790_000_000)


def _host(kind: Simulated, name: str, cluster: str) -> FleetHost:
    host = _template(kind)
    microcode = host.microcode or kind.microcode or None
    return replace(host, name=name, microcode=microcode, labels={"cluster": cluster})


@functools.cache
def _template(kind: Simulated) -> FleetHost:
    host = next(host for host in recorded().hosts if host.name == kind.recording)
    if host.status == "unknown":
        host = replace(host, status="usable", reason="VMX may be used")
    return replace(host, kind=_without(host.kind, HIDDEN[kind.cleared])) if kind.cleared and host.kind else host


@functools.cache
def _without(kind: Kind, feature: str) -> Kind:
    changed = f"{feature:0<12}"[:12].encode().hex()[:12]
    return replace(kind, fingerprint=changed, features={**kind.features, feature: False})
