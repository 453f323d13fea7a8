"""vmxd_* and process_*: this program, its last scan, and what it does as a server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

import vmxd
from vmxd.host.scan import Scan
from vmxd.server.live import CODES
from vmxd.views.metrics import gauge, info

_SCAN: Final = "the last scan"


@dataclass(frozen=True, slots=True, eq=False)
class SelfCollector(Collector):
    """What a scan fixes."""

    last: Scan

    def collect(self) -> Iterator[Metric]:
        """Yield the families that have samples."""
        build = info("vmxd_build", "Version of vmxd.", "the package")
        build.add_metric((), {"version": vmxd.__version__})
        yield build

        host = self.last.inventory.host
        source = info("vmxd_source", "What was read: kind is live or recording.", "--root")
        source.add_metric((), {"kind": host.source.value, "root": os.fsencode(host.root).decode(errors="replace")})
        yield source

        yield gauge("vmxd_scan_duration_seconds", "Seconds that the scan took.", _SCAN, value=self.last.duration)
        documentation = "Unix time in seconds when the MSRs were read."
        yield gauge("vmxd_scan_timestamp_seconds", documentation, _SCAN, value=host.read_at)

        documentation = "Number of reads of an MSR on a CPU that failed, by errno; only those that occurred."
        errors = gauge("vmxd_scan_errors", documentation, _SCAN, ("errno",))
        for errno, count in sorted(self.last.inventory.failures.items()):
            errors.add_metric((errno,), count)
        if errors.samples:
            yield errors


class LiveCollector(Collector):
    """The families whose values a server puts in with each scrape (live.py); here, each has the value 0."""

    def collect(self) -> Iterator[Metric]:
        """Yield every family with all of its series."""
        documentation = "1 if the last scan could be made, 0 if it failed and an older one is served."
        yield gauge("vmxd_scan_success", documentation, _SCAN, value=0)
        documentation = "1 if boot, online CPUs, microcode, a resume or kvm_intel tell that the scan is stale, else 0."
        yield gauge("vmxd_recording_stale", documentation, "/proc and /sys of this machine", value=0)

        documentation = "Number of HTTP requests answered. Source: the server."
        requests = CounterMetricFamily("vmxd_http_requests", documentation, labels=("code",))
        for code in CODES:
            requests.add_metric((str(code.value),), 0)
        yield requests

        for family in ProcessCollector(registry=None).collect():
            family.samples = [sample._replace(value=0) for sample in family.samples]
            yield family
