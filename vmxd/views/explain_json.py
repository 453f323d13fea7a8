"""What ``vmxd explain --json`` prints: features and MSRs, and how they stand on a host (docs/schema/explain-1.json)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import vmxd
from vmxd.cpulist import format_cpus
from vmxd.model.answers import View, has_feature
from vmxd.model.inventory import Inventory
from vmxd.model.platform import platform_of
from vmxd.model.seen import first_seen
from vmxd.tables import Feature
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.cpu_models import first_model
from vmxd.tables.needs import NEEDS
from vmxd.tables.rows import Msr
from vmxd.views.explain import LAYOUTS, TITLES, needed_by
from vmxd.views.finding_words import told
from vmxd.views.json import Json, feature_document, feature_state, host_document, msr_document, msr_state
from vmxd.views.platform_json import why_document

EXPLAIN_SCHEMA: Final = "vmxd.explain/1"


def explain_document(subjects: Sequence[Feature | Msr], inventory: Inventory) -> Json:
    """Make what each feature and MSR is and how it stands on the host."""
    return {
        "schema": EXPLAIN_SCHEMA,
        "vmxd": vmxd.__version__,
        "source": inventory.host.source.value,
        "host": host_document(inventory),
        "status": inventory.verdict.status.value,
        "features": [_feature(each, inventory) for each in subjects if isinstance(each, Feature)],
        "msrs": [_msr(each, inventory) for each in subjects if isinstance(each, Msr)],
    }


def _feature(feature: Feature, inventory: Inventory) -> Json:
    first = first_seen(feature.name)
    layers = inventory.layers(feature.name)
    return {
        "feature": feature_document(feature),
        "exists_if_any": [] if feature.msr is None else msr_document(feature.msr)["exists_if_any"],
        "caveats": list(CAVEATS.get(feature.name, ())),
        "needs": list(NEEDS.get(feature.name, ())),
        "needed_by": list(needed_by(feature)),
        "first_seen": None
        if first is None or first.family is None
        else {"cpu": first.family.name, "year": first.family.year},
        "first_qemu_model": first_model(feature.name),
        "here": {
            **feature_state(layers.hardware),
            "reasons": _reasons(feature, inventory, View.HARDWARE),
            "why": why_document(feature.name, layers.hardware.state, platform_of(inventory.host)),
            "unused_by_kvm": layers.kvm,
            "guests": None
            if inventory.nested is None
            else {
                "value": layers.guest,
                "reasons": _reasons(feature, inventory, View.NESTED),
            },
        },
    }


def _reasons(feature: Feature, inventory: Inventory, view: View) -> list[str]:
    return [told(reason) for reason in has_feature(inventory, feature.name, view).reasons]


def _msr(msr: Msr, inventory: Inventory) -> Json:
    return {
        "msr": msr_document(msr),
        "about": TITLES.get(msr.sdm, msr.sdm),
        "reading": LAYOUTS[msr.layout],
        "here": [
            {"cpus": format_cpus(group.cpus), **msr_state(group.decoded.msrs[msr.index])} for group in inventory.groups
        ],
    }
