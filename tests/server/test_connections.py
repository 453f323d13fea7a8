"""How long a connection to the server lives: kept, pipelined, slow, idle, too many, and at its end."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.helpers.http import (
    CLOSE,
    HOST,
    PATHS,
    SECONDS,
    connected,
    exchange,
    get,
    is_ended,
    is_served,
    read_reply,
    request,
)
from tests.helpers.server import Server, serving
from tests.helpers.support import LAKEFIELD
from vmxd.server.server import CONNECTIONS_MAX


class TestConnections:
    """How long a connection lives."""

    def test_keep_alive(self, server: Server) -> None:
        """One connection serves many requests."""
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
        with contextlib.closing(client):
            client.connect()
            connection = client.sock
            for number in range(100):
                client.request("GET", PATHS[number % len(PATHS)])
                response = client.getresponse()
                response.read()
                assert 200 == response.status
                assert client.sock is connection

    def test_no_delay(self, server: Server) -> None:
        """No answer waits for the client's delayed acknowledgement, 40 ms each, as Nagle's algorithm would have it."""
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
        start = time.monotonic()
        with contextlib.closing(client):
            for _ in range(200):
                client.request("GET", "/healthz")
                assert b"ok\n" == client.getresponse().read()

        assert time.monotonic() - start < 5

    def test_pipelined(self, server: Server) -> None:
        """Requests that are sent all at once are answered in their order."""
        targets = [b"/healthz", b"/nothing", b"/metrics", b"/"] * 25
        statuses = [200, 404, 200, 200] * 25
        with connected(server) as (connection, stream):
            connection.sendall(b"".join(request(b"GET", target) for target in targets))
            connection.shutdown(socket.SHUT_WR)
            replies = [read_reply(stream) for _ in targets]
            assert b"" == stream.read()

        assert statuses == [reply.status for reply in replies]
        assert {b"ok\n"} == {reply.body for reply in replies[::4]}

    def test_byte_by_byte(self, server: Server) -> None:
        """It does not matter where a request is cut, nor where the next one starts."""
        data = request(b"GET", b"/healthz") + request(b"POST", b"/", b"Content-Length: 0\r\n")
        with connected(server) as (connection, stream):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(data)):
                connection.sendall(data[number : number + 1])
            connection.sendall(request(b"HEAD", b"/healthz", CLOSE))

            assert [200, 405] == [read_reply(stream).status for _ in range(2)]
            assert 200 == read_reply(stream, to_head=True).status
            assert b"" == stream.read()

    @pytest.mark.parametrize("headers", [b"", b"Connection: keep-alive\r\n", HOST + CLOSE])
    @pytest.mark.parametrize("path", PATHS)
    def test_http_1_0(self, server: Server, path: str, headers: bytes) -> None:
        """A client of HTTP/1.0 needs no Host, and gets its answer and the end of the connection."""
        reply = exchange(server, b"GET " + path.encode() + b" HTTP/1.0\r\n" + headers + b"\r\n")

        assert (200, "close") == (reply.status, reply.headers["connection"])

    @pytest.mark.parametrize("path", [*PATHS, "/nothing"])
    def test_close(self, server: Server, path: str) -> None:
        """A client that asks for it gets the connection closed, and is told so."""
        assert "close" == get(server, path).headers["connection"]

    def test_half_close(self, server: Server) -> None:
        """A client that has sent all that it will send still gets its answer."""
        assert 200 == exchange(server, request(b"GET", b"/metrics"), half_close=True).status

    def test_many_at_once(self, server: Server) -> None:
        """200 clients at once are all served, whichever finishes first."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connected(server)) for _ in range(200)]
            for connection, _ in clients:
                connection.sendall(request(b"GET", b"/metrics", CLOSE)[:20])
            for connection, _ in reversed(clients):
                connection.sendall(request(b"GET", b"/metrics", CLOSE)[20:])

            assert {200} == {read_reply(stream).status for _, stream in clients}

    def test_waiting_line(self) -> None:
        """Clients that come while the server is busy wait in line, and are served when it has time."""
        count = min(200, int(Path("/proc/sys/net/core/somaxconn").read_text()))
        with serving(LAKEFIELD) as server, contextlib.ExitStack() as stack:
            server.process.send_signal(signal.SIGSTOP)
            try:
                clients = [stack.enter_context(connected(server)) for _ in range(count)]
                for connection, _ in clients:
                    connection.sendall(request(b"GET", b"/metrics", CLOSE))
            finally:
                server.process.send_signal(signal.SIGCONT)

            assert {200} == {read_reply(stream).status for _, stream in clients}

    def test_upgrade(self, server: Server) -> None:
        """An offer of HTTP/2 is passed over."""
        headers = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
        with connected(server) as (connection, stream):
            connection.sendall(request(b"GET", b"/healthz", headers) + request(b"GET", b"/nothing"))

            assert [200, 404] == [read_reply(stream).status for _ in range(2)]


class TestSlowClients:
    """Clients that take their time, which someone else could use."""

    def test_cut_off(self, server: Server) -> None:
        """A client that does not get on with it is cut off after 10 s, whatever it is that does not come."""
        starts = {
            "nothing": b"",
            "one byte": b"G",
            "half the headers": request(b"GET", b"/")[:-2],
            "half a body": request(b"POST", b"/", b"Content-Length: 5\r\n", b"hel"),
            "half a second request": request(b"GET", b"/healthz") + b"G",
            "answers not taken": request(b"GET", b"/metrics") * 2000,
            "a byte now and then": b"GET /healthz HTTP/1.1\r\nX: ",
        }
        with contextlib.ExitStack() as stack:
            clients = {name: stack.enter_context(connected(server))[0] for name in starts}
            for name, start in starts.items():
                clients[name].sendall(start)
            deadline = time.monotonic() + 15
            while waiting := {
                name for name, client in clients.items() if not is_ended(client) and is_served(server, client)
            }:
                if time.monotonic() > deadline:
                    break
                with contextlib.suppress(ConnectionError):
                    clients["a byte now and then"].send(b"x")
                time.sleep(0.1)

        assert set() == waiting

    def test_others_are_served_meanwhile(self, server: Server) -> None:
        """Clients that hold a connection open do not keep others waiting."""
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                stack.enter_context(connected(server))[0].sendall(b"GET /metrics HTTP/1.1\r\n")

            assert 200 == get(server, "/metrics").status


def end_of(connection: socket.socket) -> bytes:
    """Return what is left to read; a connection that was reset has nothing left."""
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""


class TestEnd:
    """How it stops, and what it lives through."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal(self, number: signal.Signals) -> None:
        """Asked to stop, it does at once and with exit code 0, also with clients that wait or are in the middle."""
        with serving(LAKEFIELD) as server, connected(server) as (idle, _), connected(server) as (busy, _):
            idle.sendall(b"")
            busy.sendall(b"GET /metrics HT")
            assert 200 == get(server, "/healthz").status
            server.process.send_signal(number)

            assert 0 == server.process.wait(SECONDS)
            assert b"" == end_of(idle)
            assert b"" == end_of(busy)
            with pytest.raises(ConnectionRefusedError):
                get(server, "/healthz")

    def test_signal_at_once(self) -> None:
        """It can be stopped from the moment that it says it listens."""
        for _ in range(5):
            with serving(LAKEFIELD):
                pass

    def test_recording_that_is_gone(self, tmp_path: Path) -> None:
        """What was read once is served on, although the recording is gone."""
        shutil.copytree(LAKEFIELD, tmp_path / "host")
        with serving(tmp_path / "host") as server:
            shutil.rmtree(tmp_path / "host")

            assert 200 == get(server, "/metrics").status

    def test_too_many_clients(self) -> None:
        """With more clients than it may have files open it neither dies nor floods its log, and then goes on."""
        with serving(LAKEFIELD, open_files=40) as server:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connected(server)) for _ in range(80)]
                for connection, stream in clients[-5:]:
                    connection.sendall(request(b"GET", b"/healthz"))
                    assert 200 == read_reply(stream).status
            assert 200 == get(server, "/healthz").status
            assert len(server.log.splitlines()) < 20

    def test_idlest_goes(self) -> None:
        """Above its bound the server ends connections that have been idle for longest, and serves whoever speaks."""
        with serving(LAKEFIELD) as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connected(server)) for _ in range(400)]
            for connection, stream in reversed(clients):
                if not is_ended(connection):
                    connection.sendall(request(b"GET", b"/healthz"))
                    assert 200 == read_reply(stream).status
            ended = [is_ended(connection) for connection, _ in clients]

            assert 200 == get(server, "/metrics").status

        assert [True] * (400 - CONNECTIONS_MAX) + [False] * CONNECTIONS_MAX == ended

    def test_crowd_at_once(self) -> None:
        """The bound holds also where all clients come in one moment."""
        with serving(LAKEFIELD, open_files=48) as server, contextlib.ExitStack() as stack:
            server.process.send_signal(signal.SIGSTOP)
            try:
                clients = [stack.enter_context(connected(server))[0] for _ in range(100)]
            finally:
                server.process.send_signal(signal.SIGCONT)
            assert 200 == get(server, "/healthz").status
            deadline = time.monotonic() + 5
            while (kept := [is_ended(client) for client in clients].count(False)) > 16 and time.monotonic() < deadline:
                time.sleep(0.05)

            assert kept <= 16
            assert 200 == get(server, "/healthz").status
