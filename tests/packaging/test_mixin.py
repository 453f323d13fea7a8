"""deploy/mixin: rendered by go-jsonnet, the same as deploy/prometheus and deploy/grafana, and as its settings say."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml

from tests.helpers.dashboards import FILES as DASHBOARDS
from tests.helpers.prometheus import DEPLOY, alert_tests, promtool
from tests.helpers.support import REPOSITORY, deploy_module

MIXIN: Final = REPOSITORY / "deploy" / "mixin"
TESTS: Final = REPOSITORY / "tests" / "deploy" / "rules"
QUICK: Final = ("VmxHostLacksRequiredFeature", "VmxFingerprintDiffersInPool", "VmxUnknownBits")
"""Alerts on pools whose tests do not last for a simulated day."""

Config = dict[str, Any]

CONFIGS: Final[dict[str, Config]] = {
    "defaults": {},
    "another's": {
        "selector": 'job="vmxd"',
        "poolLabel": "rack",
        "runbookURL": "https://docs.corp/vmxd/%s.html",
        "peersShare": 0.8,
        "pending": {"VmxdDown": "1h"},
        "interval": {"vmx-features": "1m"},
    },
    "odd": {
        "selector": r'job=~"v\\d|100%",env!=""',
        "clusterLabel": "datacenter",
        "jobs": ["cluster", "vmxd-canary"],
        "required": [{"feature": "pml", "datacenter": "a"}, {"profile": "windows-vbs"}],
    },
}
GROUPS: Final = {"recording.rules.yml", "required.rules.yml", "alerts.rules.yml"}


@functools.cache
def render(name: str) -> dict[str, Any]:
    """Return the documents that one of CONFIGS makes, by file name."""
    settings = {"config": json.dumps(CONFIGS[name])}
    text = deploy_module("_gojsonnet").evaluate_file(str(MIXIN / "files.jsonnet"), tla_codes=settings)
    documents: dict[str, Any] = json.loads(text)
    return documents


def rules(name: str) -> list[dict[str, Any]]:
    """Return the rules that one of CONFIGS makes."""
    documents = render(name)
    return [rule for file in sorted(GROUPS) for group in documents[file]["groups"] for rule in group["rules"]]


def queries(name: str) -> Iterator[str]:
    """Yield every query of one of CONFIGS: of rules, of what alerts say, and of dashboards."""
    for rule in rules(name):
        yield rule["expr"]
        for text in rule.get("annotations", {}).values():
            for quoted in re.findall(r'printf\s+("(?:[^"\\]|\\.)*")', text):
                yield re.sub(r"%(.)", lambda found: {"q": '"x"', "%": "%"}[found[1]], json.loads(quoted))
    for path in DASHBOARDS:
        dashboard = render(name)[path.name]
        yield from (target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ()))
        asked = (each["query"] for each in dashboard["templating"]["list"] if each["type"] == "query")
        yield from (re.sub(r"^(?:label_values|query_result)\((.*?)(?:, \w+)?\)$", r"\1", query) for query in asked)


def selectors(query: str) -> Iterator[tuple[str, str]]:
    """Yield the metric, and the matchers, of each selector of a query."""
    found = []

    def visit(node: Any) -> bool:  # noqa: ANN401 (untyped library)
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name or "", str(node.matchers)))
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    yield from found


def test_defaults_change_nothing() -> None:
    """With the defaults, the files of deploy/prometheus and deploy/grafana come out as they are."""
    sources = {path.name: path for path in (*DEPLOY.glob("*.rules.yml"), *DASHBOARDS)}

    assert {name: yaml.load(path.read_text(), yaml.CSafeLoader) for name, path in sources.items()} == render("defaults")


@pytest.mark.parametrize("name", CONFIGS)
def test_rules_are_valid(name: str, tmp_path: Path) -> None:
    """Promtool accepts what comes out, and its linter has nothing to say."""
    for file in GROUPS:
        (tmp_path / file).write_text(json.dumps(render(name)[file]))

    promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted(tmp_path.iterdir()))


def test_alerts_with_another_pool_label_and_a_selector(tmp_path: Path) -> None:
    """The tests of alerts hold if pools have another label and each series of vmxd is selected by its job."""
    for file in GROUPS:
        (tmp_path / file).write_text(json.dumps(render("another's")[file]))
    for name in QUICK:
        text = re.sub(r"\bcluster\b", "rack", (TESTS / f"{name}.yml").read_text())
        document = alert_tests(re.sub(r"(\.\./)+deploy/prometheus/", "", text), CONFIGS["another's"]["runbookURL"])
        (tmp_path / f"test-{name}.yml").write_text(yaml.safe_dump(document))

    promtool("test", "rules", *sorted(tmp_path.glob("test-*.yml")))


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "defaults"])
def test_settings_arrive(name: str) -> None:
    """Each setting is wherever it belongs, and nothing of the default is left."""
    config = CONFIGS[name]
    ((_, matchers),) = selectors(f"x{{{config['selector']}}}")
    wanted = matchers[1:-1].split(",")
    seen = [
        (metric, matchers)
        for query in queries(name)
        for metric, matchers in selectors(re.sub(r"\$\w+", "x", query))
        if not metric or (re.match("vmxd?_", metric) and ":" not in metric)
    ]
    alerts = {rule["alert"]: rule for rule in rules(name) if "alert" in rule}
    texts = json.dumps({key: value for key, value in render(name).items() if key != "required.rules.yml"})

    assert len(seen) > 100
    assert [] == [each for each in seen if not all(matcher in each[1] for matcher in wanted)]
    assert not re.search(r"\bcluster\b", texts)
    url = config.get("runbookURL", "https://vmxd.example/docs/runbooks/%s.html")
    assert {alert: url % alert for alert in alerts} == {
        alert: rule["annotations"]["runbook_url"] for alert, rule in alerts.items()
    }
    assert url % "${__value.raw}" in texts
    assert config.get("pending", {}).items() <= {alert: rule["for"] for alert, rule in alerts.items()}.items()
    peers = json.dumps(alerts["VmxHostLacksWhatPeersHave"])
    assert ("peersShare" in config) is ("> 0.8" in peers and "More than 80 %" in peers and "0.5" not in peers)
    required = [rule["labels"] for rule in rules(name) if rule["expr"] == "vector(1)"]
    assert [{"job": job} for job in config.get("jobs", ["vmxd"])] == [each for each in required if "job" in each]
    assert config.get("required", required[1:]) == [each for each in required if "job" not in each]


def test_a_setting_that_does_not_exist_is_refused() -> None:
    """A misspelt setting is an error that lists those there are."""
    with pytest.raises(RuntimeError, match=r"vmxd has no setting poolLable, but .*poolLabel"):
        deploy_module("_gojsonnet").evaluate_file(
            str(MIXIN / "files.jsonnet"), tla_codes={"config": '{poolLable: "rack"}'}
        )


def test_readme_has_every_setting() -> None:
    """The table of settings has each of _config."""
    source = (MIXIN / "mixin.libsonnet").read_text().partition("_config+:: {")[2].partition("\n  },\n")[0]

    assert re.findall(r"^    (\w+): ", source, re.MULTILINE) == re.findall(
        r"^\| `(\w+)` \|", (MIXIN / "README.md").read_text(), re.MULTILINE
    )
