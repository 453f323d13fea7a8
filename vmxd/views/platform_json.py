"""What the table of real CPUs says of a host's CPUs, as JSON: what they are, why a feature is missing."""

from __future__ import annotations

from typing import Any

from vmxd.model.attribution import attribute, unlike
from vmxd.model.inventory import Inventory
from vmxd.model.platform import Platform, platform_of
from vmxd.model.states import Presence, State
from vmxd.views.platform_words import attribution_text, microcode_of

Json = dict[str, Any]


def platform_document(inventory: Inventory) -> Json | None:
    """Build the part on what a host's CPUs are; None if they differ, or their signature or brand is not known."""
    platform = platform_of(inventory.host)
    if platform is None:
        return None
    return {
        "microarchitecture": platform.family.name if platform.family else None,
        "year": platform.family.year if platform.family else None,
        "class": platform.product or None,
        **cpu_document(platform),
        "differs": {
            each.feature: (Presence.PRESENT if each.has else Presence.ABSENT).value for each in unlike(inventory)
        },
    }


def cpu_document(platform: Platform) -> Json:
    """Build the part on one CPU."""
    return {
        "name": platform.name or None,
        "microcode": microcode_of(platform) or None,
        "kinds": platform.kinds or None,
        "smx": platform.smx,
        "hypervisor": platform.hypervisor,
    }


def why_document(feature: str, state: State, platform: Platform | None) -> Json | None:
    """Build the part on why no CPU of a host has a feature; None if some have it, or the CPU cannot be named."""
    if state is not State.OFF or platform is None:
        return None
    found = attribute(feature, platform)
    return {
        "cause": found.cause.value,
        "apart": found.apart.value if found.apart else None,
        "fixable": found.cause.fixable,
        "having": found.having,
        "of": found.of,
        "microcode_since": None if found.since is None else f"{found.since:#x}",
        "others": list(dict.fromkeys(each.name for each in found.others)),
        "reason": attribution_text(found, platform),
    }
