"""docs/runbooks/README.md: every alert of deploy/prometheus with its severity, its waiting time and its runbook."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

_HEAD: Final = """# Alerts and runbooks

Generated from `deploy/prometheus/alerts.rules.yml`: do not edit. One page for each alert: what it means, whom it hurts,
how to look, what to do. How to load the rules, name your pools and set the address of these pages is in
[deploy/prometheus](../../deploy/prometheus/README.md); [the first hour](../first-hour.md) shows one alert from nothing.

Severity: `critical`, the host runs no guests; `warning`, somebody should look; `info`, good to know.

| alert | severity | after | says |
|---|---|---|---|
"""

_NAMES: Final = re.compile(r"\{\{ range .*?sortByLabel \"(\w+)\".*?\{\{- end \}\}")
_ASIDE: Final = re.compile(r"\s*\{\{- with .*?\{\{ end \}\}|\{\{ if eq \$value 1\.0 \}\}\w+\{\{ end \}\}")
"""How many more there are, and the endings of verbs of one host."""
_TEMPLATE: Final = re.compile(r"\{\{ (?:or |reReplaceAll \S+ \S+ )?\$(?:labels\.)?(\w+)[^}]* \}\}")


def page(rules: Path) -> str:
    """Return the page of a file of alert rules."""
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in _rows(yaml.safe_load(rules.read_text())))


def _rows(rules: Any) -> Iterator[tuple[str, str, str, str]]:  # noqa: ANN401 (YAML)
    for group in rules["groups"]:
        for rule in group["rules"]:
            summary = _NAMES.sub(r"*\1s*", _ASIDE.sub("", rule["annotations"]["summary"]))
            summary = _TEMPLATE.sub(r"*\1*", summary).replace("*instances*", "*hosts*")
            name = rule["alert"]
            yield f"[{name}]({name}.md)", rule["labels"]["severity"], rule["for"], summary
