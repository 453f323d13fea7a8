"""python -m bench.fleet: what simulated fleets cost the programs that scrape, keep and evaluate them.

Every store scrapes every fleet once a minute, with yesterday in its storage, and evaluates the rules as shipped. CPU
time, memory, disk and numbers of series hold on a busy machine; times of the clock hold on an idle one.
"""

from __future__ import annotations

import argparse
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
from bench.fleet import queries
from bench.fleet.engines import Answer, Engine
from bench.fleet.hosts import Fleet
from bench.fleet.questions import print_questions
from bench.fleet.stores import SCRAPE_SECONDS, STORES
from bench.report import Goal, number, print_goals, print_table, print_title

SIZES: Final = (1_000, 10_000)
ROUNDS: Final = 5
ROUNDS_SECONDS: Final = 5.0
"""A query is asked no more once it took so long, all rounds together."""
SERIES_MAX: Final = 340
SCRAPED: Final = "scrape_samples_post_metric_relabeling"
"""Series of a host by its last scrape; to count them by name takes too long at 5,000 hosts."""
CHURN_SECONDS: Final = 10
CHANGED_SHARE: Final = 50
"""One host in so many has changed since yesterday."""
WINDOW: Final = 180
"""Seconds in which every group of rules is evaluated, and hosts are scraped three times."""
_DEADLINE: Final = 1_800.0
_MIB: Final = 1 << 20


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
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description="Measure what simulated fleets cost.")
    parser.add_argument("--hosts", type=int, action="append", help=f"default: {', '.join(map(str, SIZES))}")
    parser.add_argument("--only", action="append", choices=STORES, help="what runs; default: each after the other")
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="what is measured beside programs and rules; default: all"
    )
    arguments = parser.parse_args()
    machine.print_header()
    goals = []
    for name in arguments.only or STORES:
        for count in arguments.hosts or SIZES:
            with tempfile.TemporaryDirectory() as directory, _running(name, Path(directory), count) as engine:
                title = f"{name}, {count:,} hosts"
                print_title(title)
                _wait_for_rules(engine)
                goals += _measure(engine, title, count)
                for part in arguments.part or PARTS:
                    goals += PARTS[part](engine, title, count)
    print_title("All goals")
    print_goals(goals)
    return 0 if all(goal.is_met for goal in goals) else 1


@contextmanager
def _running(name: str, directory: Path, count: int) -> Iterator[Engine]:
    with _simulator(count) as port, STORES[name](directory, Fleet(count), port) as engine:
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


def _wait_for_rules(engine: Engine) -> None:
    """Wait until every group of rules was evaluated after every host was scraped twice, and a second time."""
    _until(lambda: engine.number("sum(up) > bool 0.9 * count(up)") == 1, 1)
    time.sleep(SCRAPE_SECONDS)
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


def _measure(engine: Engine, title: str, count: int) -> list[Goal]:
    series, kinds = int(engine.number(f"sum({SCRAPED})")), engine.number("count(fingerprint:vmx_hosts:count)")
    per_host = engine.number(f"max({SCRAPED} unless on (instance) vmx_nested_status)")
    facts = {
        "hosts that are up": f"{engine.number('sum(up)'):,.0f}",
        "fingerprints, summed over pools": f"{kinds:,.0f}",
        "series": f"{series:,}",
        "series of the largest host that was not asked for its nested view": f"{per_host:,.0f}",
    }
    print_table(("", ""), list(facts.items()))
    _print_programs(engine, count)
    rules = _print_rules(engine)
    return [
        Goal(f"{title}: rule group's share of its interval", max(rules.values()), 0.5),
        Goal(f"{title}: series of a host", per_host, SERIES_MAX),
    ]


def _print_programs(engine: Engine, count: int) -> None:
    """Print what each program takes while it scrapes and evaluates, and nobody asks."""
    before = [part.cpu_seconds for part in engine.parts]
    begin = time.monotonic()
    time.sleep(WINDOW)
    minutes = (time.monotonic() - begin) / 60
    rows = [
        (
            part.name,
            number(part.rss / _MIB),
            number(part.rss / 1024 / count),
            number((part.cpu_seconds - seconds) / minutes),
            number(part.cpu_seconds),
            ", ".join(f"{name} {number(each / _MIB)}" for name, each in part.disk.items() if each > _MIB // 8) or "-",
        )
        for part, seconds in zip(engine.parts, before, strict=True)
    ]
    columns = ("program", "memory, MiB", "KiB a host", "CPU s a minute", "CPU s since start", "on disk, MiB")
    print_table(columns, rows)


def _queries(engine: Engine, title: str, count: int) -> list[Goal]:
    alerts = _print_queries(engine, "alert", queries.alerts())
    panels = _print_queries(engine, "panel", queries.panels())
    _print_queries(engine, "typed", queries.TYPED)
    slowest = max(timing.seconds for timing in (*alerts.values(), *panels.values()))
    return [Goal(f"{title}: slowest alert or panel", slowest, 0.3 if count <= 1_000 else 1.0, " s")]


def _avoided(engine: Engine, _title: str, _count: int) -> list[Goal]:
    _print_queries(engine, "what the rules avoid", queries.MATRIX)
    return []


def _questions(engine: Engine, title: str, _count: int) -> list[Goal]:
    return print_questions(f"http://127.0.0.1:{engine.port}", title)


PARTS: Final[dict[str, Callable[[Engine, str, int], list[Goal]]]] = {
    "questions": _questions,
    "queries": _queries,
    "avoided": _avoided,
}
"""What is measured beside programs and rules: vmxd fleet, alerts and panels, and what nobody should ask."""


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
    answers: list[Answer] = []
    while len(answers) < ROUNDS and sum(answer.seconds for answer in answers) < ROUNDS_SECONDS:
        answers.append(engine.query(expression))
    best = min(answers, key=lambda answer: answer.seconds)
    return Timing(best.seconds, min(answer.cpu for answer in answers), len(best.series))


if __name__ == "__main__":
    sys.exit(main())
