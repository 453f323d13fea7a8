"""The same hosts, the same answers: recordings in a directory, and what Prometheus and VictoriaMetrics have of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench.fleet import engines
from bench.fleet.kinds import page
from tests.helpers import past
from tests.helpers.inside import vmxd
from tests.helpers.served import Served
from tests.helpers.support import HOSTS, program
from vmxd.fleet.api import Api
from vmxd.fleet.model import FleetHost
from vmxd.fleet.prometheus import Asked, read_prometheus
from vmxd.fleet.recordings import read_recordings
from vmxd.tables import FEATURES

AT = past.THEN + 60
RECORDINGS = 'cluster="recordings"'


def facts(host: FleetHost) -> dict[str, Any]:
    """Return all that is known of a host, but for where it stands."""
    return {name: value for name, value in asdict(host).items() if name not in ("labels", "nested")}


def features(table: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Return what a report's rows say of each feature, by host."""
    return {host: [row[name] for name in FEATURES] for host, row in table.items()}


def test_same_facts(prometheus: Served) -> None:
    """Every recording is the same host to both, value by value, but for the one that is down."""
    with closing(Api(prometheus.url)) as api:
        fleet = read_prometheus(api, Asked(RECORDINGS, AT, parameters=True))
    recorded = read_recordings(str(HOSTS), lambda *_: None)

    assert [facts(host) for host in recorded.hosts] == [facts(host) for host in fleet.hosts if host.name != "down"]


def test_cost_follows_kinds(prometheus: Served) -> None:
    """Hosts with equal capability MSRs share one kind, and few queries were asked."""
    with closing(Api(prometheus.url)) as api:
        fleet = read_prometheus(api, Asked(RECORDINGS, AT))
    equal = {host.name for host in fleet.hosts if host.kind and host.kind.fingerprint == "8d447262d4e6"}

    assert len(equal) > 2
    assert 1 == len({id(host.kind) for host in fleet.hosts if host.name in equal})
    assert api.queries < 13


def test_unreadable_hosts_cost_no_other(prometheus: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not every host without a fingerprint can be looked at, those on which no MSR can be read come last."""
    monkeypatch.setattr("vmxd.fleet.prometheus.ALONE_MAX", 1)
    hosts = {host.name: host for host in prometheus.read(RECORDINGS, AT).hosts}
    unreadable = (hosts["made-all-unreadable"], hosts["made-no-msr-module"])

    assert hosts["made-eio"].kind
    assert [(None, "the CPU has or may have VMX, but its MSRs cannot be read")] * 2 == [
        (host.kind, host.reason) for host in unreadable
    ]


@pytest.mark.parametrize(
    "asked",
    [["posted_intr"], ["ept", "vmx-vpid"], ["--cpu-model=SapphireRapids-v2"], ["--view=hardware", "ept", "vmx-vmfunc"]],
    ids=" ".join,
)
def test_same_answers(prometheus: Served, asked: list[str]) -> None:
    """Lacks has the same answer from both, and the host that is down is unknown."""
    recorded = vmxd("fleet", "lacks", "--recordings", HOSTS, "--json", *asked)
    answer = prometheus.ask("lacks", "--selector", RECORDINGS, "--at", str(AT), "--json", *asked)
    expected, found = json.loads(recorded.stdout), json.loads(answer.stdout)

    assert "down" in found["unknown"]
    found["unknown"].remove("down")
    assert expected == found
    assert 1 == answer.returncode == recorded.returncode


@pytest.mark.parametrize("question", ["baseline", "pools"])
def test_same_groups(prometheus: Served, question: str) -> None:
    """What all hosts have, and which are alike, is the same from both, and the host that is down is unknown."""
    recorded = vmxd("fleet", question, "--recordings", HOSTS, "--json")
    answer = prometheus.ask(question, "--selector", RECORDINGS, "--at", str(AT), "--json")
    (expected,), (found,) = (json.loads(each.stdout)["groups"] for each in (recorded, answer))
    for group in filter(None, (found, found.get("usable"))):
        assert "Prometheus cannot scrape it (up is 0)" == group["unknown"].pop("down")

    assert expected == found
    assert recorded.returncode == answer.returncode


def test_same_report(prometheus: Served) -> None:
    """The report has the same groups from both, but for the host that is down."""
    rows = [
        vmxd("fleet", "report", "--recordings", HOSTS, "--csv").stdout,
        prometheus.ask("report", "--selector", RECORDINGS, "--at", str(AT), "--csv").stdout,
    ]
    tables = [{row["host"]: row for row in csv.DictReader(text.splitlines())} for text in rows]
    tables[1].pop("down")

    assert [features(table) for table in tables[:1]] == [features(table) for table in tables[1:]]


def test_living_fleet(prometheus: Served) -> None:
    """Of hosts that are scraped, those that lack a feature are those whose own page says so."""
    answer = prometheus.ask("lacks", "posted_intr", "--view=hardware", "--json")
    lacks, has, unknown = set(), set(), set()
    for host in prometheus.fleet.hosts.values():
        text = page(host.kind).text.decode()
        lines = text.splitlines()
        name = f"{host.name}:10480"
        failed = next(line for line in lines if line.startswith('vmx_cpus{state="failed"}')).split()[1] != "0.0"
        if not host.is_up or host.kind.stale:
            unknown.add(name)
        elif 'vmx_feature{feature="posted_intr"} 0.0' in lines:
            lacks.add(name)
        elif 'vmx_feature{feature="posted_intr"} 1.0' in lines and not failed:
            has.add(name)
        else:
            unknown.add(name)
    found = json.loads(answer.stdout)

    assert (lacks, has, unknown) == (set(found["lacks"]), {*found["has"], *found["unusable"]}, set(found["unknown"]))
    assert min(map(len, (lacks, has, unknown))) > 2


def test_reasons(prometheus: Served) -> None:
    """Hosts of which nothing is known are named with the reason: down, out of date, unreadable."""
    summary = json.loads(prometheus.ask("summary", "--json").stdout)
    down = {f"{host.name}:10480" for host in prometheus.fleet.hosts.values() if not host.is_up}
    stale = {f"{host.name}:10480" for host in prometheus.fleet.hosts.values() if host.kind.stale and host.is_up}
    reasons: dict[str, set[str]] = {}
    for name, reason in summary["unknown"].items():
        reasons.setdefault(reason, set()).add(name)

    assert down == reasons["Prometheus cannot scrape it (up is 0)"]
    assert stale
    assert stale == reasons["its recording is out of date: the host has changed since (vmxd_recording_stale)"]
    assert any("cannot be read" in reason for reason in reasons)
    assert len(prometheus.fleet.hosts) == summary["hosts"]


def test_names_that_clash(prometheus: Served) -> None:
    """Two hosts of one name are told apart by their pools; what two replicas or two jobs see is one host."""
    fleet = prometheus.read('cluster=~"[abc]"', AT)
    names = [host.name for host in fleet.hosts]
    a, b = (host for host in fleet.hosts if host.name.startswith("twin"))

    assert ["seen-twice:10480", 'twin:10480{cluster="a"}', 'twin:10480{cluster="b"}', "two-jobs:10480"] == names
    assert (True, False) == (a.has("posted_intr"), b.has("posted_intr"))


def test_path_prefix(tmp_path: Path) -> None:
    """A Prometheus below a path, as Mimir is, answers there and alone there; one without vmxd has no metrics of it."""
    with prometheus_below("/prometheus", tmp_path) as url:
        below, beside = (vmxd("fleet", "summary", "--prometheus", each) for each in (f"{url}/prometheus/", url))

    assert f"vmxd: {url}/prometheus has no metrics of vmxd\n" in below.stderr
    assert f"vmxd: {url} answered 404\n" in beside.stderr


def test_between_old_and_new(prometheus: Served) -> None:
    """A host of which Prometheus has what it was and what it is, both in the last five minutes, is unknown."""
    (host,) = prometheus.read('instance="aging:10480"', past.UPDATED + 60).hosts

    assert (None, None) == (host.status, host.has("ept"))
    assert "it has just changed" in (host.reason or "")


@contextmanager
def prometheus_below(prefix: str, directory: Path) -> Iterator[str]:
    """Run a Prometheus without targets below a path, and yield the URL without it."""
    (directory / "prometheus.yml").write_text("")
    port = engines.free_port()
    command = (
        program("prometheus", "prometheus"),
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.route-prefix={prefix}",
    )
    with engines.running(directory / "log", command, port, f"{prefix}/-/ready"):
        yield f"http://127.0.0.1:{port}"
