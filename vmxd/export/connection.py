"""One HTTP/1.1 connection: h11 keeps the protocol, asyncio moves the bytes, and every state has a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, Protocol

import h11

import vmxd
from vmxd.export.site import Response, Site, header

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

_BUFFER_BYTES: Final = 16 * 1024
"""What is read at once, and what may wait to be taken before nothing more is read."""
_BUFFER: Final = memoryview(bytearray(_BUFFER_BYTES))

_COMMON: Final = (("Server", f"vmxd/{vmxd.__version__}"), ("X-Content-Type-Options", "nosniff"))
_UNAUTHORIZED: Final = Response.of_status(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", 'Basic charset="UTF-8"'))


class Keeper(Protocol):
    """What a connection needs of its server."""

    @property
    def site(self) -> Site:
        """What to answer with, as of now."""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers of every answer, in place of the site's of the same name."""

    def touch(self, connection: HttpConnection) -> None:
        """Take note that the client has said something."""

    def forget(self, connection: HttpConnection) -> None:
        """Take note that the connection is no more."""

    def authorize(self, authorization: str | None) -> Awaitable[bool] | None:
        """Return whether a request with this Authorization header may be answered; None: any may."""


class HttpConnection(asyncio.BufferedProtocol):
    """One client: requests in, answers out, until either side is done.

    ``deadline``: in the loop's time, when the connection is to be ended.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
        self._keeper = keeper
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES_MAX - 1)
        self._transport: asyncio.Transport | None = None
        self._request: h11.Request | None = None
        self._decision: asyncio.Task[None] | None = None
        self._unread = b""
        self._is_full = False
        self._is_past_turn = False
        self._is_refused = False
        self._discarded = 0
        self._at_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (whatever ended it, it has ended)
        """Forget the connection."""
        self._transport = None
        if self._decision is not None:
            self._decision.cancel()
        self._keeper.forget(self)

    @property
    def is_connected(self) -> bool:
        """Whether there is a transport: not before a TLS handshake has ended."""
        return self._transport is not None

    def end(self) -> None:
        """End the connection now; what the client has not taken is lost."""
        if self._transport is not None:
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (small on purpose)
        """Return where the next bytes go: one buffer for all connections, which are served one after the other."""
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Serve what the bytes ask for."""
        if self._is_refused:
            self._discarded += nbytes
            if self._discarded > DISCARDED_BYTES_MAX:
                self.end()
            return
        data = bytes(_BUFFER[:nbytes])
        self._keeper.touch(self)
        if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
            self._set_deadline(REQUEST_SECONDS)
        self._unread += data
        self._pump()

    def eof_received(self) -> bool:
        """Serve what is left of a client that has said all, then close."""
        self._at_end = True
        if self._is_refused:
            return False
        self._pump()
        return self.waits  # answers that are due, or not taken yet

    def pause_writing(self) -> None:
        """Read nothing more from a client that does not take its answers."""
        self._is_full = True
        self._hold()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_full = False
        if not self._is_busy:
            self._set_deadline(IDLE_SECONDS)
        self._go_on()

    @property
    def waits(self) -> bool:
        """Whether nothing is read for now: an answer is due or not taken, or others have their turn."""
        return self._is_full or self._is_past_turn or self._decision is not None

    @property
    def _is_busy(self) -> bool:
        """Whether more is to come of the client than its next request: the rest of one, or the taking of answers."""
        return bool(self.waits or self._unread or self._http.trailing_data[0])

    @property
    def _is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and not self._is_refused

    def _hold(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if self._is_open and not self.waits:
            assert self._transport is not None
            if not self._at_end:
                self._transport.resume_reading()
            self._pump()

    def _set_deadline(self, seconds: float) -> None:
        self.deadline = asyncio.get_running_loop().time() + seconds

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

    def _serve(self) -> None:
        """Answer every request that is complete."""
        while not self.waits:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._request = event
            elif isinstance(event, h11.EndOfMessage) or (
                event is h11.NEED_DATA and self._request and self._http.they_are_waiting_for_100_continue
            ):
                self._decide(close=event is h11.NEED_DATA)
            elif isinstance(event, h11.ConnectionClosed):
                self._close()
                return
            elif not isinstance(event, h11.Data):
                return

    def _decide(self, *, close: bool) -> None:
        """Answer the request, at once or as soon as it is known whether its sender may have an answer."""
        assert self._request is not None
        verdict = self._keeper.authorize(header(self._request, b"authorization") or None)
        if verdict is None:
            self._answer(self._keeper.site.answer(self._request), close=close)
            return
        self._hold()
        self._decision = asyncio.ensure_future(self._answer_if(verdict, close=close))

    async def _answer_if(self, verdict: Awaitable[bool], *, close: bool) -> None:
        assert self._request is not None
        allowed = await verdict
        self._decision = None
        self._answer(self._keeper.site.answer(self._request) if allowed else _UNAUTHORIZED, close=close)
        self._go_on()

    def _answer(self, response: Response, *, close: bool) -> None:
        self._send(response, close=close)
        self._request = None
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            if self._unread or self._http.trailing_data[0]:
                self._give_way()
            self._set_deadline(REQUEST_SECONDS if self._is_busy else IDLE_SECONDS)
        else:
            self._close()

    def _give_way(self) -> None:
        """Let others have a turn before the next of several requests that came at once."""
        self._is_past_turn = True
        self._hold()
        asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._is_past_turn = False
        self._go_on()

    def _refuse(self, status: HTTPStatus) -> None:
        """Say what was wrong, and let the client read that: closing while it sends would take the answer back."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(Response.of_status(status), close=True)
        self._unread = b""
        self._is_refused = True
        self._set_deadline(REFUSED_SECONDS)
        if self._transport is not None and self._transport.can_write_eof() and not self._at_end:
            self._transport.write_eof()
        else:
            self._close()

    def _close(self) -> None:
        self._unread = b""
        self._set_deadline(REQUEST_SECONDS)
        if self._transport is not None:
            self._transport.close()

    def _send(self, response: Response, *, close: bool) -> None:
        self._keeper.site.requests[response.status] += 1
        fixed = (*_COMMON, ("Date", formatdate(usegmt=True)), ("Content-Length", str(len(response.body))))
        chosen = (*fixed, *response.headers, *self._keeper.headers, *((("Connection", "close"),) if close else ()))
        headers = list({name.lower(): (name, value) for name, value in chosen}.values())
        reason = response.status.phrase.encode()
        start = h11.Response(status_code=response.status, reason=reason, headers=headers)
        data = self._http.send(start) or b""
        if self._request is None or self._request.method != b"HEAD":
            data += self._http.send(h11.Data(data=response.body)) or b""
        self._set_deadline(REQUEST_SECONDS)
        if self._transport is not None:
            self._transport.write(data + (self._http.send(h11.EndOfMessage()) or b""))
