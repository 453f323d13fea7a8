"""How a fleet is scraped, kept and evaluated: the programs that a site would run, put together as docs/scaling.md says.

Every store has yesterday's recorded series when it begins, and scrapes once a minute.
"""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from bench.fleet import engines, history
from bench.fleet.engines import RULE_FILES, RULES, Engine
from bench.fleet.hosts import Fleet
from bench.fleet.simulator import scrape_config

SCRAPE_SECONDS: Final = 60
SHARDS: Final = 2
_IMPORT_LINES: Final = 20_000

Store = Callable[[Path, Fleet, int], AbstractContextManager[Engine]]
"""Run a store in a directory, with the past of a fleet that is served on a port."""


@contextmanager
def prometheus(directory: Path, fleet: Fleet, port: int) -> Iterator[Engine]:
    """One Prometheus does it all."""
    past = directory / "yesterday.txt"
    with past.open("w") as file:
        file.writelines(history.openmetrics(fleet))
    command = ("promtool", "tsdb", "create-blocks-from", "openmetrics", str(past), str(directory / "data"))
    subprocess.run(command, check=True, capture_output=True)
    past.unlink()
    with engines.prometheus(directory, [_scraped(port)]) as engine:
        yield engine


@contextmanager
def victoria_metrics(directory: Path, fleet: Fleet, port: int) -> Iterator[Engine]:
    """VictoriaMetrics scrapes, and vmalert has the rules."""
    with _asked_by_vmalert(directory, fleet, [_scraped(port)]) as engine:
        yield engine


@contextmanager
def vmagent(directory: Path, fleet: Fleet, port: int) -> Iterator[Engine]:
    """One vmagent scrapes for a VictoriaMetrics, and vmalert has the rules."""
    with (
        _asked_by_vmalert(directory, fleet) as engine,
        engines.vmagent(directory, [_scraped(port)], _written(engine)) as agent,
    ):
        engine.parts.append(agent)
        yield engine


@contextmanager
def shards(directory: Path, fleet: Fleet, port: int) -> Iterator[Engine]:
    """Prometheus servers scrape half of the pools each and write to a VictoriaMetrics; vmalert has the rules."""
    with _sharded(directory, fleet, port, agent=False) as engine:
        yield engine


@contextmanager
def agents(directory: Path, fleet: Fleet, port: int) -> Iterator[Engine]:
    """Scrape in the same way by servers in agent mode, which keep nothing but what is not yet written."""
    with _sharded(directory, fleet, port, agent=True) as engine:
        yield engine


STORES: Final[dict[str, Store]] = {
    "prometheus": prometheus,
    "victoria-metrics": victoria_metrics,
    "vmagent": vmagent,
    "shards": shards,
    "agents": agents,
}


@contextmanager
def _sharded(directory: Path, fleet: Fleet, port: int, *, agent: bool) -> Iterator[Engine]:
    with _asked_by_vmalert(directory, fleet) as engine, ExitStack() as stack:
        for number in range(SHARDS):
            own = directory / f"shard-{number}"
            own.mkdir()
            config = shard_config(port, number)
            part = stack.enter_context(engines.forwarding_prometheus(own, config, _written(engine), agent=agent))
            engine.parts.append(part)
        yield engine


def shard_config(port: int, number: int) -> dict[str, Any]:
    """Return the configuration of one shard, split as deploy/prometheus/scrape-sharded.yml does."""
    text = (RULES / "scrape-sharded.yml").read_text()
    for four, here in (("modulus: 4", f"modulus: {SHARDS}"), ('"0"', f'"{number}"')):
        assert four in text
        text = text.replace(four, here)
    config: dict[str, Any] = yaml.safe_load(text)
    scraped = _scraped(port)
    scraped["relabel_configs"] += config["scrape_configs"][0]["relabel_configs"]
    return {**config, "scrape_configs": [scraped]}


@contextmanager
def _asked_by_vmalert(directory: Path, fleet: Fleet, scrape_configs: Sequence[dict[str, Any]] = ()) -> Iterator[Engine]:
    """Run VictoriaMetrics with the rules as docs/scaling.md has them for vmalert: features every minute, too."""
    rules = []
    for path in RULE_FILES:
        rules.append(directory / path.name)
        rules[-1].write_text(path.read_text().replace("interval: 3m", "interval: 1m"))
    with engines.victoria_metrics(directory, scrape_configs, rules) as engine:
        _import(engine.port, history.openmetrics(fleet))
        yield engine


def _scraped(port: int) -> dict[str, Any]:
    return scrape_config(port, f"{SCRAPE_SECONDS}s", refresh="60s")


def _written(engine: Engine) -> str:
    return f"http://127.0.0.1:{engine.port}/api/v1/write"


def _import(port: int, lines: Iterator[str]) -> None:
    samples = [f"{line[:-1]}000\n" for line in lines if not line.startswith("#")]  # milliseconds
    for start in range(0, len(samples), _IMPORT_LINES):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        body = "".join(samples[start : start + _IMPORT_LINES]).encode()
        connection.request("POST", "/api/v1/import/prometheus", body)
        assert connection.getresponse().status == 204
        connection.close()
