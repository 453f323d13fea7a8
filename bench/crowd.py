"""A crowd of bad clients, in a process of its own: none of them ever reads, and none closes before the crowd ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from bench import client

OPEN_FILES: Final = 1024
"""How many files a server may have open: what systemd gives it."""
_BATCH: Final = 4
_BATCH_SECONDS: Final = 0.005
_CHUNK: Final = 1 << 18
_TURN_SECONDS: Final = 0.05
_RECEIVED_BYTES: Final = 4096
_SYN_SENT: Final = 2  # include/net/tcp_states.h


@dataclass(frozen=True, slots=True)
class Attack:
    """What a crowd does.

    count: clients. first: what each says at once; then: what it goes on to say, every so many seconds, as much as is
    taken. comes_back: whether it connects again when it is thrown out. tls: whether the server expects a handshake.
    open_files: how many the server may have (RLIMIT_NOFILE).
    """

    name: str
    count: int
    first: bytes = b""
    then: bytes = b""
    every: float = _TURN_SECONDS
    comes_back: bool = False
    tls: bool = False
    open_files: int = OPEN_FILES


class Crowd:
    """The connections of one attack; made by attacking()."""

    def __init__(self, orders: Connection, arrived: int) -> None:
        self.arrived = arrived
        """How many connections came about at first; the others found the server's backlog full."""
        self._orders = orders

    def stay_out(self) -> None:
        """Have nobody come back from now on; those that are in go on."""
        self._orders.send(None)


@contextlib.contextmanager
def attacking(attack: Attack, port: int) -> Iterator[Crowd]:
    """Attack a server on the loopback until the end of the block, from when everybody has connected and spoken."""
    context = multiprocessing.get_context("fork")  # an attack's bytes need not be copied
    ours, theirs = context.Pipe()
    process = context.Process(target=_attack, args=(attack, port, theirs, ours))
    process.start()
    theirs.close()
    try:
        yield Crowd(ours, ours.recv())
    finally:
        process.kill()
        process.join()
        ours.close()


class _Client:
    """One connection; what it has still to say is kept, so that no request is torn by a full buffer."""

    def __init__(self, port: int, first: bytes) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED_BYTES)
        self.socket.setblocking(False)
        self.socket.connect_ex((client.LOOPBACK, port))
        self._left = memoryview(first)

    def has_arrived(self) -> bool:
        """Return whether the connection came about."""
        return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _SYN_SENT

    def say(self, more: bytes) -> bool:
        """Send as much as is taken; return whether it is still connected."""
        if not self._left:
            self._left = memoryview(more)
        with contextlib.suppress(BlockingIOError):
            try:
                while self._left:
                    self._left = self._left[self.socket.send(self._left[:_CHUNK]) :]
            except (ConnectionError, TimeoutError):
                return False
        return True


def _attack(attack: Attack, port: int, orders: Connection, other_end: Connection) -> None:
    """Come, tell how many have, and go on; the first order ends the coming back. Returns when the other end is gone."""
    other_end.close()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us ends us
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    crowd = _come(attack, port, attack.count)
    orders.send(sum(each.has_arrived() for each in crowd))
    comes_back = attack.comes_back
    with contextlib.suppress(EOFError):
        while True:
            if orders.poll(attack.every):
                orders.recv()
                comes_back = False
            staying = []
            for each in crowd:
                if each.say(attack.then):
                    staying.append(each)
                else:
                    each.socket.close()
            crowd = staying + (_come(attack, port, attack.count - len(staying)) if comes_back else [])


def _come(attack: Attack, port: int, count: int) -> list[_Client]:
    """Connect, a few at a time: prometheus_client's backlog of 5 would keep most of one burst away from it."""
    crowd: list[_Client] = []
    while len(crowd) < count:
        batch = [_Client(port, attack.first) for _ in range(min(_BATCH, count - len(crowd)))]
        time.sleep(_BATCH_SECONDS)
        for each in batch:
            each.say(b"")
        crowd += batch
    return crowd
