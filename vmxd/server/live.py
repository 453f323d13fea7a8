"""The metrics that change between scans: vmxd_* of the server and process_*, collected at each scrape."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from vmxd.server.negotiate import Format

CODES: Final = (
    HTTPStatus.OK,
    HTTPStatus.NOT_MODIFIED,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.NOT_IMPLEMENTED,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""Every status that the server answers with: a counter that is there from the start shows its first increase."""


class Failure(enum.Enum):
    """Why a scan could not be made."""

    REFUSED = "refused"
    """The scan itself said why: a damaged recording, no access."""
    START = "start"
    """Its process could not be started: out of files, processes or memory."""
    TIMEOUT = "timeout"
    """It was not done in time and was killed."""
    ENDED = "ended"
    """Its process ended without a result."""


class LiveCollector(Collector):
    """The state of a server, as metrics.

    of_server: whether to tell of requests and of the process too, not of scans alone.
    answers: by status. failures: scans that failed, by reason. scan_failed: whether the last one did. stale: whether
    the host has changed since it was scanned, None if nothing tells.
    """

    def __init__(self, *, stale: bool | None = None, of_server: bool = True) -> None:
        self.answers = dict.fromkeys(CODES, 0)
        self.failures = dict.fromkeys(Failure, 0)
        self.scan_failed = False
        self.stale = stale
        self._process = ProcessCollector(registry=None) if of_server else None

    def collect(self) -> Iterator[Metric]:
        """Yield every family; vmxd_recording_stale only if that is known."""
        yield GaugeMetricFamily(
            "vmxd_scan_success",
            "1 if the last scan could be made, 0 if it failed and an older one is served. Source: the last scan.",
            value=not self.scan_failed,
        )
        failures = CounterMetricFamily(
            "vmxd_scan_failures",
            "Number of scans that could not be made. Source: the server.",
            labels=("reason",),
        )
        for reason, count in self.failures.items():
            failures.add_metric((reason.value,), count)
        yield failures
        if self.stale is not None:
            yield GaugeMetricFamily(
                "vmxd_recording_stale",
                "1 if boot, online CPUs, microcode, a resume or kvm_intel tell that the scan is stale, else 0. "
                "Source: /proc and /sys of this machine.",
                value=self.stale,
            )
        if self._process is None:
            return
        requests = CounterMetricFamily(
            "vmxd_http_requests", "Number of HTTP requests answered. Source: the server.", labels=("code",)
        )
        for code, count in self.answers.items():
            requests.add_metric((str(code.value),), count)
        yield requests
        yield from self._process.collect()

    def render(self, format_: Format) -> bytes:
        """Write the metrics as of now; OpenMetrics ends with "# EOF"."""
        if format_ is Format.TEXT:
            return generate_text(self)
        return bytes(generate_openmetrics(self))  # type: ignore[no-untyped-call]
