"""One HTTP/1.1 connection on an asyncio transport: h11 parses a request and frames its answer, this bounds both."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11

import vmxd
from vmxd.server.site import Headers, Response, plain_response

if TYPE_CHECKING:
    from vmxd.server.server import Server

HEAD_BYTES_MAX: Final = 16 * 1024
"""Largest request line and headers together; above this or the next two the answer is 431."""
HEAD_LINES_MAX: Final = 100
HEAD_ELEMENTS_MAX: Final = 256
"""Commas and semicolons of a head together: each element of a list takes time to parse."""
REQUEST_SECONDS: Final = 10.0
"""Time for the first request, for the rest of one that has begun, and for the client to take each answer."""
CHECK_SECONDS: Final = 60.0
"""Time for the check of a password."""
IDLE_SECONDS: Final = 150.0
"""How long a connection may wait for its next request: longer than usual scrape intervals."""
LINGER_SECONDS: Final = 2.0
"""How long a client that is cut off may take to read why."""
LINGER_BYTES_MAX: Final = 1024 * 1024
"""How much it may go on sending meanwhile."""
_CHUNK: Final = 32 * 1024
"""Bytes of an answer handed to the transport at once, which keeps a copy of what the client does not take."""

_RECEIVED: Final = memoryview(bytearray(4 * 1024))
"""The read buffer of all connections: asyncio fills it and hands it over in one step."""
_COMMON: Final = (("Server", f"vmxd/{vmxd.__version__}"), ("X-Content-Type-Options", "nosniff"))


class HttpConnection(asyncio.BufferedProtocol):
    """One client: requests in, answers out, one at a time.

    deadline: in the loop's time, when the server is to abort the connection.
    """

    def __init__(self, server: Server) -> None:
        self._is_new = True
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._searched = 0
        self._has_begun = False
        self._is_scheduled = False
        self._unsent = memoryview(b"")
        self._may_write = True
        self._decision: asyncio.Task[Response] | None = None
        self._at_end = False
        self._closes = False
        self._discarded: int | None = None
        self._set_deadline(REQUEST_SECONDS)

    @property
    def is_waiting(self) -> bool:
        """Whether the client waits for its first turn, or for the check of its password: it is not idle."""
        return self._decision is not None or (self._is_scheduled and self.is_newcomer)

    @property
    def is_newcomer(self) -> bool:
        """Whether the client had no answer yet and has sent no more than one request."""
        return self._is_new and b"\r\n\r\n" not in self._buffer[:-4]

    @property
    def is_connected(self) -> bool:
        """Whether the transport is up, with TLS if there is to be TLS."""
        return self._transport is not None

    def abort(self) -> None:
        """Close the connection at once; what the client has not taken is lost."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; abort it if the client's certificate is not welcome."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(1, 0)  # pause_writing then says that the client does not take it all
        if not self._server.is_welcome(transport):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget the client."""
        self._closes = True
        if self._decision is not None:
            self._decision.cancel()
        self._server.forget(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Lend the read buffer."""
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was received."""
        if self._discarded is not None:
            self._discarded += nbytes
            if self._discarded > LINGER_BYTES_MAX:
                self.abort()
        elif not self._closes:
            self._server.touch(self)
            self._buffer += _RECEIVED[:nbytes]
            self._schedule()

    def eof_received(self) -> bool:
        """Handle EOF: a client may still wait for its answer, but not over TLS."""
        assert self._transport is not None
        self._at_end = True
        if self._discarded is not None:
            self._close_transport()
        else:
            self._schedule()
        return self._transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        """Stop: the client does not take its answer."""
        self._may_write = False

    def resume_writing(self) -> None:
        """Go on: the client has taken what was handed over."""
        self._may_write = True
        self._flush()
        if not self._is_busy:
            self._set_deadline(IDLE_SECONDS)
            self._schedule()

    @property
    def _is_busy(self) -> bool:
        return self._decision is not None or bool(self._unsent) or not self._may_write

    def _set_deadline(self, seconds: float) -> None:
        self.deadline = self._loop.time() + seconds

    def _schedule(self) -> None:
        """Queue up for a turn, after which reading goes on; read no more until then."""
        assert self._transport is not None
        if self._is_scheduled or self._is_busy:
            if self._buffer:
                self._transport.pause_reading()
        else:
            self._is_scheduled = True
            self._server.queue_up(self)

    def take_turn(self) -> None:
        """Answer the next request if it is whole; read on if it is not."""
        assert self._transport is not None
        self._is_scheduled = False
        if self._closes or self._is_busy:
            return
        while self._buffer.startswith((b"\r", b"\n")):  # RFC 9112, 2.2
            del self._buffer[:1]
        if self._buffer and not self._has_begun:
            self._has_begun = True
            self._set_deadline(REQUEST_SECONDS)
        end = self._end_of_head()
        head = bytes(self._buffer[:end] if end else self._buffer)
        if _is_too_large(head):
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif end:
            del self._buffer[:end]
            self._searched, self._has_begun = 0, False
            self._ask(head)
        elif head and (self._at_end or head[0] < ord("!")):  # half a request, or one of TLS
            self._refuse(HTTPStatus.BAD_REQUEST)
        elif self._at_end:
            self._close()
        else:
            self._transport.resume_reading()

    def _end_of_head(self) -> int:
        """Find where the blank line after the headers ends; 0 if it has not come."""
        found = [(self._buffer.find(blank, self._searched), len(blank)) for blank in (b"\n\r\n", b"\n\n")]
        self._searched = max(0, len(self._buffer) - 2)
        return min((at + length for at, length in found if at >= 0), default=0)

    def _ask(self, head: bytes) -> None:
        """Have a request answered, at once or when its password is checked."""
        http = h11.Connection(h11.SERVER)
        try:
            http.receive_data(head)
            request = http.next_event()
            assert isinstance(request, h11.Request)
            has_body = not isinstance(http.next_event(), h11.EndOfMessage)
        except h11.RemoteProtocolError as error:
            self._refuse(HTTPStatus(error.error_status_hint))
            return
        if has_body and request.method in (b"GET", b"HEAD"):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        response = self._server.answer(request)
        if isinstance(response, Response):
            self._answer(response, http, request, cut_off=has_body)
            return

        def decided(task: asyncio.Task[Response]) -> None:
            self._decision = None
            if task.cancelled() or self._closes:
                return
            self._answer(task.result(), http, request, cut_off=has_body)

        self._decision = response
        self._set_deadline(CHECK_SECONDS)
        response.add_done_callback(decided)

    def _refuse(self, status: HTTPStatus) -> None:
        """Say what was wrong with a request, and hear no more."""
        self._answer(plain_response(status), h11.Connection(h11.SERVER), None, cut_off=True)

    def _answer(self, response: Response, http: h11.Connection, request: h11.Request | None, *, cut_off: bool) -> None:
        """Send an answer; cut_off: hear no more from the client."""
        assert self._transport is not None
        self._server.count(response.status)
        self._is_new = False
        body = b"" if request is not None and request.method == b"HEAD" else response.body
        start = http.send(
            h11.Response(
                status_code=response.status,
                reason=response.status.phrase.encode(),
                headers=[*_headers(response, self._server.headers, cut_off), ("Date", formatdate(usegmt=True))],
            )
        )
        self._set_deadline(REQUEST_SECONDS)
        self._unsent = memoryview(body)[_CHUNK:]
        self._transport.write((start or b"") + body[:_CHUNK])
        self._flush()
        if cut_off:
            self._cut_off()
        elif http.their_state is h11.MUST_CLOSE:
            self._close()
        elif self._buffer or self._at_end:
            self._schedule()
        elif not self._is_busy:
            self._set_deadline(IDLE_SECONDS)
            self._transport.resume_reading()

    def _flush(self) -> None:
        """Hand over the rest of an answer as the client takes it."""
        assert self._transport is not None
        while self._unsent and self._may_write:
            chunk, self._unsent = self._unsent[:_CHUNK], self._unsent[_CHUNK:]
            self._transport.write(chunk)
        if self._closes and self._discarded is None and not self._unsent:
            self._loop.call_soon(self._close_transport)  # not within resume_writing(): asyncio would close it twice

    def _close_transport(self) -> None:
        """Close it once: up to Python 3.11.2, asyncio's TLS cannot abort what was closed twice."""
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.close()

    def _close(self) -> None:
        """Close the connection once the client has taken its answer."""
        self._closes = True
        self._buffer.clear()
        self._flush()

    def _cut_off(self) -> None:
        """Close for writing and discard what still comes: to close at once would take the answer back."""
        assert self._transport is not None
        if self._at_end or not self._transport.can_write_eof():
            self._close()
            return
        self._closes = True
        self._buffer.clear()
        self._discarded = 0
        self._set_deadline(LINGER_SECONDS)
        try:
            self._transport.write_eof()
        except OSError:  # the client has reset the connection, which asyncio has not read yet
            self.abort()
        else:
            self._transport.resume_reading()


def _is_too_large(head: bytes) -> bool:
    return (
        len(head) > HEAD_BYTES_MAX
        or head.count(b"\n") > HEAD_LINES_MAX
        or head.count(b",") + head.count(b";") > HEAD_ELEMENTS_MAX
    )


@lru_cache(maxsize=64)
def _merge(own: Headers, above: Headers, close: bool) -> Headers:
    """Merge the headers of an answer; a later one takes the place of an earlier one of its name."""
    chosen = (*_COMMON, *own, *above, *((("Connection", "close"),) if close else ()))
    return tuple({name.lower(): (name, value) for name, value in chosen}.values())


def _headers(response: Response, above: Headers, close: bool) -> Headers:
    headers = _merge(response.headers, above, close)
    if response.status is HTTPStatus.NOT_MODIFIED:
        return headers
    return (*headers, ("Content-Length", str(len(response.body))))
