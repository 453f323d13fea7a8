"""The page at /."""

from __future__ import annotations

import time
from typing import Final

from markupsafe import Markup

import vmxd
from vmxd import cpulist
from vmxd.model.facts import Missing, Source
from vmxd.model.inventory import Inventory
from vmxd.views import cpu_map, html, page_view
from vmxd.views.words import no_fingerprint

NOTICE: Final = b"<!-- notice -->"
"""Where in the page a notice goes; no text of a host can contain it, since all of them are escaped."""
_MODULE: Final = {Missing.ABSENT: "kvm_intel is not loaded.", Missing.NOT_RECORDED: "kvm_intel was not recorded."}


def render_page(inventory: Inventory, telemetry_path: str) -> tuple[bytes, str]:
    """Return the page as UTF-8, with a mark where a notice may go, and its Content-Security-Policy.

    Everything that came from the host is escaped; style and script are inline, and allowed by their hashes.
    """
    host, groups = inventory.host, page_view.feature_groups(inventory)
    parameters = host.kvm_parameters
    page, policy = html.render(
        "vmxd.views",
        "page",
        version=vmxd.__version__,
        telemetry_path=telemetry_path,
        notice=Markup(NOTICE.decode()),  # noqa: S704
        inventory=inventory,
        is_recording=host.source is Source.RECORDING,
        read_at=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(host.read_at)),
        firmware=page_view.firmware(inventory),
        no_fingerprint=no_fingerprint(inventory),
        groups=groups,
        counts=page_view.counts(groups),
        states=page_view.STATES,
        findings=page_view.findings(inventory),
        maps=cpu_map.draw(inventory),
        cpus=_cpu_rows(inventory),
        module=_MODULE[parameters] if isinstance(parameters, Missing) else "",
        parameters=page_view.parameter_rows(inventory),
        nested=page_view.nested_text(inventory),
        msrs=page_view.msr_rows(inventory),
    )
    return page.encode(), f"{policy}; frame-ancestors 'none'"


def _cpu_rows(inventory: Inventory) -> list[tuple[str, str, int, str]]:
    """Return for each kind of CPU that there is: the kind, what that means, how many, and which."""
    by_kind: dict[str, list[int]] = {kind: [] for kind in cpu_map.KINDS}
    for cpu, kind in cpu_map.kinds_of(inventory).items():
        by_kind[kind].append(cpu)
    return [
        (kind, words, len(by_kind[kind]), cpulist.describe(by_kind[kind]))
        for kind, words in cpu_map.KINDS.items()
        if by_kind[kind]
    ]
