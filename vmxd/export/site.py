"""What is served: paths to answers, made ready once per scan."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import h11

from vmxd.export.exposition import Exposition
from vmxd.export.live import Live
from vmxd.export.negotiate import Format, accepts_gzip, choose_format

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


class Rendered(NamedTuple):
    """All that a server hands out and says of one scan, ready made: built-in types only, so that it may cross a pipe.

    expositions: content type to the parts of an Exposition. is_comparable: whether any capability MSR has a value.
    status, reason, hint: the verdict on the host.
    """

    expositions: dict[str, tuple[Any, ...]]
    page: bytes
    kind: str
    root: str
    is_live: bool
    is_usable: bool
    is_comparable: bool
    status: str
    reason: str
    hint: str
    warnings: tuple[str, ...]


class Site:
    """The metrics, a health check and the page of one scan; ``live``: the state of the server."""

    def __init__(self, rendered: Rendered, telemetry_path: str, live: Live) -> None:
        self.live = live
        self._telemetry_path = telemetry_path
        self._expositions = {Format(name): Exposition(*parts) for name, parts in rendered.expositions.items()}
        self._page = rendered.page

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
        format_ = choose_format(header(request, b"accept"))
        exposition, values = self._expositions[format_], self.live.values()
        headers = (("Content-Type", format_.value), ("Vary", "Accept, Accept-Encoding"))
        if accepts_gzip(header(request, b"accept-encoding")):
            return Response(HTTPStatus.OK, exposition.render_gzip(values), (*headers, ("Content-Encoding", "gzip")))
        return Response(HTTPStatus.OK, exposition.render(values), headers)


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
