"""The HTTP server as a process of its own, over real connections: good clients, bad ones, and its log."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Final

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import vmxd
from tests import support
from tests.server import Server, serving
from tests.support import LAKEFIELD, program
from vmxd.export.negotiate import Format
from vmxd.export.server import CONNECTIONS_MAX
from vmxd.scan import scan

PATHS: Final = ("/metrics", "/healthz", "/")
SECONDS: Final = 10.0
"""How long any answer may take; the server itself gives up on a request after 10 s."""
HOST: Final = b"Host: localhost\r\n"
CLOSE: Final = b"Connection: close\r\n"
RESET: Final = b"\1\0\0\0\0\0\0\0"
"""SO_LINGER of 0 s: close() sends RST."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One vmxd for most of the tests, on Lakefield; that it still lives and has not stumbled is checked in the end."""
    with serving(LAKEFIELD) as running:
        yield running
        assert (200, b"ok\n") == (get(running, "/healthz").status, get(running, "/healthz").body)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as it came over the wire; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def read_reply(stream: IO[bytes], *, to_head: bool = False) -> Reply:
    """Read one answer, its body as long as Content-Length says."""
    version, status, _ = stream.readline().decode("ascii").split(" ", 2)
    assert "HTTP/1.1" == version
    headers: dict[str, str] = {}
    while line := stream.readline().rstrip(b"\r\n").decode("latin-1"):
        name, _, value = line.partition(": ")
        assert name.lower() not in headers
        headers[name.lower()] = value
    length = 0 if to_head else int(headers["content-length"])
    body = stream.read(length)
    assert length == len(body)
    return Reply(int(status), headers, body)


@contextlib.contextmanager
def connected(server: Server, timeout: float = SECONDS) -> Iterator[tuple[socket.socket, IO[bytes]]]:
    """Open a connection: the socket to write to, and a stream to read from."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout) as connection,
        connection.makefile("rb") as stream,
    ):
        yield connection, stream


def exchange(server: Server, data: bytes, *, half_close: bool = False, to_head: bool = False) -> Reply:
    """Send bytes on a new connection and return the one answer, after which the server must have closed."""
    with connected(server) as (connection, stream):
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        reply = read_reply(stream, to_head=to_head)
        assert b"" == stream.read()
        return reply


def undated(reply: Reply) -> dict[str, str]:
    """Return the headers that do not change from one second to the next."""
    return {name: value for name, value in reply.headers.items() if name != "date"}


def request(method: bytes, target: bytes, headers: bytes = b"", body: bytes = b"") -> bytes:
    """Return a request as bytes."""
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n" + body


def get(server: Server, path: str, headers: bytes = b"") -> Reply:
    """Get a path on a connection of its own."""
    return exchange(server, request(b"GET", path.encode(), CLOSE + headers))


def answered(server: Server, path: str = "/metrics") -> dict[str, float]:
    """Return how many requests were answered so far, by status code."""
    families = parse_text(get(server, path).body.decode())
    samples = [sample for family in families for sample in family.samples]
    return {sample.labels["code"]: sample.value for sample in samples if sample.name == "vmxd_http_requests_total"}


class TestPaths:
    """What is where."""

    def test_metrics(self, server: Server) -> None:
        """The metrics are text that parses, with the feature that Lakefield is known for."""
        reply = get(server, "/metrics")
        values = {
            sample.labels.get("feature"): sample.value
            for family in parse_text(reply.body.decode())
            for sample in family.samples
            if sample.name == "vmx_feature"
        }

        assert (200, Format.TEXT.value) == (reply.status, reply.headers["content-type"])
        assert 0 == values["bus_lock_detection"]
        assert 1 == values["ept"]

    def test_openmetrics(self, server: Server) -> None:
        """A scraper that asks for OpenMetrics gets it, in one Accept header or two."""
        for accept in (
            b"Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n",
            b"Accept: application/openmetrics-text;version=1.0.0\r\nAccept: */*;q=0.1\r\n",
        ):
            reply = get(server, "/metrics", accept)

            assert (200, Format.OPENMETRICS.value) == (reply.status, reply.headers["content-type"])
            assert "vmx_host" in {family.name for family in parse_openmetrics(reply.body.decode())}  # type: ignore[no-untyped-call]

    def test_health(self, server: Server) -> None:
        """The health check says ok."""
        reply = get(server, "/healthz")

        assert (200, b"ok\n") == (reply.status, reply.body)
        assert "text/plain; charset=utf-8" == reply.headers["content-type"]

    def test_page(self, server: Server) -> None:
        """The page is HTML that may load nothing from anywhere."""
        reply = get(server, "/")

        assert (200, "text/html; charset=utf-8") == (reply.status, reply.headers["content-type"])
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert b'<a href="/metrics">' in reply.body

    @pytest.mark.parametrize("path", [*PATHS, "/nothing"])
    def test_common_headers(self, server: Server, path: str) -> None:
        """Every answer says which program it comes from and when, and that its type is not to be guessed."""
        headers = get(server, path).headers

        assert abs(parsedate_to_datetime(headers["date"]).timestamp() - time.time()) < 60
        assert f"vmxd/{vmxd.__version__}" == headers["server"]
        assert "nosniff" == headers["x-content-type-options"]

    @pytest.mark.parametrize(
        "path",
        [
            "/nothing",
            "/metrics/",
            "/metricsx",
            "/METRICS",
            "/healthz/",
            "/../../../../etc/passwd",
            "/metrics/../../../../etc/passwd",
            "//etc/passwd",
            "/..%2f..%2f..%2fetc%2fpasswd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/..\\..\\etc\\passwd",
            "/etc/passwd%00",
            "/msr.txt",
            "/proc/cpuinfo",
            "/nothing?/metrics",
            "/favicon.ico",
        ],
    )
    def test_not_found(self, server: Server, path: str) -> None:
        """Anything else is not found, above all files."""
        reply = get(server, path)

        assert (404, b"404 Not Found\n") == (reply.status, reply.body)

    @pytest.mark.parametrize(
        "path", ["/metrics?", "/metrics?name[]=vmx_feature", "/metrics?a=b?c/d", "/?x", "/healthz?/nothing"]
    )
    def test_query_string(self, server: Server, path: str) -> None:
        """A query string is ignored."""
        plain, queried = get(server, path.partition("?")[0]), get(server, path)

        assert 200 == queried.status
        assert plain.headers["content-type"] == queried.headers["content-type"]

    @pytest.mark.parametrize(
        ("target", "status", "content_type"),
        [
            (b"http://localhost/metrics", 200, Format.TEXT.value),
            (b"http://localhost:10480/metrics?x=y", 200, Format.TEXT.value),
            (b"HTTP://LOCALHOST/healthz", 200, "text/plain; charset=utf-8"),
            (b"http://[::1]:10480/healthz", 200, "text/plain; charset=utf-8"),
            (b"http://localhost/", 200, "text/html; charset=utf-8"),
            (b"http://localhost", 200, "text/html; charset=utf-8"),
            (b"http://localhost/nothing", 404, "text/plain; charset=utf-8"),
            (b"http://metrics", 200, "text/html; charset=utf-8"),
        ],
    )
    def test_absolute_form(self, server: Server, target: bytes, status: int, content_type: str) -> None:
        """A target with scheme and host, as proxies send it, means its path (RFC 9112, 3.2.2)."""
        reply = exchange(server, request(b"GET", target, CLOSE))

        assert (status, content_type) == (reply.status, reply.headers["content-type"])


class TestMethods:
    """GET and HEAD, and no other."""

    @pytest.mark.parametrize("path", ["/healthz", "/", "/nothing"])
    def test_head(self, server: Server, path: str) -> None:
        """HEAD has the headers of GET and no body, and the connection goes on."""
        with connected(server) as (connection, stream):
            connection.sendall(request(b"HEAD", path.encode()))
            head = read_reply(stream, to_head=True)
            connection.sendall(request(b"GET", path.encode()))
            full = read_reply(stream)

        assert (full.status, undated(full)) == (head.status, undated(head))
        assert len(full.body) == int(head.headers["content-length"])

    @pytest.mark.parametrize("encoding", [b"", b"Accept-Encoding: gzip\r\n"])
    def test_head_of_metrics(self, server: Server, encoding: bytes) -> None:
        """So has that of the metrics; the length alone may grow with the number of requests that they count."""
        with connected(server) as (connection, stream):
            connection.sendall(request(b"HEAD", b"/metrics", encoding))
            head = read_reply(stream, to_head=True)
            connection.sendall(request(b"GET", b"/metrics", encoding))
            full = read_reply(stream)
        head_length, full_length = int(head.headers.pop("content-length")), int(full.headers.pop("content-length"))

        assert (full.status, undated(full)) == (head.status, undated(head))
        assert abs(full_length - head_length) < 200

    @pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"BREW", b"get"])
    @pytest.mark.parametrize("target", [b"/metrics", b"/", b"/nothing", b"*"])
    def test_not_allowed(self, server: Server, method: bytes, target: bytes) -> None:
        """Any other method is refused, with those that are not."""
        reply = exchange(server, request(method, target, CLOSE))

        assert (405, "GET, HEAD") == (reply.status, reply.headers["allow"])

    def test_connect(self, server: Server) -> None:
        """This is no proxy, and the connection stays one to vmxd."""
        with connected(server) as (connection, stream):
            connection.sendall(request(b"CONNECT", b"localhost:22"))
            assert 405 == read_reply(stream).status
            connection.sendall(request(b"GET", b"/healthz"))
            assert 200 == read_reply(stream).status


class TestConnections:
    """How long a connection lives."""

    def test_keep_alive(self, server: Server) -> None:
        """One connection serves many requests."""
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
        with contextlib.closing(client):
            client.connect()
            connection = client.sock
            for number in range(100):
                client.request("GET", PATHS[number % len(PATHS)])
                response = client.getresponse()
                response.read()
                assert 200 == response.status
                assert client.sock is connection

    def test_no_delay(self, server: Server) -> None:
        """No answer waits for the client's delayed acknowledgement, 40 ms each, as Nagle's algorithm would have it."""
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
        start = time.monotonic()
        with contextlib.closing(client):
            for _ in range(200):
                client.request("GET", "/healthz")
                assert b"ok\n" == client.getresponse().read()

        assert time.monotonic() - start < 5

    def test_pipelined(self, server: Server) -> None:
        """Requests that are sent all at once are answered in their order."""
        targets = [b"/healthz", b"/nothing", b"/metrics", b"/"] * 25
        statuses = [200, 404, 200, 200] * 25
        with connected(server) as (connection, stream):
            connection.sendall(b"".join(request(b"GET", target) for target in targets))
            connection.shutdown(socket.SHUT_WR)
            replies = [read_reply(stream) for _ in targets]
            assert b"" == stream.read()

        assert statuses == [reply.status for reply in replies]
        assert {b"ok\n"} == {reply.body for reply in replies[::4]}

    def test_byte_by_byte(self, server: Server) -> None:
        """It does not matter where a request is cut, nor where the next one starts."""
        data = request(b"GET", b"/healthz") + request(b"POST", b"/", b"Content-Length: 3\r\n", b"abc")
        with connected(server) as (connection, stream):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in range(len(data)):
                connection.sendall(data[number : number + 1])
            connection.sendall(request(b"HEAD", b"/healthz", CLOSE))

            assert [200, 405] == [read_reply(stream).status for _ in range(2)]
            assert 200 == read_reply(stream, to_head=True).status
            assert b"" == stream.read()

    @pytest.mark.parametrize("headers", [b"", b"Connection: keep-alive\r\n", HOST + CLOSE])
    @pytest.mark.parametrize("path", PATHS)
    def test_http_1_0(self, server: Server, path: str, headers: bytes) -> None:
        """A client of HTTP/1.0 needs no Host, and gets its answer and the end of the connection."""
        reply = exchange(server, b"GET " + path.encode() + b" HTTP/1.0\r\n" + headers + b"\r\n")

        assert (200, "close") == (reply.status, reply.headers["connection"])

    @pytest.mark.parametrize("path", [*PATHS, "/nothing"])
    def test_close(self, server: Server, path: str) -> None:
        """A client that asks for it gets the connection closed, and is told so."""
        assert "close" == get(server, path).headers["connection"]

    def test_half_close(self, server: Server) -> None:
        """A client that has sent all that it will send still gets its answer."""
        assert 200 == exchange(server, request(b"GET", b"/metrics"), half_close=True).status

    def test_many_at_once(self, server: Server) -> None:
        """200 clients at once are all served, whichever finishes first."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connected(server)) for _ in range(200)]
            for connection, _ in clients:
                connection.sendall(request(b"GET", b"/metrics", CLOSE)[:20])
            for connection, _ in reversed(clients):
                connection.sendall(request(b"GET", b"/metrics", CLOSE)[20:])

            assert {200} == {read_reply(stream).status for _, stream in clients}

    def test_waiting_line(self) -> None:
        """Clients that come while the server is busy wait in line, and are served when it has time."""
        count = min(200, int(Path("/proc/sys/net/core/somaxconn").read_text()))
        with serving(LAKEFIELD) as server, contextlib.ExitStack() as stack:
            server.process.send_signal(signal.SIGSTOP)
            try:
                clients = [stack.enter_context(connected(server)) for _ in range(count)]
                for connection, _ in clients:
                    connection.sendall(request(b"GET", b"/metrics", CLOSE))
            finally:
                server.process.send_signal(signal.SIGCONT)

            assert {200} == {read_reply(stream).status for _, stream in clients}

    def test_upgrade(self, server: Server) -> None:
        """An offer of HTTP/2 is passed over."""
        headers = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
        with connected(server) as (connection, stream):
            connection.sendall(request(b"GET", b"/healthz", headers) + request(b"GET", b"/nothing"))

            assert [200, 404] == [read_reply(stream).status for _ in range(2)]


class TestEncoding:
    """Compressed, or not."""

    @pytest.mark.parametrize("accept", [b"", b"Accept: application/openmetrics-text\r\n"])
    def test_gzip(self, server: Server, accept: bytes) -> None:
        """Who asks for gzip gets the same page as gzip; who does not, does not."""
        plain = get(server, "/metrics", accept)
        packed = get(server, "/metrics", accept + b"Accept-Encoding: gzip\r\n")

        assert "gzip" == packed.headers["content-encoding"]
        assert plain.headers["content-type"] == packed.headers["content-type"]
        assert host_lines(plain.body) == host_lines(gzip.decompress(packed.body))
        assert host_lines(plain.body)

    @pytest.mark.parametrize(
        "encoding", [b"", b"Accept-Encoding:\r\n", b"Accept-Encoding: br\r\n", b"Accept-Encoding: gzip;q=0\r\n"]
    )
    def test_no_gzip(self, server: Server, encoding: bytes) -> None:
        """Without being asked, or where gzip is refused, nothing is compressed."""
        reply = get(server, "/metrics", encoding)

        assert "content-encoding" not in reply.headers
        assert b"# HELP vmx_feature " in reply.body

    def test_vary(self, server: Server) -> None:
        """Caches are told what the form of the metrics depends on."""
        assert "Accept, Accept-Encoding" == get(server, "/metrics").headers["vary"]


def host_lines(page: bytes) -> list[bytes]:
    """Return the lines of a page that are the host's, which do not change between scans."""
    return [line for line in page.splitlines() if line.startswith(b"vmx_")]


class TestBadRequests:
    """Clients that break the rules are told so, and cut off."""

    @pytest.mark.parametrize(
        "data",
        [
            b"garbage\r\n\r\n",
            b"\0\0\0\0\0\0\0\0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),  # TLS
            b"GET /healthz\r\n\r\n",  # HTTP/0.9
            b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
            b"GET /heal thz HTTP/1.1\r\n" + HOST + b"\r\n",
            b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
            b"GET /healthz HTTP/x.1\r\n" + HOST + b"\r\n",
            b"GET /healthz HTTP/1.1\r\n\r\n",  # no Host
            b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"a b: c\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"a : c\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"a: \0\r\n\r\n",
            request(b"POST", b"/", b"Content-Length: 1\r\nContent-Length: 2\r\n", b"ab"),
            request(b"POST", b"/", b"Content-Length: -1\r\n"),
            request(b"POST", b"/", b"Content-Length: 0x5\r\n"),
            request(b"POST", b"/", b"Transfer-Encoding: chunked\r\n", b"zz\r\n"),
        ],
        ids=ascii,
    )
    def test_garbage(self, server: Server, data: bytes) -> None:
        """What is no request is answered with 400, and the connection closed."""
        reply = exchange(server, data)

        assert (400, "close") == (reply.status, reply.headers["connection"])

    def test_unknown_transfer_encoding(self, server: Server) -> None:
        """A body in a form that cannot be read ends the connection, with 501."""
        reply = exchange(server, request(b"POST", b"/", b"Transfer-Encoding: gzip\r\n"))

        assert (501, "close") == (reply.status, reply.headers["connection"])

    def test_garbage_after_a_request(self, server: Server) -> None:
        """What came before the garbage is answered."""
        with connected(server) as (connection, stream):
            connection.sendall(request(b"GET", b"/healthz") + b"garbage\r\n\r\n")

            assert [200, 400] == [read_reply(stream).status for _ in range(2)]
            assert b"" == stream.read()

    @pytest.mark.parametrize(
        "data",
        [
            request(b"GET", b"/healthz", b"X: " + b"x" * 17_000 + b"\r\n"),
            request(b"GET", b"/healthz", b"X: " + b"x" * 60_000 + b"\r\n"),
            request(b"GET", b"/healthz", b"X: x\r\n" * 3_000),
            request(b"GET", b"/" + b"x" * 17_000),
            request(b"GET", b"/healthz") + request(b"GET", b"/healthz", b"X: " + b"x" * 17_000 + b"\r\n"),
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 17_000,
            b"GET /" + b"x" * 17_000,
        ],
        ids=[
            "one header",
            "one header of 60 kB",
            "many headers",
            "target",
            "second request",
            "endless header",
            "endless target",
        ],
    )
    def test_large_headers(self, server: Server, data: bytes) -> None:
        """More than 16 KiB of request line and headers is too much, even where they come all at once."""
        with connected(server) as (connection, stream):
            connection.sendall(data)
            if data.startswith(request(b"GET", b"/healthz")):
                assert 200 == read_reply(stream).status
            reply = read_reply(stream)

            assert 431 == reply.status
            assert "close" == reply.headers["connection"]
            assert b"" == stream.read()

    def test_headers_that_just_fit(self, server: Server) -> None:
        """15 KiB of headers are fine."""
        assert 200 == get(server, "/healthz", b"X: " + b"x" * 15_000 + b"\r\n").status

    def test_flood(self, server: Server) -> None:
        """A client that sends headers without end is cut off; the server does not read on for ever."""
        sent = 0
        with connected(server) as (connection, _), contextlib.suppress(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\n")
            while sent < 1 << 28:
                sent += connection.send(b"X: " + b"x" * 65_000 + b"\r\n")

        assert sent < 1 << 28

    def test_half_a_request(self, server: Server) -> None:
        """A request that ends in its middle is a bad one."""
        assert 400 == exchange(server, b"GET /metrics HT", half_close=True).status
        assert 400 == exchange(server, request(b"POST", b"/", b"Content-Length: 9\r\n", b"abc"), half_close=True).status

    @pytest.mark.parametrize(
        "data", [b"", b"G", b"GET /metrics HT", request(b"GET", b"/metrics"), request(b"GET", b"/metrics") * 50]
    )
    def test_client_goes_away(self, server: Server, data: bytes) -> None:
        """Clients that leave in the middle, politely or not, take nothing down."""
        for reset in (False, True):
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
                    connection.sendall(data)
                    if reset:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        assert 200 == get(server, "/healthz").status

    def test_client_goes_away_while_reading(self, server: Server) -> None:
        """So do those that ask for much, read some of it and leave."""
        for _ in range(5):
            with connected(server) as (connection, stream):
                connection.sendall(request(b"GET", b"/metrics") * 400)
                assert 200 == read_reply(stream).status
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        assert 200 == get(server, "/healthz").status


class TestBodies:
    """Requests with a body, which nobody needs to send."""

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            (b"Content-Length: 0\r\n", b""),
            (b"Content-Length: 5\r\n", b"hello"),
            (b"Content-Length: 1000000\r\n", b"x" * 1_000_000),
            (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n3;ext=1\r\nyou\r\n0\r\nTrailer: x\r\n\r\n"),
            (b"Transfer-Encoding: chunked\r\n", b"2710\r\n" + b"x" * 10_000 + b"\r\n0\r\n\r\n"),
        ],
        ids=["empty", "length", "long", "empty chunked", "chunked with trailer", "long chunk"],
    )
    @pytest.mark.parametrize(("method", "status"), [(b"POST", 405), (b"GET", 200)])
    def test_body(self, server: Server, method: bytes, status: int, headers: bytes, body: bytes) -> None:
        """A body is passed over, and what follows it is the next request."""
        with connected(server) as (connection, stream):
            connection.sendall(request(method, b"/healthz", headers, body) + request(b"GET", b"/nothing"))

            assert [status, 404] == [read_reply(stream).status for _ in range(2)]

    @pytest.mark.parametrize(("method", "status"), [(b"POST", 405), (b"GET", 200)])
    def test_expect_continue(self, server: Server, method: bytes, status: int) -> None:
        """A client that waits for leave to send its body is not left waiting (RFC 9110, 10.1.1)."""
        body = b"hello"
        with connected(server, timeout=5) as (connection, stream):
            connection.sendall(request(method, b"/healthz", b"Content-Length: 5\r\nExpect: 100-continue\r\n"))
            line = stream.readline()
            if line.startswith(b"HTTP/1.1 100 "):
                while stream.readline() != b"\r\n":
                    pass
                connection.sendall(body)
                line = stream.readline()

            assert f"HTTP/1.1 {status} ".encode() == line[:13]


class TestSlowClients:
    """Clients that take their time, which someone else could use."""

    def test_cut_off(self, server: Server) -> None:
        """A client that does not get on with it is cut off after 10 s, whatever it is that does not come."""
        starts = {
            "nothing": b"",
            "one byte": b"G",
            "half the headers": request(b"GET", b"/")[:-2],
            "half a body": request(b"POST", b"/", b"Content-Length: 5\r\n", b"hel"),
            "half a second request": request(b"GET", b"/healthz") + b"G",
            "answers not taken": request(b"GET", b"/metrics") * 2000,
            "a byte now and then": b"GET /healthz HTTP/1.1\r\nX: ",
        }
        with contextlib.ExitStack() as stack:
            clients = {name: stack.enter_context(connected(server))[0] for name in starts}
            for name, start in starts.items():
                clients[name].sendall(start)
            deadline = time.monotonic() + 15
            while waiting := {
                name for name, client in clients.items() if not is_ended(client) and is_served(server, client)
            }:
                if time.monotonic() > deadline:
                    break
                with contextlib.suppress(ConnectionError):
                    clients["a byte now and then"].send(b"x")
                time.sleep(0.1)

        assert set() == waiting

    def test_others_are_served_meanwhile(self, server: Server) -> None:
        """Clients that hold a connection open do not keep others waiting."""
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                stack.enter_context(connected(server))[0].sendall(b"GET /metrics HTTP/1.1\r\n")

            assert 200 == get(server, "/metrics").status


def is_ended(connection: socket.socket) -> bool:
    """Return whether the end of a connection has come to the client, whatever is still to be read from it."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))


def is_served(server: Server, connection: socket.socket) -> bool:
    """Return whether the server's side is established; to a client that takes nothing, its end does not come."""
    ends = f":{server.port:04X}", f":{connection.getsockname()[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(row[3] == "01" and (row[1][-5:], row[2][-5:]) == ends for row in rows)


def end_of(connection: socket.socket) -> bytes:
    """Return what is left to read; a connection that was reset has nothing left."""
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""


class TestCurl:
    """The client that people have at hand."""

    def curl(self, server: Server, *options: str, path: str = "/metrics") -> str:
        """Return what curl prints."""
        url = f"http://127.0.0.1:{server.port}{path}"
        command = [
            program("curl", "curl"),
            "--silent",
            "--show-error",
            "--max-time",
            "10",
            "--noproxy",
            "*",
            *options,
            url,
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (0, "") == (result.returncode, result.stderr)
        return result.stdout

    @pytest.mark.parametrize("options", [(), ("--compressed",), ("--http1.0",), ("--http2",)], ids=" ".join)
    def test_get(self, server: Server, options: tuple[str, ...]) -> None:
        """It gets the metrics as text, compressed or not."""
        assert '\nvmx_feature{feature="bus_lock_detection"} 0.0\n' in self.curl(server, *options)

    def test_head(self, server: Server) -> None:
        """Its -I prints headers and waits for no body."""
        printed = self.curl(server, "--head")

        assert printed.startswith("HTTP/1.1 200 OK")
        assert f"\nContent-Type: {Format.TEXT.value}\n" in printed

    def test_upload(self, server: Server, tmp_path: Path) -> None:
        """An upload of a megabyte, for which it asks leave first, is refused."""
        (tmp_path / "file").write_bytes(bytes(1 << 20))
        printed = self.curl(server, "--upload-file", str(tmp_path / "file"), "--write-out", "%{http_code}", path="/")

        assert "405 Method Not Allowed\n405" == printed


class TestOptions:
    """What the command line changes."""

    def test_telemetry_path(self) -> None:
        """The metrics are where --web.telemetry-path says and nowhere else, and the page links there."""
        with serving(LAKEFIELD, "--web.telemetry-path=/vmx/metrics") as server:
            assert 200 == get(server, "/vmx/metrics").status
            assert 404 == get(server, "/metrics").status
            assert b'<a href="/vmx/metrics">' in get(server, "/").body

    def test_listen_addresses(self) -> None:
        """Every address is listened on and logged, IPv6 in brackets."""
        with serving(LAKEFIELD, addresses=("127.0.0.1:0", "[::1]:0")) as server:
            hosts = [url.rpartition(":")[0] for url in server.urls]
            for url in server.urls:
                client = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=SECONDS)
                with contextlib.closing(client):
                    client.request("GET", "/healthz")
                    assert 200 == client.getresponse().status

        assert ["http://127.0.0.1", "http://[::1]"] == hosts

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--web.telemetry-path=metrics",), "vmxd: the metrics cannot be at 'metrics'\nhint: "),
            (("--web.telemetry-path=/",), "vmxd: the metrics cannot be at '/'\nhint: "),
            (("--web.telemetry-path=/healthz",), "vmxd: the metrics cannot be at '/healthz'\nhint: "),
            (("--web.telemetry-path=/metrics?x",), "vmxd: the metrics cannot be at '/metrics?x'\nhint: "),
            (("--web.listen-address=10480",), "vmxd: '10480' is no address to listen on\nhint: "),
            (
                ("--root=/nonexistent", "--web.listen-address=127.0.0.1:0"),
                "vmxd: '/nonexistent' is not a directory\nhint: ",
            ),
            (("--cpus=99", "--web.listen-address=127.0.0.1:0"), "vmxd: no online CPU is left to read\nhint: "),
        ],
    )
    def test_errors(self, options: tuple[str, ...], message: str) -> None:
        """What cannot be served ends at once with one sentence, one hint and exit code 2."""
        result = support.vmxd("serve", "--root", LAKEFIELD, *options)

        assert (2, "") == (result.returncode, result.stdout)
        assert result.stderr.startswith(message)
        assert 2 == result.stderr.count("\n")

    def test_port_in_use(self, server: Server) -> None:
        """So does an address that another program listens on."""
        result = support.vmxd("serve", "--root", LAKEFIELD, f"--web.listen-address=127.0.0.1:{server.port}")

        assert 2 == result.returncode
        assert result.stderr.startswith(f"vmxd: cannot listen on 127.0.0.1:{server.port}: Address already in use")


class TestCounters:
    """The server counts what it answers."""

    def test_by_code(self) -> None:
        """Every answer so far is counted by its status code, from 0 on; the one that is being given is not."""
        none = dict.fromkeys(("200", "400", "401", "404", "405", "431", "501", "503"), 0)
        with serving(LAKEFIELD) as server:
            assert none == answered(server)
            for _ in range(3):
                get(server, "/healthz")
            get(server, "/nothing")
            exchange(server, request(b"POST", b"/", CLOSE))
            exchange(server, request(b"HEAD", b"/", CLOSE), to_head=True)
            exchange(server, b"garbage\r\n\r\n")
            exchange(server, b"GET /" + b"x" * 17_000)
            counts = answered(server)
            again = answered(server)

        assert none | {"200": 5, "404": 1, "405": 1, "400": 1, "431": 1} == counts
        assert counts | {"200": 6} == again


class TestLog:
    """What the server says of itself, on stderr."""

    def test_recording(self) -> None:
        """On a recording the first line says so, and which; the second where it listens."""
        with serving(LAKEFIELD) as server:
            lines = server.log.splitlines()

        reason = "whether VMX may be used is not known: IA32_FEATURE_CONTROL was not recorded"
        assert lines[0].endswith(f' level=warn msg="recording {LAKEFIELD}: {reason}"')
        assert ' level=info msg="listening on http://127.0.0.1:' in lines[-1]

    def test_usable(self) -> None:
        """On a host whose VMX may be used there is nothing to warn of."""
        root = LAKEFIELD.parent / "skylake-6700k"
        with serving(root) as server:
            first = server.log.splitlines()[0]

        assert first.endswith(f' level=info msg="recording {root}: VMX may be used"')

    def test_this_machine(self) -> None:
        """On this machine it says whether VMX may be used, and if not, why, and what to do."""
        verdict = scan("/").inventory.verdict
        with serving("/") as server:
            first = server.log.splitlines()[0]
            assert b"A recording," not in get(server, "/").body

        assert f'level={"info" if verdict.usable else "warn"} msg="live /: {verdict.reason}' in first
        assert (verdict.hint or "") in first

    def test_requests_are_not_logged(self) -> None:
        """No client can write to the log, good or bad."""
        with serving(LAKEFIELD) as server:
            before = server.log
            get(server, "/nothing")
            exchange(server, b"garbage\r\n\r\n")
            exchange(server, request(b"POST", b"/", CLOSE))

            assert before == server.log


class TestEnd:
    """How it stops, and what it lives through."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal(self, number: signal.Signals) -> None:
        """Asked to stop, it does at once and with exit code 0, also with clients that wait or are in the middle."""
        with serving(LAKEFIELD) as server, connected(server) as (idle, _), connected(server) as (busy, _):
            idle.sendall(b"")
            busy.sendall(b"GET /metrics HT")
            assert 200 == get(server, "/healthz").status
            server.process.send_signal(number)

            assert 0 == server.process.wait(SECONDS)
            assert b"" == end_of(idle)
            assert b"" == end_of(busy)
            with pytest.raises(ConnectionRefusedError):
                get(server, "/healthz")

    def test_signal_at_once(self) -> None:
        """It can be stopped from the moment that it says it listens."""
        for _ in range(5):
            with serving(LAKEFIELD):
                pass

    def test_recording_that_is_gone(self, tmp_path: Path) -> None:
        """What was read once is served on, although the recording is gone."""
        shutil.copytree(LAKEFIELD, tmp_path / "host")
        with serving(tmp_path / "host") as server:
            shutil.rmtree(tmp_path / "host")

            assert 200 == get(server, "/metrics").status

    def test_too_many_clients(self) -> None:
        """With more clients than it may have files open it neither dies nor floods its log, and then goes on."""
        with serving(LAKEFIELD, open_files=40) as server:
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(connected(server)) for _ in range(80)]
                for connection, stream in clients[-5:]:
                    connection.sendall(request(b"GET", b"/healthz"))
                    assert 200 == read_reply(stream).status
            assert 200 == get(server, "/healthz").status
            assert len(server.log.splitlines()) < 20

    def test_idlest_goes(self) -> None:
        """Above its bound the server ends connections that have been idle for longest, and serves whoever speaks."""
        with serving(LAKEFIELD) as server, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connected(server)) for _ in range(400)]
            for connection, stream in reversed(clients):
                if not is_ended(connection):
                    connection.sendall(request(b"GET", b"/healthz"))
                    assert 200 == read_reply(stream).status
            ended = [is_ended(connection) for connection, _ in clients]

            assert 200 == get(server, "/metrics").status

        assert [True] * (400 - CONNECTIONS_MAX) + [False] * CONNECTIONS_MAX == ended

    def test_crowd_at_once(self) -> None:
        """The bound holds also where all clients come in one moment."""
        with serving(LAKEFIELD, open_files=48) as server, contextlib.ExitStack() as stack:
            server.process.send_signal(signal.SIGSTOP)
            try:
                clients = [stack.enter_context(connected(server))[0] for _ in range(100)]
            finally:
                server.process.send_signal(signal.SIGCONT)
            assert 200 == get(server, "/healthz").status
            deadline = time.monotonic() + 5
            while (kept := [is_ended(client) for client in clients].count(False)) > 16 and time.monotonic() < deadline:
                time.sleep(0.05)

            assert kept <= 16
            assert 200 == get(server, "/healthz").status
