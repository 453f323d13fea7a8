"""What is asked of a fleet: every alert, every panel of the dashboards, and what a person types."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from bench.fleet.engines import RULES

DASHBOARDS: Final = Path(__file__).resolve().parents[2] / "deploy" / "grafana"

TYPED: Final = {
    "who lacks a feature": "instance:vmx_fingerprint:info and on (cluster, signature, fingerprint) "
    'fingerprint:vmx_feature:max{feature="posted_intr"} == 0',
    "the same, host by host": 'vmx_feature{feature="posted_intr"} == 0',
    "one host's features": 'vmx_feature{instance="host-00042:10480"}',
}
MATRIX: Final = {"min by (feature) (vmx_feature)": "min by (feature) (vmx_feature)"}
"""What the recording rules are there to avoid, for comparison."""

_VARIABLE: Final = re.compile(r"\$\{?(\w+)(?::\w+)?\}?")
_VALUES: Final = {"feature": "ept", "host": "host-00042:10480", "instance": "host-00042:10480"}


def alerts() -> dict[str, str]:
    """Return the expression of each alert, by its name."""
    groups = yaml.safe_load((RULES / "alerts.rules.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def panels() -> dict[str, str]:
    """Return each expression of the dashboards with all variables filled in, by dashboard and panel."""
    found: dict[str, str] = {}
    for path in sorted(DASHBOARDS.rglob("*.json")):
        dashboard = json.loads(path.read_text())
        for title, expression in _expressions(dashboard, ""):
            found.setdefault(f"{path.stem}: {title} {len(found)}", _filled(expression))
    return found


def _expressions(node: Any, title: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 (JSON)
    if isinstance(node, dict):
        title = str(node.get("title", title))
        if isinstance(node.get("expr"), str):
            yield title, node["expr"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _expressions(each, title)


def _filled(expression: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        return "5m" if name.startswith("__") else _VALUES.get(name, ".*")

    return _VARIABLE.sub(value, expression)
