"""A real Prometheus, and a real VictoriaMetrics, scrape a simulated fleet with the rules of deploy/prometheus.

What they fold is what hosts say, and the alerts that fire are those that the odd hosts of the fleet are for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import pytest

from bench.fleet.engines import Engine, hurried_rules, prometheus, victoria_metrics
from bench.fleet.hosts import Fleet
from bench.fleet.simulator import scrape_config, simulated
from tests.helpers.prometheus import until
from tests.helpers.support import program
from vmxd.tables import FEATURES

HOSTS: Final = 100
ENGINES: Final = {
    "prometheus": (prometheus, ("prometheus",)),
    "victoria-metrics": (victoria_metrics, ("victoria-metrics", "vmalert", "prometheus-alertmanager")),
}
"""What runs each, and the programs that it takes."""

ALERTS: Final = {
    "VmxDisabledByFirmware",
    "VmxUnlocked",
    "VmxUnreadable",
    "VmxCpusInconsistent",
    "VmxSanityViolation",
    "VmxUnknownBits",
    "VmxHostLacksWhatPeersHave",
    "VmxFingerprintDiffersInPool",
    "VmxKvmDoesNotUseFeature",
    "VmxRecordingStale",
    "VmxdDown",
}
"""Those that the fleet's odd hosts, and the one that is down, are for."""
SERIES_MAX: Final = 340


def by_labels(engine: Engine, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Map the series of an instant query, by their labels less the metric's name, to their values."""
    return {
        tuple(sorted((name, value) for name, value in each["metric"].items() if name != "__name__")): float(
            each["value"][1]
        )
        for each in engine.query(expression).series
    }


def oldest_evaluation(engine: Engine) -> float:
    """Return the Unix time at which the rule group that is furthest behind was last evaluated."""
    times = (str(group["lastEvaluation"])[:19] for group in engine.rule_groups())
    return min(datetime.fromisoformat(f"{each}+00:00").timestamp() for each in times)


def firing(engine: Engine) -> set[str]:
    """Return the names of the alerts that fire."""
    return {dict(labels)["alertname"] for labels in by_labels(engine, 'ALERTS{alertstate="firing"}')}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Run an engine that has scraped the fleet, one host of which is down, and evaluated all rules on it."""
    run, programs = ENGINES[request.param]
    for name in programs:
        program(name, "victoria-metrics" if name == "vmalert" else name)
    directory = tmp_path_factory.mktemp(request.param)
    fleet = Fleet(HOSTS)
    fleet.hosts["host-00003"].is_up = False
    with (
        simulated(fleet) as port,
        run(directory, [scrape_config(port, "5s", "1s")], hurried_rules(directory), "1s") as running,
    ):
        until(lambda: running.number("sum(up)"), lambda count: count == HOSTS - 1)
        for _ in range(2):  # the second evaluation of each group is on what the first of all others has recorded
            begin = time.time() + 1
            until(lambda: oldest_evaluation(running) - begin, lambda seconds: seconds > 0)  # noqa: B023 (called here)
        if request.param == "victoria-metrics":  # the next rule sees what vmalert recorded some seconds later
            until(lambda: firing(running), lambda names: names == ALERTS)
        yield running


def test_rules_evaluate(engine: Engine) -> None:
    """Every rule evaluates without an error."""
    assert {"ok"} == {rule["health"] for group in engine.rule_groups() for rule in group["rules"]}


def test_fold(engine: Engine) -> None:
    """Counted by fingerprint, as many hosts have and lack each feature as when all hosts are counted one by one."""
    known = "and on (job, instance) instance:vmx_fingerprint:info"
    for value, name in ((1, "with"), (0, "without")):
        by_host = by_labels(engine, f"count by (cluster, feature) (vmx_feature == {value} {known})")

        assert by_host == until(
            lambda: by_labels(engine, f"pool_feature:vmx_hosts_{name}:sum > 0"),  # noqa: B023 (called here)
            lambda recorded: recorded == by_host,  # noqa: B023
        )
        assert len(by_host) > 300


def test_hosts_are_known_or_not(engine: Engine) -> None:
    """Each host that is up is counted once: by its fingerprint, or as unknown; the one that is down nowhere."""
    known = engine.number("sum(fingerprint:vmx_hosts:count)")
    unknown = engine.number("sum(pool:vmx_unknown_hosts:count)")

    assert (HOSTS - 1, 3) == (known + unknown, unknown)  # two unreadable, one whose MSRs fail in part


def test_series_follow_fingerprints(engine: Engine) -> None:
    """Hosts have at most 340 series, nested view apart; recorded features have one a fingerprint of a pool."""
    kinds = engine.number("count(fingerprint:vmx_hosts:count)")

    assert engine.number('max(count by (instance) ({job="vmxd"}) unless on (instance) vmx_nested_status)') <= SERIES_MAX
    assert engine.number("count(fingerprint:vmx_feature:max)") <= kinds * len(FEATURES)
    assert kinds < HOSTS / 2


def test_alerts(engine: Engine) -> None:
    """The odd hosts of the fleet raise the alerts that are for them, and the others none."""
    assert ALERTS == firing(engine)


def test_descriptions_name_hosts_and_features(engine: Engine) -> None:
    """The templates in the annotations find the hosts and the features that an alert on many hosts is about."""
    alerts = [alert for alert in engine.alerts() if "no value" not in str(alert["annotations"])]
    texts: dict[str, str] = {}
    for alert in alerts:
        texts[alert["labels"]["alertname"]] = texts.get(alert["labels"]["alertname"], "") + str(alert["annotations"])

    assert len(engine.alerts()) == len(alerts)
    assert not [text for text in texts.values() if "error" in text or "{{" in text]
    assert re.search(r"unused on host-\d{5}.* \(", texts["VmxKvmDoesNotUseFeature"])
    assert re.search(r"Some hosts have and others lack: .*\b(pml|posted_intr)\b", texts["VmxFingerprintDiffersInPool"])
    assert re.search(r"host-\d{5} \(pool-\d+\) sets unknown bits of IA32_VMX_\w+\.", texts["VmxUnknownBits"])
    assert re.search(r"host-\d{5}.* without what .* have: .*\b(pml|posted_intr)\b", texts["VmxHostLacksWhatPeersHave"])
    assert re.search(r"MSRs: IA32_VMX_\w+ \((refused|unnoticed|depends|irrelevant)\)", texts["VmxCpusInconsistent"])
