"""VictoriaMetrics has the same answers as Prometheus to every question about a fleet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import pytest

from bench.fleet.simulator import simulated
from tests.helpers import past
from tests.helpers.served import Served, changed_fleet, served_by_prometheus, served_by_victoria_metrics
from vmxd.fleet.times import format_time

AT = str(past.THEN + 60)
OLD = ("--selector", 'cluster="recordings"', "--at", AT)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Served]]:
    """Run both on the same past and the same fleet."""
    fleet = changed_fleet()
    with ExitStack() as stack:
        port = stack.enter_context(simulated(fleet))
        one, other = (
            stack.enter_context(serve(tmp_path_factory.mktemp("served"), fleet, port))
            for serve in (served_by_prometheus, served_by_victoria_metrics)
        )
        yield one, other


@pytest.mark.parametrize("matchers", ['cluster="recordings"', 'cluster=~"[abc]"'])
def test_same_hosts(both: tuple[Served, Served], matchers: str) -> None:
    """Every host is the same to both, fact by fact."""
    hosts = [[asdict(host) for host in each.read(matchers, past.THEN + 60).hosts] for each in both]

    assert hosts[0]
    assert hosts[0] == hosts[1]


def test_same_living_hosts(both: tuple[Served, Served]) -> None:
    """Hosts that are scraped now are the same to both, those that are down too."""
    hosts = [each.read('cluster=~"pool-.*"').hosts for each in both]

    assert len(both[0].fleet.hosts) == len(hosts[0])
    assert [asdict(host) for host in hosts[0]] == [asdict(host) for host in hosts[1]]


@pytest.mark.parametrize(
    "asked",
    [
        ("summary", *OLD),
        ("has", *OLD, "missing features: vmx-ept,vmx-vmfunc"),
        ("lacks", *OLD, "--cpu-model=SapphireRapids-v2"),
        ("pools", *OLD),
        ("baseline", *OLD),
        ("diff", "--at", AT, "icelake-sp-2s", "lakefield-i5-l16g7"),
        ("diff", "--at", AT, "cluster=a", "cluster=b"),
        ("diff", f"aging@{format_time(past.UPDATED - 60)}", f"aging:10480@{format_time(past.UPDATED + 600)}"),
        ("history", "aging", "--since", "4d", "--at", str(past.THEN - 300)),
    ],
    ids=lambda asked: " ".join(word for word in asked if word not in OLD),
)
def test_same_answers(both: tuple[Served, Served], asked: tuple[str, ...]) -> None:
    """A question has one answer, whoever is asked, and one exit code."""
    question, *arguments = asked
    one, other = (each.ask(question, *arguments, "--json") for each in both)

    assert one.stdout
    assert (one.returncode, answer(one.stdout)) == (other.returncode, answer(other.stdout))


def answer(text: str) -> Any:  # noqa: ANN401 (JSON)
    """Return what a question printed, less the URL that was asked."""
    return json.loads(re.sub(r"http://127\.0\.0\.1:\d+", "URL", text))
