"""Requests that break the rules, and requests with a body: each has its answer, and the server lives on."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

import pytest

from tests.helpers.http import (
    CLOSE,
    HOST,
    SECONDS,
    connected,
    exchange,
    get,
    read_reply,
    request,
)
from tests.helpers.server import Server

RESET: Final = b"\1\0\0\0\0\0\0\0"
"""SO_LINGER of 0 s: close() sends RST."""


class TestBadRequests:
    """Clients that break the rules are told so, and cut off."""

    @pytest.mark.parametrize(
        "data",
        [
            b"garbage\r\n\r\n",
            b"\0\0\0\0\0\0\0\0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),  # TLS
            b"GET /healthz\r\n\r\n",  # HTTP/0.9
            b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
            b"GET /heal thz HTTP/1.1\r\n" + HOST + b"\r\n",
            b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
            b"GET /healthz HTTP/x.1\r\n" + HOST + b"\r\n",
            b"GET /healthz HTTP/1.1\r\n\r\n",  # no Host
            b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"a b: c\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"a : c\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"a: \0\r\n\r\n",
            request(b"POST", b"/", b"Content-Length: 1\r\nContent-Length: 2\r\n", b"ab"),
            request(b"POST", b"/", b"Content-Length: -1\r\n"),
            request(b"POST", b"/", b"Content-Length: 0x5\r\n"),
        ],
        ids=ascii,
    )
    def test_garbage(self, server: Server, data: bytes) -> None:
        """What is no request is answered with 400, and the connection closed."""
        reply = exchange(server, data)

        assert (400, "close") == (reply.status, reply.headers["connection"])

    def test_unknown_transfer_encoding(self, server: Server) -> None:
        """A body in a form that cannot be read ends the connection, with 501."""
        reply = exchange(server, request(b"POST", b"/", b"Transfer-Encoding: gzip\r\n"))

        assert (501, "close") == (reply.status, reply.headers["connection"])

    def test_garbage_after_a_request(self, server: Server) -> None:
        """What came before the garbage is answered."""
        with connected(server) as (connection, stream):
            connection.sendall(request(b"GET", b"/healthz") + b"garbage\r\n\r\n")

            assert [200, 400] == [read_reply(stream).status for _ in range(2)]
            assert b"" == stream.read()

    @pytest.mark.parametrize(
        "data",
        [
            request(b"GET", b"/healthz", b"X: " + b"x" * 17_000 + b"\r\n"),
            request(b"GET", b"/healthz", b"X: " + b"x" * 60_000 + b"\r\n"),
            request(b"GET", b"/healthz", b"X: x\r\n" * 3_000),
            request(b"GET", b"/" + b"x" * 17_000),
            request(b"GET", b"/healthz") + request(b"GET", b"/healthz", b"X: " + b"x" * 17_000 + b"\r\n"),
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 17_000,
            b"GET /" + b"x" * 17_000,
        ],
        ids=[
            "one header",
            "one header of 60 kB",
            "many headers",
            "target",
            "second request",
            "endless header",
            "endless target",
        ],
    )
    def test_large_headers(self, server: Server, data: bytes) -> None:
        """More than 16 KiB of request line and headers is too much, even where they come all at once."""
        with connected(server) as (connection, stream):
            connection.sendall(data)
            if data.startswith(request(b"GET", b"/healthz")):
                assert 200 == read_reply(stream).status
            reply = read_reply(stream)

            assert 431 == reply.status
            assert "close" == reply.headers["connection"]
            assert b"" == stream.read()

    def test_headers_that_just_fit(self, server: Server) -> None:
        """15 KiB of headers are fine."""
        assert 200 == get(server, "/healthz", b"X: " + b"x" * 15_000 + b"\r\n").status

    def test_flood(self, server: Server) -> None:
        """A client that sends headers without end is cut off; the server does not read on for ever."""
        sent = 0
        with connected(server) as (connection, _), contextlib.suppress(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\n")
            while sent < 1 << 28:
                sent += connection.send(b"X: " + b"x" * 65_000 + b"\r\n")

        assert sent < 1 << 28

    def test_half_a_request(self, server: Server) -> None:
        """A request that ends in its middle is a bad one."""
        assert 400 == exchange(server, b"GET /metrics HT", half_close=True).status

    @pytest.mark.parametrize(
        "data", [b"", b"G", b"GET /metrics HT", request(b"GET", b"/metrics"), request(b"GET", b"/metrics") * 50]
    )
    def test_client_goes_away(self, server: Server, data: bytes) -> None:
        """Clients that leave in the middle, politely or not, take nothing down."""
        for reset in (False, True):
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
                    connection.sendall(data)
                    if reset:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        assert 200 == get(server, "/healthz").status

    def test_client_goes_away_while_reading(self, server: Server) -> None:
        """So do those that ask for much, read some of it and leave."""
        for _ in range(5):
            with connected(server) as (connection, stream):
                connection.sendall(request(b"GET", b"/metrics") * 400)
                assert 200 == read_reply(stream).status
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        assert 200 == get(server, "/healthz").status


class TestBodies:
    """Requests with a body, which nobody needs to send: it is not read, so the connection ends after the answer."""

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            (b"Content-Length: 5\r\n", b"hello"),
            (b"Content-Length: 1000000\r\n", b"x" * 1_000_000),
            (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n" * 10_000),
            (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),  # RFC 9112, 6.1
            (b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            (b"Content-Length: 5\r\nExpect: 100-continue\r\n", b""),
        ],
        ids=["length", "long", "chunked", "endless chunks", "both", "both, empty", "expect"],
    )
    @pytest.mark.parametrize(("method", "status"), [(b"POST", 405), (b"GET", 400), (b"HEAD", 400)])
    def test_body(self, server: Server, method: bytes, status: int, headers: bytes, body: bytes) -> None:
        """The answer comes at once, and what follows the body is no request."""
        with connected(server) as (connection, stream):
            connection.sendall(request(method, b"/healthz", headers, body) + request(b"GET", b"/nothing"))
            reply = read_reply(stream)

            assert (status, "close") == (reply.status, reply.headers["connection"])
            assert b"" == stream.read()

    @pytest.mark.parametrize(("method", "status"), [(b"POST", 405), (b"GET", 200)])
    def test_empty_body(self, server: Server, method: bytes, status: int) -> None:
        """A length of 0 is no body: the connection goes on."""
        with connected(server) as (connection, stream):
            connection.sendall(request(method, b"/healthz", b"Content-Length: 0\r\n") + request(b"GET", b"/nothing"))

            assert [status, 404] == [read_reply(stream).status for _ in range(2)]


class TestEmptyLines:
    """Empty lines before a request (RFC 9112, 2.2)."""

    @pytest.mark.parametrize("lines", [b"\r\n", b"\n", b"\r\n" * 5])
    def test_passed_over(self, server: Server, lines: bytes) -> None:
        """They are passed over, before the first request and between two."""
        with connected(server) as (connection, stream):
            connection.sendall((lines + request(b"GET", b"/healthz")) * 2 + lines + request(b"GET", b"/x", CLOSE))

            assert [200, 200, 404] == [read_reply(stream).status for _ in range(3)]
            assert b"" == stream.read()


class TestWork:
    """What a request may make the server parse: it is refused above the bound, and answered below."""

    @pytest.mark.parametrize("name", [b"Accept", b"Accept-Encoding", b"If-None-Match", b"Connection", b"X"])
    @pytest.mark.parametrize(
        ("element", "count", "status"), [(b",", 16_000, 431), (b";", 16_000, 431), (b"a,", 200, 200)]
    )
    def test_lists(self, server: Server, name: bytes, element: bytes, count: int, status: int) -> None:
        """A list of a header has a bound, whichever header it is."""
        headers = name + b": " + element * count + b"\r\n"

        assert status == exchange(server, request(b"GET", b"/", CLOSE + headers), to_head=False).status

    @pytest.mark.parametrize(("lines", "status"), [(3_900, 431), (101, 431), (90, 200)])
    @pytest.mark.parametrize("line", [b"A:\r\n", b"A:\n", b"Accept: a\r\n"])
    def test_lines(self, server: Server, line: bytes, lines: int, status: int) -> None:
        """So has the number of header lines, also where they come to fewer bytes than are allowed."""
        assert status == get(server, "/healthz", line * lines).status
