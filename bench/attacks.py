"""The same attack on each server: what it grows by, how long an honest scrape waits, and what is left 15 s after.

After the attack nobody comes back, but the attackers do not close, and go on to speak: what a server does not end by
itself, it keeps.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Final

from bench import client, report, servers
from bench.crowd import Attack, attacking
from bench.report import Goal
from bench.scrapes import MIB
from bench.servers import DEFAULT, STOCK, VMXD, Peer, Server, Usage

ATTACKED: Final = (VMXD, STOCK, DEFAULT)
AFTER_SECONDS: Final = 15.0
_HONEST_SCRAPES: Final = 5
_HONEST_SECONDS: Final = 3.0
"""How long an honest client waits for anything."""
_PAUSE_SECONDS: Final = 0.2
_WARM_UP: Final = 20
_ASKED: Final = client.request(client.PROMETHEUS_HEADERS)

_BEGUN: Final = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: "
_WHOLE: Final = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
_HELLO_BEGUN: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))
"""The first bytes of a TLS ClientHello of 512."""
_COMMAS: Final = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: " + b"," * 16_000 + b"\r\n\r\n"
_NOISE: Final = bytes(range(128, 256)) * 2048

ATTACKS: Final = (
    Attack("1,000 slow clients", 1000, _BEGUN, b"x", every=1.0),
    Attack("5,000 slow clients", 5000, _BEGUN, b"x", every=1.0),
    Attack("1,000 idle connections", 1000),
    Attack("1,000 idle connections, 64 open files", 1000, open_files=64),
    Attack("32 clients that send garbage", 32, then=_NOISE, comes_back=True),
    Attack("8 headers of 50 MB", 8, _BEGUN, b"x" * 50_000_000, comes_back=True),
    Attack("300 clients that pipeline and never read", 300, _WHOLE * 2000, _WHOLE * 100, comes_back=True),
    Attack("250 clients with lists of 16,000 elements", 250, then=_COMMAS, comes_back=True),
    Attack("300 TLS handshakes that stall", 300, _HELLO_BEGUN, tls=True),
    Attack("32 TLS clients that send garbage", 32, then=_NOISE, comes_back=True, tls=True),
)


class Siege:
    """One attack on one server, from its begin; the crowd stays until the stack is closed."""

    def __init__(self, attack: Attack, server: Server, stack: contextlib.ExitStack) -> None:
        self.attack = attack
        self.server = server
        for _ in range(_WARM_UP):
            server.scrape(_ASKED)
        self.before = server.usage()
        self._begin = time.monotonic()
        self._cpu = server.cpu_seconds
        crowd = stack.enter_context(attacking(attack, server.port))
        self.arrived = crowd.arrived
        self.during: list[Usage] = []
        self.waits: list[float] = []
        for _ in range(_HONEST_SCRAPES):
            self.waits.append(_honest(server))
            self.during.append(server.usage())
            if math.isinf(self.waits[-1]):
                break
            time.sleep(_PAUSE_SECONDS)
        crowd.stay_out()
        self._end = time.monotonic()

    def conclude(self) -> None:
        """Wait for the end of the time that a server has to recover, and look at what is left."""
        left = self._end + AFTER_SECONDS - time.monotonic()
        time.sleep(max(0.0, left))
        self.cpu_percent = 100 * (self.server.cpu_seconds - self._cpu) / (time.monotonic() - self._begin)
        self.after = self.server.usage()
        self.wait_after = _honest(self.server)

    @property
    def growth(self) -> float:
        """By how many MiB RSS grew at most."""
        return (max(usage.rss for usage in (*self.during, self.after)) - self.before.rss) / MIB

    def row(self) -> list[str]:
        """Return what there is to say, as cells of the table."""
        threads = (self.before.threads, max(usage.threads for usage in self.during), self.after.threads)
        files = (self.before.files, max(usage.files for usage in self.during), self.after.files)
        return [
            self.server.peer.name,
            f"{self.arrived:,}",
            *(" / ".join(f"{each:,}" for each in trio) for trio in (threads, files)),
            report.number(self.growth),
            report.number((self.after.rss - self.before.rss) / MIB),
            _milliseconds(max(self.waits)),
            _milliseconds(self.wait_after),
            report.number(self.cpu_percent),
        ]

    def goals(self) -> list[Goal]:
        """Return how the server stands to the goals."""
        name = self.attack.name
        more_threads = self.after.threads - self.before.threads
        return [
            Goal(f"{name}: longest honest scrape", max(*self.waits, self.wait_after), 1.0, " s"),
            Goal(f"{name}: growth of RSS", self.growth, 16.0 if self.attack.tls else 10.0, " MiB"),
            Goal(f"{name}: files and threads more than before, 15 s after",
                 max(0, self.after.files - self.before.files) + max(0, more_threads), 0),
        ]  # fmt: skip


def run(plain: Sequence[Peer], https: Sequence[Peer], attacks: Sequence[Attack]) -> list[Goal]:
    """Attack the servers, one after another, and print how they bear it.

    plain, https: the same peers, as they serve over plain HTTP and with a certificate.
    """
    goals: list[Goal] = []
    for attack in attacks:
        with contextlib.ExitStack() as stack:
            peers = https if attack.tls else plain
            running = [stack.enter_context(servers.serving(peer, attack.open_files)) for peer in peers]
            sieges = [Siege(attack, server, stack) for server in running]
            for siege in sieges:
                siege.conclude()
        report.print_title(f"{attack.name}; every server may open {attack.open_files:,} files")
        report.print_table(
            ("before / during / 15 s after:", "connected", "threads", "open files", "RSS + MiB", "RSS + MiB after",
             "scrape ms", "scrape ms after", "CPU %"),
            [siege.row() for siege in sieges],
        )  # fmt: skip
        met = next(siege for siege in sieges if siege.server.peer.name == VMXD).goals()
        report.print_goals(met)
        goals += met
    return goals


def _honest(server: Server) -> float:
    """Return how long a scrape took; infinity where it had no answer, or one that refuses it."""
    try:
        return server.scrape(_ASKED, _HONEST_SECONDS)
    except OSError:
        return math.inf


def _milliseconds(seconds: float) -> str:
    return "none" if math.isinf(seconds) else report.number(1e3 * seconds)
