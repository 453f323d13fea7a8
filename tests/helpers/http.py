"""A client that sends bytes and reads what comes back: what a server answers, whatever it was asked."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tests.helpers.server import Server

PATHS: Final = ("/metrics", "/healthz", "/")
SECONDS: Final = 10.0
"""How long any answer may take; the server itself gives up on a request after 10 s."""
HOST: Final = b"Host: localhost\r\n"
CLOSE: Final = b"Connection: close\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as it came over the wire; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def read_reply(stream: IO[bytes], *, to_head: bool = False) -> Reply:
    """Read one answer, its body as long as Content-Length says."""
    version, status, _ = stream.readline().decode("ascii").split(" ", 2)
    assert "HTTP/1.1" == version
    headers: dict[str, str] = {}
    while line := stream.readline().rstrip(b"\r\n").decode("latin-1"):
        name, _, value = line.partition(": ")
        assert name.lower() not in headers
        headers[name.lower()] = value
    length = 0 if to_head or status == "304" else int(headers["content-length"])
    body = stream.read(length)
    assert length == len(body)
    return Reply(int(status), headers, body)


@contextlib.contextmanager
def connected(server: Server, timeout: float = SECONDS) -> Iterator[tuple[socket.socket, IO[bytes]]]:
    """Open a connection: the socket to write to, and a stream to read from."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout) as connection,
        connection.makefile("rb") as stream,
    ):
        yield connection, stream


def exchange(server: Server, data: bytes, *, half_close: bool = False, to_head: bool = False) -> Reply:
    """Send bytes on a new connection and return the one answer, after which the server must have closed."""
    with connected(server) as (connection, stream):
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        reply = read_reply(stream, to_head=to_head)
        assert b"" == stream.read()
        return reply


def undated(reply: Reply) -> dict[str, str]:
    """Return the headers that do not change from one second to the next."""
    return {name: value for name, value in reply.headers.items() if name != "date"}


def request(method: bytes, target: bytes, headers: bytes = b"", body: bytes = b"") -> bytes:
    """Return a request as bytes."""
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n" + body


def get(server: Server, path: str, headers: bytes = b"") -> Reply:
    """Get a path on a connection of its own."""
    return exchange(server, request(b"GET", path.encode(), CLOSE + headers))


def is_ended(connection: socket.socket) -> bool:
    """Return whether the end of a connection has come to the client, whatever is still to be read from it."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def is_served(server: Server, connection: socket.socket) -> bool:
    """Return whether the server's side is established; to a client that takes nothing, its end does not come."""
    ends = f":{server.port:04X}", f":{connection.getsockname()[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(row[3] == "01" and (row[1][-5:], row[2][-5:]) == ends for row in rows)
