"""One HTTP/1.1 connection: h11 reads the requests, a stream moves the bytes, and every state has a deadline."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable
from functools import lru_cache
from http import HTTPStatus
from typing import Final, Protocol

import h11

import vmxd
from vmxd.server.live import Live
from vmxd.server.site import Response, header
from vmxd.server.stream import ContextSource, Stream

HEADER_BYTES_MAX: Final = 16 * 1024
"""Largest request line and headers together; more is answered with 431."""
REQUEST_SECONDS: Final = 10.0
"""Within this time the first request must come, the rest of one that has begun, and each answer must be taken."""
IDLE_SECONDS: Final = 150.0
"""How long a connection may wait for its next request: longer than usual scrape intervals."""
REFUSED_SECONDS: Final = 2.0
"""How long a client that sent a bad request may take to read so."""
DISCARDED_BYTES_MAX: Final = 1024 * 1024
"""How much it may go on sending meanwhile."""
_STEP: Final = 512
"""h11 looks at its limit only when bytes are handed over, so they are in steps that cannot hide a large request."""

_JOINED_MAX: Final = 64 * 1024
"""Longer bodies are sent apart from their head."""

_COMMON: Final = (("Server", f"vmxd/{vmxd.__version__}"), ("X-Content-Type-Options", "nosniff"))
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Keeper(Protocol):
    """What a connection needs of its server."""

    @property
    def live(self) -> Live:
        """Where answers are counted."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers of every answer, in place of the site's of the same name."""

    def touch(self, connection: HttpConnection) -> None:
        """Take note that the client has said something."""

    def forget(self, connection: HttpConnection) -> None:
        """Take note that the connection is no more."""

    def answer(self, request: h11.Request) -> Response | Awaitable[Response]:
        """Return the answer to a request, or who knows it when it can be given."""


class HttpConnection:
    """One client: requests in, answers out, until either side is done.

    ``deadline``: in the loop's time, when the connection is to be ended.
    """

    def __init__(self, keeper: Keeper, client: socket.socket, make_context: ContextSource | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.deadline = self._loop.time() + REQUEST_SECONDS
        self._keeper = keeper
        self._stream = Stream(client, self, make_context)
        self._http = _new_parser()
        self._request: h11.Request | None = None
        self._decision: asyncio.Task[None] | None = None
        self._unread = b""
        self._is_past_turn = False
        self._is_refused = False
        self._discarded = 0
        self._at_end = False
        self._stream.go_on()

    @property
    def waits(self) -> bool:
        """Whether nothing is read for now: an answer is due or not taken, or others have their turn."""
        return self._stream.is_full or self._is_past_turn or self._decision is not None

    def has_data(self) -> bool:
        """Return whether the client has said something that was not read yet."""
        return self._stream.has_data()

    def end(self) -> None:
        """End the connection now; what the client has not taken is lost."""
        self._stream.abort()

    def received(self, data: bytes) -> None:
        """Serve what the bytes ask for."""
        if self._is_refused:
            self._discarded += len(data)
            if self._discarded > DISCARDED_BYTES_MAX:
                self.end()
            return
        self._keeper.touch(self)
        if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
            self._set_deadline(REQUEST_SECONDS)
        self._unread += data
        self._pump()

    def ended(self) -> None:
        """Serve what is left of a client that has said all, then close."""
        self._at_end = True
        if self._is_refused:
            self._close()
        else:
            self._pump()

    def drained(self) -> None:
        """Go on with a client that has taken its answer."""
        if not self._is_busy:
            self._set_deadline(IDLE_SECONDS)
        self._go_on()

    def lost(self) -> None:
        """Forget the connection."""
        if self._decision is not None:
            self._decision.cancel()
        self._keeper.forget(self)

    @property
    def _is_busy(self) -> bool:
        """Whether more is to come of the client than its next request: the rest of one, or the taking of answers."""
        return bool(self.waits or self._unread or self._http.trailing_data[0])

    @property
    def _is_open(self) -> bool:
        return self._stream.is_open and not self._is_refused

    def _go_on(self) -> None:
        if self._is_open and not self.waits:
            self._stream.go_on()
            self._pump()

    def _set_deadline(self, seconds: float) -> None:
        self.deadline = self._loop.time() + seconds

    def _pump(self) -> None:
        while self._is_open and not self.waits:
            try:
                self._serve()
                if self.waits or not (self._unread or self._at_end):
                    break
                self._http.receive_data(self._unread[:_STEP])  # b"" is the end
                self._unread = self._unread[_STEP:]
            except h11.RemoteProtocolError as error:
                self._refuse(HTTPStatus(error.error_status_hint))
        if self.waits:
            self._stream.hold()

    def _serve(self) -> None:
        """Answer every request that is complete."""
        while self._is_open and not self.waits:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._request = event
            elif isinstance(event, h11.EndOfMessage):
                assert self._request is not None
                self._decide(self._request, close=_wants_close(self._request))
            elif event is h11.NEED_DATA and self._request and self._http.they_are_waiting_for_100_continue:
                self._decide(self._request, close=True)
            elif isinstance(event, h11.ConnectionClosed):
                self._close()
            elif not isinstance(event, h11.Data):
                return

    def _decide(self, request: h11.Request, *, close: bool) -> None:
        """Answer the request, at once or as soon as the answer is known."""
        response = self._keeper.answer(request)
        if isinstance(response, Response):
            self._answer(request, response, close=close)
        else:
            self._decision = asyncio.ensure_future(self._answer_later(request, response, close=close))

    async def _answer_later(self, request: h11.Request, awaited: Awaitable[Response], *, close: bool) -> None:
        response = await awaited
        self._decision = None
        self._answer(request, response, close=close)
        self._go_on()

    def _answer(self, request: h11.Request, response: Response, *, close: bool) -> None:
        self._send(response, close=close, body=request.method != b"HEAD")
        if close:
            self._close()
            return
        rest, _ = self._http.trailing_data
        self._unread = rest + self._unread
        self._http, self._request = _new_parser(), None
        if self._unread:
            self._give_way()
        self._set_deadline(REQUEST_SECONDS if self._is_busy else IDLE_SECONDS)

    def _give_way(self) -> None:
        """Let others have a turn before the next of several requests that came at once."""
        self._is_past_turn = True
        self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_past_turn = False
        self._go_on()

    def _refuse(self, status: HTTPStatus) -> None:
        """Say what was wrong, and let the client read that: closing while it sends would take the answer back."""
        self._unread = b""
        self._is_refused = True
        self._send(Response.of_status(status), close=True, body=True)
        self._set_deadline(REFUSED_SECONDS)
        if self._stream.can_end and not self._at_end:
            self._stream.end()
        else:
            self._close()

    def _close(self) -> None:
        self._unread = b""
        self._set_deadline(REQUEST_SECONDS)
        self._stream.close()

    def _send(self, response: Response, *, close: bool, body: bool) -> None:
        self._keeper.live.requests[response.status] += 1
        self._set_deadline(REQUEST_SECONDS)
        start = _start(response.status, response.headers, self._keeper.headers, close)
        date = _http_date(int(time.time()))
        length = b"" if response.status is HTTPStatus.NOT_MODIFIED else b"Content-Length: %d\r\n" % len(response.body)
        head = b"%bDate: %b\r\n%b\r\n" % (start, date, length)
        data = response.body if body else b""
        if len(data) > _JOINED_MAX:  # the body is the site's own, which no client need have a copy of
            self._stream.write(head)
            self._stream.write(data)
        else:
            self._stream.write(head + data)


def _new_parser() -> h11.Connection:
    """Return what reads one request; it knows nothing of the answer, which is ours to write."""
    return h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES_MAX - 1)


def _wants_close(request: h11.Request) -> bool:
    """Return whether a client wants no more than this answer (RFC 9112, 9.3)."""
    options = header(request, b"connection").lower().split(",")
    return request.http_version < b"1.1" or "close" in map(str.strip, options)


_Headers = tuple[tuple[str, str], ...]


@lru_cache(maxsize=64)
def _start(status: HTTPStatus, own: _Headers, above: _Headers, close: bool) -> bytes:
    """Return status line and headers of an answer; a later header takes the place of an earlier one of its name."""
    chosen = (*_COMMON, *own, *above, *((("Connection", "close"),) if close else ()))
    lines = {name.lower(): f"{name}: {value}\r\n" for name, value in chosen}
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{''.join(lines.values())}".encode("ascii")


@lru_cache(maxsize=1)
def _http_date(seconds: int) -> bytes:
    """Return Unix time as an IMF-fixdate (RFC 9110, 5.6.7); email.utils does so too, at 1.5 MiB."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(seconds)
    text = f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year} {hour:02}:{minute:02}:{second:02} GMT"
    return text.encode("ascii")
