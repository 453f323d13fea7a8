"""What vmxd fleet asks of a fleet's Prometheus: how long each question takes, and the bytes that it moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from bench.report import Goal, number, print_table
from vmxd.fleet.answer import Answer
from vmxd.fleet.api import Api
from vmxd.fleet.changes import read_changes
from vmxd.fleet.groups import group
from vmxd.fleet.guests import fleet_as_guests
from vmxd.fleet.lacks import sort_hosts
from vmxd.fleet.model import Fleet
from vmxd.fleet.pools import answer as pools_answer
from vmxd.fleet.prometheus import Asked, read_prometheus
from vmxd.fleet.summary import Summary
from vmxd.model.profiles import cpu_model_profile
from vmxd.tables import FEATURES

ROUNDS: Final = 3
SECONDS_MAX: Final = 2.0
BYTES_MAX: Final = 5_000_000
SINCE: Final = 240
"""Seconds that a store certainly has when it is asked."""


def _guests(api: Api, features: tuple[str, ...]) -> Fleet:
    return fleet_as_guests(read_prometheus(api, Asked(nested=features, parameters=True)))


QUESTIONS: Final[dict[str, Callable[[Api], Answer]]] = {
    "summary": lambda api: Summary(read_prometheus(api, Asked())),
    "has posted_intr": lambda api: sort_hosts(_guests(api, ("posted_intr",)), ["posted_intr"], "has"),
    "lacks --cpu-model SapphireRapids-v2": lambda api: sort_hosts(
        _guests(api, cpu_model_profile("SapphireRapids-v2").features), cpu_model_profile("SapphireRapids-v2").features
    ),
    "pools": lambda api: pools_answer(group(_guests(api, tuple(FEATURES)))),
    f"changes --since {SINCE}s": lambda api: read_changes(api, "", time.time() - SINCE, None),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Best of the rounds: wall-clock seconds, CPU seconds of vmxd alone; bytes over the wire; queries."""

    seconds: float
    cpu: float
    received: int
    queries: int


def measure(url: str, question: Callable[[Api], Answer]) -> Cost:
    """Return what a question costs, from the first query to the lines of a terminal, not the start of Python."""
    costs = []
    for _ in range(ROUNDS):
        with closing(Api(url, timeout=600)) as api:
            begin, cpu = time.perf_counter(), time.process_time()
            list(question(api).lines(120, 10))
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
            costs.append(Cost(seconds, cpu, api.received, api.queries))
    return min(costs, key=lambda cost: cost.seconds)


def print_questions(url: str, title: str) -> list[Goal]:
    """Measure every question, print what it cost, and return the goals."""
    costs = {name: measure(url, question) for name, question in QUESTIONS.items()}
    rows = [
        (name, *map(number, (cost.seconds * 1000, cost.cpu * 1000)), f"{cost.received:,}", f"{cost.queries}")
        for name, cost in costs.items()
    ]
    print_table(("vmxd fleet", "ms", "CPU of vmxd, ms", "bytes", "queries"), rows)
    slowest = max(each.seconds for each in costs.values())
    return [
        Goal(f"{title}: slowest question of vmxd fleet", slowest, SECONDS_MAX, " s"),
        Goal(f"{title}: bytes of a question", max(each.received for each in costs.values()), BYTES_MAX),
    ]
