"""docs/reference/metrics.md: every metric family as the collectors yield it over all recordings."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import Metric
from prometheus_client.registry import Collector

from vmxd.host.scan import Scan
from vmxd.server.self_metrics import LiveCollector, SelfCollector
from vmxd.views.metrics import HostCollector, to_text

_HEAD: Final = """# Metric reference

Generated from vmxd's collectors, run on the recordings in `tests/hosts`: do not edit. What the values mean, and what a
missing series says, is in [metrics](../metrics.md); what they cost in [scaling](../scaling.md).

- A family that has nothing to say is left out, HELP and all. *There on* counts the recordings of real machines that
  have it, and the median of its series there. Families that none of them has are shown from recordings made by hand.
- Families of a server only (`vmxd serve`, not `vmxd metrics`) say so.
- The text is the HELP of a scrape. It ends with the source.

"""
_CLOSED: Final = frozenset(("state", "status", "bit", "code", "profile"))
"""Labels whose values are few and fixed: all are listed."""
_LIVE: Final = "live"


@dataclass(frozen=True, slots=True, eq=False)
class _One(Collector):
    """A collector of one family."""

    family: Metric

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield self.family


_COLLECTORS: Final[tuple[Callable[[Scan], Collector], ...]] = (
    lambda scan: HostCollector(scan.inventory),
    SelfCollector,
)


def page(scans: Mapping[str, Scan]) -> str:
    """Return the page. scans: by name of the recording, made- ones included."""
    by_name: dict[str, dict[str, Metric]] = {}
    order: list[str] = []
    for make in _COLLECTORS:
        own: list[str] = []
        for host, scan in scans.items():
            families = list(make(scan).collect())
            _merge(own, [family.name for family in families])
            for family in families:
                by_name.setdefault(family.name, {})[host] = family
        order += own
    for family in LiveCollector().collect():
        order.append(family.name)
        by_name[family.name] = {_LIVE: family}
    real = sum(1 for host in scans if not host.startswith("made-"))
    return _HEAD + "\n\n".join("\n".join(_family(by_name[name], real)) for name in order) + "\n"


def _merge(order: list[str], names: list[str]) -> None:
    """Put names that are new where they stand among those that are not."""
    for before, name in zip(["", *names], names, strict=False):
        if name not in order:
            order.insert(order.index(before) + 1 if before else 0, name)


def _family(by_host: Mapping[str, Metric], real: int) -> Iterator[str]:
    family = next(iter(by_host.values()))
    lines = {host: _lines(each) for host, each in by_host.items()}
    on_real = {host: found for host, found in lines.items() if not host.startswith("made-") and host != _LIVE}
    yield f"## {_name(lines)}"
    yield ""
    yield _escape(family.documentation)
    yield ""
    yield f"- {family.type if family.type != 'unknown' else 'gauge'}; {_labels(by_host)}"
    if _LIVE in lines:
        yield "- of a server only"
    elif on_real:
        median = statistics.median_low(len(found) for found in on_real.values())
        yield f"- there on {len(on_real)} of {real}; {median} series{' each' if median > 1 else ''}"
    else:
        yield f"- there on none of {real}; made by hand: {', '.join(f'`{host}`' for host in lines)}"
    if _LIVE not in lines:
        host = _example(on_real or lines)
        yield f"- for example, on `{host}`:"
        yield ""
        yield "```text"
        yield _stable(next((line for line in lines[host] if not line.endswith(" 0.0")), lines[host][0]))
        yield "```"


def _example(lines: Mapping[str, list[str]]) -> str:
    preferred = ("lakefield-i5-l16g7", "sapphirerapids", "skylake-sp-8160-2s")
    return next((host for host in preferred if host in lines), next(iter(lines)))


def _stable(line: str) -> str:
    """Leave out what differs from run to run: where the tree is, its version, and the times of a scan."""
    line = re.sub(r'root="[^"]*/tests/', 'root="tests/', line)
    line = re.sub(r'version="[^"]*"', 'version="…"', line)
    return re.sub(r"^(vmxd_scan_(?:duration|timestamp)_seconds) .*", r"\1 …", line)


def _name(lines: Mapping[str, list[str]]) -> str:
    return next(re.split(r"[{ ]", found[0])[0] for found in lines.values())


def _lines(family: Metric) -> list[str]:
    """Return the family's series as an exposition has them."""
    return [line for line in to_text(_One(family)).decode().splitlines() if not line.startswith("#")]


def _labels(by_host: Mapping[str, Metric]) -> str:
    values: dict[str, dict[str, None]] = {}
    for family in by_host.values():
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault(label, {})[value] = None
    if not values:
        return "no labels"
    return "labels " + ", ".join(
        f"`{label}` ({', '.join(f'`{value}`' for value in found)})" if label in _CLOSED else f"`{label}`"
        for label, found in values.items()
    )


def _escape(text: str) -> str:
    return re.sub(r"([*_<>\[\]])", r"\\\1", text)
