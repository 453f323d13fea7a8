"""The same attack on each server: what it grows by, how long an honest scrape waits, and what is left 15 s after.

The attackers never close: what a server does not end by itself, it keeps.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench import client, report, servers
from bench.report import Goal
from bench.scrapes import MIB
from bench.servers import DEFAULT, STOCK, VMXD, Peer, Server, Usage

ATTACKED: Final = (VMXD, STOCK, DEFAULT)
OPEN_FILES: Final = 1024
"""How many files a server may have open: what systemd gives it."""
AFTER_SECONDS: Final = 15.0
_ARRIVAL_SECONDS: Final = 1.0
_BATCH: Final = 4
_BATCH_SECONDS: Final = 0.005
_HONEST_SCRAPES: Final = 5
_PAUSE_SECONDS: Final = 0.2
_WARM_UP: Final = 20
_HALF: Final = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: "
_ASKED: Final = client.request(client.PROMETHEUS_HEADERS)


@dataclass(frozen=True, slots=True)
class Attack:
    """So many connections that say so much and then hang."""

    name: str
    count: int
    said: bytes


ATTACKS: Final = (
    Attack("1,000 half-open requests", 1000, _HALF),
    Attack("200 half-open requests", 200, _HALF),
    Attack("1,000 idle connections", 1000, b""),
)


class Siege:
    """One attack on one server, from its begin; the connections hang until the stack is closed."""

    def __init__(self, attack: Attack, server: Server, stack: contextlib.ExitStack) -> None:
        self.attack = attack
        self.server = server
        for _ in range(_WARM_UP):
            client.scrape(server.port, _ASKED)
        self.before = server.usage()
        self.arrived = stack.enter_context(_hanging(attack, server.port))
        self._begin = time.monotonic()
        self._cpu = server.cpu_seconds
        self.during: list[Usage] = []
        self.waits: list[float] = []
        for _ in range(_HONEST_SCRAPES):
            self.waits.append(_honest(server))
            self.during.append(server.usage())
            time.sleep(_PAUSE_SECONDS)

    def conclude(self) -> None:
        """Wait for the end of the time that a server has to recover, and look at what is left."""
        left = self._begin + AFTER_SECONDS - time.monotonic()
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
            *(" / ".join(f"{each:,}" for each in trio) for trio in (threads, files)),
            report.number(self.growth),
            report.number((self.after.rss - self.before.rss) / MIB),
            report.number(1e3 * max(self.waits)),
            report.number(1e3 * self.wait_after),
            report.number(self.cpu_percent),
        ]

    def goals(self) -> list[Goal]:
        """Return how the server stands to the goals."""
        name = self.attack.name
        more_threads = self.after.threads - self.before.threads
        return [
            Goal(f"{name}: longest honest scrape", max(*self.waits, self.wait_after), 1.0, " s"),
            Goal(f"{name}: growth of RSS", self.growth, 10.0, " MiB"),
            Goal(f"{name}: files and threads more than before, 15 s after",
                 max(0, self.after.files - self.before.files) + max(0, more_threads), 0),
        ]  # fmt: skip


def run(peers: Sequence[Peer], attacks: Sequence[Attack]) -> list[Goal]:
    """Attack the servers, one after another, and print how they bear it."""
    _raise_own_limit()
    goals: list[Goal] = []
    attacked = [peer for peer in peers if peer.name in ATTACKED]
    for attack in attacks:
        with contextlib.ExitStack() as stack:
            running = [stack.enter_context(servers.serving(peer, OPEN_FILES)) for peer in attacked]
            sieges = [Siege(attack, server, stack) for server in running]
            for siege in sieges:
                siege.conclude()
        report.print_title(f"{attack.name} that hang; every server may open {OPEN_FILES:,} files")
        report.print_table(
            ("before / during / 15 s after:", "threads", "open files", "RSS + MiB", "RSS + MiB after",
             "scrape ms", "scrape ms after", "CPU %"),
            [siege.row() for siege in sieges],
        )  # fmt: skip
        own = next(siege for siege in sieges if siege.server.peer.name == VMXD)
        if own.arrived < attack.count:
            print(f"only {own.arrived:,} connections came about with vmxd\n")
        met = own.goals()
        report.print_goals(met)
        goals += met
    return goals


def _honest(server: Server) -> float:
    """Return how long a scrape took; infinity where it had no answer."""
    try:
        return client.scrape(server.port, _ASKED)
    except OSError:
        return float("inf")


@contextlib.contextmanager
def _hanging(attack: Attack, port: int) -> Iterator[int]:
    """Open connections, say what the attack says, and hold them; yields how many came about.

    They come a few at a time: prometheus_client's backlog of 5 would keep most of one burst away from it.
    """
    arrived = 0
    with contextlib.ExitStack() as stack:
        for number in range(attack.count):
            attacker = stack.enter_context(socket.socket())
            attacker.settimeout(_ARRIVAL_SECONDS)
            with contextlib.suppress(OSError):
                attacker.connect((client.LOOPBACK, port))
                attacker.sendall(attack.said)
                arrived += 1
            if number % _BATCH == _BATCH - 1:
                time.sleep(_BATCH_SECONDS)
        yield arrived


def _raise_own_limit() -> None:
    """Let this process open as many files as it may: the attackers are connections of its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
