"""What systemd is told and what it hands over, through real sockets: notify() itself, and a real ``vmxd serve``."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bench.fleet.engines import free_port
from tests.helpers.server import SECONDS, Manager, get, managing, port_of, serving_one
from tests.helpers.support import LAKEFIELD, REPOSITORY, program, vmxd
from vmxd.server.systemd import notify, reloading, watchdog_seconds

DURATION: Final = re.compile(r"^vmxd_scan_duration_seconds (\S+)$", re.MULTILINE)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Be told by vmxd what systemd would be."""
    with managing(tmp_path, monkeypatch) as listening:
        yield listening


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Listen where NOTIFY_SOCKET says: on a path, or on an abstract name, which is written with an @."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@vmxd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if request.param == "abstract" else name)
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listener


def test_notify(heard: socket.socket) -> None:
    """Each call is one message, an assignment a line, in UTF-8."""
    notify("READY=1", "STATUS=VMX fällt aus")
    notify("WATCHDOG=1")

    assert "READY=1\nSTATUS=VMX fällt aus" == heard.recv(4096).decode()
    assert b"WATCHDOG=1" == heard.recv(4096)
    heard.setblocking(False)
    with pytest.raises(BlockingIOError):
        heard.recv(4096)


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}])
def test_nobody_asks(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without NOTIFY_SOCKET nothing is sent, and nothing said."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    with caplog.at_level(logging.DEBUG):
        notify("READY=1")

    assert [] == caplog.messages


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing-here", "No such file or directory"),
        ("closed", "Connection refused"),
        ("x" * 200, "AF_UNIX path too long"),
    ],
)
def test_broken_socket(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A socket that fails is a line in the log with the reason, and no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "closed"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / name))
    notify("READY=1")

    assert [f"systemd cannot be notified: {reason}"] == caplog.messages


def test_reloading() -> None:
    """A reload begins at a time of CLOCK_MONOTONIC, in microseconds."""
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    assignment, stamp = reloading()
    name, _, microseconds = stamp.partition("=")

    assert ("RELOADING=1", "MONOTONIC_USEC") == (assignment, name)
    assert before - 1e-5 <= int(microseconds) / 1e6 <= time.clock_gettime(time.CLOCK_MONOTONIC)


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("2000000", None, 2.0),
        ("500000", str(os.getpid()), 0.5),
        ("2000000", "1", None),
        (None, None, None),
        ("", None, None),
        ("0", None, None),
        ("2 s", None, None),
        ("²", None, None),
    ],
    ids=("any", "this", "another", "none", "empty", "zero", "unit", "superscript"),
)
def test_watchdog_seconds(
    usec: str | None, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WATCHDOG_USEC counts, unless WATCHDOG_PID says that it is another process's, or it is no number above 0."""
    for name, text in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        monkeypatch.delenv(name, raising=False)
        if text is not None:
            monkeypatch.setenv(name, text)

    assert seconds == watchdog_seconds()


def test_hangup(manager: Manager) -> None:
    """SIGHUP has the host scanned again; systemd is told when that begins, by its own clock, and when it is over."""
    with serving_one(LAKEFIELD) as server:
        before = DURATION.findall(get(port_of(server)))
        manager.wait_for("READY=1")
        started = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        server.process.send_signal(signal.SIGHUP)
        reloading, stamp = manager.wait_for("RELOADING=1")
        ready, status = manager.next()

        assert ("RELOADING=1", "READY=1") == (reloading, ready)
        assert (
            started <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        )
        assert status.startswith("STATUS=")
        after = DURATION.findall(get(port_of(server)))
        assert (1, 1) == (len(before), len(after))
        assert before != after


class TestManager:
    """What systemd is told, and what it hands over."""

    def test_life(self, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
        """READY=1 comes first, when clients are answered already; WATCHDOG=1 in time; STOPPING=1 last."""
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        with serving_one(LAKEFIELD) as server:
            ready, status = manager.next()
            assert ("READY=1", "STATUS=") == (ready, status[: len("STATUS=")])
            assert f"listening on http://127.0.0.1:{port_of(server)}/" in server.log
            assert "vmx_feature{" in get(port_of(server))
            manager.heard.settimeout(2)
            assert [["WATCHDOG=1"]] * 2 == [manager.next() for _ in range(2)]
            server.process.terminate()
            manager.wait_for("STOPPING=1")
            server.process.wait(SECONDS)
            manager.heard.setblocking(False)
            with pytest.raises(BlockingIOError):
                manager.next()

    def test_socket(self) -> None:
        """A socket of systemd's is served, which holds the first client until vmxd has started."""
        port = free_port()
        serve = [sys.executable, "-m", "vmxd", "serve", "--root", str(LAKEFIELD), "--web.systemd-socket"]
        command = [program("systemd-socket-activate", "systemd"), f"--listen=127.0.0.1:{port}", *serve]
        with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            try:
                assert "Listening" in process.stderr.readline()
                assert [True] * 2 == ["vmx_feature{" in get(port) for _ in range(2)]
                process.terminate()
                assert 0 == process.wait(SECONDS)
                assert f"listening on http://127.0.0.1:{port}/" in process.stderr.read()
            finally:
                process.kill()

    @pytest.mark.parametrize("handed", [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}])
    def test_no_socket(self, handed: dict[str, str]) -> None:
        """Without a socket, or with one that is another process's, there is nothing to serve on."""
        result = vmxd("serve", "--root", LAKEFIELD, "--web.systemd-socket", env={**os.environ, **handed})

        assert (2, "vmxd: systemd has handed over no socket") == (result.returncode, result.stderr.splitlines()[0])
