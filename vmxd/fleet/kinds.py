"""What the metrics of one host say of all hosts of its kind. Pure.

vmx_msr_info is decoded with the tables of this vmxd, so that bits are seen which the host's own, older vmxd does not
know. Where CPUs differ it has the most common values alone: there vmx_feature, which is about every CPU, decides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from vmxd.fleet.model import Kind
from vmxd.model.decode import decode
from vmxd.model.states import Presence
from vmxd.tables import FEATURES, MSR_BY_INDEX

NO_VMX: Final = Kind(None, dict.fromkeys(FEATURES, False))
"""Hosts without VMX."""

_CERTAIN: Final = {Presence.PRESENT: True, Presence.ABSENT: False}
_INDEX_BY_NAME: Final = {msr.name: index for index, msr in MSR_BY_INDEX.items()}


def msr_index(label: str) -> int | None:
    """Return the index of an MSR by the label ``msr``: its name, or its index in hex; None where it is neither."""
    if label in _INDEX_BY_NAME:
        return _INDEX_BY_NAME[label]
    return _hex(label)


def msr_value(label: str) -> int | None:
    """Return an MSR's value by the label ``value``, None where it is none."""
    value = _hex(label)
    return value if value is not None and value < 1 << 64 else None


def _hex(text: str) -> int | None:
    try:
        return int(text, 16) if text.startswith("0x") else None
    except ValueError:
        return None


class Doubt(NamedTuple):
    """Why the values of a host's metrics are not those of each of its CPUs.

    msrs: those of which vmx_msr_variants is above 1. features: those that some CPUs have and others have not.
    failed: whether an MSR could not be read on some CPU. Values of several MSRs may then be of different CPUs, and say
    nothing of a feature that takes more than one of them.
    """

    msrs: Collection[int] = ()
    features: Collection[str] = ()
    failed: bool = False


NO_DOUBT: Final = Doubt()


def make_kind(
    fingerprint: str | None,
    values: Mapping[int, int],
    exported: Mapping[str, bool],
    doubt: Doubt = NO_DOUBT,
) -> Kind:
    """Return what a host's metrics say.

    values: vmx_msr_info, by index. exported: vmx_feature, as far as it was asked for and has series.
    """
    doubted = {*doubt.msrs, *(msr.index for msr in MSR_BY_INDEX.values() if msr.true in doubt.msrs)}
    common = decode(bool(values) or None, values)
    on_each = decode(True, {index: value for index, value in values.items() if index not in doubted})
    features: dict[str, bool] = {}
    for name in FEATURES:
        if name in exported:
            features[name] = exported[name]
        elif doubt.failed and FEATURES[name].msr is None:
            continue
        elif values and (certain := _CERTAIN.get(on_each.features[name])) is not None:
            features[name] = certain
        elif values and common.features[name] is Presence.ABSENT:
            features[name] = False
    return Kind(
        fingerprint,
        features,
        dict(sorted(values.items())),
        {index: mask for index, mask in common.unknown.items() if mask},
        tuple(name for name in FEATURES if name in doubt.features),
    )
