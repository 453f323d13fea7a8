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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from vmxd.errors import VmxdError
from vmxd.host.changes import Witness, recording_stamp
from vmxd.host.files import Files
from vmxd.server.attempt import Attempt
from vmxd.server.child import Child
from vmxd.server.http import Server
from vmxd.server.live import Live
from vmxd.server.privilege import drop_to
from vmxd.server.site import Pages, Rendered, Site
from vmxd.server.systemd import WATCHDOG, notify, reloading, watchdog_seconds

if TYPE_CHECKING:
    from vmxd.server.web_config import WebConfigFile

log = logging.getLogger(__name__)

TURN_SECONDS: Final = 1.0
WATCH_TURNS: Final = 5
"""Turns between two looks at what tells that the host has changed."""
ASK_SECONDS: Final = 60.0
"""How often to ask for a new recording while the old one is out of date: a request may fall into a running one."""


@dataclass(frozen=True, slots=True)
class Options:
    """What serve was asked for.

    begin_scan: begins a scan whose result is the fields of a Rendered. rescan_request: file to touch when a recording
    is out of date, for a unit that reads MSRs. user: whom to become after the first scan.
    """

    begin_scan: Callable[[], Attempt]
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
        self._live = Live()
        self._files = Files(options.root)
        self._machine = Files("/")
        self._last_error = ""
        self._ask_again = 0.0
        self._wants_scan = False
        self._rescan: asyncio.Task[None] | None = None

    async def run(self, first: Attempt) -> None:
        """Serve until SIGTERM or SIGINT. Raises VmxdError where the first scan cannot be made."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._request_scan)

        self._tried = first
        scan = loop.create_task(_rendered(first.child))
        loop.create_task(stop.wait()).add_done_callback(lambda _: scan.cancel())
        try:
            rendered = await scan
        except asyncio.CancelledError:
            return
        site = self._make_site(rendered)
        server = Server(site, self._listeners, self._web_config)
        self._drop_privilege()
        self._watch()
        server.start()
        pages = loop.create_task(_take_pages(first.child, site))
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
                self._watch()
            if self._wants_scan and self._rescan is None:
                self._rescan = loop.create_task(self._scan_again(server))
            if watchdog:
                notify(*WATCHDOG)
        notify("STOPPING=1")
        pages.cancel()
        if self._rescan is not None:
            self._rescan.cancel()
        server.stop()

    def _drop_privilege(self) -> None:
        if self._options.user is not None:
            drop_to(self._options.user)
            kept = "no MSR can be read again" if self._is_live else "nothing is kept"
            log.info("running as %s from here on: %s", self._options.user, kept)
        elif os.geteuid() == 0:
            log.info("running as root throughout, to scan again; --user gives that up after the first scan")

    def _make_site(self, rendered: Rendered) -> Site:
        hint = f" (hint: {rendered.hint})" if rendered.hint else ""
        level = logging.INFO if rendered.is_usable else logging.WARNING
        log.log(level, "%s %s: %s%s", rendered.kind, rendered.root, rendered.reason, hint)
        for warning in rendered.warnings:
            log.warning("%s", warning)
        self._status = f"{rendered.status}: {rendered.reason}"
        self._is_live = rendered.is_live
        self._is_comparable = rendered.is_comparable
        self._seen = self._tried.witness
        return Site(rendered, self._options.telemetry_path, self._live)

    def _request_scan(self) -> None:
        self._wants_scan = True

    def _watch(self) -> None:
        """Look, without any privilege, whether the recording is a new one and whether the host has changed."""
        try:
            now = Witness.of(self._files if self._is_live else self._machine)
        except VmxdError:
            return
        self._live.stale = self._seen.differs(now) if self._seen is not None else None
        is_new = recording_stamp(self._files) != self._tried.stamp
        if is_new or (self._is_live and self._live.stale and now != self._tried.witness):
            self._wants_scan = True
        elif self._live.stale and self._options.rescan_request is not None and time.monotonic() >= self._ask_again:
            self._ask_again = time.monotonic() + ASK_SECONDS
            self._ask(self._options.rescan_request)

    def _ask(self, path: str) -> None:
        log.info("the host has changed since it was recorded; asking for a new recording by %s", path)
        try:
            with open(path, "ab"):
                os.utime(path)
        except OSError as error:
            log.error("cannot touch %s: %s", path, error.strerror)

    async def _scan_again(self, server: Server) -> None:
        self._wants_scan = False
        notify(*reloading())
        self._tried = self._options.begin_scan()
        child = self._tried.child
        try:
            rendered = await _rendered(child)
            if self._is_comparable and not rendered.is_comparable:
                raise VmxdError(rendered.reason, rendered.hint or "see vmxd show")
        except VmxdError as error:
            self._live.scan_failed = True
            if str(error) != self._last_error:
                log.error("%s; the last good scan stays (hint: %s)", error, error.hint)
            self._last_error = str(error)
        else:
            self._last_error = ""
            self._live.scan_failed = False
            site = server.site = self._make_site(rendered)
            self._watch()
            await _take_pages(child, site)
        finally:
            child.kill()
            self._rescan = None
        notify("READY=1", f"STATUS={self._status}")


async def _take_pages(child: Child, site: Site) -> None:
    """Give a site its pages when they come, and let the child end."""
    pages = None
    try:
        pages = Pages(*cast("tuple[Any, ...]", await child.receive()))
    except VmxdError as error:
        log.error("there is no page: %s (hint: %s)", error, error.hint)
    finally:
        child.kill()
    site.set_pages(pages)


async def _rendered(child: Child) -> Rendered:
    return Rendered(*cast("tuple[Any, ...]", await child.receive()))
