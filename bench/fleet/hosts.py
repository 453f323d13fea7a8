"""The hosts of a simulated fleet: pools of mixed models, a few odd hosts in each, and what changes as time goes by."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from bench.fleet.kinds import PML, POSTED_INTERRUPTS, Kind

MODELS: Final = (
    Kind("emeraldrapids-2s", "0x21000201"),
    Kind("sapphirerapids", "0x2b000571"),
    Kind("icelake-sp-2s", "0xd0003b9"),
    Kind("cascadelake-sp", "0x5003604"),
    Kind("skylake-sp-8160-2s", "0x2006f05"),
    Kind("broadwell-e", "0xb000040"),
    Kind("haswell-ep-2s", "0x49"),
    Kind("denverton", "0x38"),
    Kind("sandybridge-e", "0x71a"),
)
"""What a pool mostly consists of."""

UPDATES: Final = {
    Kind("icelake-sp-2s", "0xd0003b9"): Kind("icelake-sp-2s", "0xd0003d1", PML),
    Kind("cascadelake-sp", "0x5003604"): Kind("cascadelake-sp", "0x5003707"),
    Kind("skylake-sp-8160-2s", "0x2006f05"): Kind("skylake-sp-8160-2s", "0x2007006", POSTED_INTERRUPTS),
}
"""What microcode or firmware makes of a host: the second hides PML, the last posted interrupts."""

ODD: Final = (
    Kind("made-all-unreadable"),
    Kind("made-no-msr-module"),
    Kind("made-eio"),
    Kind("made-eio-one-cpu"),
    Kind("made-disabled"),
    Kind("made-unlocked"),
    Kind("made-smx-only"),
    Kind("made-tie"),
    Kind("made-amd"),
    Kind("made-future"),
    Kind("made-zeros-vmx"),
    Kind("lakefield-i5-l16g7"),
    Kind("kvm-guest"),
    Kind("icelake-sp-2s", "0xd0003b9", PML),
    Kind("cascadelake-sp", "0x5003604", POSTED_INTERRUPTS),
    Kind("skylake-sp-8160-2s", "0x2006f05", stale=True),
    Kind("made-nested"),
    Kind("made-ept-off"),
)
"""Unreadable, inconsistent, switched off, from the future, left off by KVM: the hosts that alerts are for."""

ODD_SHARE: Final = 0.02
HOSTS_PER_POOL: Final = 250
POOLS_MIN: Final = 4


@dataclass(slots=True)
class SimulatedHost:
    """One host; what it is, and whether it answers, may change."""

    name: str
    cluster: str
    kind: Kind
    is_up: bool = True


class Fleet:
    """Hosts by name. The same count and seed make the same fleet, and the same churn."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 (a simulation)
        self.hosts = {host.name: host for host in self._make(count)}

    def _make(self, count: int) -> list[SimulatedHost]:
        pools = [f"pool-{number:02}" for number in range(max(POOLS_MIN, count // HOSTS_PER_POOL))]
        models = {pool: self._random.sample(MODELS, 3) for pool in pools}
        hosts = []
        for number in range(count):
            pool = pools[number % len(pools)]
            (kind,) = self._random.choices(models[pool], (70, 25, 5))
            hosts.append(SimulatedHost(f"host-{number:05}", pool, kind))
        for host, odd in zip(self._random.sample(hosts, self._odd_count(count)), ODD * count, strict=False):
            host.kind = odd
        return hosts

    @staticmethod
    def _odd_count(count: int) -> int:
        return min(count // 2, max(len(ODD), round(count * ODD_SHARE)))

    def churn(self) -> None:
        """Update one host's microcode or firmware, take another down, and bring one back that is down."""
        hosts = list(self.hosts.values())
        updatable = [host for host in hosts if host.kind in UPDATES]
        if updatable:
            host = self._random.choice(updatable)
            host.kind = UPDATES[host.kind]
        down = [host for host in hosts if not host.is_up]
        self._random.choice([host for host in hosts if host.is_up]).is_up = False
        if len(down) > 1:
            self._random.choice(down).is_up = True
