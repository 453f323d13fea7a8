"""The page at /: the host at a glance, where its metrics are, and whether it is a recording."""

from __future__ import annotations

from html import escape
from typing import Final

import vmxd
from vmxd.export.text import summary_lines
from vmxd.facts import Source
from vmxd.inventory import Inventory

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>vmxd: {title}</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }}
body {{ max-width: 52rem; margin: 2rem auto; padding: 0 1rem }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem }}
dt {{ font-weight: 600 }} dd {{ grid-column: 2; margin: 0; overflow-wrap: anywhere }}
.recording {{ border: 1px solid; border-radius: .25rem; padding: .5rem 1rem }}
</style>
<h1>vmxd</h1>
{banner}<dl>
{rows}</dl>
<p><a href="{metrics}">Metrics</a></p>
<p><small>vmxd {version}</small></p>
</html>
"""

_BANNER: Final = '<p class="recording">This is a recording of a host, {root}, not the machine that serves it.</p>\n'


def render_page(inventory: Inventory, telemetry_path: str) -> bytes:
    """Return the page as UTF-8; everything that came from the host is escaped."""
    rows = "".join(
        (f"<dt>{escape(word)}</dt>" if word else "") + f"<dd>{escape(text)}</dd>\n"
        for word, text in summary_lines(inventory)
    )
    recorded = inventory.host.source is Source.RECORDING
    return _PAGE.format(
        title=escape(inventory.identity.model_name or "unknown model"),
        banner=_BANNER.format(root=escape(inventory.host.root)) if recorded else "",
        rows=rows,
        metrics=escape(telemetry_path),
        version=vmxd.__version__,
    ).encode(errors="replace")
