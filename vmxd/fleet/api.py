"""Prometheus' HTTP API (prometheus.io, "HTTP API"), as Prometheus, Thanos, Mimir and VictoriaMetrics answer it.

Queries are POSTed, since those that name hosts are long. An answer that is not of the documented form is an error.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

import vmxd
from vmxd.errors import UsageError
from vmxd.fleet.http_config import HttpConfig
from vmxd.fleet.times import TIME_MAX
from vmxd.fleet.transport import PrometheusError, Reply, Transport, short

AT_ONCE: Final = 3
"""Queries that wait at the same time: VictoriaMetrics on two CPUs answers four, and refuses one that waits for 10 s."""
VALUES_MAX: Final = 4_000_000
"""Objects, lists and elements of an answer: each takes some 100 bytes of memory, a host 20 of them."""
_PAGE: Final = re.compile(r"(/(api/v1(/query)?|(classic/)?graph|query))?/*$", re.ASCII)
"""The part of a path that people paste from a page of Prometheus, or from what is asked for below its URL."""

_NO_API: Final = "give the URL that answers /api/v1/query; is this a Prometheus?"
_HINTS: Final[Mapping[int, str]] = {
    400: "look at --selector and --at",
    401: "name a user or token in --http.config.file",
    403: "the user or token of --http.config.file may not ask this",
    404: "is a path missing in the URL, as /prometheus of Mimir, or /select/0/prometheus of VictoriaMetrics' cluster?",
    405: "give the URL that answers /api/v1/query, not a web page before it",
    422: "look at --selector and --at",
    429: "it limits requests; try again later",
    500: "look into its log",
    502: "what it stands before does not answer; try again later",
    503: "it is starting, overloaded, or what is behind it is down; try again later",
    504: "what it stands before does not answer; try again later",
}


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
    """The API below a URL, without /api/v1; threads may ask at the same time.

    timeout: seconds for all queries together. warnings: why answers were incomplete, as the server says it.
    """

    url: str
    config: HttpConfig = field(default_factory=HttpConfig)
    timeout: float = 60.0
    warnings: dict[str, None] = field(default_factory=dict)
    _turns: threading.Semaphore = field(init=False, repr=False, default_factory=lambda: threading.Semaphore(AT_ONCE))
    _transport: Transport = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise UsageError where the URL is none."""
        self.url = _checked(self.url)
        always = {"Accept-Encoding": "gzip", "User-Agent": f"vmxd/{vmxd.__version__}"}
        self._transport = Transport(self.url, self.config.with_headers(always), self.timeout)

    @property
    def queries(self) -> int:
        """How many queries were asked."""
        return self._transport.posts

    @property
    def received(self) -> int:
        """Bytes of all answers, as they came over the wire."""
        return self._transport.received

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def query(self, expression: str, at: float | None = None, needs: Iterable[str] = ()) -> list[Series]:
        """Return the series of an instant query, as of a Unix time. needs: labels that each must have.

        Raises PrometheusError.
        """
        return list(self._ask("query", expression, {} if at is None else {"time": f"{at:.3f}"}, needs))

    def query_range(
        self, expression: str, start: float, end: float, step: float, needs: Iterable[str] = ()
    ) -> list[Series]:
        """Return the series of a range query; times and step in seconds. Raises PrometheusError."""
        times = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        times["nocache"] = "1"  # VictoriaMetrics would move start and end to multiples of the step
        return list(self._ask("query_range", expression, times, needs))

    def _ask(self, path: str, expression: str, fields: Mapping[str, str], needs: Iterable[str]) -> Iterator[Series]:
        form = {"query": expression, "timeout": f"{1000 * self._transport.seconds_left():.0f}ms", **fields}
        with self._turns:
            reply = self._transport.post(f"/api/v1/{path}", urlencode(form, errors="replace").encode())
        answer = self._answer(reply)
        try:
            for each in answer["data"]["result"]:
                series = _series(each)
                for name in needs:
                    if not series.labels.get(name):
                        raise self._unlabelled(expression, name)
                yield series
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise PrometheusError(
                f"{self.url} answered a query with what is no vector", "is it a Prometheus?"
            ) from error

    def _unlabelled(self, expression: str, label: str) -> PrometheusError:
        metric = expression.partition("{")[0].rpartition(" ")[2].lstrip("(")
        return PrometheusError(
            f"{self.url} has a series of {metric} without the label {label}",
            "do metric_relabel_configs or labeldrop take it away?",
        )

    def _answer(self, reply: Reply) -> Mapping[str, Any]:
        """Return the JSON object that a reply is, if it is one of success. Raises PrometheusError."""
        if sum(map(reply.body.count, (b",", b"[", b"{"))) > VALUES_MAX:
            raise PrometheusError(
                f"{self.url} answered with more than {VALUES_MAX:,} values", "ask for less with --selector"
            )
        try:
            answer = json.loads(reply.body)
        except (ValueError, RecursionError):
            answer = None
        if reply.status != 200:
            raise self._refused(reply, answer)
        kind = reply.headers.get("Content-Type", "")
        if answer is None and reply.body and "json" in kind:
            raise PrometheusError(f"{self.url} sent JSON that is cut off or damaged", "ask again; is a proxy at fault?")
        if not isinstance(answer, dict) or answer.get("status") != "success":
            what = f"what it sent is {short(kind)}" if kind else "it says not what it sent"
            raise PrometheusError(
                f"{self.url} does not answer as a Prometheus: {what}",
                "give the URL below which /api/v1/query is; is this a login page?",
            )
        warnings = answer.get("warnings") or []
        if not isinstance(warnings, list):
            raise PrometheusError(f"{self.url} answered with warnings that are no list", "is it a Prometheus?")
        self.warnings |= {f"{self.url} warns: {short(str(warning))}": None for warning in warnings}
        if answer.get("isPartial"):
            self.warnings[f"{self.url} answered in part: a part of its storage did not"] = None
        return answer

    def _refused(self, reply: Reply, answer: Any) -> PrometheusError:  # noqa: ANN401 (JSON)
        said = answer.get("error") if isinstance(answer, dict) else None
        hint = _HINTS.get(reply.status, _NO_API)
        if 300 <= reply.status < 400:
            said = f"it redirects to {reply.headers.get('Location', 'nowhere')}"
            hint = "give the URL that answers /api/v1/query; is this a login?"
        said = f": {short(str(said))}" if said else ""
        return PrometheusError(f"{self.url} answered {reply.status}{said}", hint)


def _series(each: Any) -> Series:  # noqa: ANN401 (JSON)
    """Return one series of an answer. Raises one of the errors of a wrong type or value where it is none."""
    samples = [(float(at), float(value)) for at, value in (each["values"] if "values" in each else [each["value"]])]
    labels = each["metric"]
    if not all(isinstance(text, str) for text in labels.values()):
        raise TypeError
    if not samples or not all(0 <= at < TIME_MAX and math.isfinite(value) for at, value in samples):
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
