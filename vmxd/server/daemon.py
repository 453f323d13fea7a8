"""vmxd serve: scan, serve, and scan again when a signal, a new recording or the host itself says so.

A scan that fails keeps the last good one in force, and shows in the log and in vmxd_scan_success.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmxd.errors import VmxdError
from vmxd.host.changes import Witness, recording_stamp
from vmxd.host.files import Files
from vmxd.server.live import Failure, LiveCollector
from vmxd.server.privilege import drop_to
from vmxd.server.rendered import Rendered
from vmxd.server.scanner import ScanError, scan
from vmxd.server.server import Server
from vmxd.server.site import Site
from vmxd.server.systemd import WATCHDOG, notify, reloading, watchdog_seconds

if TYPE_CHECKING:
    from vmxd.server.web_config import WebConfigFile

log = logging.getLogger(__name__)

TURN_SECONDS: Final = 1.0
WATCH_TURNS: Final = 5
"""Turns between two looks at what tells that the host has changed."""
ASK_SECONDS: Final = 60.0
"""How often to ask for a new recording while the old one is out of date: a request may fall into a running one."""
RETRY_SECONDS: Final = (5.0, 60.0)
"""How long after a scan that did not run to its end the next is tried: doubled each time, up to the second."""


@dataclass(frozen=True, slots=True)
class Options:
    """What serve was asked for.

    command: scans and dumps a Rendered or Refusal to stdout, within scan_seconds. rescan_request: file to touch when a
    recording is out of date, for a unit that reads MSRs. user: whom to become after the first scan. exporter_metrics:
    whether to have metrics of the server itself.
    """

    command: Sequence[str]
    scan_seconds: float
    root: str
    telemetry_path: str
    rescan_request: str | None = None
    user: str | None = None
    exporter_metrics: bool = True


class Daemon:
    """The life of one ``vmxd serve``."""

    def __init__(self, options: Options, listeners: Sequence[socket.socket], web_config: WebConfigFile | None) -> None:
        self._options = options
        self._listeners = listeners
        self._web_config = web_config
        self._live = LiveCollector(of_server=options.exporter_metrics)
        self._recording = Files(options.root)
        self._machine = Files("/")
        self._wants_scan = False
        self._rescan: asyncio.Task[None] | None = None
        self._retry_at = float("inf")
        self._retry_seconds = RETRY_SECONDS[0]
        self._last_error = ""
        self._tried_marks: Witness | None = None
        self._tried_stamp: tuple[int, int] | None = None
        self._ask_at = 0.0

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises VmxdError if the first scan cannot be made."""
        loop, this = asyncio.get_running_loop(), asyncio.current_task()
        assert this is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, this)
        loop.add_signal_handler(signal.SIGHUP, self._want_scan)
        try:
            await self._serve()
        except asyncio.CancelledError:
            notify("STOPPING=1")
        finally:
            for listener in self._listeners:
                listener.close()
        if self._rescan is not None:
            self._rescan.cancel()
            await asyncio.wait((self._rescan,))

    def _stop(self, this: asyncio.Task[None]) -> None:
        if not this.cancelling():  # once is enough
            this.cancel()

    async def _serve(self) -> None:
        self._tried_stamp = recording_stamp(self._recording)
        first = await scan(self._options.command, self._options.scan_seconds)
        site = Site(first, self._options.telemetry_path, self._live)
        self._tell(site.rendered)
        server = Server(site, self._live, self._listeners, self._web_config)
        self._drop_privilege(site.rendered)
        self._watch(site.rendered)
        server.start()
        notify("READY=1", _status(site.rendered))
        watchdog = watchdog_seconds()
        turn = min(TURN_SECONDS, watchdog / 2) if watchdog else TURN_SECONDS
        turns = 0
        try:
            while True:
                await asyncio.sleep(turn)
                turns += 1
                server.sweep()
                if turns % WATCH_TURNS == 0:
                    self._watch(site.rendered)
                if self._wants_scan or time.monotonic() >= self._retry_at:
                    self._begin_rescan(site)
                if watchdog:
                    notify(*WATCHDOG)
        finally:
            server.stop()

    def _want_scan(self) -> None:
        self._wants_scan = True

    def _drop_privilege(self, rendered: Rendered) -> None:
        if self._options.user is not None:
            drop_to(self._options.user)
            kept = "no MSR can be read again" if rendered.is_live else "no privilege is left"
            log.info("running as %s from here on: %s", self._options.user, kept)
        elif os.geteuid() == 0:
            log.info("running as root throughout, to scan again; --user gives that up after the first scan")

    def _tell(self, rendered: Rendered) -> None:
        hint = f" (hint: {rendered.hint})" if rendered.hint else ""
        level = logging.INFO if rendered.is_usable else logging.WARNING
        log.log(level, "%s %s: %s%s", rendered.kind, rendered.root, rendered.reason, hint)
        for warning in rendered.warnings:
            log.warning("%s", warning)

    def _watch(self, rendered: Rendered) -> None:
        """Look, without any privilege, whether the recording is a new one and whether the host has changed."""
        if recording_stamp(self._recording) != self._tried_stamp:
            self._wants_scan = True
        try:
            now = Witness.of(self._recording if rendered.is_live else self._machine)
        except VmxdError:
            return
        self._live.stale = rendered.witness.differs(now) if rendered.witness is not None else None
        if not self._live.stale:
            return
        if rendered.is_live:
            self._wants_scan |= now != self._tried_marks
            self._tried_marks = now
        elif self._options.rescan_request is not None and not self._wants_scan and time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + ASK_SECONDS
            _ask_for_recording(self._options.rescan_request)

    def _begin_rescan(self, site: Site) -> None:
        if self._rescan is None or self._rescan.done():
            self._wants_scan = False
            self._retry_at = float("inf")
            self._tried_stamp = recording_stamp(self._recording)
            self._rescan = asyncio.create_task(self._scan_again(site))

    async def _scan_again(self, site: Site) -> None:
        notify(*reloading())
        try:
            rendered = await scan(self._options.command, self._options.scan_seconds)
            if site.rendered.is_comparable and not rendered.is_comparable:
                raise ScanError(Failure.REFUSED, rendered.reason, rendered.hint or "see vmxd show")
        except ScanError as error:
            self._fail(error)
        else:
            site.rendered = rendered
            self._live.scan_failed = False
            self._last_error = ""
            self._retry_seconds = RETRY_SECONDS[0]
            self._tell(rendered)
            self._watch(rendered)
        finally:
            notify("READY=1", _status(site.rendered))

    def _fail(self, error: ScanError) -> None:
        self._live.scan_failed = True
        self._live.failures[error.reason] += 1
        if str(error) != self._last_error:
            log.error("%s; the last good scan stays (hint: %s)", error, error.hint)
        self._last_error = str(error)
        if error.reason is not Failure.REFUSED:
            self._retry_at = time.monotonic() + self._retry_seconds
            self._retry_seconds = min(2 * self._retry_seconds, RETRY_SECONDS[1])


def _status(rendered: Rendered) -> str:
    return f"STATUS={rendered.status}: {rendered.reason}"


def _ask_for_recording(path: str) -> None:
    log.info("the host has changed since it was recorded; asking for a new recording by %s", path)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            os.utime(file)
        finally:
            os.close(file)
    except OSError as error:
        log.error("cannot touch %s: %s", path, error.strerror)
