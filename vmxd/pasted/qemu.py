"""Errors of QEMU and libvirt, and of KubeVirt that hands them on: missing features, refused MSRs, unknown names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from vmxd.pasted.findings import By, Finding, Lacking, MsrValue, Named, SetRefused, UnknownNames, distinct, named
from vmxd.pasted.text import pattern
from vmxd.tables.find import find_features
from vmxd.tables.msrs import MSR_BY_INDEX

_NAME: Final = r"[\w.-]{1,80}"
_LIST: Final = rf"[\"'\[]{{0,3}}((?:{_NAME},\s?){{0,400}}{_NAME})"
_MISSING: Final = pattern(rf"(?:missing|required) features: ?(?!map\[){_LIST}", re.IGNORECASE)
_EXTRA: Final = pattern(rf"extra features: ?{_LIST}", re.IGNORECASE)
_WANTED_LABEL: Final = pattern(rf"(?:host-model-required-features|cpu-feature)\.node\.kubevirt\.io/({_NAME})")
_MSR_BIT: Final = pattern(
    r"(?:(TCG|host|This feature) (?:does(?:n't| not) support requested feature"
    r"|depends on other features that were not requested) ?: )?MSR\(([0-9A-Fa-f]{1,8})H\)(?:\.([\w-]{1,60}))?"
    r"(?: \[bit (\d{1,2})\])?"
)
_TCG: Final = pattern(r"TCG does(?:n't| not) support requested feature")
_CPUID: Final = pattern(r"CPUID[\w.:,=\[\]]{0,40}\.?\bE[ABCD]X\.([\w.-]{1,60}) \[bit \d{1,2}\]")
"""QEMU on a feature of CPUID: CPUID.07H:EBX.hle [bit 4], later CPUID[eax=07h,ecx=00h].EBX.hle [bit 4]."""
_SET: Final = pattern(r"failed to set MSR (0x[0-9a-fA-F]{1,8}) to (0x[0-9a-fA-F]{1,16})(?![0-9a-fA-F])")
_PROPERTY: Final = pattern(r"(?:[Pp]roperty '(?:[\w.-]{0,60}\.)?|[Uu]nknown CPU feature:? '?)(vmx-[\w-]{1,60})")
_MODEL: Final = pattern(
    r"(?:[Uu]nknown CPU model:? |unable to find CPU model |CPU model )['\"]?([A-Za-z][\w.-]{2,60})['\"]?"
    r"(?: is not supported| not supported| not found)?"
)


def find(text: str) -> Iterator[Finding]:
    """Yield what is missing, refused or unknown.

    >>> [len(found.missing) for found in find("missing features: vmx-pml,vmx-ept")]
    [2]
    """
    missing: dict[By, list[Named]] = {By.KVM: [], By.TCG: [], By.ITSELF: []}
    for match in _MSR_BIT.finditer(text):
        if match[3] or match[4]:
            by = By.ITSELF if match[1] and match[1].startswith("This") else By.KVM
            missing[by].append(_by_location(match[2], match[3], match[4]))
    missing[By.KVM] += [named(match[1]) for match in _CPUID.finditer(text)]
    if _TCG.search(text):  # one QEMU runs without KVM or with it, so its other lines are of the same
        missing |= {By.KVM: [], By.TCG: missing[By.KVM]}
    asked = is_asked_for(text)
    for match in _WANTED_LABEL.finditer(text):
        if asked:
            missing[By.KVM].append(named(match[1]))
    missing[By.KVM] += distinct(name for match in _MISSING.finditer(text) for name in _names(match[1]))
    extra = distinct(name for match in _EXTRA.finditer(text) for name in _names(match[1]))
    for by, found in missing.items():
        if found or (extra and by is By.KVM):
            yield Lacking(tuple(dict.fromkeys(found)), extra if by is By.KVM else (), by)
    refused = (
        MsrValue(MSR_BY_INDEX[index], int(match[2], 16))
        for match in _SET.finditer(text)
        if (index := int(match[1], 16)) in MSR_BY_INDEX
    )
    if values := tuple(dict.fromkeys(refused)):
        yield SetRefused(values)
    unknown = distinct(match[1] for match in _PROPERTY.finditer(text))
    models = dict.fromkeys(
        match[1]
        for match in _MODEL.finditer(text)
        if not match[0].startswith("CPU model") or match[0].endswith(("supported", "found"))
    )
    if unknown or models:
        yield UnknownNames(unknown, tuple(models))


_ASKED: Final = pattern(
    r"required features: map\[|nodeSelector|Node-Selectors|node affinity|node selector|node\(s\) didn't match"
)


def is_asked_for(text: str) -> bool:
    """Whether labels of KubeVirt in a text are what a pod asks for, not what a node has."""
    return bool(_ASKED.search(text))


def _names(listed: str) -> Iterator[str]:
    for name in re.split(r",\s?", listed):
        if name not in ("missing", "extra", "none"):  # "extra features: a, missing features: b"
            yield name.rstrip(".")


def _by_location(index: str, name: str | None, bit: str | None) -> Named:
    """Look QEMU's name up; if it stands for two bits, or there is none, the bit tells."""
    for feature in find_features(f"0x{index.lower()}[{bit}]") if bit else ():
        if name is None or feature.row.qemu == name:
            return Named(name or f"MSR({index}H) bit {bit}", feature)
    return named(name) if name else Named(f"MSR({index}H) bit {bit}", None)
