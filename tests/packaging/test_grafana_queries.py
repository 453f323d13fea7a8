"""Every query of the Grafana dashboards, asked of a real Prometheus that scrapes a simulated fleet and has our rules.

The rules are evaluated every two seconds, and their day is made ten seconds long: what changes in a day is then seen.
"""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bench.fleet.engines import Engine
from bench.fleet.hosts import MODELS, Fleet
from bench.fleet.kinds import PML, Kind, page
from bench.fleet.simulator import scrape_config, simulated
from deploy.grafana.queries import CHANGED, GAINED, GROUP_FEATURE, LOST, WITH
from tests.helpers.dashboards import ALL, FILES, Json, Query, columns_of, fill, load, panels, queries, variables
from tests.helpers.prometheus import DEPLOY, running_prometheus, until
from vmxd.tables import FEATURES as FEATURE_NAMES

HOSTS: Final = 48
RULES: Final = tuple(DEPLOY / f"{name}.rules.yml" for name in ("recording", "alerts"))
DAY: Final = 10
"""Seconds; twice as far back, a host that changed is no longer known as it was."""

PATIENCE: Final = 180.0
"""Seconds until changes must have been seen, on a machine that has much else to do."""

ICE_LAKE: Final = Kind("icelake-sp-2s", "0xd0003b9")
WITHOUT_PML: Final = Kind("icelake-sp-2s", "0xd0003b9", PML)
QUERIES: Final = {str(query): query for query in queries()}
FEATURES: Final = ("pml", "ept", "bus_lock_detection", "ept_sub_page_write")
"""Lost and gained, common, one on which CPUs disagree, one that few have."""

FILL: Final = {"pool": ALL, "model": ALL}
"""Everything."""

ANY: Final = {**FILL, "feature": "ept", "host": "any"}

NARROWED: Final = ((ALL, ALL), ("pool-01", "06-6a-06"), ("(pool-00|pool-02)", "(06-55-04|06-6a-06)"))
"""Pools and models, as Grafana writes everything, one, and several."""

Series = list[dict[str, Any]]


@dataclass(slots=True)
class Asked:
    """A Prometheus, the moment that it is asked about, and the hosts as they were at that moment."""

    prometheus: Engine
    fleet: Fleet
    at: float
    names: set[str]
    hosts: list[str]
    answers: dict[tuple[str, bool], Series] = field(default_factory=dict)

    def series(self, query: Query, values: dict[str, str]) -> Series:
        """Return what a query answers with its variables filled in; a graph's covers the half minute before."""
        expression = query.filled(values)
        key = (expression, query.instant)
        if key not in self.answers:
            if query.instant:
                answer = self.prometheus.get("query", query=expression, time=f"{self.at}")
            else:
                begin = f"{self.at - 30}"
                answer = self.prometheus.get("query_range", query=expression, start=begin, end=f"{self.at}", step="2")
            self.answers[key] = answer["result"]
        return self.answers[key]

    def offered(self, variable: Json) -> set[str]:
        """Return the values that a variable offers: of label_values(), or of query_result() by its regex."""
        if found := re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]):
            selector = fill(found[1], FILL)
            return set(self.prometheus.get(f"label/{found[2]}/values", **{"match[]": selector, "end": f"{self.at}"}))
        pattern = re.fullmatch("/(.+)/g", variable["regex"])
        assert pattern
        regex = re.compile(pattern[1].replace("(?<", "(?P<"))
        matches = [match for text in self.strings(variable) for match in regex.finditer(text)]
        return {match["value"] for match in matches if match["value"]}

    def strings(self, variable: Json) -> list[str]:
        """Return what query_result() makes of an answer: a line a series."""
        found = re.fullmatch(r"query_result\((.+)\)", variable["query"])
        assert found
        series = self.prometheus.get("query", query=fill(found[1], FILL), time=f"{self.at}")["result"]
        return [",".join(f'{name}="{value}"' for name, value in sorted(each["metric"].items())) for each in series]


def quick_rules(path: Path) -> str:
    """Return rules with an evaluation every two seconds, a day of a few, and alerts that do not wait nor describe."""
    text = path.read_text().replace("[1h] offset 1d", f"[{DAY}s] offset {DAY}s")
    assert "1d" not in re.sub(r"\w+1d|--since 1d", "", text)
    rules = yaml.safe_load(re.sub(r"for: \d+[mh]", "for: 0s", text))
    for group in rules["groups"]:
        group["interval"] = "2s"
        for rule in group["rules"]:
            rule.pop("annotations", None)
    return yaml.safe_dump(rules)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Run Prometheus over a fleet in which two hosts are down, one has lost PML, and one has gained it."""
    directory = tmp_path_factory.mktemp("fleet")
    for path in RULES:
        (directory / path.name).write_text(quick_rules(path))
    fleet = Fleet(HOSTS)
    ordinary = [host for host in fleet.hosts.values() if host.kind in MODELS]
    for host in ordinary[:8]:
        host.kind = ICE_LAKE
    first, second = ordinary[:2]
    second.kind = WITHOUT_PML
    for host in ordinary[-2:]:
        host.is_up = False
    with simulated(fleet) as port:
        rules = [directory / path.name for path in RULES]
        with running_prometheus(directory, [scrape_config(port, "2s")], rules, "2s") as prometheus:
            known = f"count({GROUP_FEATURE} offset {DAY}s) and count({WITH})"
            until(lambda: prometheus.query(known).series, bool, PATIENCE)
            swapped = 0.0

            def changes() -> tuple[float, bool]:
                nonlocal swapped
                if time.monotonic() - swapped > 3 * DAY:  # changes are too old to be seen, if they have not been yet
                    first.kind, second.kind = second.kind, first.kind
                    swapped = time.monotonic()
                time.sleep(0.5)
                at = time.time() - 2  # what was recorded until then is complete
                answers = [prometheus.get("query", query=name, time=f"{at}") for name in (CHANGED, LOST, GAINED)]
                return at, all(answer["result"] for answer in answers)

            at, _ = until(changes, lambda answer: answer[1], PATIENCE)
            kinds = {host.kind: f"{host.name}:10480" for host in fleet.hosts.values() if host.is_up}
            names = set(prometheus.get("label/__name__/values"))
            yield Asked(prometheus, fleet, at, names, sorted(kinds.values()))


def fillings(query: Query, asked: Asked) -> Iterator[dict[str, str]]:
    """Yield values for the variables of a query: everything, one of each, several."""
    features = FEATURES if query.uses("feature") else ("",)
    hosts = asked.hosts if query.uses("host") else [""]
    for feature, host in itertools.product(features, hosts):
        for pool, model in NARROWED if not host else NARROWED[:1]:
            yield {"pool": pool, "model": model, "feature": feature, "host": host}


@pytest.mark.parametrize("query", QUERIES.values(), ids=str)
def test_answers(query: Query, asked: Asked) -> None:
    """A query has no error however its variables are filled in, and an answer for some host or feature at least."""
    answers = [asked.series(query, values) for values in fillings(query, asked)]

    assert query.metrics(ANY) <= asked.names
    assert any(answers)
    assert query.uses("host") or query.uses("feature") or answers[0]  # of everything


@pytest.mark.parametrize("query", [query for query in QUERIES.values() if query.type == "stat"], ids=str)
def test_one_number(query: Query, asked: Asked) -> None:
    """A panel for one number never gets two."""
    answers = [asked.series(query, values) for values in fillings(query, asked)]

    assert {0, 1} >= {len(series) for series in answers}


@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_columns(name: str, asked: Asked) -> None:
    """The columns of a table are labels that its queries answer, or their values."""
    dashboard = load(name)
    for panel in (panel for panel in panels(dashboard) if panel["type"] == "table"):
        of = [QUERIES[f"{dashboard['title']}: {panel['title']} ({target['refId']})"] for target in panel["targets"]]
        known = {f"Value #{query.ref}" for query in of} if len(of) > 1 else {"Value"}
        for query in of:
            answers = [asked.series(query, values) for values in fillings(query, asked)]
            known.update(label for each in itertools.chain(*answers) for label in each["metric"])

        if not any(query.metrics(ANY) - asked.names for query in of):
            assert set(columns_of(panel)) <= known, panel["title"]


@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_variables(name: str, asked: Asked) -> None:
    """What the variables offer is what the fleet has, and a default is among it."""
    up = [host for host in asked.fleet.hosts.values() if host.is_up]
    samples = [page_samples(page(host.kind).text.decode()) for host in up]
    truth = {
        "pool": {host.cluster for host in up},
        "model": {each["vmx_host_info"].split()[0] for each in samples},
        "feature": set(FEATURE_NAMES),
        "host": {f"{host.name}:10480" for host in up},
    }
    for variable in variables(load(name)).values():
        assert truth[variable["name"]] == asked.offered(variable)
        if not variable["multi"] and "current" in variable:
            assert variable["current"]["value"] in truth[variable["name"]]


def test_model_is_named(asked: Asked) -> None:
    """A model is offered by its signature and its most common name, and stands for the signature."""
    variable = variables(load("vmx-fleet.json"))["model"]

    texts = {found for found in asked.strings(variable) if "06-6a-06" in found}
    assert len(texts) == 1
    assert re.search(r'model_name="06-6a-06 Intel\(R\) Xeon[^"]+"', texts.pop())


def test_descriptions_name_metrics(asked: Asked) -> None:
    """The metrics that descriptions name exist."""
    for panel in itertools.chain(*(panels(load(path.name)) for path in FILES)):
        named = set(re.findall(r"\bvmxd?_\w+", panel["description"]))
        assert named <= asked.names, panel["title"]


def test_coverage(asked: Asked) -> None:
    """Coverage counts each host that answers once, as its page says: with, without, or unknown."""
    up = [(host, page_samples(page(host.kind).text.decode())) for host in asked.fleet.hosts.values() if host.is_up]
    groups = {(host.cluster, samples["vmx_host_info"]): samples for host, samples in up if samples["failed"] == "0.0"}
    truth = {name: Counter[str]() for name in ("with", "without", "unknown")}
    for host, samples in up:
        known = groups.get((host.cluster, samples["vmx_host_info"]), {})
        for feature in FEATURE_NAMES:
            truth[{"1.0": "with", "0.0": "without"}.get(known.get(feature, ""), "unknown")][feature] += 1

    for column, ref in (("with", "B"), ("without", "C"), ("unknown", "D")):
        series = asked.series(QUERIES[f"VMX / Fleet: Coverage ({ref})"], FILL)
        answer = {each["metric"]["feature"]: int(each["value"][1]) for each in series}
        assert {name: truth[column][name] for name in FEATURE_NAMES} == answer, column


def page_samples(text: str) -> dict[str, str]:
    """Return of a page its features' values by name, the CPUs that failed, and the labels that tell hosts apart."""
    samples = {}
    for sample in (sample for family in parse_text(text) for sample in family.samples):
        if sample.name == "vmx_feature":
            samples[sample.labels["feature"]] = str(sample.value)
        elif sample.name == "vmx_host_info":
            samples[sample.name] = f"{sample.labels['signature']} {sample.labels['fingerprint']}"
        elif sample.labels.get("state") == "failed" and sample.name == "vmx_cpus":
            samples["failed"] = str(sample.value)
    return samples
