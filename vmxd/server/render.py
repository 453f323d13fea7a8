"""Render a scan in every form that the server hands out; runs in the process that scans."""

from __future__ import annotations

import gzip
from collections.abc import Collection
from typing import Final

from vmxd.host.changes import Witness
from vmxd.host.scan import Scan
from vmxd.model.facts import Source
from vmxd.model.findings import FailedReads, Note, findings
from vmxd.model.inventory import Inventory
from vmxd.server.negotiate import EOF, Format
from vmxd.server.rendered import Pages, Rendered
from vmxd.server.self_metrics import SelfCollector
from vmxd.tables import FEATURES
from vmxd.views.finding_words import sentence
from vmxd.views.json import inventory_document, to_json
from vmxd.views.metrics import HostCollector, to_openmetrics, to_text
from vmxd.views.page import NOTICE, render_page
from vmxd.views.verdict_words import verdict_hint, verdict_sentence

_STALE: Final = (
    "Out of date.",
    "The host has changed since this was read: microcode, CPUs, kvm_intel, a resume or a reboot.",
)
_FAILED: Final = (
    "The last scan failed.",
    "This is the last good one; the log of vmxd says why.",
)


def render(
    scan: Scan, telemetry_path: str, features: Collection[str] = FEATURES, witness: Witness | None = None
) -> Rendered:
    """Render a scan; features: those that have series of their own."""
    host, verdict = scan.inventory.host, scan.inventory.verdict
    odd = (each for each in findings(scan.inventory) if isinstance(each, FailedReads | Note))
    return Rendered(
        metrics={each.name: render_metrics(scan, each, features) for each in Format},
        pages=render_pages(scan.inventory, telemetry_path),
        witness=witness,
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


def render_metrics(scan: Scan, format_: Format, features: Collection[str] = FEATURES) -> bytes:
    """Render the metrics that a scan fixes in one format, without "# EOF"."""
    write = to_openmetrics if format_ is Format.OPENMETRICS else to_text
    return write(HostCollector(scan.inventory, features), SelfCollector(scan)).removesuffix(EOF)


def render_pages(inventory: Inventory, telemetry_path: str) -> Pages:
    """Render the page and the JSON; telemetry_path: where the metrics are."""
    page, policy = render_page(inventory, telemetry_path)
    return Pages(
        page=_pack(page.replace(NOTICE, b"")),
        page_stale=_pack(page.replace(NOTICE, _notice(*_STALE))),
        page_failed=_pack(page.replace(NOTICE, _notice(*_FAILED))),
        policy=policy,
        inventory=_pack(to_json(inventory_document(inventory)).encode(errors="replace")),
    )


def _notice(title: str, text: str) -> bytes:
    return f'<p class="notice bad"><strong>{title}</strong> {text}</p>'.encode()


def _pack(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)
