"""A client's socket on the event loop, plain or TLS: it never blocks, and holds little for each client.

asyncio's own transports would do, at twice the CPU time for each connection, and with TLS at 80 KiB of buffers that
stay until the garbage collector runs (asyncio/sslproto.py, Python 3.11).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import ssl

ContextSource = Callable[[], "ssl.SSLContext"]

_BUFFER: Final = memoryview(bytearray(4 * 1024))
"""What is read at once, and so kept of a client that asks faster than it reads; one for all, who are served in turn."""


class Receiver(Protocol):
    """Who has a stream."""

    def received(self, data: bytes) -> None:
        """Take what the client has said; not after hold()."""

    def ended(self) -> None:
        """Take note that the client has said all."""

    def drained(self) -> None:
        """Take note that the client has taken all of what write() could not hand over at once."""

    def lost(self) -> None:
        """Take note that the connection is no more. Comes once, whoever ended it."""


class Stream:
    """One client's connection; nothing is read before go_on().

    make_context: what the server's end of TLS is made of, once the client has said its first byte; None: plain.
    """

    def __init__(self, client: socket.socket, receiver: Receiver, make_context: ContextSource | None) -> None:
        client.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._socket = client
        self._receiver = receiver
        self._make_context = make_context
        self._tls: ssl.SSLSocket | None = None
        self._is_shaking_hands = make_context is not None
        self._unsent: bytes | memoryview = b""
        self._reads = False
        self._writes = False
        self._is_at_end = False
        self._closes = False
        self._is_lost = False

    @property
    def is_open(self) -> bool:
        """Whether there is a client to talk to."""
        return not self._closes

    @property
    def is_full(self) -> bool:
        """Whether something written has not been taken yet."""
        return bool(self._unsent)

    @property
    def can_end(self) -> bool:
        """Whether end() can leave the client's way open; not with TLS."""
        return self._make_context is None

    def has_data(self) -> bool:
        """Return whether the client has said something that was not read yet."""
        try:
            return bool(socket.socket.recv(self._socket, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def go_on(self) -> None:
        """Read what the client says, as soon as it does."""
        if not (self._reads or self._is_at_end or self._is_lost):
            self._reads = True
            self._loop.add_reader(self._socket, self._readable)
            if self._tls is not None and self._tls.pending():
                self._loop.call_soon(self._readable)

    def hold(self) -> None:
        """Read nothing more for now."""
        if self._reads:
            self._reads = False
            self._loop.remove_reader(self._socket)

    def write(self, data: bytes) -> None:
        """Hand bytes over; what does not fit now goes as the client takes it, and is not copied."""
        self._unsent = b"".join((self._unsent, data)) if self._unsent else memoryview(data)
        self._flush(waited=False)

    def end(self) -> None:
        """Say that this was all; the client may go on to talk."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End the connection once all that was written is handed over."""
        self._closes = True
        self.hold()
        if not self._unsent:
            if self._tls is not None and not self._is_shaking_hands:
                with contextlib.suppress(OSError, ValueError):
                    self._tls.unwrap()  # says goodbye, and waits for none in return
            self.abort()

    def abort(self) -> None:
        """End the connection now; what the client has not taken is lost."""
        if self._is_lost:
            return
        self._is_lost = self._closes = True
        self.hold()
        self._watch_for_room(False)
        self._socket.close()
        self._unsent = b""
        self._receiver.lost()

    def _readable(self) -> None:
        if not self._reads:
            return
        if self._is_shaking_hands:
            self._shake_hands()
            return
        try:
            count = self._socket.recv_into(_BUFFER)
        except OSError as error:
            if not self._must_wait(error):
                self.abort()
            return
        if not count:
            self._is_at_end = True
            self.hold()
            self._receiver.ended()
            return
        self._receiver.received(bytes(_BUFFER[:count]))
        if self._tls is not None and self._reads and self._tls.pending():
            self._loop.call_soon(self._readable)

    def _writable(self) -> None:
        self._watch_for_room(False)
        if self._is_shaking_hands:
            self._shake_hands()
        elif self._unsent:
            self._flush(waited=True)
        else:
            self._readable()

    def _shake_hands(self) -> None:
        try:
            if self._tls is None:
                assert self._make_context is not None
                self.hold()
                self._tls = self._make_context().wrap_socket(
                    self._socket, server_side=True, do_handshake_on_connect=False
                )
                self._socket = self._tls
                self.go_on()
            self._tls.do_handshake()
        except OSError as error:  # of which ssl.SSLError is one
            if not self._must_wait(error):
                self.abort()
            return
        self._is_shaking_hands = False
        self._readable()

    def _flush(self, *, waited: bool) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            self._unsent = b""  # an empty view would keep what it was a view of
        except OSError as error:
            if self._must_wait(error):
                self._watch_for_room(True)
            else:
                self.abort()
            return
        if self._closes:
            self.close()
        elif waited:
            self._receiver.drained()

    def _must_wait(self, error: OSError) -> bool:
        """Return whether an error says "not now"; where TLS wants room to write, ask for it."""
        if isinstance(error, BlockingIOError | InterruptedError):
            return True
        if self._tls is None:
            return False
        import ssl  # noqa: PLC0415 (4 MiB that only TLS needs)

        if isinstance(error, ssl.SSLWantWriteError):
            self._watch_for_room(True)
            return True
        return isinstance(error, ssl.SSLWantReadError)

    def _watch_for_room(self, wanted: bool) -> None:
        if wanted and not self._writes:
            self._loop.add_writer(self._socket, self._writable)
        elif self._writes and not wanted:
            self._loop.remove_writer(self._socket)
        self._writes = wanted
