"""A scan as what a server must have at once: the metrics, ready made, and what it says of the host in its log."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from vmxd.host.scan import Scan
from vmxd.model.facts import Source
from vmxd.model.findings import FailedReads, Note, findings
from vmxd.server.exposition import Exposition, LiveFamily
from vmxd.server.negotiate import Format
from vmxd.server.self_metrics import LiveCollector, SelfCollector
from vmxd.server.site import Rendered
from vmxd.tables import FEATURES
from vmxd.views.metrics import HostCollector, to_openmetrics, to_text
from vmxd.views.words import sentence, verdict_hint, verdict_sentence

_EOF: Final = b"# EOF\n"


def render(scan: Scan, features: Collection[str] = FEATURES) -> Rendered:
    """Render the metrics of a scan in every format; features: those that have series of their own."""
    host, verdict = scan.inventory.host, scan.inventory.verdict
    odd = (each for each in findings(scan.inventory) if isinstance(each, FailedReads | Note))
    return Rendered(
        expositions={format_.value: tuple(expose(scan, format_, features)) for format_ in Format},
        kind=host.source.value,
        root=host.root,
        is_live=host.source is Source.LIVE,
        is_usable=bool(verdict.usable),
        is_comparable=bool(scan.inventory.comparable),
        status=verdict.status.value,
        reason=verdict_sentence(verdict),
        hint=verdict_hint(verdict) or "",
        warnings=tuple(map(sentence, odd)),
    )


def expose(scan: Scan, format_: Format, features: Collection[str] = FEATURES) -> Exposition:
    """Return the exposition of a scan in one format."""
    write: Callable[..., bytes] = to_text if format_ is Format.TEXT else to_openmetrics
    end = _EOF if format_ is Format.OPENMETRICS else b""
    fixed = write(HostCollector(scan.inventory, features), SelfCollector(scan)).removesuffix(end)
    return Exposition.of(fixed, _live_families(write(LiveCollector()).removesuffix(end).decode()), end)


def _live_families(text: str) -> tuple[LiveFamily, ...]:
    """Take an exposition apart into its families, and each into its comment lines and its series without values."""
    families: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("#"):
            if not families or families[-1][1]:
                families.append(("", []))
            families[-1] = (f"{families[-1][0]}{line}\n", families[-1][1])
        else:
            families[-1][1].append(line.rpartition(" ")[0])
    return tuple((head, tuple(series)) for head, series in families)
