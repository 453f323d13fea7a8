"""How the dashboards look: the panels in use, each with its defaults, and the states and links that they share.

Every panel asks the data source of the variable, has a description, and shows what is unknown as unknown: a colour
never stands alone, and a missing series is never drawn as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from grafana_foundation_sdk.builders import common as make_common
from grafana_foundation_sdk.builders import dashboard as make
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from vmxd.tables.platforms.microarchitectures import MICROARCHITECTURES

Panel = stat.Panel | statetimeline.Panel | table.Panel | timeseries.Panel

DATASOURCE: Final = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

GOOD: Final = "green"
BAD: Final = "red"
ODD: Final = "orange"
DIM: Final = "text"
"""Colours by meaning: as it should be, to be acted upon, to be looked at, neither."""

States = Mapping[str, tuple[str, str]]
"""Value as text: what is shown, and its colour."""

PRESENCE: Final[States] = {"1": ("✔ has", GOOD), "0": ("✘ lacks", ODD), "-1": ("? unknown", DIM)}
YES_NO: Final[States] = {"1": ("✔ yes", GOOD), "0": ("✘ no", ODD)}
STATUS: Final[States] = {
    "usable": ("✔ usable", GOOD),
    "no_vmx": ("✘ no VMX", BAD),
    "disabled_by_firmware": ("✘ disabled by firmware", BAD),
    "unlocked": ("! unlocked", ODD),
    "smx_only": ("! in SMX only", ODD),
    "unreadable": ("? MSRs unreadable", ODD),
    "unknown": ("? unknown", DIM),
}
SEVERITY: Final[States] = {"3": ("critical", BAD), "2": ("warning", ODD), "1": ("info", DIM)}
"""By rank, so that a table sorts them in their order."""


def mappings(states: States) -> list[dashboard.ValueMapping]:
    """Return states as value mappings."""
    results = {
        value: dashboard.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(states.items())
    }
    return [dashboard.ValueMap(results)]


def codenames() -> list[dashboard.ValueMapping]:
    """Return value mappings that put the microarchitecture behind a CPU signature."""
    found: list[dashboard.ValueMapping] = []
    rows = sorted(MICROARCHITECTURES, key=lambda row: row.signatures.count("-") == len(row.signatures.split()))
    for row in rows:  # those that have steppings before those of the model
        own = row.signatures.split()
        makers = [other.name for other in MICROARCHITECTURES if set(own) & set(other.signatures.split())]
        pattern = "|".join(each if each.count("-") > 1 else f"{each}-.." for each in own)
        result = dashboard.ValueMappingResult(text=f"$1 {' or '.join(makers)}", index=len(found))
        found.append(dashboard.RegexMap(dashboard.DashboardRegexMapOptions(f"/^({pattern})$/", result)))
    return found


def link_to(uid: str, title: str, variable: str, *keep: str) -> dict[str, object]:
    """Return a data link that opens a dashboard with the cell's value in a variable, and others as they are here."""
    kept = "".join(f"&${{{name}:queryparam}}" for name in ("datasource", *keep))
    return {"title": title, "url": f"/d/{uid}?var-{variable}=${{__value.raw}}{kept}&${{__url_time_range}}"}


def query(expression: str, *, ref: str = "A", legend: str | None = None, table: bool = False) -> prometheus.Dataquery:
    """Return a query: over the time range, or of its end only where a table is wanted."""
    result = prometheus.Dataquery().ref_id(ref).expr(expression).datasource(DATASOURCE)
    result = (
        result.format(PromQueryFormat.TABLE).instant() if table else result.format(PromQueryFormat.TIME_SERIES).range()
    )
    return result.legend_format(legend) if legend is not None else result


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    source: the label, or Value (with several queries "Value #A"). width: pixels, 0 for what is left.
    unit: Grafana's name of it. states: what values mean. link: from each cell. bar: draw a share of 0 to 1 as a bar.
    """

    source: str
    title: str
    width: int = 0
    unit: str | None = None
    states: States | None = None
    link: dict[str, object] | None = None
    bar: bool = False

    def properties(self) -> list[dashboard.DynamicConfigValue]:
        """Return the column's overrides."""
        properties: dict[str, object] = {}
        if self.width:
            properties["custom.width"] = self.width
        if self.unit:
            properties["unit"] = self.unit
        if self.source.startswith("Value #"):  # another query has the row: what the panel says of no rows is wrong here
            properties["noValue"] = "unknown"
        if self.states:
            properties["mappings"] = mappings(self.states)
            properties["custom.cellOptions"] = {"type": "color-text"}
        if self.source == "signature":
            properties["mappings"] = codenames()
        if self.link:
            properties["links"] = [self.link]
        if self.bar:
            properties |= {"custom.cellOptions": {"type": "gauge", "mode": "basic"}, "min": 0, "max": 1, "decimals": 1}
            properties["color"] = {"mode": "fixed", "fixedColor": "blue"}
        return [dashboard.DynamicConfigValue(name, value) for name, value in properties.items()]


SIGNATURE: Final = Column("signature", "Signature", 190)
"""A CPU signature and its microarchitecture."""


def columns(  # noqa: PLR0913 (what a table has)
    title: str,
    description: str,
    expressions: str | Sequence[str],
    shown: Sequence[Column],
    *,
    empty: str = "none",
    sort: str | None = None,
    descending: bool = False,
) -> table.Panel:
    """Return a table of the series at the end of the time range; queries are joined by the labels they share.

    empty: what it says where there is no series. sort: the title of a column.
    """
    several = [expressions] if isinstance(expressions, str) else list(expressions)
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .no_value(empty)
        .cell_height(common.TableCellHeight.SM)
    )
    for ref, expression in zip("ABCDEF", several, strict=False):
        panel = panel.with_target(query(expression, ref=ref, table=True))
    if len(several) > 1:
        panel = panel.with_transformation(dashboard.DataTransformerConfig("merge", options={}))
    names = [column.source for column in shown]
    panel = panel.with_transformation(
        dashboard.DataTransformerConfig("filterFieldsByName", options={"include": {"names": names}})
    ).with_transformation(
        dashboard.DataTransformerConfig(
            "organize",
            options={
                "indexByName": {name: index for index, name in enumerate(names)},
                "renameByName": {column.source: column.title for column in shown},
            },
        )
    )
    for column in shown:
        if properties := column.properties():
            panel = panel.override_by_name(column.title, properties)
    if sort is not None:
        panel = panel.sort_by([make_common.TableSortByFieldState().display_name(sort).desc(descending)])
    return panel


@dataclass(frozen=True, slots=True)
class Limits:
    """From which value on a number changes its colour; from below the first it has the base."""

    base: str = DIM
    steps: Mapping[float, str] = field(default_factory=dict)

    def build(self) -> make.ThresholdsConfig:
        """Return it as Grafana has it."""
        steps = [dashboard.Threshold(value=None, color=self.base)]
        steps += [dashboard.Threshold(value=value, color=color) for value, color in self.steps.items()]
        return make.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


PLAIN: Final = Limits()
ANY_IS_ODD: Final = Limits(GOOD, {1: ODD})
ANY_IS_BAD: Final = Limits(GOOD, {1: BAD})


def number(  # noqa: PLR0913 (what a number has)
    title: str,
    description: str,
    expression: str,
    *,
    limits: Limits = PLAIN,
    unit: str = "none",
    empty: str = "no data",
) -> stat.Panel:
    """Return one number, as of the end of the time range."""
    return (
        _stat(title, description, empty)
        .with_target(query(expression, table=True))
        .thresholds(limits.build())
        .unit(unit)
    )


def words(title: str, description: str, expression: str, label: str, *, states: States | None = None) -> stat.Panel:
    """Return one label of the only series of a query, as text."""
    panel = (
        _stat(title, description, "no data")
        .with_target(query(expression, table=True))
        .reduce_options(make_common.ReduceDataOptions().calcs(["lastNotNull"]).fields(f"/^{label}$/"))
        .thresholds(PLAIN.build())
    )
    return panel.mappings(mappings(states)) if states else panel


def _stat(title: str, description: str, empty: str) -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .no_value(empty)
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .text_mode(common.BigValueTextMode.VALUE)
        .justify_mode(common.BigValueJustifyMode.AUTO)
        .reduce_options(make_common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def lines(
    title: str, description: str, expressions: Mapping[str, str], *, stacked: bool = False, unit: str = "none"
) -> timeseries.Panel:
    """Return lines, as steps: what they count changes at once. Expressions by the text of their legend."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .decimals(0)
        .min(0)
        .line_interpolation(common.LineInterpolation.STEP_AFTER)
        .line_width(1)
        .fill_opacity(60 if stacked else 0)
        .show_points(common.VisibilityMode.NEVER)
        .tooltip(
            make_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .legend(
            make_common.VizLegendOptions()
            .show_legend(show_legend=True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
    )
    if stacked:
        panel = panel.stacking(make_common.StackingConfig().mode(common.StackingMode.NORMAL))
    for ref, (legend, expression) in zip("ABCDEF", expressions.items(), strict=False):
        panel = panel.with_target(query(expression, ref=ref, legend=legend))
    return panel


def timeline(title: str, description: str, expression: str, legend: str, states: States) -> statetimeline.Panel:
    """Return states over time, a line a series."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .with_target(query(expression, legend=legend))
        .mappings(mappings(states))
        .merge_values(merge_values=True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.8)
        .legend(make_common.VizLegendOptions().show_legend(show_legend=False))
    )
