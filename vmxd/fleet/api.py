"""Prometheus' HTTP API (prometheus.io, "HTTP API"), as Prometheus, Thanos, Mimir and VictoriaMetrics answer it.

Queries are POSTed, since those that name hosts are long. What an answer may take, in time and in bytes, is bounded.
"""

from __future__ import annotations

import json
import math
import re
import ssl
import time
import urllib.request
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import vmxd
from vmxd.errors import NotInstalledError, UsageError, VmxdError
from vmxd.fleet.http_config import HttpConfig

try:
    import urllib3
except ModuleNotFoundError as error:
    raise NotInstalledError("--prometheus", error.name, "fleet") from error

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

ANSWER_MAX: Final = 256 << 20
"""Bytes of an answer, unpacked: vmx_host_info of half a million hosts."""
_CHUNK: Final = 1 << 16
_SHOWN: Final = 200
_PAGE: Final = re.compile(r"(/(api/v1(/query)?|(classic/)?graph|query))?/*$", re.ASCII)
"""What of a path people paste from elsewhere: a page of Prometheus, or what is asked for below its URL."""

_HINTS: Final[Mapping[int, str]] = {
    401: "name a user or token in --http.config.file",
    403: "the user or token of --http.config.file may not ask this",
    404: "is a path missing in the URL, as /prometheus of Mimir, or /select/0/prometheus of VictoriaMetrics' cluster?",
    405: "give the URL that answers /api/v1/query, not a web page before it",
    429: "it limits requests; try again later",
    502: "what it stands before does not answer; try again later",
    503: "it is starting, overloaded, or what is behind it is down; try again later",
    504: "what it stands before does not answer; try again later",
}


class PrometheusError(VmxdError):
    """Raised when a Prometheus cannot be asked, or does not answer as one."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer: labels, __name__ among them, and samples as Unix time in seconds and value."""

    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]

    @property
    def value(self) -> float:
        """The value of its last sample."""
        return self.samples[-1][1]


@dataclass(slots=True)
class Api:
    """The API below a URL, without /api/v1.

    timeout: seconds for each query. warnings: what answers were incomplete for, as the server says it.
    queries, received: how many queries were asked, and the bytes of their answers as they came over the wire.
    """

    url: str
    config: HttpConfig = field(default_factory=HttpConfig)
    timeout: float = 30.0
    warnings: dict[str, None] = field(default_factory=dict)
    queries: int = 0
    received: int = 0
    _pool: urllib3.PoolManager = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise UsageError where the URL is none."""
        self.url = _checked(self.url)
        options: dict[str, Any] = {"ssl_context": self.config.tls, "timeout": self.timeout, "retries": False}
        if self.config.server_name:
            options |= {"server_hostname": self.config.server_name, "assert_hostname": self.config.server_name}
        if self.config.tls and self.config.tls.verify_mode is ssl.CERT_NONE:  # insecure_skip_verify, as asked for
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            options["cert_reqs"] = ssl.CERT_NONE  # urllib3 1.26 verifies by default, whatever the context says
        parts = urlsplit(self.url)
        proxy = self.config.proxy or _proxy(parts.scheme, parts.netloc)
        self._pool = _behind(proxy, options) if proxy else urllib3.PoolManager(**options)

    def close(self) -> None:
        """Close its connections."""
        self._pool.clear()

    def query(self, expression: str, at: float | None = None) -> list[Series]:
        """Return the series of an instant query, as of a Unix time. Raises PrometheusError."""
        return list(self._ask("query", expression, {} if at is None else {"time": f"{at:.3f}"}))

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """Return the series of a range query; times and step in seconds. Raises PrometheusError."""
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        times["nocache"] = "1"  # VictoriaMetrics would move start and end to multiples of the step
        return list(self._ask("query_range", expression, times))

    def _ask(self, path: str, expression: str, fields: Mapping[str, str]) -> Iterator[Series]:
        status, headers, body = self._post(path, {"query": expression, "timeout": f"{self.timeout:g}s", **fields})
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if status != 200:
            raise self._refused(status, headers, answer)
        kind = headers.get("Content-Type", "")
        if answer is None and body and "json" in kind:
            raise PrometheusError(f"{self.url} sent JSON that is cut off or damaged", "ask again; is a proxy at fault?")
        if not isinstance(answer, dict) or answer.get("status") != "success":
            what = f"what it sent is {_short(kind)}" if kind else "it says not what it sent"
            raise PrometheusError(
                f"{self.url} does not answer as a Prometheus: {what}",
                "give the URL below which /api/v1/query is; is this a login page?",
            )
        self._note(answer)
        try:
            for each in answer["data"]["result"]:
                yield _series(each)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PrometheusError(
                f"{self.url} answered a query with what is no vector", "is it a Prometheus?"
            ) from error

    def _note(self, answer: Mapping[str, Any]) -> None:
        for warning in answer.get("warnings") or ():
            self.warnings[f"{self.url} warns: {_short(str(warning))}"] = None
        if answer.get("isPartial"):
            self.warnings[f"{self.url} answered in part: a part of its storage did not"] = None

    def _refused(self, status: int, headers: Mapping[str, str], answer: Any) -> PrometheusError:  # noqa: ANN401 (JSON)
        said = answer.get("error") if isinstance(answer, dict) else None
        if 300 <= status < 400:
            said = f"it redirects to {headers.get('Location', 'nowhere')}"
        said = f": {_short(str(said))}" if said else ""
        hint = _HINTS.get(status)
        if hint is None:
            hint = "give the URL that answers /api/v1/query; is this a login?" if status < 400 else "look into its log"
            hint = "look at --selector and --at" if status in (400, 422) else hint
        return PrometheusError(f"{self.url} answered {status}{said}", hint)

    def _post(self, path: str, fields: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        self.queries += 1
        deadline = time.monotonic() + self.timeout
        headers = {"Accept-Encoding": "gzip", "User-Agent": f"vmxd/{vmxd.__version__}", **self.config.headers}
        try:
            response = self._pool.request(
                "POST",
                f"{self.url}/api/v1/{path}",
                fields=fields,
                encode_multipart=False,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            body = self._body(response, deadline)
        except urllib3.exceptions.HTTPError as error:
            raise self._failed(error) from error
        except zlib.error as error:
            raise PrometheusError(f"{self.url} sent what is no gzip: {error}", "is it a Prometheus?") from error
        except (UnicodeError, ValueError) as error:  # a host name or header that cannot be sent
            raise PrometheusError(f"{self.url} cannot be asked: {error}", "look at the URL") from error
        return response.status, response.headers, body

    def _body(self, response: BaseHTTPResponse, deadline: float) -> bytes:
        """Return an answer's body, unpacked."""
        packed = response.headers.get("Content-Encoding", "identity").lower() != "identity"
        unpack = zlib.decompressobj(wbits=31)
        body = bytearray()
        for chunk in response.stream(_CHUNK, decode_content=False):
            self.received += len(chunk)
            body += unpack.decompress(chunk, ANSWER_MAX) if packed else chunk
            if len(body) > ANSWER_MAX or unpack.unconsumed_tail:
                response.close()
                raise PrometheusError(
                    f"{self.url} answered with more than {ANSWER_MAX >> 20} MiB", "ask for less with --selector"
                )
            if time.monotonic() > deadline:
                response.close()
                raise self._late()
        response.release_conn()
        return bytes(body)

    def _late(self) -> PrometheusError:
        return PrometheusError(f"{self.url} did not answer within {self.timeout:g} s", "allow more with --timeout")

    def _failed(self, error: urllib3.exceptions.HTTPError) -> PrometheusError:
        if isinstance(error, urllib3.exceptions.TimeoutError) and not isinstance(
            error, urllib3.exceptions.NewConnectionError
        ):
            return self._late()
        reason: BaseException = error
        while (inner := reason.__cause__ or reason.__context__ or getattr(reason, "original_error", None)) is not None:
            reason = inner
        what = _short(str(getattr(reason, "verify_message", "") or getattr(reason, "strerror", None) or reason))
        if isinstance(error, urllib3.exceptions.ProxyError):
            proxy = self._pool.proxy.netloc if self._pool.proxy else ""
            hint = (
                "look at proxy_url in --http.config.file, or at http_proxy, https_proxy and no_proxy in the environment"
            )
            return PrometheusError(f"{self.url} cannot be reached through the proxy {proxy}: {what}", hint)
        if isinstance(error, urllib3.exceptions.SSLError):
            hint = "name its CA, or a client certificate, in tls_config of --http.config.file; is it https at all?"
            return PrometheusError(f"TLS with {self.url} failed: {what}", hint)
        if isinstance(error, urllib3.exceptions.NewConnectionError):
            return PrometheusError(f"{self.url} cannot be reached: {what}", "look at the host and port of the URL")
        return PrometheusError(f"{self.url} broke off: {what}", "does a Prometheus listen there? is it http or https?")


def _series(each: Any) -> Series:  # noqa: ANN401 (JSON)
    """Return one series of an answer. Raises one of the errors of a wrong type or value where it is none."""
    samples = [(float(at), float(value)) for at, value in (each["values"] if "values" in each else [each["value"]])]
    labels = each["metric"]
    if not all(isinstance(text, str) for text in labels.values()):
        raise TypeError
    if not samples or not all(math.isfinite(number) for sample in samples for number in sample):
        raise ValueError
    return Series(labels, samples)


def _checked(url: str) -> str:
    """Return a URL without the slash at its end, and without what people paste with it: /api/v1, /graph, /query."""
    hint = "as in --prometheus http://prometheus:9090"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}", hint) from error
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "the URL has a user or password, which everyone on this host can see",
            "put them under basic_auth in the file of --http.config.file",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise UsageError(f"{url!r} is no URL of a Prometheus", hint)
    return urlunsplit((parts.scheme, parts.netloc, _PAGE.sub("", parts.path, count=1), "", ""))


def _proxy(scheme: str, netloc: str) -> str | None:
    """Return the proxy that the environment names for a host (http_proxy, https_proxy, no_proxy)."""
    return None if urllib.request.proxy_bypass(netloc) else urllib.request.getproxies().get(scheme)


def _behind(proxy: str, options: Mapping[str, Any]) -> urllib3.ProxyManager:
    """Return connections through a proxy; its URL may be without http://, as curl takes it. Raises UsageError."""
    try:
        return urllib3.ProxyManager(proxy if "://" in proxy else f"http://{proxy}", **options)
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        raise UsageError(
            f"the proxy {re.sub('//.*@', '//', proxy)!r} is no URL of an HTTP proxy",
            "give http://proxy:3128 in proxy_url of --http.config.file, or in http_proxy and https_proxy",
        ) from error


def _short(text: str) -> str:
    """Return one line of what another program said, nothing in it that a terminal would obey."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
