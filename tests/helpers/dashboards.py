"""What tests need of the Grafana dashboards: their panels, their queries, and queries with the variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import promql_parser

from tests.helpers.support import REPOSITORY

GRAFANA: Final = REPOSITORY / "deploy" / "grafana"
FILES: Final = sorted((GRAFANA / "dashboards").glob("*.json"))
ALL: Final = ".*"

Json = dict[str, Any]


def load(name: str) -> Json:
    """Return a dashboard that is checked in."""
    dashboard: Json = json.loads((GRAFANA / "dashboards" / name).read_text(encoding="utf-8"))
    return dashboard


def panels(dashboard: Json) -> Iterator[Json]:
    """Yield the panels that show something: all but the rows."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def variables(dashboard: Json) -> dict[str, Json]:
    """Return the variables by name, less the data source."""
    return {each["name"]: each for each in dashboard["templating"]["list"] if each["type"] != "datasource"}


def columns_of(panel: Json) -> list[str]:
    """Return the fields that a table keeps of the answers."""
    return [
        name
        for transformation in panel.get("transformations", ())
        if transformation["id"] == "filterFieldsByName"
        for name in transformation["options"]["include"]["names"]
    ]


@dataclass(frozen=True, slots=True)
class Query:
    """A panel's query, and where it stands."""

    dashboard: str
    panel: str
    type: str
    ref: str
    expression: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel} ({self.ref})"

    def uses(self, variable: str) -> bool:
        """Return whether it has a variable in it."""
        return f"${variable}" in self.expression

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the expression with values in place of its variables, as Grafana would send it."""
        return fill(self.expression, values)

    def metrics(self, values: Mapping[str, str]) -> set[str]:
        """Return the names of the series that it reads."""
        names = set()

        def visit(node: Any) -> bool:  # noqa: ANN401 (untyped library)
            if isinstance(node, promql_parser.VectorSelector) and node.name:
                names.add(node.name)
            return True

        promql_parser.walk(promql_parser.parse(self.filled(values)), visit)
        return names


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace variables by values, as Grafana does: text between quotes. Raises KeyError for one without a value."""
    return re.sub(r"\$(\w+)", lambda found: values[found[1]].replace("\\", "\\\\"), text)


def queries() -> Iterator[Query]:
    """Yield every query of every dashboard."""
    for path in FILES:
        dashboard = load(path.name)
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield Query(
                    dashboard["title"],
                    panel["title"],
                    panel["type"],
                    target["refId"],
                    target["expr"],
                    target["instant"],
                )
