"""python -m bench.fleet: rules and queries over simulated fleets, in Prometheus and in VictoriaMetrics.

Every engine scrapes every fleet twice a minute, with yesterday in its storage, and evaluates the rules as shipped.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from bench import machine
from bench.fleet import engines, history, queries
from bench.fleet.engines import Engine
from bench.fleet.hosts import Fleet
from bench.fleet.questions import print_questions
from bench.fleet.simulator import scrape_config
from bench.report import Goal, number, print_goals, print_table, print_title

SIZES: Final = (100, 1_000, 5_000)
ROUNDS: Final = 5
SERIES_MAX: Final = 340
SCRAPED: Final = "scrape_samples_post_metric_relabeling"
"""Series of a host by its last scrape; to count them by name takes too long at 5,000 hosts."""
SCRAPE: Final = "30s"
CHURN_SECONDS: Final = 10
IMPORT_LINES: Final = 20_000
CHANGED_SHARE: Final = 50
"""One host in so many has changed since yesterday."""
_DEADLINE: Final = 1_800.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Best of the rounds: wall-clock seconds, the engine's CPU seconds, and the number of series in the answer.

    The goals are about the wall-clock time. The CPU time has the engine's other work in it; where it is much smaller,
    the machine was not idle.
    """

    seconds: float
    cpu: float
    series: int


def main() -> int:
    """Run, print, and exit with 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description="Measure the rules on simulated fleets.")
    parser.add_argument("--hosts", type=int, action="append", help=f"default: {', '.join(map(str, SIZES))}")
    parser.add_argument("--engine", action="append", choices=("prometheus", "victoria-metrics"), help="default: both")
    arguments = parser.parse_args()
    machine.print_header()
    goals = []
    for name in arguments.engine or ("prometheus", "victoria-metrics"):
        for count in arguments.hosts or SIZES:
            with tempfile.TemporaryDirectory() as directory, _running(name, Path(directory), count) as engine:
                _wait_for_rules(engine)
                goals += _measure(engine, count)
    print_title("All goals")
    print_goals(goals)
    return 0 if all(goal.is_met for goal in goals) else 1


@contextmanager
def _running(name: str, directory: Path, count: int) -> Iterator[Engine]:
    yesterday = "".join(history.openmetrics(Fleet(count)))
    with _simulator(count) as port:
        configs = [scrape_config(port, SCRAPE)]
        if name == "prometheus":
            text = directory / "yesterday.txt"
            text.write_text(yesterday)
            command = ("promtool", "tsdb", "create-blocks-from", "openmetrics", str(text), str(directory / "data"))
            subprocess.run(command, check=True, capture_output=True)
            with engines.prometheus(directory, configs) as engine:
                yield engine
        else:
            with engines.victoria_metrics(directory, configs) as engine:
                _import(engine.port, yesterday)
                yield engine


@contextmanager
def _simulator(count: int) -> Iterator[int]:
    command = [sys.executable, "-m", "bench.fleet.simulator", f"--hosts={count}", f"--churn={CHURN_SECONDS}"]
    command.append(f"--changes={count // CHANGED_SHARE}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _import(port: int, text: str) -> None:
    samples = [f"{line}000\n" for line in text.splitlines() if not line.startswith("#")]  # milliseconds
    for start in range(0, len(samples), IMPORT_LINES):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        body = "".join(samples[start : start + IMPORT_LINES]).encode()
        connection.request("POST", "/api/v1/import/prometheus", body)
        assert connection.getresponse().status == 204


def _wait_for_rules(engine: Engine) -> None:
    """Wait until every group of rules was evaluated after every host was scraped twice, and a second time."""
    _until(lambda: engine.number("sum(up) > bool 0.9 * count(up)") == 1, 1)
    time.sleep(60)
    for _ in range(2):
        begin = time.time()
        _until(lambda begin=begin: _last_evaluation(engine) > begin, 5)  # type: ignore[misc]
    _until(lambda: engine.number("count(model_feature:vmx_hosts_with:ratio)") > 0, 5)  # vmalert needs more rounds


def _last_evaluation(engine: Engine) -> float:
    times = (str(group["lastEvaluation"])[:19] for group in engine.rule_groups())
    return min(datetime.fromisoformat(f"{each}+00:00").timestamp() for each in times)


def _until(done: Callable[[], bool], pause: float) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError("the rules were not evaluated in time")
        time.sleep(pause)


def _measure(engine: Engine, count: int) -> list[Goal]:
    title = f"{engine.name}, {count:,} hosts"
    print_title(title)
    series, kinds = int(engine.number(f"sum({SCRAPED})")), engine.number("count(fingerprint:vmx_hosts:count)")
    per_host = engine.number(f"max({SCRAPED} unless on (instance) vmx_nested_status)")
    facts = {
        "hosts that are up": f"{engine.number('sum(up)'):,.0f}",
        "fingerprints, summed over pools": f"{kinds:,.0f}",
        "series": f"{series:,}",
        "series of the largest host that was not asked for its nested view": f"{per_host:,.0f}",
        "resident memory, MiB": f"{engine.rss / (1 << 20):,.0f}",
    }
    print_table(("", ""), list(facts.items()))
    rules = _print_rules(engine)
    alerts = _print_queries(engine, "alert", queries.alerts())
    panels = _print_queries(engine, "panel", queries.panels())
    _print_queries(engine, "typed", queries.TYPED)
    _print_queries(engine, "what the rules avoid", queries.MATRIX)
    asked = print_questions(f"http://127.0.0.1:{engine.port}", title)
    slowest = max(timing.seconds for timing in (*alerts.values(), *panels.values()))
    return [
        Goal(f"{title}: slowest alert or panel", slowest, 0.3 if count <= 1_000 else 1.0, " s"),
        Goal(f"{title}: rule group's share of its interval", max(rules.values()), 0.5),
        Goal(f"{title}: series of a host", per_host, SERIES_MAX),
        *asked,
    ]


def _print_rules(engine: Engine) -> dict[str, float]:
    """Print what the rules took when last evaluated; return each group's share of its interval."""
    rows, shares = [], {}
    for group in engine.rule_groups():
        seconds = {rule["name"]: float(rule.get("evaluationTime") or 0) for rule in group["rules"]}
        total = float(group["evaluationTime"])
        shares[str(group["name"])] = total / float(group["interval"])
        slowest = max(seconds, key=seconds.__getitem__)
        rows.append((str(group["name"]), f"{group['interval']:g}", number(total), slowest, number(seconds[slowest])))
    print_table(("rule group", "every, s", "took, s", "slowest rule", "s"), rows)
    return shares


def _print_queries(engine: Engine, title: str, expressions: Mapping[str, str]) -> dict[str, Timing]:
    timings = {name: _time(engine, expression) for name, expression in expressions.items()}
    rows = [
        (name, f"{each.series:,}", number(each.seconds * 1000), number(each.cpu * 1000))
        for name, each in sorted(timings.items(), key=lambda item: -item[1].seconds)
    ]
    if rows:
        print_table((title, "series", "ms", "CPU, ms"), rows)
    return timings


def _time(engine: Engine, expression: str) -> Timing:
    answers = [engine.query(expression) for _ in range(ROUNDS)]
    best = min(answers, key=lambda answer: answer.seconds)
    return Timing(best.seconds, min(answer.cpu for answer in answers), len(best.series))


if __name__ == "__main__":
    sys.exit(main())
