"""A Prometheus of one scrape, in memory: the expositions of some hosts, and the few forms of PromQL that vmxd asks."""

from __future__ import annotations

import operator
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from vmxd.fleet.api import Series

_SELECTOR: Final = re.compile(r"(\w+)\{(.*?)\}(?: (==|>|!=) (\d+))?")
_MATCHER: Final = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
_AGGREGATE: Final = re.compile(r"(?P<name>\w+) (?P<how>by|without) \((?P<label>\w+)\) \((0\.5, )?(?P<of>.*)\)")
_UNUSUAL: Final = re.compile(r"(.*) != on \((\w+)\) group_left \(\) (quantile by .*)")
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
}


class Scraped:
    """Answers as vmxd.fleet.api.Api does, of hosts whose metrics are given by name."""

    url = "memory"

    def __init__(self, pages: Mapping[str, str], at: float = 1e9) -> None:
        """Take the samples in."""
        self.warnings: dict[str, None] = {}
        self._series = [
            Series({**sample.labels, "__name__": sample.name, "instance": name}, [(at, sample.value)])
            for name, page in pages.items()
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        ]

    def query(self, expression: str, at: float | None = None, needs: Iterable[str] = ()) -> list[Series]:
        """Return the series that an expression selects; no target is down."""
        del at, needs
        if expression.startswith("up{"):
            return []
        if unusual := _UNUSUAL.fullmatch(expression):
            usual = {each.labels[unusual[2]]: each.value for each in self.query(unusual[3])}
            return [each for each in self.query(unusual[1]) if each.value != usual[each.labels[unusual[2]]]]
        if aggregate := _AGGREGATE.fullmatch(expression):
            return _aggregated(aggregate, self.query(aggregate["of"]))
        match = _SELECTOR.fullmatch(expression)
        assert match, expression
        return list(self._select(*match.groups()))

    def _select(self, metric: str, matchers: str, compare: str | None, number: str | None) -> Iterator[Series]:
        wanted = [(label, kind, text.replace("\\\\", "\\")) for label, kind, text in _MATCHER.findall(matchers)]
        for series in self._series:
            labels = {"__name__": "", **series.labels}
            if labels["__name__"] != metric or not all(_matches(labels.get(each[0], ""), *each[1:]) for each in wanted):
                continue
            if compare is None or _COMPARE[compare](series.value, float(number or 0)):
                yield series


def _aggregated(expression: re.Match[str], found: list[Series]) -> list[Series]:
    """Return the count, or the median, of the series that are alike by a label, or but for it."""
    groups: dict[frozenset[tuple[str, str]], list[Series]] = {}
    for series in found:
        kept = ((name, value) for name, value in series.labels.items() if name != "__name__")
        by = expression["how"] == "by"
        key = frozenset((name, value) for name, value in kept if (name == expression["label"]) is by)
        groups.setdefault(key, []).append(series)
    return [Series(dict(key), [(0, _value(expression["name"], each))]) for key, each in groups.items()]


def _value(name: str, found: list[Series]) -> float:
    return len(found) if name == "count" else statistics.median(each.value for each in found)


def _matches(value: str, kind: str, text: str) -> bool:
    found = re.fullmatch(text, value) is not None if kind.endswith("~") else value == text
    return found is not kind.startswith("!")
