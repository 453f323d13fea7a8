"""Databases that have a past (past.py) and scrape a simulated fleet: Prometheus, and VictoriaMetrics."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.fleet import engines
from bench.fleet.engines import Engine
from bench.fleet.hosts import Fleet
from bench.fleet.simulator import scrape_config
from tests.helpers import past
from tests.helpers.inside import vmxd
from tests.helpers.prometheus import running_prometheus, until
from tests.helpers.support import program
from vmxd.fleet import model
from vmxd.fleet.api import Api
from vmxd.fleet.prometheus import Asked, read_prometheus


@dataclass(frozen=True, slots=True)
class Served:
    """A database, and the simulated fleet that it scrapes."""

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

    def ask(self, question: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run vmxd fleet QUESTION against it."""
        return vmxd("fleet", question, "--prometheus", self.url, *arguments)


def changed_fleet() -> Fleet:
    """Return a fleet of 60 hosts that has changed a little; three of them are down."""
    fleet = Fleet(60, seed=1)
    for _ in range(4):
        fleet.churn()
    return fleet


@contextlib.contextmanager
def served_by_prometheus(directory: Path, fleet: Fleet, port: int) -> Iterator[Served]:
    """Run a Prometheus that has the past and has scraped every host of a fleet that is served on a port."""
    (directory / "past.txt").write_text("".join(past.openmetrics()))
    command = (program("promtool", "prometheus"), "tsdb", "create-blocks-from", "openmetrics", "past.txt", "data")
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    with running_prometheus(directory, [scrape_config(port, "2s", "1s")]) as engine:
        yield _scraped(engine, fleet)


@contextlib.contextmanager
def served_by_victoria_metrics(directory: Path, fleet: Fleet, port: int) -> Iterator[Served]:
    """Run a VictoriaMetrics that has the past and has scraped every host of a fleet that is served on a port."""
    program("victoria-metrics", "victoria-metrics")
    rules = directory / "none.rules.yml"
    rules.write_text("groups: []\n")
    with engines.victoria_metrics(directory, [scrape_config(port, "2s", "1s")], (rules,)) as engine:
        lines = (line[:-1] + "000\n" for line in past.openmetrics() if not line.startswith("#"))  # milliseconds
        with closing(http.client.HTTPConnection("127.0.0.1", engine.port)) as connection:
            connection.request("POST", "/api/v1/import/prometheus", "".join(lines).encode())
            assert 204 == connection.getresponse().status
        with closing(http.client.HTTPConnection("127.0.0.1", engine.port)) as connection:
            connection.request("GET", "/internal/force_flush")  # only then do queries see all of it
            assert 200 == connection.getresponse().status
        yield _scraped(engine, fleet)


def _scraped(engine: Engine, fleet: Fleet) -> Served:
    up = sum(host.is_up for host in fleet.hosts.values())
    expected = up, len(fleet.hosts), up
    until(lambda: tuple(map(engine.number, ("sum(up)", "count(up)", "count(vmx_host_info)"))), expected.__eq__)
    return Served(engine, fleet)
