"""The servers to compare: how each is started on a free loopback port, what it uses, and that it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench import client

REPOSITORY: Final = Path(__file__).resolve().parent.parent
PYZ: Final = REPOSITORY / "dist" / "vmxd.pyz"
"""Measured where make pyz has built it."""

HOSTS: Final = REPOSITORY / "tests" / "hosts"
SERVED: Final = HOSTS / "sapphirerapids"
"""The recording that vmxd serves, and whose series its peers serve too."""
OF_8_CPUS: Final = HOSTS / "made-tertiary"

VMXD: Final = "vmxd"
DEFAULT: Final = "node_exporter, default"
TEXTFILE: Final = "node_exporter, textfile only"
STOCK: Final = "prometheus_client"

NODE_EXPORTER: Final = "prometheus-node-exporter"
START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.0005
_PYTHON: Final = (sys.executable, "-m")
_ENVIRONMENT: Final = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Python keeps its byte code, as it does where a package is installed: no start but the first compiles."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A kind of server; ``command`` starts one on a port; ``context``: of its TLS, None where it serves plain HTTP."""

    name: str
    command: Callable[[int], tuple[str, ...]]
    context: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has at one moment; memory in bytes."""

    rss: int
    uss: int
    threads: int
    files: int


class Server:
    """A process that serves; made by serving()."""

    def __init__(self, peer: Peer, port: int, process: subprocess.Popen[bytes]) -> None:
        self.peer = peer
        self.port = port
        self.seconds_to_answer = 0.0
        """From before the process was made until it had answered a scrape."""
        self._process = process
        self._clock = cpu_clock(process.pid)

    @property
    def cpu_seconds(self) -> float:
        """User and system time of the process, threads that have ended included, by the kernel's CPU clock."""
        return time.clock_gettime(self._clock)

    def usage(self) -> Usage:
        """Return what it has now."""
        process = psutil.Process(self._process.pid)
        memory = process.memory_full_info()
        return Usage(memory.rss, memory.uss, process.num_threads(), process.num_fds())

    def scrape(self, asked: bytes, timeout: float = 10.0) -> float:
        """Return how many seconds a scrape took; see client.scrape. Raises OSError."""
        return client.scrape(self.port, asked, timeout, self.peer.context)

    def wait_until_it_answers(self, start: float, asked: bytes) -> None:
        """Scrape until there is an answer. Raises RuntimeError where there is none in time."""
        while True:
            with contextlib.suppress(OSError):
                self.scrape(asked)
                self.seconds_to_answer = time.perf_counter() - start
                return
            if self._process.poll() is not None or time.perf_counter() - start > START_SECONDS:
                raise RuntimeError(f"{self.peer.name} does not serve")
            time.sleep(_POLL_SECONDS)


def vmxd(name: str, root: Path, program: Sequence[str] = (*_PYTHON, "vmxd")) -> Peer:
    """Return a vmxd that serves a recording."""
    options = (*program, "serve", "--root", str(root))
    return Peer(name, lambda port: (*options, f"--web.listen-address={client.LOOPBACK}:{port}"))


def peers(directory: Path) -> list[Peer]:
    """Return vmxd and every peer that this machine has; their series are written to the directory."""
    textfile = directory / "vmx.prom"
    command = (*_PYTHON, "vmxd", "metrics", "--root", str(SERVED), "-o", str(textfile))
    subprocess.run(command, cwd=REPOSITORY, env=_ENVIRONMENT, check=True)
    found = [
        vmxd(VMXD, SERVED),
        Peer(STOCK, lambda port: (*_PYTHON, "bench.stock", str(textfile), str(port))),
    ]
    if (path := node_exporter()) is not None:
        only = ("--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={directory}")
        found += [
            Peer(DEFAULT, lambda port: (path, f"--web.listen-address={client.LOOPBACK}:{port}")),
            Peer(TEXTFILE, lambda port: (path, f"--web.listen-address={client.LOOPBACK}:{port}", *only)),
        ]
    return found


def node_exporter() -> str | None:
    """Return where node_exporter is, None if it is not installed."""
    return shutil.which(NODE_EXPORTER)


@contextlib.contextmanager
def serving(peer: Peer, open_files: int | None = None) -> Iterator[Server]:
    """Start a server, wait for its first answer, and end it with the block.

    open_files: how many files it may have open at once (RLIMIT_NOFILE); None: what this process may.
    """
    port = _free_port()
    command = peer.command(port)
    if open_files is not None:
        command = ("sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command)
    asked = client.request(client.PROMETHEUS_HEADERS)
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            server = Server(peer, port, process)
            server.wait_until_it_answers(start, asked)
            yield server
        except RuntimeError:
            log.seek(0)
            sys.stderr.buffer.write(log.read())
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server((client.LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def cpu_clock(pid: int) -> int:
    """Return the id of a process' CPU clock: clock_getcpuclockid(3), finer than the ticks of proc/PID/stat."""
    clock = ctypes.c_int()
    if error := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, os.strerror(error))
    return clock.value
