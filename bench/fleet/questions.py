"""What vmxd fleet asks of a fleet's Prometheus: how long each question takes, and the bytes that it moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from bench.report import Goal, number, print_table
from vmxd.fleet.api import Api
from vmxd.fleet.guests import fleet_as_guests
from vmxd.fleet.lacks import sort_hosts
from vmxd.fleet.model import Fleet
from vmxd.fleet.prometheus import Asked, read_prometheus
from vmxd.fleet.summary import Summary
from vmxd.model.profiles import cpu_model_profile
from vmxd.tables import FEATURES

ROUNDS: Final = 3
SECONDS_MAX: Final = 2.0
BYTES_MAX: Final = 5_000_000

QUESTIONS: Final[dict[str, Callable[[Fleet], object]]] = {
    "summary": lambda fleet: Summary(fleet).document(),
    "lacks posted_intr": lambda fleet: sort_hosts(fleet_as_guests(fleet), ["posted_intr"]).document(),
    "lacks --cpu-model SapphireRapids-v2": lambda fleet: sort_hosts(
        fleet_as_guests(fleet), cpu_model_profile("SapphireRapids-v2").features
    ).document(),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Best of the rounds: wall-clock seconds, CPU seconds of vmxd alone; bytes over the wire; queries; hosts, kinds."""

    seconds: float
    cpu: float
    received: int
    queries: int
    hosts: int
    kinds: int


def measure(url: str, answer: Callable[[Fleet], object]) -> Cost:
    """Return what a question costs, from the first query to the answer, not the start of Python."""
    costs = []
    for _ in range(ROUNDS):
        with closing(Api(url, timeout=600)) as api:
            begin, cpu = time.perf_counter(), time.process_time()
            fleet = read_prometheus(api, Asked(nested=tuple(FEATURES), parameters=True))
            answer(fleet)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
            costs.append(Cost(seconds, cpu, api.received, api.queries, len(fleet.hosts), len(fleet.kinds)))
    return min(costs, key=lambda cost: cost.seconds)


def print_questions(url: str, title: str) -> list[Goal]:
    """Measure every question, print what it cost, and return the goals."""
    costs = {name: measure(url, answer) for name, answer in QUESTIONS.items()}
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
