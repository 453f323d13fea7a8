"""vmxd_* metrics that a scan fixes: this program and its last scan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

import vmxd
from vmxd.host.scan import Scan
from vmxd.views.metrics import gauge, info

_SCAN: Final = "the last scan"


@dataclass(frozen=True, slots=True, eq=False)
class SelfCollector(Collector):
    """The version of vmxd and the facts of one scan."""

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
