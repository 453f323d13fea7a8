"""A Prometheus and a VictoriaMetrics, once for all tests of the fleet: they have a past, and scrape a simulated one."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.fleet import engines
from bench.fleet.engines import Engine
from bench.fleet.hosts import Fleet
from bench.fleet.simulator import scrape_config, simulated
from tests.fleet import past
from tests.helpers.support import program, vmxd
from vmxd.fleet import model
from vmxd.fleet.api import Api
from vmxd.fleet.prometheus import Asked, read_prometheus

SECONDS = 60.0
HOSTS = 60


@dataclass(frozen=True, slots=True)
class Served:
    """A database that scrapes a simulated fleet; what it has of the past is in past.py."""

    engine: Engine
    fleet: Fleet

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.engine.port}"

    def read(self, matchers: str, at: float | None = None) -> model.Fleet:
        """Return the hosts that it has."""
        with closing(Api(self.url)) as api:
            return read_prometheus(api, Asked(matchers, at))

    def ask(self, question: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        """Run vmxd fleet QUESTION against it."""
        return vmxd("fleet", question, "--prometheus", self.url, *arguments, **options)


@pytest.fixture(scope="package")
def fleet() -> Fleet:
    """Return a fleet that has changed a little, with three hosts that are down."""
    made = Fleet(HOSTS, seed=1)
    for _ in range(4):
        made.churn()
    return made


@pytest.fixture(scope="package")
def simulator(fleet: Fleet) -> Iterator[int]:
    """Serve the fleet, and yield the port."""
    with simulated(fleet) as port:
        yield port


@pytest.fixture(scope="package")
def prometheus(fleet: Fleet, simulator: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run a Prometheus that has the past and has scraped every host."""
    directory = tmp_path_factory.mktemp("prometheus")
    (directory / "past.txt").write_text("".join(past.openmetrics()))
    command = (program("promtool", "prometheus"), "tsdb", "create-blocks-from", "openmetrics", "past.txt", "data")
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    program("prometheus", "prometheus")
    with engines.prometheus(directory, [scrape_config(simulator, "2s", "1s")], ()) as engine:
        yield _scraped(engine, fleet)


@pytest.fixture(scope="package")
def victoria_metrics(fleet: Fleet, simulator: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run a VictoriaMetrics that has the past and has scraped every host."""
    directory = tmp_path_factory.mktemp("victoria")
    program("victoria-metrics", "victoria-metrics")
    with _victoria_metrics(directory, [scrape_config(simulator, "2s", "1s")]) as engine:
        connection = http.client.HTTPConnection("127.0.0.1", engine.port)
        lines = (line[:-1] + "000\n" for line in past.openmetrics() if not line.startswith("#"))  # milliseconds
        with closing(connection):
            connection.request("POST", "/api/v1/import/prometheus", "".join(lines).encode())
            assert 204 == connection.getresponse().status
        yield _scraped(engine, fleet)


def _victoria_metrics(directory: Path, scrape_configs: Sequence[dict[str, Any]]) -> Any:  # noqa: ANN401
    rules = directory / "none.rules.yml"
    rules.write_text("groups: []\n")
    return engines.victoria_metrics(directory, scrape_configs, (rules,))


def _scraped(engine: Engine, fleet: Fleet) -> Served:
    up = sum(host.is_up for host in fleet.hosts.values())
    _until(lambda: engine.number("sum(up)") == up and engine.number("count(up)") == len(fleet.hosts))
    _until(lambda: engine.number("count(vmx_host_info)") == up)
    return Served(engine, fleet)


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(params=["prometheus", "victoria_metrics"])
def served(request: pytest.FixtureRequest) -> Served:
    """Return the one and then the other."""
    found: Served = request.getfixturevalue(request.param)
    return found
