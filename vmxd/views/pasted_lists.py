"""What pasted lists of features say: "vmx flags", and those of other programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vmxd.pasted.findings import VMX, FeatureSet, Named, Of
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.features import FEATURES
from vmxd.tables.versions import LINUX_SERIES
from vmxd.views.explain import Block, Said
from vmxd.views.words import not_in_tables


def flags(line: Sequence[Named]) -> Iterator[Said]:
    """Say what a "vmx flags" line names, leaves out, and is silent on."""
    known = [each.feature for each in line if each.feature]
    by_msr: dict[str, list[str]] = {}
    for feature in known:
        by_msr.setdefault(feature.msr.name if feature.msr else "", []).append(feature.name)
    yield "names", f"{len(known)} of {len(FEATURES)} features"
    for name, names in by_msr.items():
        yield "", f"{name or 'of several bits'}: {', '.join(names)}"
    if strange := [each.text for each in line if not each.feature]:
        yield "not known", f"{', '.join(strange)}: no flag of Linux {LINUX_SERIES}"
    present = {feature.name for feature in known}
    lacking = [feature for feature in FEATURES.values() if feature.cpuinfo_flag and feature.name not in present]
    hidden = sum(not feature.cpuinfo_flag for feature in FEATURES.values())
    yield "not there", ", ".join(each.name for each in lacking) or f"nothing that Linux {LINUX_SERIES} would show"
    yield "beware", f"the line is silent on {hidden} more features, among them every VM-exit and VM-entry control"
    yield "", "it says what may be 1, never what must be, and nothing of the TRUE MSRs"
    yield "", "it is of one CPU, from when that CPU was brought up; later microcode does not show"
    if "eptp_switching" not in present:
        yield "", f"eptp_switching: {CAVEATS['eptp_switching'][0]}"
    yield "", "names depend on the kernel: an older one shows fewer"


def feature_set(found: FeatureSet) -> Block:
    """Say what a program's list has."""
    if found.of is Of.VMCS:
        return f"the controls that {found.program} has on", names_of("on", found.present)
    of = "what guests of a host get" if found.of is Of.GUESTS else "a CPU"
    return f"{found.program} on {of}", _listed(found)


def _listed(found: FeatureSet) -> Iterator[Said]:
    yield from names_of("has", found.present)
    yield from names_of("lacks", found.absent)
    for word, names in (("has", found.present), ("lacks", found.absent)):
        if any(each.text.casefold() == VMX for each in names):
            yield word, "VMX itself"
    everything = (*found.present, *found.absent)
    strange = [each.text for each in everything if each.feature is None and each.text.casefold() != VMX]
    vmx = [text for text in strange if text.startswith("vmx-") or found.of is Of.CPU]
    if vmx:
        yield "not known", not_in_tables(vmx)
    if others := [text for text in strange if text not in vmx]:
        yield "not VMX", ", ".join(others)
    if found.of is Of.GUESTS:
        yield "beware", "this is what KVM gives to guests there, not what the CPUs have"
    elif not found.absent:
        yield "beware", "what the list does not name may be there all the same"


def names_of(word: str, listed: Sequence[Named]) -> Iterator[Said]:
    """Yield the features of names, each once, under a label."""
    if names := list(dict.fromkeys(each.feature.name for each in listed if each.feature)):
        yield word, ", ".join(names)
