"""The real Prometheus, and VictoriaMetrics with vmalert: each scrapes a fleet and evaluates the rules and alerts.

Prometheus and vmagent may also scrape for a VictoriaMetrics, and send it what they scrape.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bench.servers import cpu_clock

RULES: Final = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
RULE_FILES: Final = tuple(RULES / f"{name}.rules.yml" for name in ("recording", "required", "alerts"))

START_SECONDS: Final = 60.0
_TIMEOUT: Final = 600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query answered: its series, and what it took in seconds; cpu is what the database used meanwhile."""

    series: list[dict[str, Any]]
    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Ports:
    """Where Prometheus listens, 0: on any port; and the Alertmanager that it tells, 0: there is none."""

    prometheus: int = 0
    alertmanager: int = 0


ANY_PORTS: Final = Ports()


class Part:
    """One program of an engine. directory: where it keeps its data, None if nowhere."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], directory: Path | None = None) -> None:
        self.name = name
        self.directory = directory
        self._process = psutil.Process(process.pid)
        self._clock = cpu_clock(process.pid)

    @property
    def cpu_seconds(self) -> float:
        """User and system time of the process, by the kernel's CPU clock."""
        return time.clock_gettime(self._clock)

    @property
    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(self._process.memory_info().rss)

    @property
    def disk(self) -> dict[str, int]:
        """Bytes on disk by the directory that they are in, below the one of its data."""
        found: dict[str, int] = {}
        for path in self.directory.rglob("*") if self.directory else ():
            with contextlib.suppress(FileNotFoundError):  # merged into another meanwhile
                below = path.relative_to(self.directory or path).parts[0]
                found[below] = found.get(below, 0) + path.stat().st_blocks * 512
        return found


class Engine:
    """A database that answers Prometheus' HTTP API on a port of 127.0.0.1.

    parts: its programs, the database first.
    """

    def __init__(self, name: str, port: int, parts: Sequence[Part], rules_port: int) -> None:
        self.name = name
        self.port = port
        self.parts = list(parts)
        self._rules_port = rules_port

    def get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 (JSON)
        """Return the data that /api/v1 answers. Raises RuntimeError with its error."""
        return self._get(self.port, path, parameters)

    def query(self, expression: str, **parameters: str) -> Answer:
        """Ask an instant query. Raises RuntimeError where the engine refuses it."""
        database = self.parts[0]
        before, start = database.cpu_seconds, time.perf_counter()
        data = self.get("query", query=expression, **parameters)
        return Answer(data["result"], time.perf_counter() - start, database.cpu_seconds - before)

    def number(self, expression: str) -> float:
        """Return the sum of an instant query's values, 0 where there is no series."""
        return sum(float(series["value"][1]) for series in self.query(expression).series)

    def rule_groups(self) -> list[dict[str, Any]]:
        """Return the rule groups with what their last evaluation took, in seconds, and each rule of them.

        vmalert's API has no time of a group, and that of a recording rule from the evaluation's timestamp on, which was
        seconds before it began. What a group takes, in the mean, is among its metrics; what the others leave of it is
        the first rule's.
        """
        groups = [dict(group) for group in self._get(self._rules_port, "rules", {})["groups"]]
        if all("evaluationTime" in group for group in groups):
            return groups
        took = self._iterations()
        for group in groups:
            ends = [float(rule.get("evaluationTime") or 0) for rule in group["rules"]]
            if any(rule["type"] == "recording" for rule in group["rules"]):
                later = [max(0.0, end - begin) for begin, end in itertools.pairwise(ends)]
                ends = [max(0.0, took.get(group["name"], 0.0) - sum(later)), *later]
            for rule, seconds in zip(group["rules"], ends, strict=True):
                rule["evaluationTime"] = seconds
            group["evaluationTime"] = took.get(group["name"], 0.0)  # 0 before the first
        return groups

    def _iterations(self) -> dict[str, float]:
        """Return how many seconds vmalert takes for each group of rules, in the mean."""
        sums: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(self._fetch(self._rules_port, "/metrics").decode()):
            for sample in family.samples:
                name, _, part = sample.name.rpartition("_")
                if name == "vmalert_iteration_duration_seconds":
                    sums.setdefault(sample.labels["group"], {})[part] = sample.value
        return {group: parts["sum"] / max(1.0, parts["count"]) for group, parts in sums.items()}

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing, with their annotations."""
        return list(self._get(self._rules_port, "alerts", {})["alerts"])

    @classmethod
    def _get(cls, port: int, path: str, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 (JSON)
        answer = json.loads(cls._fetch(port, f"/api/v1/{path}?{urlencode(parameters)}"))
        if answer["status"] != "success":
            raise RuntimeError(f"{path} {dict(parameters)}: {answer.get('error')}")
        return answer["data"]

    @staticmethod
    def _fetch(port: int, target: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        with contextlib.closing(connection):
            connection.request("GET", target)
            return connection.getresponse().read()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def prometheus(
    directory: Path,
    scrape_configs: Sequence[Mapping[str, Any]],
    rule_files: Sequence[Path] = RULE_FILES,
    evaluation_interval: str = "1m",
    ports: Ports = ANY_PORTS,
) -> Iterator[Engine]:
    """Run Prometheus with its storage in a directory, until the block ends."""
    config = {
        "global": {"evaluation_interval": evaluation_interval},
        "scrape_configs": list(scrape_configs),
        "rule_files": [str(path) for path in rule_files],
    }
    if ports.alertmanager:
        told = [{"static_configs": [{"targets": [f"127.0.0.1:{ports.alertmanager}"]}]}]
        config["alerting"] = {"alertmanagers": told}
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = ports.prometheus or free_port()
    command = (
        program("prometheus", "prometheus"),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with running(directory / "prometheus.log", command, port, "/-/ready") as process:
        yield Engine("prometheus", port, [Part("prometheus", process, directory / "data")], port)


@contextlib.contextmanager
def forwarding_prometheus(
    directory: Path, config: Mapping[str, Any], url: str, *, agent: bool = False
) -> Iterator[Part]:
    """Run a Prometheus that sends what it scrapes to a URL and has no rules. agent: it keeps nothing to be asked."""
    config = {**config, "remote_write": [{"url": url}]}
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port, data = free_port(), directory / "data"
    command = (
        program("prometheus", "prometheus"),
        f"--config.file={directory / 'prometheus.yml'}",
        f"--web.listen-address=127.0.0.1:{port}",
        *(("--enable-feature=agent", f"--storage.agent.path={data}") if agent else (f"--storage.tsdb.path={data}",)),
    )
    with running(directory / "prometheus.log", command, port, "/-/ready") as process:
        yield Part("prometheus agent" if agent else "prometheus", process, data)


@contextlib.contextmanager
def vmagent(directory: Path, scrape_configs: Sequence[Mapping[str, Any]], url: str) -> Iterator[Part]:
    """Run a vmagent that sends what it scrapes to a URL."""
    (directory / "vmagent.yml").write_text(yaml.safe_dump({"scrape_configs": list(scrape_configs)}))
    port, data = free_port(), directory / "vmagent"
    command = (
        program("vmagent", "victoria-metrics"),
        f"-promscrape.config={directory / 'vmagent.yml'}",
        "-promscrape.config.strictParse=false",  # it has no refresh_interval in http_sd_configs
        f"-remoteWrite.url={url}",
        f"-remoteWrite.tmpDataPath={data}",
        f"-httpListenAddr=127.0.0.1:{port}",
    )
    with running(directory / "vmagent.log", command, port, "/health") as process:
        yield Part("vmagent", process, data)


@contextlib.contextmanager
def victoria_metrics(
    directory: Path,
    scrape_configs: Sequence[Mapping[str, Any]],
    rule_files: Sequence[Path] = RULE_FILES,
    evaluation_interval: str = "1m",
) -> Iterator[Engine]:
    """Run VictoriaMetrics, which scrapes if it has what, vmalert, and the Alertmanager that alerts take."""
    (directory / "scrape.yml").write_text(yaml.safe_dump({"scrape_configs": list(scrape_configs)}))
    port, rules_port, alerts_port = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    database = (
        program("victoria-metrics", "victoria-metrics"),
        f"-storageDataPath={directory / 'victoria'}",
        f"-promscrape.config={directory / 'scrape.yml'}",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-promscrape.config.strictParse=false",  # it has no refresh_interval in http_sd_configs
        "-search.latencyOffset=0s",
        "-search.maxUniqueTimeseries=10000000",
        "-search.maxQueryDuration=10m",  # for what the rules avoid
    )
    rules = (
        program("vmalert", "victoria-metrics"),
        *(f"-rule={path}" for path in rule_files),
        f"-evaluationInterval={evaluation_interval}",
        f"-datasource.url={url}",
        f"-remoteWrite.url={url}",
        f"-notifier.url=http://127.0.0.1:{alerts_port}",
        f"-httpListenAddr=127.0.0.1:{rules_port}",
    )
    with (
        running(directory / "victoria.log", database, port, "/health") as process,
        alertmanager(directory, alerts_port),
        running(directory / "vmalert.log", rules, rules_port, "/health") as vmalert,
    ):
        parts = [Part("victoria-metrics", process, directory / "victoria"), Part("vmalert", vmalert)]
        yield Engine("victoria-metrics", port, parts, rules_port)


@contextlib.contextmanager
def alertmanager(directory: Path, port: int) -> Iterator[None]:
    """Run an Alertmanager that tells nobody, until the block ends."""
    (directory / "alertmanager.yml").write_text(
        yaml.safe_dump({"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]})
    )
    command = (
        program("prometheus-alertmanager", "prometheus-alertmanager"),
        f"--config.file={directory / 'alertmanager.yml'}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
    with running(directory / "alertmanager.log", command, port, "/-/ready"):
        yield


def hurried_rules(directory: Path, interval: str = "1s") -> list[Path]:
    """Write the rule files as they are, but with one interval for all and alerts that do not wait."""
    paths = []
    for path in RULE_FILES:
        text = re.sub(r"interval: \d+m", f"interval: {interval}", path.read_text())
        paths.append(directory / path.name)
        paths[-1].write_text(re.sub(r"for: \d+[mh]", "for: 0s", text))
    return paths


def samples(text: str, labels: Mapping[str, str], at: int) -> Iterator[str]:
    """Yield the samples of a page with a target's labels and a time, as OpenMetrics has them."""
    given = ",".join(f'{name}="{value}"' for name, value in labels.items())
    for line in text.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.rpartition(" ")
            name, brace, own = key.partition("{")
            yield f"{name}{{{own.removesuffix('}') + ',' if brace else ''}{given}}} {value} {at}\n"


def program(name: str, package: str) -> str:
    """Find a program. Raises FileNotFoundError with the package that has it."""
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is missing; apt-get install {package}")
    return path


@contextlib.contextmanager
def running(log: Path, command: Sequence[str], port: int, ready: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends. Raises RuntimeError with its log if it does not get ready."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, "TZ": "UTC"}
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port, ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    with contextlib.closing(connection), contextlib.suppress(ConnectionError):
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False
