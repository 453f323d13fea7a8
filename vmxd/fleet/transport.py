"""One HTTP server, asked by POST: one deadline and one bound hold for every byte that it sends.

The deadline covers connecting, TLS, status lines, headers, 100 Continue, chunk lines and bodies of all requests.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import re
import socket
import ssl
import threading
import time
import urllib.request
import zlib
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from vmxd.errors import UsageError, VmxdError
from vmxd.fleet.http_config import HttpConfig

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ANSWER_MAX: Final = 128 << 20
"""Bytes of an answer, packed and unpacked: vmx_host_info of 200,000 hosts."""
_OVERHEAD_MAX: Final = 1 << 20
"""Bytes of an answer beside its body."""
_CHUNK: Final = 1 << 16
_SHOWN: Final = 200
_PORTS: Final = {"http": 80, "https": 443}


class PrometheusError(VmxdError):
    """Raised when a Prometheus cannot be asked, or does not answer as one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and unpacked body of an answer."""

    status: int
    headers: Message
    body: bytes


class Transport:
    """Connections to the server of a URL; the deadline is ``timeout`` seconds after the first request.

    Threads may ask at the same time, each over a connection of its own.
    posts: how often it was asked. received: the bytes that the server has sent.
    """

    def __init__(self, url: str, config: HttpConfig, timeout: float) -> None:
        """Raise UsageError if the environment or the configuration names a proxy that is none."""
        self.posts = 0
        self.received = 0
        self._url = url
        self._server = urlsplit(url)
        self._config = config
        self._timeout = timeout
        self._deadline: float | None = None
        self._counting = threading.Lock()
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []
        self._is_closed = False
        proxy = config.proxy or _proxy_of(self._server)
        self._proxy = _checked_proxy(proxy) if proxy else None

    def close(self) -> None:
        """Close all connections, those that a thread still waits for too, and open no other."""
        self._is_closed = True
        for connection in tuple(self._open):
            sock: socket.socket | None = connection.sock
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR) if sock else None
            self._drop(connection)

    def seconds_left(self) -> float:
        """Seconds until the deadline. Raises PrometheusError if it has passed."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._timeout
        if now >= self._deadline:
            raise self._late()
        return self._deadline - now

    def post(self, path: str, body: bytes) -> Reply:
        """Send a form to a path below the URL. Raises PrometheusError."""
        with self._counting:
            self.posts += 1
        return self._post(path, body)

    def _post(self, path: str, body: bytes) -> Reply:
        headers = {**self._config.headers, "Content-Type": "application/x-www-form-urlencoded"}
        kept = self._idle.pop() if self._idle else None
        connection = kept
        try:
            connection = kept or self._connected()
            response = self._sent(connection, path, body, headers)
        except (ConnectionError, http.client.BadStatusLine) as error:
            self._drop(connection)
            if kept is None or self._is_closed:
                raise self._failed(error) from error
            return self._post(path, body)  # the server had closed a connection that was kept
        except (OSError, http.client.HTTPException, UnicodeError, ValueError) as error:
            self._drop(connection)
            raise self._failed(error) from error
        try:
            with response:
                unpacked = self._body(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop(connection)
            raise self._failed(error) from error
        if response.will_close or self._is_closed:
            self._drop(connection)
        else:
            self._idle.append(connection)
        return Reply(response.status, response.headers, unpacked)

    def count(self, received: int) -> None:
        """Count bytes that the server has sent."""
        with self._counting:
            self.received += received

    def too_much(self) -> PrometheusError:
        """Return the error for an answer that is too long."""
        return PrometheusError(
            f"{self._url} answered with more than {ANSWER_MAX >> 20} MiB", "ask for less with --selector"
        )

    # How it is connected ---------------------------------------------------------------------------------------------

    def _sent(
        self, connection: _Connection, path: str, body: bytes, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        connection.left = ANSWER_MAX + _OVERHEAD_MAX
        connection.sock.settimeout(self.seconds_left())
        target = self._server.path + path
        if self._proxy and self._server.scheme == "http":
            target = f"http://{self._server.netloc}{target}"
            headers = {**headers, **_proxy_authorization(self._proxy)}
        connection.request("POST", target, body, headers)
        return connection.getresponse()

    def _drop(self, connection: _Connection | None) -> None:
        if connection is not None:
            self._open.discard(connection)
            connection.close()

    def _connected(self) -> _Connection:
        host, scheme = self._server.hostname or "", self._server.scheme
        port = self._server.port or _PORTS[scheme]
        connection = _Connection(host, port, transport=self)
        connection.default_port = _PORTS[scheme]
        via = self._proxy or self._server
        sock = self._socket(via.hostname or "", via.port or _PORTS[via.scheme])
        try:
            if via.scheme == "https" and self._proxy:
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=via.hostname)
            if scheme == "https":
                if self._proxy:
                    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                    self._tunnel(sock, connection, target, self._proxy)
                context = self._config.tls or ssl.create_default_context()
                sock.settimeout(self.seconds_left())
                sock = context.wrap_socket(sock, server_hostname=self._config.server_name or host)
        except BaseException:
            sock.close()
            raise
        connection.sock = sock
        self._open.add(connection)
        return connection

    def _socket(self, host: str, port: int) -> socket.socket:
        failure = OSError("no address")
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise _ConnectError(_reason(error)) from error
        for family, kind, protocol, _, address in addresses:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(self.seconds_left())
                sock.connect(address)
            except OSError as error:
                failure = error
                sock.close()
            except BaseException:
                sock.close()
                raise
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
        if isinstance(failure, TimeoutError):
            raise failure
        raise _ConnectError(_reason(failure)) from failure

    @staticmethod
    def _tunnel(sock: socket.socket, connection: _Connection, target: str, proxy: SplitResult) -> None:
        headers = {"Host": target, **_proxy_authorization(proxy)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\n{lines}\r\n".encode())
        with _Response(sock, method="CONNECT", connection=connection) as response:
            response.begin()
            if response.status != http.client.OK:
                raise _ConnectError(f"it answered {response.status}")

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        packed = response.headers.get("Content-Encoding", "identity").lower() != "identity"
        unpack = zlib.decompressobj(wbits=31)
        body = bytearray()
        try:
            while chunk := response.read(_CHUNK):
                body += unpack.decompress(chunk, ANSWER_MAX) if packed else chunk
                if len(body) > ANSWER_MAX or unpack.unconsumed_tail:
                    raise self.too_much()
        except zlib.error as error:
            raise PrometheusError(f"{self._url} sent what is no gzip: {error}", "is it a Prometheus?") from error
        return bytes(body)

    # What goes wrong -------------------------------------------------------------------------------------------------

    def _late(self) -> PrometheusError:
        return PrometheusError(
            f"{self._url} did not answer within {self._timeout:g} s", "allow more with --timeout, or ask for less"
        )

    def _failed(self, error: Exception) -> PrometheusError:
        what = short(_reason(error))
        if isinstance(error, TimeoutError):
            return self._late()
        if isinstance(error, _ConnectError) and self._proxy:
            return PrometheusError(
                f"{self._url} cannot be reached through the proxy {_netloc(self._proxy)}: {what}",
                "look at proxy_url in --http.config.file, or http_proxy, https_proxy and no_proxy in the environment",
            )
        if isinstance(error, ssl.SSLError):
            hint = "name its CA, or a client certificate, in tls_config of --http.config.file; is it https at all?"
            return PrometheusError(f"TLS with {self._url} failed: {what}", hint)
        if isinstance(error, _ConnectError):
            return PrometheusError(f"{self._url} cannot be reached: {what}", "look at the host and port of the URL")
        if isinstance(error, ValueError) and not isinstance(error, OSError):  # a name or header that cannot be sent
            return PrometheusError(f"{self._url} cannot be asked: {what}", "look at the URL and --header")
        return PrometheusError(f"{self._url} broke off: {what}", "does a Prometheus listen there? is it http or https?")


class _ConnectError(OSError):
    """Raised when no connection can be made."""


class _Bounded(io.RawIOBase):
    """What a connection's socket receives, within the limits of its transport."""

    def __init__(self, sock: socket.socket, connection: _Connection) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        self._sock.settimeout(self._connection.transport.seconds_left())
        count = self._raw.readinto(buffer)
        self._connection.count(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that is read within the limits of a transport."""

    def __init__(self, sock: socket.socket, *arguments: object, connection: _Connection, **options: object) -> None:
        super().__init__(sock, *arguments, **options)  # type: ignore[arg-type]
        self.fp.close()
        self.fp = io.BufferedReader(_Bounded(sock, connection))


class _Connection(http.client.HTTPConnection):
    """A connection whose responses are read within the limits of a transport.

    left: how many bytes the server may send until the end of its answer.
    """

    def __init__(self, host: str, port: int, transport: Transport) -> None:
        super().__init__(host, port)
        self.transport = transport
        self.left = _OVERHEAD_MAX

    def count(self, received: int) -> None:
        """Count bytes that the server has sent. Raises PrometheusError if they are too many."""
        self.transport.count(received)
        self.left -= received
        if self.left < 0:
            raise self.transport.too_much()

    def response_class(self, *arguments: object, **options: object) -> _Response:  # type: ignore[override]
        return _Response(*arguments, connection=self, **options)  # type: ignore[arg-type]


def _reason(error: Exception) -> str:
    """Say what an error is, as the system or OpenSSL says it."""
    texts = (getattr(error, "verify_message", ""), getattr(error, "strerror", ""), str(error))
    return next((text for text in texts if text), type(error).__name__)


def _proxy_of(server: SplitResult) -> str | None:
    """Return the proxy that the environment names for a host (http_proxy, https_proxy, no_proxy)."""
    return None if urllib.request.proxy_bypass(server.netloc) else urllib.request.getproxies().get(server.scheme)


def _checked_proxy(text: str) -> SplitResult:
    """Parse a proxy's URL, which may be without http://, as curl takes it. Raises UsageError."""
    try:
        proxy = urlsplit(text if "://" in text else f"http://{text}")
        if proxy.scheme in _PORTS and proxy.hostname and proxy.port != 0:
            return proxy
    except ValueError:
        pass
    raise UsageError(
        f"the proxy {re.sub('//.*@', '//', text)!r} is no URL of an HTTP proxy",
        "give http://proxy:3128 in proxy_url of --http.config.file, or in http_proxy and https_proxy",
    )


def _proxy_authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _netloc(proxy: SplitResult) -> str:
    return proxy.netloc.rpartition("@")[2]


def short(text: str) -> str:
    """Return one line of what another program said, nothing in it that a terminal would obey."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
