"""Crowds of bad clients against a real vmxd: whoever asks as one should is answered, and nothing is left behind.

The crowds are bounded in number and time, and stay on the loopback interface.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import resource
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.helpers.certificates import make_authority, make_pair
from tests.helpers.server import Server, port_of, serving_one, until
from tests.helpers.support import LAKEFIELD
from vmxd.server.server import CONNECTIONS_MAX

SECONDS: Final = 5.0
"""How long an honest scrape may take."""
GONE_SECONDS: Final = 20.0
"""How long after an attack the server may still hold files of it."""
GROWTH_MAX: Final = 10 * 2**20
SCRAPES: Final = 8
"""Of an honest client while a crowd is there."""
CHUNK: Final = 2**18

BEGUN: Final = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
WHOLE: Final = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
HELLO_BEGUN: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))
"""The first bytes of a TLS ClientHello of 512."""
NOISE: Final = bytes(range(128, 256)) * (CHUNK // 128)
RESET: Final = b"\1\0\0\0\0\0\0\0"
"""SO_LINGER of 0 s: close() sends RST."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What a crowd does.

    count: clients. first: what each says at once; then: what it goes on to say, as much as is taken, round after round.
    comes_back: whether it connects again when it is thrown out. tls: whether what it attacks expects a handshake.
    """

    count: int
    first: bytes = b""
    then: bytes = b""
    comes_back: bool = False
    tls: bool = False


ATTACKS: Final = {
    "idle": Attack(1000),
    "half-request": Attack(1000, BEGUN),
    "slow-header": Attack(CONNECTIONS_MAX, BEGUN, b"x"),
    "pipelined-never-read": Attack(300, WHOLE * 2000, WHOLE * 100, comes_back=True),
    "garbage": Attack(32, then=NOISE, comes_back=True),
    "header-of-50-MB": Attack(8, BEGUN, b"x" * 50_000_000, comes_back=True),
    "tls-idle": Attack(300, tls=True),
    "tls-stalled": Attack(300, HELLO_BEGUN, tls=True),
    "tls-garbage": Attack(32, then=NOISE, comes_back=True, tls=True),
}


@dataclass(slots=True)
class Crowd:
    """The clients of one attack; none of them ever reads."""

    port: int
    attack: Attack
    clients: list[socket.socket] = field(default_factory=list)
    taken: int = 0
    """Bytes that the server's side has taken in all."""

    def come(self) -> None:
        """Connect those that are not there, and say what each says first."""
        while len(self.clients) < self.attack.count:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(SECONDS)
            client.connect(("127.0.0.1", self.port))
            client.setblocking(False)
            self.clients.append(client)
            self.say(client, self.attack.first)

    def go_on(self) -> None:
        """Let each client say as much as is taken; whoever has been thrown out leaves or comes back."""
        thrown_out = [client for client in self.clients if not self.say(client, self.attack.then)]
        for client in thrown_out:
            self.clients.remove(client)
            client.close()
        if self.attack.comes_back:
            self.come()

    def say(self, client: socket.socket, data: bytes) -> bool:
        """Send what is taken of some bytes; return whether the client is still connected."""
        with contextlib.suppress(BlockingIOError):
            try:
                for start in range(0, len(data), CHUNK):
                    self.taken += client.send(data[start : start + CHUNK])
            except ConnectionError:
                return False
        return True

    def leave(self) -> None:
        """Close every connection."""
        while self.clients:
            self.clients.pop().close()


@pytest.fixture(autouse=True, scope="module")
def many_open_files() -> Iterator[None]:
    """Let this process have as many files open as it may: it is the crowd."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def web_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a web.yml with a certificate."""
    directory = tmp_path_factory.mktemp("web")
    make_pair(directory, "server", make_authority(directory, "ca"))
    path = directory / "web.yml"
    path.write_text("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n")
    return path


@contextlib.contextmanager
def attacked(web_config: Path | None) -> Iterator[tuple[Server, int]]:
    """Serve over HTTPS where there is a web.yml; yields the port too."""
    options = [f"--web.config.file={web_config}"] if web_config else []
    with serving_one(LAKEFIELD, *options) as server:
        yield server, port_of(server)


def scrape(port: int, *, tls: bool) -> int:
    """Ask for the metrics on a new connection, as a Prometheus that has just started, and return the status."""
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        reply = connection.getresponse()
        assert b"vmx_feature{" in reply.read()
        return reply.status


def resident(server: Server) -> int:
    """Return how many bytes of memory a server has."""
    match = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{server.process.pid}/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024


def open_files(server: Server) -> int:
    """Return how many files a server has open once its scan is over: until then one leads to the process that scans."""
    until(lambda: not psutil.Process(server.process.pid).children())
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def wait_for_files(server: Server, count: int) -> None:
    """Wait until a server has that many files open."""
    deadline = time.monotonic() + GONE_SECONDS
    while count != open_files(server):
        assert time.monotonic() < deadline, (count, open_files(server))
        time.sleep(0.05)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, web_config: Path) -> None:
    """While a crowd attacks, honest scrapes are answered and memory stays bounded; when it leaves, so do its files."""
    attack = ATTACKS[name]
    with attacked(web_config if attack.tls else None) as (server, port):
        files = open_files(server)
        assert [200] * SCRAPES == [scrape(port, tls=attack.tls) for _ in range(SCRAPES)]
        memory, most = resident(server), 0
        crowd = Crowd(port, attack)
        with contextlib.ExitStack() as leaving:
            leaving.callback(crowd.leave)
            crowd.come()
            for _ in range(SCRAPES):
                crowd.go_on()
                assert 200 == scrape(port, tls=attack.tls)
                most = max(most, resident(server))
        wait_for_files(server, files)

        assert 200 == scrape(port, tls=attack.tls)
        assert most - memory < GROWTH_MAX
        assert not attack.then or crowd.taken > 0


def test_handshakes_reset_at_once(web_config: Path) -> None:
    """Clients that reset their handshakes just as others take their places leave neither files nor a traceback."""
    with attacked(web_config) as (server, port):
        files = open_files(server)
        crowd, others = (Crowd(port, Attack(count, HELLO_BEGUN)) for count in (300, 16))
        crowd.come()
        assert 200 == scrape(port, tls=True)  # who came before has been accepted
        server.process.send_signal(signal.SIGSTOP)
        for client in crowd.clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        crowd.leave()
        others.come()
        server.process.send_signal(signal.SIGCONT)

        assert 200 == scrape(port, tls=True)
        others.leave()
        wait_for_files(server, files)
        assert "Traceback" not in server.log
