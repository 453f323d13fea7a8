"""/ and /inventory.json over HTTP: the same to every client, there from the first request, and cheap to hold."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.http import CLOSE, connected, exchange, get, read_reply, request, undated
from tests.helpers.server import Server, serving
from tests.helpers.support import HOSTS, LAKEFIELD, as_root, vmxd
from vmxd.commands.profiles import builtin_profiles
from vmxd.host.recording_text import MSR_FILE

GZIP: Final = b"Accept-Encoding: gzip\r\n"
PATHS: Final = {"/": "text/html; charset=utf-8", "/inventory.json": "application/json"}
SLOW_CLIENTS: Final = 150
GROWTH_MAX: Final = 8 * 2**20


def memory(server: Server) -> int:
    """Return the resident set of a server in bytes."""
    with open(f"/proc/{server.process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("path", PATHS)
def test_encodings(path: str) -> None:
    """A client gets the same compressed or not, as it asks; HEAD says the same; the first one waits."""
    with serving(LAKEFIELD) as server:
        packed = get(server, path, GZIP)
        plain = get(server, path)
        head = exchange(server, request(b"HEAD", path.encode(), CLOSE + GZIP), to_head=True)

    assert (200, "gzip", PATHS[path]) == (
        packed.status,
        packed.headers["content-encoding"],
        packed.headers["content-type"],
    )
    assert gzip.decompress(packed.body) == plain.body
    assert "content-encoding" not in plain.headers
    assert {"Accept-Encoding"} == {reply.headers["vary"] for reply in (packed, plain)}
    assert undated(packed) == undated(head)
    assert ("content-security-policy" in plain.headers) == (path == "/")


@pytest.mark.parametrize("path", PATHS)
def test_unchanged(tmp_path: Path, path: str) -> None:
    """A client that has the page of this scan gets no second copy, in whatever encoding; after a new scan it does."""
    root = tmp_path / "recording"
    shutil.copytree(HOSTS / "skylake-6700k", root)
    with serving(root) as server:
        first, packed = get(server, path), get(server, path, GZIP)
        tag = first.headers["etag"]
        known = f"If-None-Match: {tag}\r\n".encode()
        again = [
            get(server, path, known),
            get(server, path, known + GZIP),
            get(server, path, b"If-None-Match: *\r\n"),
            get(server, path, b'If-None-Match: "x", ' + tag.removeprefix("W/").encode() + b"\r\n"),
            exchange(server, request(b"HEAD", path.encode(), CLOSE + known), to_head=True),
        ]
        others = [get(server, path, line) for line in (b'If-None-Match: "x"\r\n', b"If-None-Match:\r\n")]
        cpuinfo = root / "proc/cpuinfo"
        cpuinfo.write_text(cpuinfo.read_text().replace("i7-6700K", "i7-other"))
        server.process.send_signal(signal.SIGHUP)
        wait_for(server, b"i7-other")
        changed = get(server, path, known)

    assert {("no-cache", tag)} == {(reply.headers["cache-control"], reply.headers["etag"]) for reply in (first, packed)}
    assert {(304, b"", tag, None)} == {
        (reply.status, reply.body, reply.headers["etag"], reply.headers.get("content-length")) for reply in again
    }
    assert [(200, first.body)] * 2 == [(reply.status, reply.body) for reply in others]
    assert (200, False) == (changed.status, changed.headers["etag"] == tag)


def test_json() -> None:
    """/inventory.json is what ``vmxd show --json`` prints, with the profiles that the server holds the host against."""
    with serving(LAKEFIELD) as server:
        served = get(server, "/inventory.json").body
    profiles = [f"--profile={profile.name}" for profile in builtin_profiles()]

    assert vmxd("show", "--json", "--root", LAKEFIELD, *profiles).stdout.encode() == served
    assert "vmxd.show/1" == json.loads(served)["schema"]


def test_new_scan(tmp_path: Path) -> None:
    """A new recording has a new page; a scan that fails leaves the page, and the page says so."""
    root = tmp_path / "recording"
    shutil.copytree(HOSTS / "skylake-6700k", root)
    with serving(root) as server:
        assert b"i7-6700K" in get(server, "/").body
        cpuinfo = root / "proc/cpuinfo"
        cpuinfo.write_text(cpuinfo.read_text().replace("i7-6700K", "i7-other"))
        server.process.send_signal(signal.SIGHUP)
        wait_for(server, b"i7-other")
        assert b"The last scan failed." not in get(server, "/").body
        (root / MSR_FILE).write_text("damaged\n")
        server.process.send_signal(signal.SIGHUP)
        wait_for(server, b"The last scan failed.")
        assert b"i7-other" in get(server, "/").body


def wait_for(server: Server, text: bytes) -> None:
    """Wait until the page has a text."""
    deadline = time.monotonic() + 30
    while text not in get(server, "/").body:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@as_root
def test_other_user() -> None:
    """A server that has given up root since the scan began still gets its page, and leaves no child behind."""
    with serving(LAKEFIELD, "--user=nobody") as server:
        assert 200 == get(server, "/").status
        assert "" == Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text()
        assert "there is no page" not in server.log


def test_server_holds_no_template() -> None:
    """The process that faces the network never loads Jinja2, whose helper is a library of its own."""
    with serving(LAKEFIELD) as server:
        get(server, "/")
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()

    assert "python" in maps
    assert "markupsafe" not in maps


def test_slow_readers() -> None:
    """Clients that take no gzip and read nothing share one copy of the page."""
    with serving(LAKEFIELD) as server:
        size = len(get(server, "/").body)
        before = memory(server)
        clients = []
        for _ in range(SLOW_CLIENTS):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", server.port))
            client.sendall(request(b"GET", b"/"))
            clients.append(client)
        assert b"ok\n" == get(server, "/healthz").body
        grown = memory(server) - before
        for client in clients:
            client.close()

    assert grown < GROWTH_MAX < SLOW_CLIENTS * (size - 64 * 1024)


def test_slow_reader_gets_it_whole() -> None:
    """A client that reads late gets every byte, and the next answer after it."""
    with serving(LAKEFIELD) as server:
        expected = get(server, "/").body
        with connected(server) as (connection, stream):
            connection.sendall(request(b"GET", b"/") * 3 + request(b"GET", b"/healthz"))
            time.sleep(0.5)
            bodies = [read_reply(stream).body for _ in range(4)]

    assert [expected, expected, expected, b"ok\n"] == bodies
