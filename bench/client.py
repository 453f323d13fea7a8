"""The one client that all servers are measured with: a new TCP connection to the loopback for every scrape."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from typing import Final

LOOPBACK: Final = "127.0.0.1"
PATH: Final = "/metrics"
PROMETHEUS_HEADERS: Final = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/2.42.0",
}
"""What Prometheus sends."""
PLAIN_HEADERS: Final = {"Accept": "*/*"}
"""What a client sends that cares for nothing."""


def request(headers: dict[str, str]) -> bytes:
    """Return the bytes of a request for the metrics after which the server closes the connection."""
    lines = [f"GET {PATH} HTTP/1.1", f"Host: {LOOPBACK}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def scrape(port: int, asked: bytes, timeout: float = 10.0, context: ssl.SSLContext | None = None) -> float:
    """Return the seconds from before the connect to the end of a 200 answer. Raises OSError.

    context: of TLS; None: plain HTTP.
    """
    start = time.perf_counter()
    with socket.socket() as plain:
        plain.settimeout(timeout)
        plain.connect((LOOPBACK, port))
        with context.wrap_socket(plain, server_hostname=LOOPBACK) if context else plain as client:
            client.sendall(asked)
            head = b""
            while data := client.recv(1 << 18):
                head = head or data
    seconds = time.perf_counter() - start
    if not head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")):
        raise ConnectionError(f"port {port} answered {head[:40]!r}")
    return seconds


def body_bytes(port: int, headers: dict[str, str]) -> int:
    """Return the size of an answer's body as it goes over the wire, without its framing in chunks. Raises OSError."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", PATH, headers=headers)
        return len(connection.getresponse().read())
    finally:
        connection.close()
