"""The page at /."""

from __future__ import annotations

import time
from typing import Final

from markupsafe import Markup

import vmxd
from vmxd import cpulist
from vmxd.model.facts import Missing, Source
from vmxd.model.inventory import Inventory
from vmxd.model.states import by_cpus
from vmxd.views import cpu_map, html, page_view
from vmxd.views.summary import guests_text, module_text, no_fingerprint
from vmxd.views.verdict_words import verdict_hint, verdict_sentence

NOTICE: Final = b"<!-- notice -->"
"""Where in the page a notice goes; no text of a host can contain it, since all of them are escaped."""


def render_page(inventory: Inventory, telemetry_path: str) -> tuple[bytes, str]:
    """Render the page as UTF-8, with a mark where a notice may go, and its Content-Security-Policy."""
    host, groups = inventory.host, page_view.feature_groups(inventory)
    parameters = host.kvm_parameters
    page, policy = html.render(
        "vmxd.views",
        "page",
        version=vmxd.__version__,
        telemetry_path=telemetry_path,
        notice=Markup(NOTICE.decode()),  # noqa: S704
        inventory=inventory,
        reason=verdict_sentence(inventory.verdict),
        hint=verdict_hint(inventory.verdict),
        heading=host.name or inventory.identity.model_name or "Unknown model",
        is_foreign=host.source is Source.RECORDING and not host.same_boot,
        read_at=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(host.read_at)),
        read_at_iso=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(host.read_at)),
        firmware=page_view.firmware(inventory),
        no_fingerprint=no_fingerprint(inventory),
        groups=groups,
        counts=page_view.counts(groups),
        states={state.value: words for state, words in page_view.STATES.items()},
        findings=page_view.findings(inventory),
        maps=cpu_map.draw(inventory),
        cpus=_cpu_rows(inventory),
        module="kvm_intel was not recorded" if parameters is Missing.NOT_RECORDED else module_text(inventory),
        parameters=page_view.parameter_rows(inventory),
        guests=guests_text(inventory),
        msrs=page_view.msr_rows(inventory),
    )
    return page.encode(), f"{policy}; frame-ancestors 'none'"


def _cpu_rows(inventory: Inventory) -> list[tuple[str, str, int, str]]:
    """List each kind of CPU that there is: the kind, what that means, how many, and which."""
    by_kind = by_cpus((kind, (cpu,)) for cpu, kind in cpu_map.kinds_of(inventory).items())
    return [
        (kind, words, len(by_kind[kind]), cpulist.describe(by_kind[kind]))
        for kind, words in cpu_map.KINDS.items()
        if kind in by_kind
    ]
