"""The guest layer as JSON: what a VM gets and why, whether kvm_intel loads; docs/schema/show-1.json describes both."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vmxd.cpulist import format_cpus
from vmxd.model.guest import Reason
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import Taken
from vmxd.model.offer import Offer, flags_that_differ, loading, microcodes, taken
from vmxd.tables import msr_name

Json = dict[str, Any]


def guest_document(found: Offer, chosen: Collection[str] | None = None) -> Json:
    """Make what a VM gets: values as hex strings, null if not known; chosen: the features to have, None: all."""
    return {
        "source": found.source.value,
        "kernel": found.kernel,
        "msrs": {
            f"{index:#x}": None if value is None else f"{value:#018x}" for index, value in sorted(found.msrs.items())
        },
        "features": {name: value for name, value in found.features.items() if chosen is None or name in chosen},
        "parameters": {} if found.expected is None else dict(found.expected.parameters),
        "reasons": {
            name: _reason(reason) for name, reason in found.reasons.items() if chosen is None or name in chosen
        },
        "mismatches": [
            {
                "msr": f"{each.msr:#x}",
                "recorded": f"{each.recorded:#018x}",
                "expected": f"{each.expected:#018x}",
                "bits": f"{each.bits:#018x}",
            }
            for each in found.mismatches
        ],
    }


def _reason(reason: Reason) -> Json:
    since = None if reason.since is None else [".".join(map(str, release)) for release in reason.since]
    return {"why": reason.why.value, "names": list(reason.names), "since": since and since[1]}


def loading_document(inventory: Inventory) -> Json:
    """Make whether kvm_intel loads and takes every CPU, and what differs among them."""
    found = loading(inventory)
    cpus: dict[Taken, dict[str, list[int]]] = {}
    for (cpu, index), verdict in taken(inventory).items():
        cpus.setdefault(verdict, {}).setdefault(msr_name(index), []).append(cpu)
    return {
        "loads": found.loads,
        "refusals": [{"why": each.why.value, "features": list(each.features)} for each in found.refusals],
        "turned_off": {
            each.parameter: {"lacking": list(each.lacking), "after": list(each.after)} for each in found.turned_off
        },
        "differing": {
            verdict.value: {name: format_cpus(sorted(of)) for name, of in by_msr.items()}
            for verdict, by_msr in cpus.items()
        },
        "differing_flags": {flag: format_cpus(of) for flag, of in flags_that_differ(inventory).items()},
        "microcodes": {revision: format_cpus(of) for revision, of in microcodes(inventory).items()},
    }
