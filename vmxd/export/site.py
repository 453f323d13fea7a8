"""What is served: paths to answers, made ready once per scan."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import h11

from vmxd.export.exposition import Exposition
from vmxd.export.metrics import Live, process_metrics
from vmxd.export.negotiate import accepts_gzip, choose_format
from vmxd.export.page import render_page
from vmxd.scan import Scan

PLAIN: Final = ("Content-Type", "text/plain; charset=utf-8")
_HTML: Final = ("Content-Type", "text/html; charset=utf-8")
_PAGE_POLICY: Final = (
    "Content-Security-Policy",
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)


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


class Site:
    """The metrics, a health check and the page of one scan.

    requests: the answers so far by status code, which outlive the scan. stale: whether the scan is known to be out of
    date; None where nothing tells. scan_failed: whether a later scan could not be made.
    """

    def __init__(self, scan: Scan, telemetry_path: str, requests: Counter[int]) -> None:
        self.requests = requests
        self.stale: bool | None = None
        self.scan_failed = False
        self._telemetry_path = telemetry_path
        self._exposition = Exposition(scan)
        self._page = render_page(scan.inventory, telemetry_path)

    def answer(self, request: h11.Request) -> Response:
        """Return the answer to a request."""
        if request.method not in (b"GET", b"HEAD"):
            return Response.of_status(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        path = _path(request.target.decode("latin-1"))
        if path == self._telemetry_path:
            return self._metrics(request)
        if path == "/healthz":
            return Response(HTTPStatus.OK, b"ok\n")
        if path == "/":
            return Response(HTTPStatus.OK, self._page, (_HTML, _PAGE_POLICY))
        return Response.of_status(HTTPStatus.NOT_FOUND)

    def _metrics(self, request: h11.Request) -> Response:
        live = Live(self.requests, self.stale, self.scan_failed, process_metrics())
        format_ = choose_format(header(request, b"accept"))
        headers = (("Content-Type", format_.value), ("Vary", "Accept, Accept-Encoding"))
        if accepts_gzip(header(request, b"accept-encoding")):
            body = self._exposition.render_gzip(format_, live)
            return Response(HTTPStatus.OK, body, (*headers, ("Content-Encoding", "gzip")))
        return Response(HTTPStatus.OK, self._exposition.render(format_, live), headers)


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
