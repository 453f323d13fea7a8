"""vmxd serve: scan, serve, and scan again when a signal, a new recording or the host itself says so.

A scan that fails keeps the last good answer in force, and says so in the log and in vmxd_scan_success.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmxd import cpulist
from vmxd.errors import VmxdError
from vmxd.export.notify import notify, reloading, watchdog_seconds
from vmxd.export.server import Server
from vmxd.export.site import Site
from vmxd.facts import Source
from vmxd.host.files import Files
from vmxd.host.recording import MSR_FILE
from vmxd.host.witness import Witness
from vmxd.privilege import drop_to
from vmxd.scan import Scan

if TYPE_CHECKING:
    from vmxd.export.web_config import WebConfigFile

log = logging.getLogger(__name__)

TURN_SECONDS: Final = 1.0
WATCH_TURNS: Final = 5
"""Turns between two looks at what tells that the host has changed."""
ASK_SECONDS: Final = 60.0
"""How often to ask for a new recording while the old one is out of date: a request may fall into a running one."""


@dataclass(frozen=True, slots=True)
class Options:
    """What serve was asked for.

    scan: makes a scan anew. rescan_request: file to touch when a recording is out of date, for a unit that reads MSRs.
    user: whom to become after the first scan.
    """

    scan: Callable[[], Scan]
    root: str
    telemetry_path: str
    rescan_request: str | None = None
    user: str | None = None


class Daemon:
    """The life of one ``vmxd serve``."""

    def __init__(self, options: Options, listeners: Sequence[socket.socket], web_config: WebConfigFile | None) -> None:
        self._options = options
        self._listeners = listeners
        self._web_config = web_config
        self._requests: Counter[int] = Counter()
        self._files = Files(options.root)
        self._machine = Files("/")
        self._last_error = ""
        self._ask_again = 0.0
        self._wants_scan = False

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises VmxdError where the first scan cannot be made."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._request_scan)

        scan = self._options.scan()
        server = Server(self._make_site(scan), self._listeners, self._web_config)
        self._drop_privilege(scan)
        self._watch(server.site)
        server.start()
        notify("READY=1", f"STATUS={self._status}")
        watchdog = watchdog_seconds()
        turn = min(TURN_SECONDS, watchdog / 2) if watchdog else TURN_SECONDS
        turns = 0
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), turn)
            server.sweep()
            turns += 1
            if turns % WATCH_TURNS == 0:
                self._watch(server.site)
            if self._wants_scan:
                await self._scan_again(server)
            if watchdog:
                notify("WATCHDOG=1")
        notify("STOPPING=1")
        await server.stop()

    def _drop_privilege(self, scan: Scan) -> None:
        if self._options.user is not None:
            drop_to(self._options.user)
            kept = "no MSR can be read again" if scan.inventory.host.source is Source.LIVE else "nothing is kept"
            log.info("running as %s from here on: %s", self._options.user, kept)
        elif os.geteuid() == 0:
            log.info("running as root throughout, to scan again; --user gives that up after the first scan")

    def _make_site(self, scan: Scan) -> Site:
        self._scan = scan
        host, verdict = scan.inventory.host, scan.inventory.verdict
        hint = f" (hint: {verdict.hint})" if verdict.hint else ""
        level = logging.INFO if verdict.usable else logging.WARNING
        log.log(level, "%s %s: %s%s", host.source.value, host.root, verdict.reason, hint)
        if scan.inventory.failed:
            log.warning("not every MSR could be read on %s", cpulist.describe(scan.inventory.failed))
        for note in host.notes:
            log.warning("%s", note)
        self._status = f"{verdict.status.value}: {verdict.reason}"
        self._is_live = host.source is Source.LIVE
        self._seen = Witness.of(self._files)
        self._stamp = self._recording_stamp()
        return Site(scan, self._options.telemetry_path, self._requests)

    def _request_scan(self) -> None:
        self._wants_scan = True

    def _watch(self, site: Site) -> None:
        """Look, without any privilege, whether the recording is a new one and whether the host has changed."""
        try:
            now = Witness.of(self._machine if not self._is_live else self._files)
        except VmxdError:
            return
        site.stale = self._seen.differs(now)
        if self._recording_stamp() != self._stamp or (self._is_live and site.stale):
            self._wants_scan = True
        elif site.stale and self._options.rescan_request is not None and time.monotonic() >= self._ask_again:
            self._ask_again = time.monotonic() + ASK_SECONDS
            self._ask(self._options.rescan_request)

    def _ask(self, path: str) -> None:
        log.info("the host has changed since it was recorded; asking for a new recording by %s", path)
        try:
            Path(path).touch()
        except OSError as error:
            log.error("cannot touch %s: %s", path, error.strerror)

    def _recording_stamp(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._files.path(MSR_FILE))
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    async def _scan_again(self, server: Server) -> None:
        self._wants_scan = False
        notify(*reloading())
        stamp = self._recording_stamp()
        try:
            scan = await asyncio.to_thread(self._options.scan)
            if self._scan.inventory.comparable and not scan.inventory.comparable:
                raise VmxdError(scan.inventory.verdict.reason, scan.inventory.verdict.hint or "see vmxd show")
        except VmxdError as error:
            self._stamp = stamp  # tried: not again before there is another recording
            if self._is_live:
                with contextlib.suppress(VmxdError):
                    self._seen = Witness.of(self._files)
            server.site.scan_failed = True
            if str(error) != self._last_error:
                log.error("%s; the last good scan stays (hint: %s)", error, error.hint)
            self._last_error = str(error)
        else:
            self._last_error = ""
            server.site = self._make_site(scan)
            self._watch(server.site)
        notify("READY=1", f"STATUS={self._status}")
