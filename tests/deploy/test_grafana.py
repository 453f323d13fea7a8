"""The Grafana dashboards, without a Grafana: they are what the generator writes and what Grafana's types allow."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import promql_parser
import pytest
import yaml
from jsonschema import Draft7Validator

from deploy.grafana.generate import dashboards
from deploy.grafana.host import groups
from tests.helpers.dashboards import ALL, FILES, GRAFANA, Json, Query, columns_of, load, panels, queries, variables
from vmxd.tables import FEATURES

NAMES: Final = [path.name for path in FILES]
SCHEMAS: Final = sorted((Path(__file__).parent / "grafana").glob("dashboard-*.schema.json"))
ALERTS: Final = GRAFANA.parent / "prometheus" / "alerts.rules.yml"
COLUMNS: Final = 24
QUERIES: Final = list(queries())
FILL: Final = {"pool": ALL, "model": ALL, "feature": "ept", "host": "a.example:10480"}


@cache
def validator(path: Path) -> Draft7Validator:
    """Return the validator of a schema of dashboards."""
    return Draft7Validator(json.loads(path.read_text(encoding="utf-8")))


def test_generated() -> None:
    """What is checked in is what the generator writes; where it is not: python -m deploy.grafana.generate."""
    assert dashboards() == {path.name: path.read_text(encoding="utf-8") for path in FILES}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.name)
@pytest.mark.parametrize("name", NAMES)
def test_schema(name: str, schema: Path) -> None:
    """A dashboard is what Grafana's types say that one may be, oldest and newest; what import reads is beside it."""
    dashboard = load(name)
    asked, takes = dashboard.pop("__inputs"), dashboard.pop("__requires")

    assert [] == [f"{error.json_path}: {error.message:.300}" for error in validator(schema).iter_errors(dashboard)]
    assert [] == asked
    assert {"grafana", "prometheus", *(panel["type"] for panel in panels(dashboard))} == {each["id"] for each in takes}


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.name)
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("table", {"options": {"showHeaders": True}}),
        ("stat", {"options": {"cellHeight": "sm"}}),
        ("timeseries", {"fieldConfig": {"defaults": {"custom": {"lineWitdh": 1}}, "overrides": []}}),
        ("table", {"targets": [{"refId": "A", "expression": "up"}]}),
        ("table", {"description": None}),
    ],
)
def test_schema_refuses(schema: Path, kind: str, change: Json) -> None:
    """A panel with a misspelt option, another panel's option, no expression or no description is not valid."""
    dashboard = load("vmx-fleet.json")
    del dashboard["__inputs"], dashboard["__requires"]
    assert validator(schema).is_valid(dashboard)
    panel = next(panel for panel in panels(dashboard) if panel["type"] == kind)
    panel.update(change)

    assert not validator(schema).is_valid(dashboard)


@pytest.mark.parametrize("name", NAMES)
def test_grid(name: str) -> None:
    """Panels have numbers of their own, stay within the grid's 24 columns, and cover each other nowhere."""
    everything = load(name)["panels"]
    cells: Counter[tuple[int, int]] = Counter()
    for place in (panel["gridPos"] for panel in everything):
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= COLUMNS
        cells.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )

    assert list(range(1, len(everything) + 1)) == [panel["id"] for panel in everything]
    assert 1 == max(cells.values())


@pytest.mark.parametrize("name", NAMES)
def test_data_source(name: str) -> None:
    """Every panel, query and variable asks the data source that the variable names."""
    dashboard = load(name)
    asked = [panel["datasource"] for panel in panels(dashboard)]
    asked += [target["datasource"] for panel in panels(dashboard) for target in panel["targets"]]
    asked += [variable["datasource"] for variable in variables(dashboard).values()]

    assert "datasource" == dashboard["templating"]["list"][0]["name"]
    assert [{"type": "prometheus", "uid": "${datasource}"}] * len(asked) == asked


@pytest.mark.parametrize("name", NAMES)
def test_descriptions(name: str) -> None:
    """Every panel says what it shows, by the metric or the source that it comes from."""
    for panel in panels(load(name)):
        assert re.search(r"\bvmxd?_\w+|Metric up\.|Source: |SDM", panel["description"]), panel["title"]


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_parses(query: Query) -> None:
    """Every query is PromQL once its variables are filled in, and has no other variables than its dashboard."""
    promql_parser.parse(query.filled(FILL))


@pytest.mark.parametrize("query", [query for query in QUERIES if "Host" not in query.dashboard], ids=str)
def test_cost_follows_groups(query: Query) -> None:
    """Where many hosts are asked about, features are read as recorded by fingerprint and not of every host."""
    assert "vmx_feature" not in query.metrics(FILL)


def test_every_feature_has_a_place() -> None:
    """The Host dashboard has each feature once, under the MSR that decides on it."""
    shown = [feature.name for _, _, features in groups() for feature in features]
    tables = {panel["title"]: panel for panel in panels(load("vmx-host.json"))}

    assert list(FEATURES) == shown
    for title, _, features in groups():
        assert f'feature=~"{"|".join(feature.name for feature in features)}"' in tables[title]["targets"][0]["expr"]


@pytest.mark.parametrize("name", NAMES)
def test_links(name: str) -> None:
    """Each data link goes to a dashboard that there is and fills in variables that it has, or to an alert's runbook."""
    by_uid = {dashboard["uid"]: dashboard for dashboard in map(load, NAMES)}
    links = re.findall(r'"url": "([^"]+)"', json.dumps(load(name)))

    assert links
    runbook = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"][0]
    for link in set(links) - {runbook["annotations"]["runbook_url"].replace(runbook["alert"], "${__value.raw}")}:
        parts = urlsplit(link)
        target = by_uid[parts.path.removeprefix("/d/")]
        given = re.findall(r"var-(\w+)=|\$\{(\w+):queryparam\}", parts.query)
        assert {first or second for first, second in given} <= {"datasource", *variables(target)}
        assert {second for _, second in given if second} <= {"datasource", *variables(load(name))}


def test_overrides_meet_columns() -> None:
    """Every override and every order names a column that the table has."""
    for name in NAMES:
        for panel in panels(load(name)):
            if panel["type"] == "table":
                names = {
                    title
                    for step in panel["transformations"]
                    if step["id"] == "organize"
                    for title in step["options"]["renameByName"].values()
                }
                overridden = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
                ordered = {order["displayName"] for order in panel["options"].get("sortBy", ())}
                assert overridden | ordered <= names
                assert len(columns_of(panel)) == len(names)


def test_unknown_is_no_absence() -> None:
    """A state is never told by colour alone, and unknown has a text and a colour of its own."""
    seen = 0
    for panel in panels(load("vmx-host.json")):
        for override in panel["fieldConfig"]["overrides"]:
            for each in (one for one in override["properties"] if one["id"] == "mappings"):
                options = each["value"][0]["options"]
                if "-1" in options:
                    seen += 1
                    assert 3 == len({result["text"] for result in options.values()})
                    assert 3 == len({result["color"] for result in options.values()})
    assert len(list(groups())) == seen


def test_provisioning() -> None:
    """The provisioning files are what Grafana reads: a Prometheus data source, and a provider of our dashboards."""
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "vmx.yml").read_text())
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "vmx.yml").read_text())

    assert [(1, "prometheus")] == [(source["apiVersion"], each["type"]) for each in source["datasources"]]
    assert [(1, "file", "VMX")] == [
        (provider["apiVersion"], each["type"], each["folder"]) for each in provider["providers"]
    ]
