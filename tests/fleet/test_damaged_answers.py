"""A Prometheus that answers anything at all, over a real socket: a fleet comes of it, or one sentence and a hint."""

from __future__ import annotations

import copy
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmxd.errors import VmxdError
from vmxd.fleet.answer import to_csv
from vmxd.fleet.api import Api
from vmxd.fleet.history import read_history
from vmxd.fleet.prometheus import Asked, read_prometheus
from vmxd.fleet.report import Report
from vmxd.fleet.summary import Summary
from vmxd.views.json import to_json
from vmxd.views.lines import lines_text

LABELS: Final = {
    "__name__": "vmx_host_info", "instance": "a", "job": "vmxd", "vendor": "GenuineIntel", "signature": "06-55-04",
    "microcode": "0x1", "fingerprint": "0123456789ab", "status": "unlocked", "release": "6.12", "feature": "ept",
    "msr": "IA32_VMX_BASIC", "value": "0xda040000000004", "state": "present", "parameter": "ept",
}  # fmt: skip
GOOD: Final = {
    "status": "success",
    "data": {
        "resultType": "vector",
        "result": [
            {"metric": LABELS | {"instance": name}, "value": [1e9, "1"], "values": [[1e9, "1"], [1e9 + 60, "1"]]}
            for name in ("a", "b")
        ],
    },
    "warnings": ["a store is down"],
}

odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.builds(list), st.builds(dict),
    st.sampled_from((10**400, 1e18, -1, "NaN", "1e400", "9" * 400, "0x" + "f" * 400, "\x1b[2J", "\ud800", (1e9, "7"))),
)  # fmt: skip
Answers = dict[int, bytes]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a right answer in which some values are others, or are gone."""
    document: Any = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and draw(st.integers(0, 4)):
                place = inner
            elif draw(st.booleans()):
                place[key] = draw(odd)
                break
            else:
                del place[key]
                break
    return json.dumps(document).encode()


answers = damaged() | st.binary(max_size=60) | st.builds(lambda each: json.dumps(each).encode(), odd)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the n-th query with the n-th of its server's answers, and further ones with the last."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a query."""
        self.rfile.read(int(self.headers["Content-Length"]))
        queue: list[bytes] = self.server.queue  # type: ignore[attr-defined]
        body = queue.pop(0) if len(queue) > 1 else queue[0]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    """Serve until the tests are done."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@settings(max_examples=150)
@given(st.lists(st.just(json.dumps(GOOD).encode()) | answers, min_size=1, max_size=8), st.booleans())
def test_any_answer(server: http.server.ThreadingHTTPServer, queue: list[bytes], nested: bool) -> None:
    """Whatever is wrong with whichever answer, it is a fleet that every form can tell of, or a VmxdError."""
    server.queue = list(queue)  # type: ignore[attr-defined]
    with closing(Api(f"http://127.0.0.1:{server.server_address[1]}")) as api:
        try:
            fleet = read_prometheus(api, Asked(nested=("ept", "vpid") if nested else ()))
        except VmxdError:
            return
    for answer in (Summary(fleet), Report(fleet)):
        assert to_json(answer.document()) + to_csv(answer.csv())
    assert lines_text(Summary(fleet).lines(80, 10))


@settings(max_examples=100)
@given(st.lists(st.just(json.dumps(GOOD).encode()) | answers, min_size=1, max_size=5))
def test_any_history(server: http.server.ThreadingHTTPServer, queue: list[bytes]) -> None:
    """So it is with the answers to range queries."""
    server.queue = list(queue)  # type: ignore[attr-defined]
    with closing(Api(f"http://127.0.0.1:{server.server_address[1]}")) as api:
        try:
            history = read_history(api, "a", 'instance="a"', 1e9, 1e9 + 600)
        except VmxdError:
            return
    assert 1e9 == history.start
