"""A real Prometheus: run on scrape configurations and rules, asked, and waited for; and promtool."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from bench.fleet import engines
from bench.fleet.engines import Engine
from tests.helpers.support import REPOSITORY, program

DEPLOY: Final = REPOSITORY / "deploy" / "prometheus"
SECONDS: Final = 60.0
"""How long an engine may take to start, to scrape, or to evaluate rules."""

Series = dict[frozenset[tuple[str, str]], float]
T = TypeVar("T")


def promtool(*arguments: str | Path) -> None:
    """Run promtool, which must find no fault."""
    command = [program("promtool", "prometheus"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert 0 == done.returncode, done.stdout + done.stderr


def alert_tests(text: str, runbooks: str = "https://vmxd.example/docs/runbooks/%s.html") -> dict[str, Any]:
    """Return a file of tests for promtool, the address of the runbook added to each text that a pager shows."""
    document: dict[str, Any] = yaml.safe_load(text)
    for each in (each for case in document["tests"] for each in case.get("alert_rule_test", ())):
        for expected in each["exp_alerts"]:
            expected["exp_annotations"]["runbook_url"] = runbooks % each["alertname"]
    return document


@contextlib.contextmanager
def running_prometheus(
    directory: Path, scrape_configs: Sequence[Mapping[str, Any]] | str, rules: Sequence[Path] = (), interval: str = "1m"
) -> Iterator[Engine]:
    """Run Prometheus with its storage in a directory; the log is added to a failed assertion.

    scrape_configs: a list, or the text of a configuration that has one. interval: between two evaluations of rules.
    """
    program("prometheus", "prometheus")
    jobs = yaml.safe_load(scrape_configs)["scrape_configs"] if isinstance(scrape_configs, str) else scrape_configs
    try:
        with engines.prometheus(directory, jobs, rules, interval) as engine:
            yield engine
    except AssertionError as error:
        error.add_note((directory / "prometheus.log").read_text())
        raise


def series(engine: Engine, expression: str) -> Series:
    """Map the series of an instant query, by their labels less the instance, to their values."""
    return {
        frozenset((name, value) for name, value in each["metric"].items() if name != "instance"): float(
            each["value"][1]
        )
        for each in engine.query(expression).series
    }


def labels(**values: str) -> frozenset[tuple[str, str]]:
    """Return labels as the keys of Series are; ``metric`` is the metric's name."""
    return frozenset(("__name__" if name == "metric" else name, value) for name, value in values.items())


def until(what: Callable[[], T], enough: Callable[[T], object] = bool, seconds: float = SECONDS) -> T:
    """Ask again and again until the answer is enough, and return it."""
    deadline = time.monotonic() + seconds
    while not enough(answer := what()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    return answer
