"""Scans that cannot start, hang or die: the last good one stays, it is counted, logged once and tried again."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.helpers import http
from tests.helpers.metric_page import flat
from tests.helpers.server import SECONDS, Server, get, port_of, serving_one, until
from tests.helpers.support import LAKEFIELD, REPOSITORY, as_root, refused, vmxd
from tests.helpers.web_yml import ALICE, write


def failures(server: Server) -> dict[str, float]:
    """Return how many scans have failed, by reason, and whether the last one succeeded."""
    samples = flat(parse_text(get(port_of(server))))
    found = {labels[0][1]: value for name, labels, value in samples if name == "vmxd_scan_failures_total"}
    (success,) = (value for name, _, value in samples if name == "vmxd_scan_success")
    return {reason: count for reason, count in found.items() if count} | ({} if success else {"last": 0})


def children(server: Server) -> list[psutil.Process]:
    """Return the processes that scan."""
    return psutil.Process(server.process.pid).children()


@contextlib.contextmanager
def answering(*options: str) -> Iterator[Server]:
    """Serve Lakefield; before and after, metrics, page and JSON are there."""
    with serving_one(LAKEFIELD, *options) as server:
        port_of(server)
        pages = [http.get(server, path).body for path in ("/", "/inventory.json")]
        yield server
        assert "vmx_feature{" in get(port_of(server))
        assert pages == [http.get(server, path).body for path in ("/", "/inventory.json")]


@contextlib.contextmanager
def limited(server: Server, limit: int, value: int) -> Iterator[None]:
    """Give a server less of something than it needs for another process, until the block ends."""
    before = resource.prlimit(server.process.pid, limit)
    resource.prlimit(server.process.pid, limit, (value, before[1]))
    yield
    resource.prlimit(server.process.pid, limit, before)


def open_files(server: Server) -> int:
    """Return how many files a server has open, which are those with the lowest numbers."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def test_out_of_files() -> None:
    """Without files for a pipe scans fail: each is counted, the log says so once, and later one is made."""
    with answering() as server:
        before = open_files(server)
        with limited(server, resource.RLIMIT_NOFILE, before + 2):
            server.process.send_signal(signal.SIGHUP)
            until(lambda: {"start": 1, "last": 0} == failures(server))
            server.process.send_signal(signal.SIGHUP)
            until(lambda: {"start": 2, "last": 0} == failures(server))
        assert 1 == server.log.count("a scan cannot be started: Too many open files; the last good scan stays")
        until(lambda: "last" not in failures(server))  # nobody asks: it is tried again
        until(lambda: before == open_files(server))


@as_root
def test_out_of_processes() -> None:
    """Without a process for it, a scan fails in the same way."""
    before = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, before[1]))  # what the server inherits; root has no such limit
    try:
        with serving_one(LAKEFIELD, "--user=nobody") as server:
            port_of(server)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: {"start": 1, "last": 0} == failures(server))
            assert "a scan cannot be started: Resource temporarily unavailable; the last good scan stays" in server.log
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, before)


def test_hangs() -> None:
    """A scan that hangs is killed at its deadline, and holds up neither the next one nor SIGTERM."""
    with answering("--scan-timeout=15") as server:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: children(server))
        (child,) = children(server)
        child.suspend()
        until(lambda: {"timeout": 1, "last": 0} == failures(server))
        until(lambda: not child.is_running())
        assert 1 == server.log.count("the scan was not done within 15 s and was killed; the last good scan stays")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "last" not in failures(server))


@pytest.mark.parametrize("first", [True, False])
def test_sigterm_in_a_scan_that_hangs(first: bool) -> None:
    """SIGTERM ends a server whose scan hangs, and the scan, whether it is the first one or a later one."""
    options = (f"--root={LAKEFIELD}", "--web.listen-address=127.0.0.1:0")
    command = [sys.executable, "-m", "vmxd", "serve", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stderr
        if not first:
            while "listening" not in process.stderr.readline():
                pass
            process.send_signal(signal.SIGHUP)
        until(lambda: psutil.Process(process.pid).children())
        (child,) = psutil.Process(process.pid).children()
        child.suspend()
        process.terminate()

        assert 0 == process.wait(SECONDS)
        assert not child.is_running()
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_dies(number: signal.Signals) -> None:
    """A scan that is killed, however late, takes no page away, and is tried again without being asked for."""
    with answering() as server:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: children(server))
        children(server)[0].send_signal(number)
        until(lambda: {"ended": 1, "last": 0} == failures(server))
        assert f"the scan ended by signal {number.value}; the last good scan stays" in server.log
        until(lambda: "last" not in failures(server))


def test_first_scan_hangs() -> None:
    """If the first scan hangs there is nothing to serve: vmxd ends with a sentence at the deadline."""
    done = vmxd("serve", "--root", LAKEFIELD, "--web.listen-address=127.0.0.1:0", "--scan-timeout=0.01")

    assert "the scan was not done within 0.01 s and was killed" in refused(done)[0]


@as_root
def test_user_who_cannot_scan(tmp_path: Path) -> None:
    """A user who may not read Python or vmxd cannot scan again: one sentence says so, and the last good scan stays."""
    shutil.copytree(REPOSITORY / "vmxd", tmp_path / "vmxd")
    (tmp_path / "vmxd").chmod(0o700)
    options = (f"--root={LAKEFIELD}", "--user=nobody", "--web.listen-address=127.0.0.1:0")
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "vmxd", "serve", *options]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=stderr, env={**os.environ, "PYTHONPATH": ""})
        try:
            until(lambda: "listening" in log.read_text())
            process.send_signal(signal.SIGHUP)
            until(lambda: "the last good scan stays" in log.read_text())
        finally:
            process.terminate()
            process.wait(SECONDS)

    assert "Traceback" not in log.read_text()
    (line,) = (line for line in log.read_text().splitlines() if "the last good scan stays" in line)
    assert "this user must be able to" in line


_BECOME_NOBODY = """
import ctypes, os, pwd, sys
sys.path.insert(0, ".")
from vmxd.errors import UsageError
from vmxd.server.privilege import drop_to
nobody = pwd.getpwnam("nobody")
os.setgroups([0] if sys.argv[1] == "group" else [nobody.pw_gid])
if sys.argv[1] == "capabilities":
    ctypes.CDLL(None).prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
os.setresgid(*[nobody.pw_gid] * 3)
os.setresuid(*[nobody.pw_uid] * 3)
try:
    drop_to("nobody")
    print("dropped")
except UsageError as error:
    print(error)
"""


@as_root
@pytest.mark.parametrize("kept", ["nothing", "group", "capabilities"])
def test_user_who_keeps_a_privilege(kept: str) -> None:
    """Who is the user already, with capabilities or groups of another, is refused: they could not be dropped."""
    done = subprocess.run(
        [sys.executable, "-c", _BECOME_NOBODY, kept], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    refusal = "running as nobody already, with capabilities or groups that only root could drop\n"

    assert ("dropped\n" if kept == "nothing" else refusal) == done.stdout


@as_root
def test_user_has_nothing_left(tmp_path: Path) -> None:
    """After --user no capability and no group of root's is left, and what is needed has been imported before."""
    users = f"basic_auth_users:\n  alice: {ALICE}\n"
    with serving_one(LAKEFIELD, "--user=nobody", f"--web.config.file={write(tmp_path, users)}") as server:
        port_of(server)
        assert 401 == http.get(server, "/metrics").status
        assert 200 == http.get(server, "/metrics", b"Authorization: Basic YWxpY2U6c2VjcmV0\r\n").status
        status = Path(f"/proc/{server.process.pid}/status").read_text()

    assert set() == {int(mask, 16) for mask in re.findall(r"Cap(?:Prm|Eff|Amb):\s+(\S+)", status)} - {0}
    assert "0" not in re.findall(r"^Groups:(.*)$", status, re.MULTILINE)[0].split()
