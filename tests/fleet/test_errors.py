"""What goes wrong between vmxd and a Prometheus: one sentence, a hint, exit code 2; each by a server that does it."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
import pytest

from tests.helpers.certificates import make_authority, make_pair
from tests.helpers.inside import vmxd
from tests.helpers.support import HOSTS
from vmxd.fleet.api import AT_ONCE, Api
from vmxd.fleet.transport import PrometheusError

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
EMPTY: Final = {"status": "success", "data": {"resultType": "vector", "result": []}}


def reply(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Answer:
    """Return a handler that always answers the same."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", content_type)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def reply_json(document: object) -> Answer:
    """Return a handler that answers a document."""
    return reply(200, json.dumps(document).encode())


def vector(labels: object, *values: str) -> Answer:
    """Return a handler that answers one series."""
    series = {"metric": labels, "values": [[1e9, value] for value in values]}
    return reply_json({"status": "success", "data": {"resultType": "matrix", "result": [series]}})


def one(labels: object, value: object = "1", at: object = 1e9) -> dict[str, object]:
    """Return a document of one series."""
    return {"status": "success", "data": {"resultType": "vector", "result": [{"metric": labels, "value": [at, value]}]}}


@contextlib.contextmanager
def answering(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on a free port until the block ends, and yield the URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with contextlib.suppress(ConnectionError):
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{'https' if context else 'http'}://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def refused(url: str, *arguments: str) -> str:
    """Return the sentence and the hint that vmxd prints, less the URL."""
    result = vmxd("fleet", "summary", "--prometheus", url, *arguments)
    message, hint, end = result.stderr.split("\n")

    assert (2, "", "") == (result.returncode, result.stdout, end)
    assert message.startswith("vmxd: ")
    assert hint.startswith("hint: ")
    return f"{message.removeprefix('vmxd: ')}\n{hint}".replace(url, "URL")


def silent(_: http.server.BaseHTTPRequestHandler) -> None:
    """Answer after a while, too late."""
    time.sleep(1.5)


def drip(request: http.server.BaseHTTPRequestHandler) -> None:
    """Answer a byte at a time, in time each, but never all of it."""
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    for _ in range(15):
        request.wfile.write(b" ")
        time.sleep(0.1)


def hang_up(request: http.server.BaseHTTPRequestHandler) -> None:
    """Close the connection before the answer."""
    request.connection.shutdown(socket.SHUT_RDWR)


def endlessly(begin: bytes, again: bytes, pause: float = 0.05) -> Answer:
    """Return a handler that sends bytes again and again until the client has had enough."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        request.wfile.write(begin)
        for _ in range(int(10 / max(pause, 0.001))):
            request.wfile.write(again)
            time.sleep(pause)

    return answer


OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS: Final = {
    "status line": endlessly(b"HTTP/1.1 200 ", b"O"),
    "header": endlessly(OK + b"X-Long: ", b"x"),
    "headers": endlessly(OK, b"X-More: x\r\n", 0.1),
    "100 Continue": endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "chunk line": endlessly(CHUNKED, b"0"),
    "chunks": endlessly(CHUNKED, b"1\r\n \r\n"),
    "trailer": endlessly(CHUNKED + b"0\r\n", b"X: x\r\n"),
    "body": endlessly(OK + b"\r\n", b" "),
}
"""Answers that never end, each part of them in time."""


@pytest.mark.parametrize("name", ENDLESS)
def test_deadline(name: str) -> None:
    """--timeout holds for the whole answer, wherever a server takes its time."""
    with answering(ENDLESS[name]) as url:
        said = refused(url, "--timeout=0.4")

    assert "URL did not answer within 0.4 s\nhint: allow more with --timeout, or ask for less" == said


def test_deadline_of_all_queries() -> None:
    """A server that answers each query in time, and all of them too late, has not answered."""

    def slow(request: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        reply_json({"status": "success", "data": {"result": [{"metric": EVERY_LABEL, "value": [1e9, "1"]}]}})(request)

    with answering(slow) as url:
        said = refused(url, "--timeout=0.5")

    assert "URL did not answer within 0.5 s" in said


def test_asked_at_once() -> None:
    """Whatever needs no more than the time of the first answer is asked at once: it would wait for ever otherwise."""
    first, others = threading.Barrier(1), threading.Barrier(AT_ONCE)

    def together(request: http.server.BaseHTTPRequestHandler) -> None:
        nonlocal first
        barrier, first = first, others
        barrier.wait(timeout=60)
        reply_json(one(EVERY_LABEL))(request)

    with answering(together) as url:
        said = vmxd("fleet", "summary", "--prometheus", url)

    assert (0, "") == (said.returncode, said.stderr)


EVERY_LABEL: Final = {
    "instance": "a", "signature": "06-55-04", "status": "usable", "release": "6.1", "feature": "ept",
    "msr": "IA32_VMX_BASIC", "value": "0x1", "state": "failed", "fingerprint": "0" * 12,
}  # fmt: skip
BOMB: Final = gzip.compress(bytes(129 << 20), 1)
BRACKETS: Final = gzip.compress(b'{"status":"success","data":{"result":[' + b"[[],[]]," * 4_000_000 + b"[]]}}", 1)
BAD_QUERY: Final = json.dumps({"status": "error", "errorType": "bad_data", "error": "parse\x1b[31m error"}).encode()

ANSWERS: Final = {
    "401": (reply(401, b"no"), "URL answered 401", "--http.config.file"),
    "403": (reply(403, b"no"), "URL answered 403", "may not ask this"),
    "404": (reply(404, b"404 page not found", "text/plain"), "URL answered 404", "as /prometheus of Mimir"),
    "redirect": (reply(302, b"", Location="https://sso/"), "URL answered 302: it redirects to https://sso/", "login"),
    "503": (reply(503, b"no healthy upstream"), "URL answered 503", "try again later"),
    "bad query": (reply(400, BAD_QUERY), "URL answered 400: parse [31m error", "look at --selector"),
    "web page": (reply(200, b"<html>", "text/html"), "as a Prometheus: what it sent is text/html", "login"),
    "other JSON": (reply_json([1]), "does not answer as a Prometheus", "/api/v1/query"),
    "no vector": (reply_json({"status": "success", "data": {"result": [7]}}), "what is no vector", "is it"),
    "no number": (vector({"instance": "a"}, "NaN"), "what is no vector", "is it"),
    "no sample": (vector({"instance": "a"}), "what is no vector", "is it"),
    "no text": (vector({"instance": [1]}, "1"), "what is no vector", "is it"),
    "cut JSON": (reply(200, b'{"status":"success","data":{"resu'), "URL sent JSON that is cut off", "ask again"),
    "deep JSON": (reply(200, b"[" * 100_000), "URL sent JSON that is cut off or damaged", "ask again"),
    "empty": (reply_json(EMPTY), "URL has no metrics of vmxd", "docs/first-hour.md"),
    "no label": (reply_json(one({"instance": "a"})), "URL has a series of vmx_status without the label", "labeldrop"),
    "digits": (reply_json(one(EVERY_LABEL, 10**400)), "what is no vector", "is it"),
    "more digits": (reply(200, b"[" + b"9" * 5000 + b"]"), "URL sent JSON that is cut off or damaged", "ask again"),
    "half a CPU": (reply_json(one(EVERY_LABEL, 0.5)), "URL says that the number of CPUs is 0.5", "is it"),
    "late": (reply_json(one(EVERY_LABEL, at=1e18)), "what is no vector", "is it"),
    "number of warnings": (reply_json({**one(EVERY_LABEL), "warnings": 5}), "with warnings that are no list", "is it"),
    "not implemented": (reply(501, b""), "URL answered 501", "/api/v1/query"),
    "bomb": (reply(200, BOMB, Content_Encoding="gzip"), "URL answered with more than 128 MiB", "--selector"),
    "brackets": (reply(200, BRACKETS, Content_Encoding="gzip"), "answered with more than 4,000,000 values", "--select"),
    "no gzip": (reply(200, b"{}", Content_Encoding="gzip"), "URL sent what is no gzip", "is it a Prometheus?"),
    "silent": (silent, "URL did not answer within 0.5 s", "--timeout"),
    "drip": (drip, "URL did not answer within 0.5 s", "--timeout"),
    "hangs up": (hang_up, "URL broke off", "http or https?"),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_hostile_answers(name: str) -> None:
    """Whatever a server answers, there is one sentence and a hint."""
    answer, message, hint = ANSWERS[name]
    arguments = ["--timeout=0.5"] if answer in (silent, drip) else []
    with answering(answer) as url:
        said = refused(url, *arguments)

    assert message in said.split("\n")[0]
    assert hint in said.split("\n")[1]
    assert said.replace("\n", "").isprintable()


def test_a_refused_answer_leaves_no_socket() -> None:
    """Its connection is closed with the API, not once somebody drops the error."""
    with answering(ANSWERS["bomb"][0]) as url:
        api = Api(url)
        with pytest.raises(PrometheusError) as caught:
            api.query("up")
        api.close()
        connections = psutil.Process().net_connections("tcp")

    assert "128 MiB" in str(caught.value)
    assert [] == [each for each in connections if each.raddr and each.raddr.port == urlsplit(url).port]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1", "URL cannot be reached: Connection refused"),
        ("http://no-such-host.invalid:9090", "URL cannot be reached: "),
        ("prometheus:9090", "'URL' is no URL of a Prometheus"),
        ("http://user:secret@prometheus:9090", "the URL has a user or password, which everyone on this host can see"),
        ("http://[::1", "'URL' is no URL: "),
    ],
    ids=["refused", "DNS", "no scheme", "password", "brackets"],
)
def test_url(url: str, message: str) -> None:
    """A URL that is none, or behind which nothing listens."""
    assert message in refused(url)


@pytest.mark.parametrize("page", ["", "/", "/graph", "/query", "/api/v1", "/api/v1/query/", "/classic/graph"])
def test_pasted_url(page: str) -> None:
    """What people paste from a browser, or from the API's documentation, is the URL of the server."""
    with answering(reply_json(EMPTY)) as url:
        below, beside = refused(url + page), refused(f"{url}/prometheus{page}")

    assert below.startswith("URL has no metrics of vmxd" if not page else f"{url} has no metrics of vmxd")
    assert f"{url}/prometheus has no metrics of vmxd" in beside.replace("URL", f"{url}/prometheus{page}")


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("http://user:secret@127.0.0.1:1", "URL cannot be reached through the proxy 127.0.0.1:1: Connection refused"),
        ("127.0.0.1:1", "URL cannot be reached through the proxy 127.0.0.1:1: Connection refused"),
        ("socks5://user:secret@127.0.0.1:1", "the proxy 'socks5://127.0.0.1:1' is no URL of an HTTP proxy"),
        ("http://[", "the proxy 'http://[' is no URL of an HTTP proxy"),
    ],
    ids=["refused", "no scheme", "SOCKS", "brackets"],
)
def test_proxy(proxy: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is named where it is at fault, without its password."""
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    done = vmxd("fleet", "summary", "--prometheus", "http://10.0.0.1")
    said, hint = done.stderr.replace("http://10.0.0.1", "URL").splitlines()

    assert (2, f"vmxd: {message}") == (done.returncode, said)
    assert "http_proxy" in hint
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--selector", 'cluster="a'], "--selector 'cluster=\"a' is no list of label matchers from 'cluster=\"a' on"),
        (["--selector", 'a="b"} or up{a="b"'], "is no list of label matchers"),
        (["--selector", 'microcode="1"'], "--selector takes labels of targets, as cluster and job are"),
        (["--at", "yesterday"], "'yesterday' is no time"),
        (["--header", "nonsense"], "--header 'nonsense' is no header"),
        (["--header", "authorization: Bearer x"], "--header Authorization would show its secret"),
        (["--timeout", "never"], "--timeout: 'never' is no number of seconds"),
        (["--http.config.file", "/no/such/file"], "/no/such/file cannot be read: No such file or directory"),
    ],
    ids=["open string", "injection", "own label", "time", "header", "secret", "timeout", "file"],
)
def test_arguments(arguments: list[str], message: str) -> None:
    """Arguments that cannot be used are named before anything is asked."""
    assert message in refused("http://127.0.0.1:1", *arguments)


def test_recordings_take_no_prometheus_options() -> None:
    """An option about a Prometheus beside recordings is an error, since it would not be in force."""
    result = vmxd("fleet", "summary", "--recordings", HOSTS, "--selector", 'a="b"')

    assert (2, "") == (result.returncode, result.stdout)
    assert "vmxd: --selector is about a Prometheus, not about recordings\n" in result.stderr


def test_partial_answers() -> None:
    """An answer that is incomplete is said to be: nothing counts as complete that may not be."""
    for incomplete, said in (({"warnings": ["store 7 is down"]}, "store 7 is down"), ({"isPartial": True}, "in part")):
        with answering(reply_json({**one({**EVERY_LABEL, "feature": "vpid"}), **incomplete})) as url:
            answer = vmxd("fleet", "lacks", "ept", "--prometheus", url, "--json", "--view=hardware")

        assert 2 == answer.returncode
        assert said in answer.stderr
        assert "hosts may be missing" in answer.stderr
        assert ["a"] == json.loads(answer.stdout)["unknown"]


# How to reach it -----------------------------------------------------------------------------------------------------


def test_authorization(tmp_path: Path) -> None:
    """Passwords, tokens and headers come from files, and reach the server as they should."""
    seen: list[dict[str, str]] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        seen.append(dict(request.headers))
        reply(401, b"")(request)

    (tmp_path / "secret").write_text("s3cret\n")
    config = tmp_path / "http.yml"
    with answering(answer) as url:
        for text in (
            "basic_auth: {username: vmxd, password_file: secret}",
            "authorization: {credentials_file: secret}\nhttp_headers: {X-Scope-OrgID: {values: [team-a]}}",
            "bearer_token_file: secret",
        ):
            config.write_text(text)
            refused(url, "--http.config.file", str(config), "--header", "X-Who: me")
    basic, bearer, old = seen

    assert "Basic dm14ZDpzM2NyZXQ=" == basic["Authorization"]
    assert ("Bearer s3cret", "team-a", "me") == (bearer["Authorization"], bearer["X-Scope-OrgID"], bearer["X-Who"])
    assert "Bearer s3cret" == old["Authorization"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("basic_auth: {username: a, password: b}\nbearer_token_file: c", "basic_auth and bearer_token_file are both"),
        ("oauth2: {}", "has no setting 'oauth2'"),
        ("bearer_token_file: nowhere", "cannot be read: No such file or directory"),
        ("tls_config: {ca_file: http.yml}", "is no PEM that fits"),
        ("authorization: {type: Bearer}", "authorization has no credentials"),
    ],
)
def test_http_config(text: str, message: str, tmp_path: Path) -> None:
    """What the file says and would not be in force is an error that names file and line."""
    (tmp_path / "http.yml").write_text(text)
    said = refused("http://127.0.0.1:1", "--http.config.file", str(tmp_path / "http.yml"))

    assert message in said
    assert "http.yml:" in said


def test_tls(tmp_path: Path) -> None:
    """TLS is verified, by the system or a CA of one's own; a client certificate is shown; only a word turns it off."""
    authority = make_authority(tmp_path, "ca")
    server, client = make_pair(tmp_path, "server", authority), make_pair(tmp_path, "client", authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.cert, server.key)
    context.load_verify_locations(authority.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    config = tmp_path / "http.yml"
    pair = f"cert_file: {client.cert.name}, key_file: {client.key.name}"
    said = {}
    with answering(reply_json(EMPTY), context) as url:
        for text in ("", "ca_file: ca.crt", f"ca_file: ca.crt, {pair}", f"insecure_skip_verify: true, {pair}"):
            config.write_text(f"tls_config: {{{text}}}")
            said[text.partition(":")[0] + str(pair in text)] = refused(url, "--http.config.file", str(config))
        plain = refused(url.replace("https", "http"))

    assert "TLS with URL failed: " in said["False"]
    assert "has no metrics of vmxd" not in said["ca_fileFalse"]
    assert "URL has no metrics of vmxd" in said["ca_fileTrue"]
    assert "URL has no metrics of vmxd" in said["insecure_skip_verifyTrue"]
    assert "is it http or https?" in plain
