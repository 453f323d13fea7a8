"""The page at /, and /inventory.json: rendered once per scan, in the child that scans."""

from __future__ import annotations

import gzip
from typing import Final

from vmxd.model.inventory import Inventory
from vmxd.server.site import Pages
from vmxd.views.json import inventory_document, to_json
from vmxd.views.page import NOTICE, render_page

_STALE: Final = (
    "Out of date.",
    "The host has changed since this was read: microcode, CPUs, kvm_intel, a resume or a reboot.",
)
_FAILED: Final = (
    "The last scan failed.",
    "This is the last good one; the log of vmxd says why.",
)


def render_pages(inventory: Inventory, telemetry_path: str) -> Pages:
    """Render a scan for people, and for other tools; telemetry_path: where the metrics are."""
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
