"""``vmxd serve`` as users start it: a process of its own on a free port, ended by SIGTERM as systemd would."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.support import REPOSITORY

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 10.0
SECONDS: Final = 40.0
"""How long anything may take."""

_LISTENING: Final = re.compile(r"\"listening on (?P<url>http://(?P<host>\S+):(?P<port>\d+)/)\"$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Server:
    """A vmxd that listens."""

    process: subprocess.Popen[bytes]
    stderr: int

    @property
    def log(self) -> str:
        """What it has written to stderr so far."""
        return os.pread(self.stderr, os.fstat(self.stderr).st_size, 0).decode()

    @property
    def urls(self) -> list[str]:
        """The URL of each listening socket, in the order of the addresses."""
        return [match["url"] for match in _LISTENING.finditer(self.log)]

    @property
    def port(self) -> int:
        """The port of the first listening socket."""
        match = _LISTENING.search(self.log)
        assert match
        return int(match["port"])


@contextlib.contextmanager
def serving(
    root: str | os.PathLike[str],
    *options: str,
    addresses: tuple[str, ...] = ("127.0.0.1:0",),
    open_files: int | None = None,
) -> Iterator[Server]:
    """Serve a root until the block ends; then it must end with exit code 0 and must never have written a traceback.

    open_files: how many files it may have open at once (RLIMIT_NOFILE), connections included.
    """
    listen = [f"--web.listen-address={address}" for address in addresses]
    command = [sys.executable, "-m", "vmxd", "serve", "--root", os.fspath(root), *listen, *options]
    if open_files is not None:
        command = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command]
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stderr=stderr)
        server = Server(process, stderr.fileno())
        try:
            _wait_until_it_listens(server, len(addresses))
            yield server
            process.terminate()
            assert 0 == process.wait(STOP_SECONDS), server.log
            assert "Traceback" not in server.log, server.log
        finally:
            process.kill()
            process.wait()


def _wait_until_it_listens(server: Server, count: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while len(server.urls) < count:
        assert server.process.poll() is None, server.log
        assert time.monotonic() < deadline, server.log
        time.sleep(0.01)


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def port_of(server: Server) -> int:
    """Return the port of the one listening socket, with TLS or without, as soon as there is one."""
    until(lambda: server.process.poll() is not None or re.search(r"listening on http", server.log))
    match = re.search(r"listening on https?://\S+:(\d+)/", server.log)
    assert match, server.log
    return int(match[1])


def get(port: int) -> str:
    """Return the metrics, asked for on a new connection. Raises HTTPError on any status but 200."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as reply:
        assert 200 == reply.status
        return str(reply.read().decode())


@contextlib.contextmanager
def serving_one(root: Path, *options: str) -> Iterator[Server]:
    """Serve a root on one port that the kernel chooses."""
    with serving(root, "--web.listen-address=127.0.0.1:0", *options, addresses=()) as server:
        yield server


@dataclass(frozen=True, slots=True)
class Manager:
    """What systemd is to vmxd: the socket that it is told things on."""

    heard: socket.socket

    def next(self) -> list[str]:
        """Return the next message."""
        return self.heard.recv(4096).decode().split("\n")

    def wait_for(self, assignment: str) -> list[str]:
        """Return the first message with an assignment; those of before are passed over."""
        deadline = time.monotonic() + SECONDS
        while assignment not in (message := self.next()):
            assert time.monotonic() < deadline, message
        return message


@contextlib.contextmanager
def managing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Listen on the NOTIFY_SOCKET of what is started within the block."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield Manager(heard)
