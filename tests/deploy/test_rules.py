"""The rules of deploy/prometheus, tried by promtool: tests/deploy/rules has a file for each alert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.helpers.prometheus import DEPLOY, alert_tests, promtool
from tests.helpers.support import REPOSITORY
from vmxd.tables import FEATURES

RULE_FILES: Final = sorted(DEPLOY.glob("*.rules.yml"))
TESTS: Final = REPOSITORY / "tests" / "deploy" / "rules"
RUNBOOKS: Final = REPOSITORY / "docs" / "runbooks"
CASES: Final = {"firing", "not firing", "missing data"}


def rules(path: Path) -> list[dict[str, Any]]:
    """Return the rules of a file."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


ALERTS: Final = {rule["alert"]: rule for rule in rules(DEPLOY / "alerts.rules.yml")}
RECORDED: Final = {rule["record"] for path in RULE_FILES for rule in rules(path) if "record" in rule}


def test_check_rules() -> None:
    """Promtool finds no fault in the rule files, and its linter has nothing to say."""
    promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)


def test_alerts(tmp_path: Path) -> None:
    """Each alert fires where it should, not at once, as a pager shows it; not where it should not, nor without data."""
    for alert in ALERTS:
        document = alert_tests((TESTS / f"{alert}.yml").read_text())
        cases = {case["name"]: case for case in document["tests"]}
        assert CASES <= cases.keys(), alert
        waited = f'count by (alertname) (count_over_time(ALERTS{{alertname="{alert}",alertstate="pending"}}[2d]) >= 2)'
        firing = cases["firing"]["promql_expr_test"]
        sample = {"labels": f'{{alertname="{alert}"}}', "value": len(firing[0]["exp_samples"])}
        firing.append({"expr": waited, "eval_time": firing[0]["eval_time"], "exp_samples": [sample]})
        assert [alert] == [each["alertname"] for each in cases["firing"]["alert_rule_test"]]
        document["rule_files"] = [str(path) for path in RULE_FILES]
        (tmp_path / f"{alert}.yml").write_text(yaml.safe_dump(document))

    promtool("test", "rules", *tmp_path.glob("*.yml"))


def test_recording() -> None:
    """What is recorded counts each host once, and survives one that is scraped twice or moves between pools."""
    promtool("test", "rules", TESTS / "recording.yml")


@pytest.mark.parametrize("alert", ALERTS)
def test_annotations(alert: str) -> None:
    """Every alert has a severity, a summary, a description and a runbook that is there, under its own name."""
    rule = ALERTS[alert]

    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    assert f"https://vmxd.example/docs/runbooks/{alert}.html" == rule["annotations"]["runbook_url"]
    headings = re.findall(r"^## (.+)$", (RUNBOOKS / f"{alert}.md").read_text(), re.MULTILINE)
    assert ["Meaning", "Impact", "Diagnosis", "Mitigation"] == headings


def test_no_other_runbooks() -> None:
    """Every runbook is of an alert that exists."""
    assert set(ALERTS) == {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}


def test_only_one_rule_reads_all_features() -> None:
    """One rule reads vmx_feature of every host; what others cost follows the number of fingerprints, or of hosts."""
    expressions = {rule.get("record") or rule["alert"]: rule["expr"] for path in RULE_FILES for rule in rules(path)}

    assert ["fingerprint_before:vmx_feature:max"] == [
        name for name, expression in expressions.items() if re.search(r"(?<![:\w])vmx_feature(?![:\w])", expression)
    ]


def test_recorded_series_exist() -> None:
    """Every recorded series that a rule or an annotation reads is one that a rule records; profiles are optional."""
    text = "".join(path.read_text() for path in RULE_FILES)

    assert set(re.findall(r"\b\w+:vmx_\w+:\w+", text)) == RECORDED | {"pool:vmx_profile:required"}


def test_required_features_exist() -> None:
    """The list of required features has names that vmxd knows."""
    required = {
        rule["labels"]["feature"] for rule in rules(DEPLOY / "required.rules.yml") if "feature" in rule["labels"]
    }

    assert required
    assert required <= FEATURES.keys()
