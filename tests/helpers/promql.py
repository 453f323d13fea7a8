"""A Prometheus of one scrape, in memory: the expositions of some hosts, and the few forms of PromQL that vmxd asks."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from vmxd.fleet.api import Series

_SELECTOR: Final = re.compile(r"(\w+)\{(.*?)\}(?: (==|>|!=) (\d+))?")
_MATCHER: Final = re.compile(r'(\w+)(=~|!~|!=|=)"((?:[^"\\]|\\.)*)"')
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


def _matches(value: str, kind: str, text: str) -> bool:
    found = re.fullmatch(text, value) is not None if kind.endswith("~") else value == text
    return found is not kind.startswith("!")
