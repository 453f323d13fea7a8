"""Accept connections, keep their number and time within bounds, and hand them the site, TLS and passwords.

Above the bound the idlest connection goes: who speaks at once is always answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import resource
import socket
from collections import deque
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11

from vmxd.server.http import HttpConnection
from vmxd.server.listen import describe
from vmxd.server.live import LiveCollector
from vmxd.server.site import Headers, Response, Site, header, plain_response

if TYPE_CHECKING:
    import ssl

    from vmxd.server.web_config import WebConfigFile

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 256
"""Connections at one time; fewer if the limit of open files is low."""
TLS_CONNECTIONS_MAX: Final = 64
"""The same with TLS, where OpenSSL keeps some 70 KiB for each connection, in its handshake too."""
HANDSHAKE_SECONDS: Final = 10.0
GOODBYE_SECONDS: Final = 2.0
"""How long a TLS client may take to say goodbye."""
SEND_BUFFER_BYTES: Final = 32 * 1024
"""What the kernel is to keep of answers that a client does not take: one or two. It would keep megabytes."""
_OTHER_FILES: Final = 32
_ACCEPT_BATCH: Final = 16
_TURNS: Final = 4
"""Requests answered before the event loop looks for new ones: a crowd's wait in line, those of new clients do not."""
_RETRY_SECONDS: Final = 0.1
_COLLECTED_AT_ONCE: Final = 32
_TCP_CLOSED: Final = (7, 8)
"""TCP_CLOSE and TCP_CLOSE_WAIT of include/net/tcp_states.h: the client is gone."""


class Server:
    """Serves a site on listening sockets.

    web_config: TLS, passwords and headers, read again when it changes; None: plain HTTP for everybody.
    """

    def __init__(
        self,
        site: Site,
        live: LiveCollector,
        listeners: Sequence[socket.socket],
        web_config: WebConfigFile | None = None,
    ) -> None:
        self._site = site
        self._live = live
        self._listeners = listeners
        self._web_config = web_config
        self._connections: dict[HttpConnection, asyncio.Task[None]] = {}  # the idlest first
        self._newcomers: deque[HttpConnection] = deque()
        self._regulars: deque[HttpConnection] = deque()
        self._takes_turns = False
        self._closed = 0
        self._accepting: list[asyncio.Task[None]] = []
        open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        bound = TLS_CONNECTIONS_MAX if self._context() is not None else CONNECTIONS_MAX
        self._connections_max = max(1, min(bound, open_files - _OTHER_FILES))
        if web_config is not None:
            from vmxd.server.auth import Authenticator  # noqa: PLC0415 (bcrypt: for hosts with passwords only)

            self._authenticator = Authenticator(max(1, self._connections_max // 2))

    def start(self) -> None:
        """Begin to accept connections."""
        scheme = "https" if self._context() is not None else "http"
        gc.collect()
        gc.freeze()  # what is there for good is no work for the collector
        for listener in self._listeners:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # accepted sockets inherit it
            self._accepting.append(asyncio.create_task(self._accept(listener)))
            log.info("listening on %s", describe(listener, scheme))

    def stop(self) -> None:
        """Accept no more, and abort every connection; the listening sockets stay open."""
        for task in self._accepting:
            task.cancel()
        for connection in list(self._connections):
            self._end(connection)

    def sweep(self) -> None:
        """Abort the connections whose deadline has passed; to be called about every second."""
        now = asyncio.get_running_loop().time()
        for connection in [connection for connection in self._connections if connection.deadline < now]:
            self._end(connection)

    # what a connection asks

    @property
    def headers(self) -> Headers:
        """Headers of every answer, in place of the site's of the same name."""
        return self._web_config.current.headers if self._web_config is not None else ()

    def is_welcome(self, transport: asyncio.Transport) -> bool:
        """Whether the certificate of a client, whose handshake is over, names somebody who is allowed in."""
        tls = self._web_config.current.tls if self._web_config is not None else None
        return tls is None or tls.allows(transport.get_extra_info("peercert"))

    def queue_up(self, connection: HttpConnection) -> None:
        """Let a connection take its turn: after those that wait already, but before all that had one."""
        (self._newcomers if connection.is_newcomer else self._regulars).append(connection)
        if not self._takes_turns:
            self._takes_turns = True
            asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        self._takes_turns = bool(self._newcomers or self._regulars)
        if self._takes_turns:
            asyncio.get_running_loop().call_soon(self._take_turns)
        for _ in range(_TURNS):
            if queue := self._newcomers or self._regulars:
                queue.popleft().take_turn()

    def touch(self, connection: HttpConnection) -> None:
        """Mark a connection as most recently active."""
        if (task := self._connections.pop(connection, None)) is not None:
            self._connections[connection] = task

    def forget(self, connection: HttpConnection) -> None:
        """Forget a closed connection.

        To asyncio it is a cycle of transports, buffers and TLS, which would stay until there are many of them.
        """
        self._connections.pop(connection, None)
        self._closed += 1
        if self._closed % _COLLECTED_AT_ONCE == 0:
            gc.collect()

    def count(self, status: HTTPStatus) -> None:
        """Count an answer."""
        self._live.answers[status] += 1

    def answer(self, request: h11.Request) -> Response | asyncio.Task[Response]:
        """Answer a request; a task if its password is to be checked first."""
        if self._web_config is None:
            return self._site.answer(request)
        self._web_config.refresh()
        users = self._web_config.current.users
        verdict = self._authenticator.check(header(request, b"authorization"), users)
        if isinstance(verdict, HTTPStatus):
            return self._answer_if(verdict, request)

        async def wait() -> Response:
            return self._answer_if(await verdict, request)

        return asyncio.create_task(wait())

    def _answer_if(self, status: HTTPStatus, request: h11.Request) -> Response:
        if status is HTTPStatus.OK:
            return self._site.answer(request)
        if status is HTTPStatus.UNAUTHORIZED:
            return plain_response(status, ("WWW-Authenticate", 'Basic charset="UTF-8"'))
        return plain_response(status, ("Retry-After", "5"))

    # connections

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(_ACCEPT_BATCH):
                try:
                    client, _address = await loop.sock_accept(listener)
                except ConnectionError:
                    continue  # gone before its turn
                except OSError:  # out of files or memory
                    self._make_room()
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                if len(self._connections) >= self._connections_max:
                    self._make_room()
                self._start(client)
            await asyncio.sleep(0)

    def _start(self, client: socket.socket) -> None:
        if self._web_config is not None:
            self._web_config.refresh()
        context = self._context()
        if context is not None and _is_gone(client):  # a handshake would sign for nobody
            client.close()
            return
        connection = HttpConnection(self)
        self._connections[connection] = asyncio.create_task(self._connect(connection, client, context))

    async def _connect(self, connection: HttpConnection, client: socket.socket, context: ssl.SSLContext | None) -> None:
        times = (HANDSHAKE_SECONDS, GOODBYE_SECONDS) if context is not None else (None, None)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                client,
                ssl=context,
                ssl_handshake_timeout=times[0],
                ssl_shutdown_timeout=times[1],
            )
        except OSError:  # of which ssl.SSLError is one
            client.close()
        finally:
            if not connection.is_connected:
                self.forget(connection)

    def _context(self) -> ssl.SSLContext | None:
        return self._web_config.current.context if self._web_config is not None else None

    def _make_room(self) -> None:
        """Abort the idlest connection that waits neither for its first turn nor for the check of its password."""
        idle = (connection for connection in self._connections if not connection.is_waiting)
        if (connection := next(idle, next(iter(self._connections), None))) is not None:
            self._end(connection)

    def _end(self, connection: HttpConnection) -> None:
        task = self._connections.pop(connection)
        if connection.is_connected:
            connection.abort()
        else:
            task.cancel()


def _is_gone(client: socket.socket) -> bool:
    """Whether a client has closed its side already."""
    with contextlib.suppress(OSError):
        return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _TCP_CLOSED
    return False
