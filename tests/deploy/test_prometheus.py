"""A real Prometheus scrapes a real vmxd: what it then answers is what the host can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bench.fleet.engines import Engine
from tests.helpers.prometheus import labels, running_prometheus, series, until
from tests.helpers.server import serving
from tests.helpers.support import HOSTS, LAKEFIELD
from vmxd.commands.profiles import builtin_profiles
from vmxd.host.scan import scan
from vmxd.tables import FEATURES
from vmxd.views.metrics import HostCollector, to_text

QUICK: Final = {"scrape_interval": "250ms", "scrape_timeout": "250ms"}
ROOTS: Final = {"lakefield": LAKEFIELD, "skylake": HOSTS / "skylake-6700k"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Run a Prometheus that has scraped Lakefield and a Skylake, each from a vmxd of its own, three times at least."""
    with (
        serving(ROOTS["lakefield"]) as lakefield,
        serving(ROOTS["skylake"], "--web.telemetry-path=/vmx") as skylake,
    ):
        jobs = (
            {"job_name": "lakefield", "static_configs": [{"targets": [f"127.0.0.1:{lakefield.port}"]}]},
            {
                "job_name": "skylake",
                "static_configs": [{"targets": [f"127.0.0.1:{skylake.port}"]}],
                "metrics_path": "/vmx",
                "params": {"anything": ["is ignored"]},
            },
        )
        directory = tmp_path_factory.mktemp("prometheus")
        with running_prometheus(directory, [{**job, **QUICK} for job in jobs]) as engine:
            until(lambda: len(series(engine, 'vmxd_http_requests_total{code="200"} >= 2')) == len(ROOTS))
            yield engine


def test_up(prometheus: Engine) -> None:
    """Both targets are up, and no scrape had an error."""
    targets = prometheus.get("targets")["activeTargets"]

    assert dict.fromkeys((labels(metric="up", job=job) for job in ROOTS), 1) == series(prometheus, "up")
    assert [("up", "")] * 2 == [(target["health"], target["lastError"]) for target in targets]


def test_features(prometheus: Engine) -> None:
    """All features whose value is known are there: every one on the Skylake, on Lakefield less those not recorded."""
    known = {
        job: sum(each.value is not None for each in scan(str(root)).inventory.features.values())
        for job, root in ROOTS.items()
    }
    expected = {labels(job=job): count for job, count in known.items()}
    assert known["lakefield"] < known["skylake"] == len(FEATURES)

    assert expected == series(prometheus, "count by (job) (vmx_feature)")


def test_lakefield(prometheus: Engine) -> None:
    """Lakefield's bus-lock detection, which one CPU of five has, is a feature not to count on."""
    feature = labels(metric="vmx_feature", job="lakefield", feature="bus_lock_detection")
    cpu = labels(metric="vmx_cpu_inconsistent", job="lakefield", cpu="4", msr="IA32_VMX_PROCBASED_CTLS2", kvm="depends")

    assert {feature: 0} == series(prometheus, 'vmx_feature{feature="bus_lock_detection",job="lakefield"}')
    assert {cpu: 1} == series(prometheus, "vmx_cpu_inconsistent")
    count = labels(metric="vmx_inconsistent_cpus", job="lakefield")
    assert {count: 1} == series(prometheus, "vmx_inconsistent_cpus > 0")


def test_skylake(prometheus: Engine) -> None:
    """The Skylake's VMX may be used; of Lakefield's that is not known, and so there is no series."""
    assert {labels(metric="vmx_usable", job="skylake"): 1} == series(prometheus, "vmx_usable")


@pytest.mark.parametrize("job", ROOTS)
def test_every_sample(prometheus: Engine, job: str) -> None:
    """Prometheus holds every sample of the host, with its labels and value, and none beside."""
    page = to_text(HostCollector(scan(str(ROOTS[job]), profiles=builtin_profiles()).inventory)).decode()
    expected = {
        labels(
            metric=sample.name, job=job, **{name: value for name, value in sample.labels.items() if value}
        ): sample.value
        for family in parse_text(page)
        for sample in family.samples
    }

    assert expected == series(prometheus, f'{{job="{job}",__name__=~"vmx_.+"}}')


def test_metadata(prometheus: Engine) -> None:
    """Types and HELP arrive as OpenMetrics has them, which Prometheus asks for first: infos are infos."""
    metadata = prometheus.get("metadata")
    names = ("vmx_feature", "vmx_host", "vmx_msr", "vmxd_build", "vmxd_source", "vmxd_http_requests")
    types = {name: entry["type"] for name in names for entry in metadata[name]}

    assert dict(zip(names, ("gauge", "info", "info", "info", "info", "counter"), strict=True)) == types
    assert all("Source: " in entry["help"] for name in metadata if name.startswith("vmx") for entry in metadata[name])


def test_counter_grows(prometheus: Engine) -> None:
    """Each scrape is counted by the next, so the counter has a rate."""
    counter = 'vmxd_http_requests_total{job="lakefield",code="200"}'
    (before,) = series(prometheus, counter).values()

    assert until(lambda: sum(series(prometheus, counter).values()), lambda count: count > before + 1)
    assert {labels(code="200"): 2} == series(prometheus, "count by (code) (vmxd_http_requests_total > 0)")


def test_fleet(prometheus: Engine) -> None:
    """Hosts can be told apart, and told equal, by their fingerprints."""
    assert 2 == len(series(prometheus, "count by (fingerprint) (vmx_host_info)"))
    assert {frozenset(): 2} == series(prometheus, 'count(vmx_host_info{fingerprint=~"[0-9a-f]{12}"})')


def test_join(prometheus: Engine) -> None:
    """A feature can be joined with what its host is, as dashboards do."""
    found = series(prometheus, 'vmx_feature{feature="ept"} * on (instance) group_left (model_name) vmx_host_info')

    assert {1.0} == set(found.values())
    assert {"Intel(R) Core(TM) i5-L16G7 CPU @ 1.40GHz", scan(str(ROOTS["skylake"])).inventory.identity.model_name} == {
        dict(each)["model_name"] for each in found
    }
