"""Where panels stand on Grafana's grid of 24 columns, and what every VMX dashboard has: variables, links, a range."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import dashboard as make
from grafana_foundation_sdk.models import dashboard, table

from deploy.grafana.style import DATASOURCE, Panel

COLUMNS: Final = 24
TAG: Final = "vmx"


@dataclass(frozen=True, slots=True)
class Placed:
    """A panel and its size, in columns and in grid units of 30 pixels."""

    panel: Panel
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Section:
    """A row of the dashboard with its panels: left to right and down, or, packed, each where the column is shortest."""

    title: str
    panels: Sequence[Placed]
    packed: bool = False

    def positions(self, top: int) -> list[dashboard.GridPos]:
        """Return each panel's place, the first line of panels at ``top``."""
        heights = [top] * COLUMNS
        positions = []
        left = 0
        for placed in self.panels:
            if self.packed:
                left = min(range(0, COLUMNS, placed.width), key=heights.__getitem__)
            elif left + placed.width > COLUMNS:
                left, heights = 0, [max(heights)] * COLUMNS
            y = max(heights[left : left + placed.width])
            positions.append(dashboard.GridPos(h=placed.height, w=placed.width, x=left, y=y))
            heights[left : left + placed.width] = [y + placed.height] * placed.width
            left += placed.width
        return positions


def build(
    uid: str, title: str, description: str, variables: Sequence[make.QueryVariable], sections: Sequence[Section]
) -> dashboard.Dashboard:
    """Return a dashboard: its sections one below the other, panels numbered from 1 in reading order."""
    result = (
        make.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .time("now-24h", "now")
        .timezone("browser")
        .refresh("5m")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(
            make.DashboardLink("VMX")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
        .with_variable(make.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .annotations([])
    )
    for variable in variables:
        result = result.with_variable(variable)
    numbers = itertools.count(1)
    top = 0
    for section in sections:
        row = make.Row(section.title).id(next(numbers)).grid_pos(dashboard.GridPos(h=1, w=COLUMNS, x=0, y=top))
        result = result.with_row(row)
        positions = section.positions(top + 1)
        for placed, position in zip(section.panels, positions, strict=True):
            result = result.with_panel(placed.panel.id(next(numbers)).grid_pos(position))
        top = max(position.y + position.h for position in positions)
    return _without_strangers(result.build())


def _without_strangers(result: dashboard.Dashboard) -> dashboard.Dashboard:
    """Take out defaults of the SDK that Grafana's own types do not have in 11.6 (of variables) or in 13 (of tables)."""
    for variable in result.templating.list_val or ():
        variable.auto = variable.auto_min = variable.auto_count = None
    for panel in result.panels or ():
        if isinstance(panel, dashboard.Panel) and isinstance(panel.options, table.Options):
            panel.options.footer = None
    return result


def one_of(name: str, label: str, values: str, description: str, default: str | None = None) -> make.QueryVariable:
    """Return a variable that has one value of those that a query (label_values) answers."""
    variable = (
        make.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(DATASOURCE)
        .query(values)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
    )
    return variable.current(dashboard.VariableOption(text=default, value=default)) if default else variable


def any_of(name: str, label: str, values: str, description: str) -> make.QueryVariable:
    """Return a variable that has any of those values; All is every value, and no value too."""
    return (
        one_of(name, label, values, description)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(dashboard.VariableOption(text=["All"], value=["$__all"]))
    )
