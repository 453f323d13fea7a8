"""What is served: paths to answers, made ready once per scan; the metrics first, the pages when they are done."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import h11

from vmxd.server.exposition import Exposition
from vmxd.server.live import Live
from vmxd.server.negotiate import Format, accepts_gzip, choose_format, has_copy

PLAIN: Final = ("Content-Type", "text/plain; charset=utf-8")
_HTML: Final = ("Content-Type", "text/html; charset=utf-8")
_JSON: Final = ("Content-Type", "application/json")
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: status, body, and headers beside those that every answer has."""

    status: HTTPStatus
    body: bytes
    headers: tuple[tuple[str, str], ...] = (PLAIN,)

    @classmethod
    def of_status(cls, status: HTTPStatus, *headers: tuple[str, str]) -> Response:
        """Return an answer that says its status and nothing more."""
        return cls(status, f"{status.value} {status.phrase}\n".encode(), (PLAIN, *headers))


class Rendered(NamedTuple):
    """The metrics of one scan, and what a server says of it: built-in types only, so that it may cross a pipe.

    expositions: content type to the parts of an Exposition. is_comparable: whether any capability MSR has a value.
    status, reason, hint: the verdict on the host.
    """

    expositions: dict[str, tuple[Any, ...]]
    kind: str
    root: str
    is_live: bool
    is_usable: bool
    is_comparable: bool
    status: str
    reason: str
    hint: str
    warnings: tuple[str, ...]


class Pages(NamedTuple):
    """What people and other tools get of one scan, compressed with gzip; to cross a pipe as well.

    page: HTML; page_stale, page_failed: the same where the host has changed since, and where it could not be scanned
    again. policy: the pages' Content-Security-Policy. inventory: JSON.
    """

    page: bytes
    page_stale: bytes
    page_failed: bytes
    policy: str
    inventory: bytes


class Site:
    """The metrics, a health check and the pages of one scan; ``live``: the state of the server."""

    def __init__(self, rendered: Rendered, telemetry_path: str, live: Live) -> None:
        self.live = live
        self._telemetry_path = telemetry_path
        self._expositions = {Format(name): Exposition(*parts) for name, parts in rendered.expositions.items()}
        self._pages: Pages | None = None
        self._has_settled = asyncio.Event()

    def set_pages(self, pages: Pages | None) -> None:
        """Answer requests for the pages, which wait until then; None: there are none."""
        self._pages = pages
        self._has_settled.set()

    def answer(self, request: h11.Request) -> Response | Awaitable[Response]:
        """Return the answer to a request, or who knows it when it can be given."""
        if request.method not in (b"GET", b"HEAD"):
            return Response.of_status(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        path = _path(request.target.decode("latin-1"))
        if path == self._telemetry_path:
            return self._metrics(request)
        if path == "/healthz":
            return Response(HTTPStatus.OK, b"ok\n")
        if path in ("/", "/inventory.json"):
            return self._page(path, request)
        return Response.of_status(HTTPStatus.NOT_FOUND)

    async def _page(self, path: str, request: h11.Request) -> Response:
        await self._has_settled.wait()
        if self._pages is None:
            return Response.of_status(HTTPStatus.SERVICE_UNAVAILABLE)
        if path == "/":
            headers: tuple[tuple[str, str], ...] = (
                _HTML,
                ("Content-Security-Policy", self._pages.policy),
                ("Referrer-Policy", "no-referrer"),
            )
            body = self._pages.page
            if self.live.scan_failed:
                body = self._pages.page_failed
            elif self.live.stale:
                body = self._pages.page_stale
        else:
            headers, body = (_JSON,), self._pages.inventory
        tag = f'W/"{body[-8:].hex()}"'  # gzip ends with CRC and length of what is compressed
        caching = (("Vary", "Accept-Encoding"), ("ETag", tag), ("Cache-Control", "no-cache"))
        if has_copy(header(request, b"if-none-match"), tag):
            return Response(HTTPStatus.NOT_MODIFIED, b"", caching)
        headers = (*headers, *caching)
        if accepts_gzip(header(request, b"accept-encoding")):
            return Response(HTTPStatus.OK, body, (*headers, ("Content-Encoding", "gzip")))
        return Response(HTTPStatus.OK, _unpack(body), headers)

    def _metrics(self, request: h11.Request) -> Response:
        format_ = choose_format(header(request, b"accept"))
        exposition, values = self._expositions[format_], self.live.values()
        headers = (("Content-Type", format_.value), ("Vary", "Accept, Accept-Encoding"))
        if accepts_gzip(header(request, b"accept-encoding")):
            return Response(HTTPStatus.OK, exposition.render_gzip(values), (*headers, ("Content-Encoding", "gzip")))
        return Response(HTTPStatus.OK, exposition.render(values), headers)


@lru_cache(maxsize=2)
def _unpack(data: bytes) -> bytes:
    """Return what was compressed: one copy for all who take no gzip and are slow to read."""
    return zlib.decompress(data, _GZIP_WINDOW)


def _path(target: str) -> str:
    """Return the path that a request target names, in origin form or absolute form (RFC 9112, 3.2)."""
    if target.startswith("/"):
        return target.partition("?")[0]
    try:
        return urlsplit(target).path or "/"
    except ValueError:
        return target


def header(request: h11.Request, name: bytes) -> str:
    """Return a header's values, joined by commas; "" where it is missing."""
    return ",".join(value.decode("latin-1") for key, value in request.headers if key == name)
