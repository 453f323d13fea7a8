"""What a server knows beside its scan: the values of its live metrics, by series as an exposition writes it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

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

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_START_TIME_FIELD: Final = 22 - 3
"""proc_pid_stat(5), counted from the third, which is the first after the name."""

Values = Mapping[str, float | None]
"""Series, as in vmxd_http_requests_total{code="200"}, to value; None where there is nothing to tell."""


def series_of(status: HTTPStatus) -> str:
    """Return the series that counts the answers with a status."""
    return f'vmxd_http_requests_total{{code="{status.value}"}}'


_SERIES: Final = {code: series_of(code) for code in CODES}


class Process:
    """The process_* metrics of this process: those of every Prometheus client, in a tenth of the time."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            ticks = int(file.read().rpartition(") ")[2].split()[_START_TIME_FIELD])
        since_boot = ticks / os.sysconf("SC_CLK_TCK")
        self._start = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot

    def values(self) -> dict[str, float]:
        """Return them as of now."""
        size, resident = os.pread(self._statm, 64, 0).split(maxsplit=2)[:2]
        return {
            "process_virtual_memory_bytes": int(size) * _PAGE,
            "process_resident_memory_bytes": int(resident) * _PAGE,
            "process_start_time_seconds": self._start,
            "process_cpu_seconds_total": time.process_time(),
            "process_open_fds": len(os.listdir("/proc/self/fd")) - 1,
            "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        }


@dataclass(slots=True)
class Live:
    """The state of a server, and its live metrics.

    requests: answers by status. stale: whether the scan is known to be out of date; None where nothing tells.
    scan_failed: whether a later scan could not be made.
    """

    requests: dict[HTTPStatus, int] = field(default_factory=lambda: dict.fromkeys(CODES, 0))
    stale: bool | None = None
    scan_failed: bool = False
    process: Process = field(default_factory=Process)

    def values(self) -> Values:
        """Return the value of each live series as of now."""
        return {
            "vmxd_scan_success": not self.scan_failed,
            "vmxd_recording_stale": self.stale,
            **{_SERIES[code]: count for code, count in self.requests.items()},
            **self.process.values(),
        }
