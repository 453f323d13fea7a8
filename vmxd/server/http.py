"""The server: accepts connections, keeps their number within bounds, ends those that are over their time.

Above the bound the idlest connection that has nothing to say goes, so that whoever speaks at once is always answered.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Awaitable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11

from vmxd.server.connection import HttpConnection
from vmxd.server.listen import describe
from vmxd.server.live import Live
from vmxd.server.site import Response, Site, header

if TYPE_CHECKING:
    import ssl

    from vmxd.server.web_config import WebConfigFile

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 256
"""Connections at one time; fewer where the limit of open files is low."""
TLS_CONNECTIONS_MAX: Final = 64
"""The same with TLS, where OpenSSL keeps some 70 KiB for each connection, in its handshake too."""
SEND_BUFFER_BYTES: Final = 32 * 1024
"""What the kernel is to keep of answers that a client does not take: one or two. It would keep megabytes."""
_UNAUTHORIZED: Final = Response.of_status(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", 'Basic charset="UTF-8"'))
_OTHER_FILES: Final = 32
_ACCEPT_BATCH: Final = 16
_RETRY_SECONDS: Final = 0.1


class Server:
    """Serves a site on listening sockets; ``site`` may be replaced at any time.

    web_config: TLS, passwords and headers, read again when it changes; None: plain HTTP for everybody.
    """

    def __init__(self, site: Site, listeners: Sequence[socket.socket], web_config: WebConfigFile | None = None) -> None:
        self.site = site
        self._listeners = listeners
        self._loop = asyncio.get_running_loop()
        self._connections: dict[HttpConnection, None] = {}  # the idlest first
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        is_tls = web_config is not None and web_config.current.tls is not None
        bound = TLS_CONNECTIONS_MAX if is_tls else CONNECTIONS_MAX
        self._connections_max = max(1, min(bound, open_files - _OTHER_FILES))
        self._web_config = web_config
        if web_config is not None:
            from vmxd.server.auth import Authenticator  # noqa: PLC0415 (bcrypt: only where passwords are asked for)

            self._authenticator = Authenticator()

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers of every answer."""
        return self._web_config.current.headers if self._web_config is not None else ()

    @property
    def live(self) -> Live:
        """Where answers are counted."""
        return self.site.live

    def answer(self, request: h11.Request) -> Response | Awaitable[Response]:
        """Return the answer to a request, or who knows it when it can be given."""
        if self._web_config is None:
            return self.site.answer(request)
        self._web_config.refresh()
        users = self._web_config.current.users
        if not users:
            return self.site.answer(request)
        allowed = self._authenticator.check(header(request, b"authorization") or None, users)
        return self._answer_if(allowed, request)

    async def _answer_if(self, allowed: Awaitable[bool], request: h11.Request) -> Response:
        if not await allowed:
            return _UNAUTHORIZED
        response = self.site.answer(request)
        return response if isinstance(response, Response) else await response

    def start(self) -> None:
        """Begin to accept connections."""
        scheme = "https" if self._web_config is not None and self._web_config.current.tls else "http"
        for listener in self._listeners:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # accepted sockets inherit it
            self._loop.add_reader(listener, self._accept, listener)
            log.info("listening on %s", describe(listener, scheme))

    def stop(self) -> None:
        """Accept no more, and end every connection."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        for connection in list(self._connections):
            connection.end()

    def sweep(self) -> None:
        """End the connections that are over their time; to be called about every second."""
        now = self._loop.time()
        for connection in [connection for connection in self._connections if connection.deadline < now]:
            connection.end()

    def touch(self, connection: HttpConnection) -> None:
        """Take note that a client has said something."""
        del self._connections[connection]
        self._connections[connection] = None

    def forget(self, connection: HttpConnection) -> None:
        """Take note that a connection is no more."""
        self._connections.pop(connection, None)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                client, _address = listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # it went away before we came to it
            except OSError:  # out of files or memory: make room, and let the loop breathe
                self._make_room()
                self._loop.remove_reader(listener)
                self._loop.call_later(_RETRY_SECONDS, self._resume, listener)
                return
            if len(self._connections) >= self._connections_max:
                self._make_room()
            self._start_connection(client)

    def _resume(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._loop.add_reader(listener, self._accept, listener)

    def _start_connection(self, client: socket.socket) -> None:
        tls = False
        if self._web_config is not None:
            self._web_config.refresh()
            tls = self._web_config.current.tls is not None
        self._connections[HttpConnection(self, client, self._tls_context if tls else None)] = None

    def _tls_context(self) -> ssl.SSLContext:
        """Return what a new connection's TLS is made of."""
        assert self._web_config is not None
        context = self._web_config.current.ssl_context()
        assert context is not None  # WebConfigFile never goes back to plain HTTP
        return context

    def _make_room(self) -> None:
        """End the idlest connection that has nothing to say, or has had its turn and wants more; else the idlest."""
        chosen = (connection for connection in self._connections if connection.waits or not connection.has_data())
        if (connection := next(chosen, next(iter(self._connections), None))) is not None:
            connection.end()
