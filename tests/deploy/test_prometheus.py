"""A real Prometheus scrapes a real vmxd: what it then answers is what the host can do."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.helpers.server import serving
from tests.helpers.support import HOSTS, LAKEFIELD, program
from vmxd.commands.profiles import builtin_profiles
from vmxd.host.scan import scan
from vmxd.views.metrics import HostCollector, to_text

SECONDS: Final = 30.0
"""How long Prometheus may take to start, or to have scraped."""

CONFIG: Final = """
global:
  scrape_interval: 250ms
  scrape_timeout: 250ms
scrape_configs:
  - job_name: lakefield
    static_configs:
      - targets: ["127.0.0.1:{lakefield}"]
  - job_name: skylake
    metrics_path: /vmx
    params:
      anything: ["is ignored"]
    static_configs:
      - targets: ["127.0.0.1:{skylake}"]
"""

ROOTS: Final = {"lakefield": LAKEFIELD, "skylake": HOSTS / "skylake-6700k"}

Series = dict[frozenset[tuple[str, str]], float]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus that listens."""

    port: int

    def is_ready(self) -> bool:
        """Return whether it answers queries yet. Raises ConnectionError while it does not even listen."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200

    def get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 (JSON)
        """Return the data that its API answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.load(connection.getresponse())
        assert "success" == answer["status"], answer
        return answer["data"]

    def query(self, expression: str) -> Series:
        """Return the series of an instant query, by their labels less the one that differs from run to run."""
        return {
            frozenset((name, value) for name, value in series["metric"].items() if name != "instance"): float(
                series["value"][1]
            )
            for series in self.get("query", query=expression)["result"]
        }


def until(what: Callable[[], T], enough: Callable[[T], bool], seconds: float = SECONDS) -> T:
    """Ask again and again until the answer is enough, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ConnectionError):  # it does not listen yet
            if enough(answer := what()):
                return answer
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def labels(**values: str) -> frozenset[tuple[str, str]]:
    """Return labels as the keys of Series are; ``metric`` is the metric's name."""
    return frozenset(("__name__" if name == "metric" else name, value) for name, value in values.items())


@contextlib.contextmanager
def running_prometheus(directory: Path, config: str) -> Iterator[Prometheus]:
    """Run Prometheus with its storage in a directory."""
    executable = program("prometheus", "prometheus")
    (directory / "prometheus.yml").write_text(config)
    port = free_port()
    command = [
        executable,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            prometheus = Prometheus(port)
            until(prometheus.is_ready, bool)
            yield prometheus
        except AssertionError as error:
            error.add_note((directory / "log").read_text())
            raise
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run a Prometheus that has scraped Lakefield and a Skylake, each from a vmxd of its own, three times at least."""
    with (
        serving(ROOTS["lakefield"]) as lakefield,
        serving(ROOTS["skylake"], "--web.telemetry-path=/vmx") as skylake,
        running_prometheus(
            tmp_path_factory.mktemp("prometheus"), CONFIG.format(lakefield=lakefield.port, skylake=skylake.port)
        ) as running,
    ):
        until(
            lambda: running.query('vmxd_http_requests_total{code="200"} >= 2'),
            lambda series: len(series) == len(ROOTS),
        )
        yield running


def test_up(prometheus: Prometheus) -> None:
    """Both targets are up, and no scrape had an error."""
    targets = prometheus.get("targets")["activeTargets"]

    assert dict.fromkeys((labels(metric="up", job=job) for job in ROOTS), 1) == prometheus.query("up")
    assert [("up", "")] * 2 == [(target["health"], target["lastError"]) for target in targets]


def test_features(prometheus: Prometheus) -> None:
    """All features whose value is known are there: 149 on the Skylake, on Lakefield all but the one not recorded."""
    expected = {labels(job="lakefield"): 148, labels(job="skylake"): 149}

    assert expected == prometheus.query("count by (job) (vmx_feature)")


def test_lakefield(prometheus: Prometheus) -> None:
    """Lakefield's bus-lock detection, which one CPU of five has, is a feature not to count on."""
    feature = labels(metric="vmx_feature", job="lakefield", feature="bus_lock_detection")
    cpu = labels(metric="vmx_cpu_inconsistent", job="lakefield", cpu="4", msr="IA32_VMX_PROCBASED_CTLS2")

    assert {feature: 0} == prometheus.query('vmx_feature{feature="bus_lock_detection",job="lakefield"}')
    assert {cpu: 1} == prometheus.query("vmx_cpu_inconsistent")
    assert {labels(metric="vmx_inconsistent_cpus", job="lakefield"): 1} == prometheus.query("vmx_inconsistent_cpus > 0")


def test_skylake(prometheus: Prometheus) -> None:
    """The Skylake's VMX may be used; of Lakefield's that is not known, and so there is no series."""
    assert {labels(metric="vmx_usable", job="skylake"): 1} == prometheus.query("vmx_usable")


@pytest.mark.parametrize("job", ROOTS)
def test_every_sample(prometheus: Prometheus, job: str) -> None:
    """Prometheus holds every sample of the host, with its labels and value, and none beside."""
    page = to_text(HostCollector(scan(str(ROOTS[job]), profiles=builtin_profiles()).inventory)).decode()
    expected = {
        labels(
            metric=sample.name, job=job, **{name: value for name, value in sample.labels.items() if value}
        ): sample.value
        for family in parse_text(page)
        for sample in family.samples
    }

    assert expected == prometheus.query(f'{{job="{job}",__name__=~"vmx_.+"}}')


def test_metadata(prometheus: Prometheus) -> None:
    """Types and HELP arrive as OpenMetrics has them, which Prometheus asks for first: infos are infos."""
    metadata = prometheus.get("metadata")
    names = ("vmx_feature", "vmx_host", "vmx_msr", "vmxd_build", "vmxd_source", "vmxd_http_requests")
    types = {name: entry["type"] for name in names for entry in metadata[name]}

    assert dict(zip(names, ("gauge", "info", "info", "info", "info", "counter"), strict=True)) == types
    assert all("Source: " in entry["help"] for name in metadata if name.startswith("vmx") for entry in metadata[name])


def test_counter_grows(prometheus: Prometheus) -> None:
    """Each scrape is counted by the next, so the counter has a rate."""
    counter = 'vmxd_http_requests_total{job="lakefield",code="200"}'
    (before,) = prometheus.query(counter).values()

    assert until(lambda: sum(prometheus.query(counter).values()), lambda count: count > before + 1)
    assert {labels(code="200"): 2} == prometheus.query("count by (code) (vmxd_http_requests_total > 0)")


def test_fleet(prometheus: Prometheus) -> None:
    """Hosts can be told apart, and told equal, by their fingerprints."""
    assert 2 == len(prometheus.query("count by (fingerprint) (vmx_host_info)"))
    assert {frozenset(): 2} == prometheus.query('count(vmx_host_info{fingerprint=~"[0-9a-f]{12}"})')


def test_join(prometheus: Prometheus) -> None:
    """A feature can be joined with what its host is, as dashboards do."""
    series = prometheus.query('vmx_feature{feature="ept"} * on (instance) group_left (model_name) vmx_host_info')

    assert {1.0} == set(series.values())
    assert {"Intel(R) Core(TM) i5-L16G7 CPU @ 1.40GHz", scan(str(ROOTS["skylake"])).inventory.identity.model_name} == {
        dict(each)["model_name"] for each in series
    }
