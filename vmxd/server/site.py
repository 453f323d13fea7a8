"""Paths to answers: the metrics, the health check, the page and the JSON of the last good scan."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import h11

from vmxd.server.live import LiveCollector
from vmxd.server.negotiate import accepts_gzip, choose_format, has_copy
from vmxd.server.rendered import Rendered

Headers = tuple[tuple[str, str], ...]

_PLAIN: Final = ("Content-Type", "text/plain; charset=utf-8")
_HTML: Final = ("Content-Type", "text/html; charset=utf-8")
_JSON: Final = ("Content-Type", "application/json")
_GZIP: Final = ("Content-Encoding", "gzip")
_SCRAPE_LEVEL: Final = 1
"""Compression of a scrape, done anew each time: level 6 takes three times the CPU time for 8 % fewer bytes."""


@dataclass(frozen=True, slots=True)
class Response:
    """Status, body, and the headers beside those that every answer has."""

    status: HTTPStatus
    body: bytes
    headers: Headers = (_PLAIN,)


def plain_response(status: HTTPStatus, *headers: tuple[str, str]) -> Response:
    """Make a response that says its status and nothing more."""
    return Response(status, f"{status.value} {status.phrase}\n".encode(), (_PLAIN, *headers))


class Site:
    """The answers of one scan; ``rendered`` may be replaced at any time."""

    def __init__(self, rendered: Rendered, telemetry_path: str, live: LiveCollector) -> None:
        self.rendered = rendered
        self._telemetry_path = telemetry_path
        self._live = live

    def answer(self, request: h11.Request) -> Response:
        """Answer a request."""
        if request.method not in (b"GET", b"HEAD"):
            return plain_response(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        path = _path(request.target.decode("latin-1"))
        if path == self._telemetry_path:
            return self._metrics(request)
        if path == "/healthz":
            return Response(HTTPStatus.OK, b"ok\n")
        if path == "/":
            policy = ("Content-Security-Policy", self.rendered.pages.policy)
            return _page(request, self._html(), (_HTML, policy, ("Referrer-Policy", "no-referrer")))
        if path == "/inventory.json":
            return _page(request, self.rendered.pages.inventory, (_JSON,))
        return plain_response(HTTPStatus.NOT_FOUND)

    def _html(self) -> bytes:
        if self._live.scan_failed:
            return self.rendered.pages.page_failed
        return self.rendered.pages.page_stale if self._live.stale else self.rendered.pages.page

    def _metrics(self, request: h11.Request) -> Response:
        format_ = choose_format(header(request, b"accept"))
        body = self.rendered.metrics[format_.name] + self._live.render(format_)
        headers: Headers = (("Content-Type", format_.value), ("Vary", "Accept, Accept-Encoding"))
        if accepts_gzip(header(request, b"accept-encoding")):
            return Response(HTTPStatus.OK, gzip.compress(body, _SCRAPE_LEVEL, mtime=0), (*headers, _GZIP))
        return Response(HTTPStatus.OK, body, headers)


def _page(request: h11.Request, packed: bytes, headers: Sequence[tuple[str, str]]) -> Response:
    """Answer with a compressed page, unpacked if the client takes no gzip, or with 304 if it has a copy."""
    tag = f'W/"{packed[-8:].hex()}"'  # gzip ends with CRC and length of its content
    caching = (("Vary", "Accept-Encoding"), ("ETag", tag), ("Cache-Control", "no-cache"))
    if has_copy(header(request, b"if-none-match"), tag):
        return Response(HTTPStatus.NOT_MODIFIED, b"", caching)
    if accepts_gzip(header(request, b"accept-encoding")):
        return Response(HTTPStatus.OK, packed, (*headers, *caching, _GZIP))
    return Response(HTTPStatus.OK, _unpack(packed), (*headers, *caching))


@lru_cache(maxsize=2)
def _unpack(data: bytes) -> bytes:
    """Decompress a page: one copy for all clients that take no gzip and are slow to read."""
    return zlib.decompress(data, 16 + zlib.MAX_WBITS)


def _path(target: str) -> str:
    """Extract the path of a request target in origin or absolute form (RFC 9112, 3.2)."""
    if target.startswith("/"):
        return target.partition("?")[0]
    try:
        return urlsplit(target).path or "/"
    except ValueError:
        return target


def header(request: h11.Request, name: bytes) -> str:
    """Join a header's values with commas; "" if it is missing."""
    return ",".join(value.decode("latin-1") for key, value in request.headers if key == name)
