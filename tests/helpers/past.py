"""What the databases are given: every recording as a host two hours ago, and three days of one host."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Final

from bench.fleet.engines import samples
from bench.fleet.kinds import POSTED_INTERRUPTS, Kind, page
from tests.helpers.support import ALL_HOSTS, HOSTS
from vmxd.commands.profiles import builtin_profiles
from vmxd.host.scan import scan
from vmxd.views.metrics import HostCollector, to_text

THEN: Final = int(time.time()) // 60 * 60 - 7_200
"""When every recording was a host, each called like its directory, in the pool "recordings"."""
BEGIN: Final = THEN - 3 * 86_400
"""When the host "aging:10480" was seen first."""
SAMPLES: Final = 240
"""Seconds between two samples of it."""
UPDATED: Final = BEGIN + 86_400 // SAMPLES * SAMPLES
"""When it had new microcode, which took posted interrupts away."""
GONE: Final = BEGIN + 2 * 86_400 // SAMPLES * SAMPLES
"""When it went for six hours, to come back with another kernel."""
BACK: Final = GONE + 6 * 3600

BEFORE: Final = Kind("skylake-sp-8160-2s", "0x2006f05")
AFTER: Final = Kind("skylake-sp-8160-2s", "0x2007006", POSTED_INTERRUPTS)
KERNELS: Final = ("6.1.0-40-amd64", "6.12.57+deb13-amd64")

_NEEDED: Final = re.compile(r"vmx_(host_info|status|msr_info|inconsistent_cpus|cpus)\b")


def openmetrics() -> Iterator[str]:
    """Yield the lines of the whole past, times in seconds."""
    for name in ALL_HOSTS:
        inventory = scan(str(HOSTS / name), profiles=builtin_profiles()).inventory
        text = to_text(HostCollector(inventory)).decode()
        yield from _samples(text, {"instance": name, "cluster": "recordings"}, THEN)
        yield from _samples('up 1\nvmxd_build_info{version="1"} 1\n', {"instance": name, "cluster": "recordings"}, THEN)
    down = {"instance": "down", "cluster": "recordings"}
    yield from _samples("up 0\n", down, THEN)
    yield from _twins()
    yield from _aging()
    yield "# EOF\n"


def _twins() -> Iterator[str]:
    """Two hosts of one name in two pools, and one that two replicas of a Prometheus see, and two jobs."""
    for pool, kind in (("a", BEFORE), ("b", AFTER)):
        yield from _samples(text_of(kind), {"instance": "twin:10480", "cluster": pool}, THEN)
    for replica in "01":
        labels = {"instance": "seen-twice:10480", "cluster": "c", "prometheus_replica": f"prometheus-{replica}"}
        yield from _samples(text_of(BEFORE), labels, THEN)
    for job in ("vmxd", "node"):
        yield from _samples(text_of(BEFORE), {"instance": "two-jobs:10480", "cluster": "c", "job": job}, THEN)


def _aging() -> Iterator[str]:
    labels = {"instance": "aging:10480", "cluster": "history"}
    for at in range(BEGIN, THEN, SAMPLES):
        if not GONE <= at < BACK:
            kernel = f'vmx_kernel_info{{release="{KERNELS[at >= BACK]}"}} 1\n'
            text = text_of(BEFORE if at < UPDATED else AFTER)
            needed = "".join(line for line in text.splitlines(keepends=True) if _NEEDED.match(line))
            apicv = f'vmx_kvm_parameter{{parameter="enable_apicv"}} {at < UPDATED:d}\n'
            yield from _samples(needed + kernel + apicv, labels, at)


def text_of(kind: Kind) -> str:
    """Return the metrics of a host of a kind."""
    return page(kind).text.decode()


def _samples(text: str, labels: Mapping[str, str], at: int) -> Iterator[str]:
    return samples(text, {"job": "vmxd", **labels}, at)
