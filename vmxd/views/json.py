"""An Inventory, and the tables, as JSON for other tools; docs/schema describes both, "schema" names the version.

Values of 64 bits are hex strings, since many readers keep numbers as doubles; CPUs are cpulist strings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

import vmxd
from vmxd.cpulist import format_cpus
from vmxd.model.compare import Group
from vmxd.model.decode import cpuinfo_flags
from vmxd.model.facts import Failed, Missing, MsrState
from vmxd.model.findings import Finding, findings, unnamed_bits
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import NestedView
from vmxd.model.offer import offer
from vmxd.model.states import CpuStates, by_cpus
from vmxd.tables import Feature, msr_name
from vmxd.tables.msrs import MSRS
from vmxd.tables.rows import AllOf, Control, Field, Flag, MayBeZero, Msr, Unnamed
from vmxd.tables.versions import SOURCES
from vmxd.views.finding_words import sentence
from vmxd.views.guest_json import guest_document, loading_document
from vmxd.views.platform_json import platform_document
from vmxd.views.verdict_words import verdict_hint, verdict_sentence

SHOW_SCHEMA: Final = "vmxd.show/1"
FEATURES_SCHEMA: Final = "vmxd.features/1"

Json = dict[str, Any]
_OBEYED: Final = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
Row = TypeVar("Row")


def to_json(document: Json) -> str:
    """Write a document as JSON, newline at the end; what a terminal would obey is escaped."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return _OBEYED.sub(lambda match: json.dumps(match[0])[1:-1], text) + "\n"


def inventory_document(inventory: Inventory, chosen: Collection[str] | None = None) -> Json:
    """Make what ``vmxd show --json`` prints; chosen: the features, numbers and bits to have, None: all."""
    host, verdict = inventory.host, inventory.verdict
    return {
        "schema": SHOW_SCHEMA,
        "vmxd": vmxd.__version__,
        "source": host.source.value,
        "host": host_document(inventory),
        "platform": platform_document(inventory),
        "status": verdict.status.value,
        "usable": verdict.usable,
        "reason": verdict_sentence(verdict),
        "hint": verdict_hint(verdict),
        "findings": [_finding(each) for each in findings(inventory)],
        "notes": list(host.notes),
        "cpus": {
            "online": format_cpus(host.online),
            "offline": format_cpus(host.offline),
            "scanned": format_cpus(inventory.scanned),
            "failed": format_cpus(inventory.failed),
            "excluded": format_cpus(host.excluded),
            "packages": _by_kind(
                {cpu: str(each.package) for cpu, each in host.cpus.items() if each.package is not None}
            ),
            "core_types": _by_kind(host.core_types),
        },
        "groups": [_group(group) for group in inventory.groups],
        "inconsistent": {
            "cpus": format_cpus(inventory.inconsistent),
            "msrs": list(
                dict.fromkeys(msr_name(index) for indexes in inventory.inconsistent.values() for index in indexes)
            ),
            "features": [feature.name for feature in inventory.differing],
        },
        "feature_control": _chosen(inventory.feature_control, chosen),
        "features": {name: feature_state(feature) for name, feature in _chosen(inventory.features, chosen).items()},
        "fields": _chosen(inventory.fields, chosen),
        "unknown_bits": {msr_name(index): f"{mask:#018x}" for index, mask in inventory.unknown.items() if mask},
        "unnamed_bits": _unnamed_bits(inventory),
        "sanity_violations": {violation.rule.name: format_cpus(violation.cpus) for violation in inventory.violations},
        "kvm": _kvm(inventory) | loading_document(inventory),
        "nested": None if inventory.nested is None else _nested(inventory.nested),
        "guest": guest_document(offer(inventory), chosen),
        "profiles": {
            found.profile.name: {"fits": found.fits, "lacking": list(found.lacking), "unknown": list(found.unknown)}
            for found in inventory.profiles
        },
    }


def _finding(finding: Finding) -> Json:
    return {
        "kind": re.sub("(?<=.)(?=[A-Z])", "_", type(finding).__name__).lower(),
        "sentence": sentence(finding),
        "cpus": format_cpus(finding.cpus) or None,
        "features": list(finding.features),
    }


def _unnamed_bits(inventory: Inventory) -> Json:
    masks: dict[str, int] = {}
    for each in unnamed_bits(inventory):
        masks[msr_name(each.msr)] = masks.get(msr_name(each.msr), 0) | 1 << each.bit
    return {name: f"{mask:#018x}" for name, mask in masks.items()}


def host_document(inventory: Inventory) -> Json:
    """Make what a host is."""
    identity = inventory.identity
    return {
        "name": inventory.host.name,
        "vendor": identity.vendor,
        "model_name": identity.model_name,
        "signature": identity.signature,
        "microcode": identity.microcode,
        "kernel": inventory.host.kernel,
        "hypervisor": identity.hypervisor,
        "fingerprint": identity.fingerprint,
    }


def feature_state(feature: CpuStates) -> Json:
    """Make a feature over the CPUs."""
    return {
        "state": feature.state.value,
        "value": feature.value,
        "cpus": {presence.value: format_cpus(cpus) for presence, cpus in feature.presence.items()},
    }


def _chosen(rows: Mapping[str, Row], chosen: Collection[str] | None) -> dict[str, Row]:
    return {name: row for name, row in rows.items() if chosen is None or name in chosen}


def _by_kind(kinds: Mapping[int, str]) -> dict[str, str]:
    return {kind: format_cpus(cpus) for kind, cpus in by_cpus((kinds[cpu], (cpu,)) for cpu in sorted(kinds)).items()}


def _group(group: Group) -> Json:
    decoded = group.decoded
    return {
        "cpus": format_cpus(group.cpus),
        "status": decoded.status.value,
        "msrs": {msr_name(index): msr_state(state) for index, state in decoded.msrs.items()},
        "controls": {name: state.value for name, state in decoded.controls.items()},
        "cpuinfo_flags": list(cpuinfo_flags(decoded.features)),
    }


def _kvm(inventory: Inventory) -> Json:
    parameters = inventory.host.kvm_parameters
    return {
        "module": parameters.value if isinstance(parameters, Missing) else "loaded",
        "parameters": {} if isinstance(parameters, Missing) else dict(parameters),
        "unused_features": {each.feature: each.parameter for each in inventory.kvm_unused},
        "doubted": list(inventory.kvm_doubted),
    }


def _nested(nested: NestedView) -> Json:
    msrs = {} if nested.decoded is None else nested.decoded.msrs
    return {
        "status": nested.status.value,
        "errno": nested.errno,
        "msrs": {msr_name(index): msr_state(state) for index, state in msrs.items() if not isinstance(state, Missing)},
        "features": dict(nested.values),
    }


def msr_state(state: MsrState) -> Json:
    """Make what is known of an MSR."""
    if isinstance(state, int):
        return {"state": "value", "value": f"{state:#018x}"}
    return {"state": "failed", "errno": state.errno} if isinstance(state, Failed) else {"state": state.value}


def tables_document(features: Sequence[Feature]) -> Json:
    """Make what ``vmxd features --json`` prints: every MSR, and the features that were asked for."""
    return {
        "schema": FEATURES_SCHEMA,
        "vmxd": vmxd.__version__,
        "sources": dict(SOURCES),
        "msrs": [msr_document(msr) for msr in MSRS],
        "features": [feature_document(feature) for feature in features],
    }


def msr_document(msr: Msr) -> Json:
    """Make one MSR: its bits and numbers (those of a TRUE MSR are its twin's), and when it exists."""
    own_rows = () if msr.twin_of is not None else msr.rows
    return {
        "name": msr.name,
        "index": f"{msr.index:#x}",
        "sdm_section": msr.sdm,
        "layout": msr.layout.value,
        "exists_if_any": [{"msr": msr_name(bit.msr), "bit": bit.bit} for bit in msr.exists_if],
        "default1": f"{msr.default1:#x}",
        "true": msr_name(msr.true) if msr.true is not None else None,
        "twin_of": msr_name(msr.twin_of) if msr.twin_of is not None else None,
        "bits": [{"bit": row.bit, "name": row.name, "sdm": row.sdm} for row in own_rows if isinstance(row, Flag)],
        "fields": [
            {"high": row.high, "low": row.low, "name": row.name, "sdm": row.sdm, "bias": row.bias, "scale": row.scale}
            for row in own_rows
            if isinstance(row, Field)
        ],
        "unnamed_bits": [
            {"bit": row.bit, "note": row.note, "since": row.since} for row in own_rows if isinstance(row, Unnamed)
        ],
    }


def feature_document(feature: Feature) -> Json:
    """Make one feature with all its names; ``value_bit`` is the bit of the MSR that says whether it can be used."""
    row, msr = feature.row, feature.msr
    document: Json = {"name": feature.name, "kind": _kind(feature)}
    if msr is not None and isinstance(row, Flag):
        document |= {"msr": msr.name, "index": f"{msr.index:#x}", "bit": row.bit, "value_bit": msr.feature_bit(row)}
        if isinstance(row, Control):
            document["default1"] = bool(msr.default1 >> row.bit & 1)
    elif isinstance(row, AllOf):
        document["of"] = list(row.of)
    elif isinstance(row, MayBeZero):
        document["of"] = [row.of]
    return document | {
        "sdm": row.sdm,
        "linux": feature.linux_name,
        "linux_macro": feature.macro,
        "linux_position": feature.linux_position,
        "cpuinfo": feature.cpuinfo_flag,
        "qemu": row.qemu,
        "libvirt": row.libvirt,
    }


def _kind(feature: Feature) -> str:
    kinds = {Control: "control", Flag: "flag", AllOf: "all_of", MayBeZero: "may_be_zero"}
    return kinds[type(feature.row)]
