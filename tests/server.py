"""``vmxd serve`` as users start it: a process of its own on a free port, ended by SIGTERM as systemd would."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.support import REPOSITORY

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 10.0

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
            assert 0 == process.wait(STOP_SECONDS)
            assert "Traceback" not in server.log
        finally:
            process.kill()
            process.wait()


def _wait_until_it_listens(server: Server, count: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while len(server.urls) < count:
        assert server.process.poll() is None, server.log
        assert time.monotonic() < deadline, server.log
        time.sleep(0.01)
