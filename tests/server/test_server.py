"""The HTTP server as a process of its own, over real connections: what is where, its options, counters and log."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import subprocess
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import vmxd
from tests.helpers import support
from tests.helpers.http import (
    CLOSE,
    PATHS,
    SECONDS,
    connected,
    exchange,
    get,
    read_reply,
    request,
    undated,
)
from tests.helpers.server import Server, serving
from tests.helpers.support import LAKEFIELD, program
from vmxd.host.scan import scan
from vmxd.server.negotiate import Format
from vmxd.views.verdict_words import verdict_hint, verdict_sentence


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
            (
                ("--cpus=99", "--web.listen-address=127.0.0.1:0"),
                f"vmxd: CPU 99 of {str(LAKEFIELD)!r} is not online\nhint: ",
            ),
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
        none = dict.fromkeys(("200", "304", "400", "401", "404", "405", "431", "501", "503"), 0)
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

        assert f'level={"info" if verdict.usable else "warn"} msg="live /: {verdict_sentence(verdict)}' in first
        assert (verdict_hint(verdict) or "") in first

    def test_requests_are_not_logged(self) -> None:
        """No client can write to the log, good or bad."""
        with serving(LAKEFIELD) as server:
            before = server.log
            get(server, "/nothing")
            exchange(server, b"garbage\r\n\r\n")
            exchange(server, request(b"POST", b"/", CLOSE))

            assert before == server.log
