"""What a VM gets on a host, recorded or else expected, and what KVM makes of the host's CPUs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.model.facts import Missing, Parameter
from vmxd.model.guest import Expected, Reason, Seen, Source, Why, expect_guest
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import (
    DECISIVE,
    Loading,
    NestedStatus,
    Taken,
    differing_flags,
    judge_loading,
    take_cpu,
    take_feature_control,
)
from vmxd.model.vmcs import Bound, Refusal, Refused
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, IA32_VMX_BASIC
from vmxd.tables.kvm import KVM_PARAMETERS


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Another kernel, or other parameters, than a host has."""

    kernel: str | None = None
    parameters: Mapping[str, Parameter] | None = None

    @property
    def asked(self) -> bool:
        """Whether anything is to be other than it is."""
        return self.kernel is not None or bool(self.parameters)


AS_IT_IS: Final = WhatIf()
NESTED: Final = "nested"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An MSR of which KVM's answer is not what was expected: both values, and the bits that are surely other."""

    msr: int
    recorded: int
    expected: int
    bits: int


@dataclass(frozen=True, slots=True)
class Offer:
    """What a VM gets.

    source: how it is known. kernel: the release that it is of, None if not recorded.
    msrs: index -> value, None if not known. features: by name, None if not known.
    reasons: why hardware and guest do not share a feature, or it is not known of guests.
    wanted: parameters that were asked for, over the host's own.
    expected: the expectation, None on a CPU without VMX. mismatches: where KVM's answer differs from it.
    """

    source: Source
    kernel: str | None
    msrs: Mapping[int, int | None]
    features: Mapping[str, bool | None]
    expected: Expected | None
    mismatches: tuple[Mismatch, ...] = ()
    wanted: Mapping[str, Parameter] | None = None

    @property
    def reasons(self) -> Mapping[str, Reason]:
        """Each feature's reason by name; of KVM's own answer, the expectation explains what it agrees with."""
        if self.expected is None:
            return dict.fromkeys(FEATURES, Reason(Why.NOT_LOADED))
        if self.source is not Source.RECORDED:
            return self.expected.reasons
        agreed = {name for name, value in self.features.items() if self.expected.features[name] is value}
        return {
            name: self.expected.reasons[name] if name in agreed else Reason(Why.NOT_TOLD)
            for name, value in self.features.items()
            if (name in agreed and name in self.expected.reasons) or (name not in agreed and value is not True)
        }


def offer(inventory: Inventory, what_if: WhatIf = AS_IT_IS) -> Offer:
    """Find out what a VM gets on a host: KVM's answer where there is one and nothing else is asked for."""
    nested = inventory.nested
    expected = expectation(inventory, what_if)
    kernel = what_if.kernel or inventory.host.kernel
    if nested is not None and nested.decoded is not None and not what_if.asked:
        states = nested.decoded.msrs if nested.status is NestedStatus.OFFERED else {}
        msrs = {index: state for index, state in states.items() if isinstance(state, int)}
        return Offer(Source.RECORDED, kernel, msrs, nested.values, expected, _mismatches(msrs, expected))
    return expected_offer(expected, kernel, what_if)


def parameters_that_take(inventory: Inventory, feature: str) -> tuple[str, ...]:
    """Find the parameters of kvm_intel that are not known to be Y, each of which takes a feature from guests if N."""
    parameters = inventory.host.kvm_parameters
    known = {} if isinstance(parameters, Missing) else parameters
    names = [name for name in (*KVM_PARAMETERS, NESTED) if not known.get(name)]
    return tuple(
        name for name in names if offer(inventory, WhatIf(parameters={name: False})).features.get(feature) is False
    )


def expected_offer(expected: Expected | None, kernel: str | None, what_if: WhatIf = AS_IT_IS) -> Offer:
    """Make the offer of which nothing but an expectation is known; None: that of a CPU without VMX."""
    if expected is None:
        return Offer(Source.EXPECTED, kernel, {}, dict.fromkeys(FEATURES, False), None)
    known = bool(expected.asked.msrs.known.keys() & DECISIVE) and not expected.asked.kernel.too_old
    source = Source.EXPECTED if known else Source.UNKNOWN
    return Offer(source, kernel, expected.msrs, expected.features, expected, wanted=what_if.parameters)


def expectation(inventory: Inventory, what_if: WhatIf = AS_IT_IS) -> Expected | None:
    """Compute what KVM would give by the host's most common values; None if it has no VMX."""
    host = inventory.host
    basic = inventory.msrs.get(IA32_VMX_BASIC)
    if basic is None and any(group.decoded.readable for group in inventory.groups):
        return None
    parameters = None if isinstance(host.kvm_parameters, Missing) else host.kvm_parameters
    cpu = host.cpus.get(min(host.cpus, default=0))
    flags = cpu.flags if cpu and host.kernel else None  # what a kernel shows says nothing of one that is not known
    seen = Seen(flags or None, host.kernel, cpu.signature if cpu else None)
    values = {index: msr.most_common for index, msr in inventory.msrs.items()}
    return expect_guest(values, what_if.kernel or host.kernel, parameters, what_if.parameters, seen)


def _mismatches(msrs: Mapping[int, int], expected: Expected | None) -> tuple[Mismatch, ...]:
    if expected is None or not msrs or not expected.least:
        return ()
    found = []
    for index in sorted(expected.least.keys() | msrs.keys()):
        recorded, least = msrs.get(index, 0), expected.least.get(index, 0)
        bits = (recorded ^ least) & ~expected.unknown.get(index, 0)
        if bits:
            found.append(Mismatch(index, recorded, least, bits))
    return tuple(found)


# What KVM makes of the CPUs ----------------------------------------------------------------------------------------


def taken(inventory: Inventory) -> dict[tuple[int, int], Taken]:
    """Judge each MSR in which a CPU differs from the most common values: (CPU, MSR) -> what KVM does."""
    if not inventory.inconsistent:
        return {}
    view = expectation(inventory)
    verdicts: dict[tuple[int, int], Taken] = {}
    for index in dict.fromkeys(index for indexes in inventory.inconsistent.values() for index in indexes):
        msr = inventory.msrs[index]
        for value, cpus in msr.values[1:]:
            if index == IA32_FEATURE_CONTROL:
                first = msr.most_common
                both = isinstance(first, int) and isinstance(value, int)
                verdict = take_feature_control(first, value) if both else Taken.DEPENDS  # type: ignore[arg-type]
            else:
                verdict = Taken.DEPENDS if view is None else take_cpu(view, index, value)
            verdicts |= {(cpu, index): verdict for cpu in cpus}
    return verdicts


def worst_taken(inventory: Inventory) -> dict[int, Taken]:
    """Map each MSR in which CPUs differ to the worst that KVM does with one of them."""
    worst: dict[int, Taken] = {}
    for (_, index), verdict in taken(inventory).items():
        worst[index] = min(verdict, worst.get(index, verdict), key=WORST_FIRST.index)
    return worst


WORST_FIRST: Final = (Taken.REFUSED, Taken.UNNOTICED, Taken.DEPENDS, Taken.IRRELEVANT)
"""What KVM does with a difference, by how bad that is for the host."""


def loading(inventory: Inventory) -> Loading:
    """Judge whether kvm_intel loads on a host and takes every CPU."""
    view = expectation(inventory)
    if view is None:
        return Loading(False, (Refusal(Refused.NO_VMX),))
    refused = tuple(dict.fromkeys(cpu for (cpu, _), verdict in taken(inventory).items() if verdict is Taken.REFUSED))
    flagged = tuple(cpu for cpus in flags_that_differ(inventory).values() for cpu in cpus)
    return judge_loading(view, usable=inventory.verdict.usable, has_vmx=True, refused=refused or flagged)


def flags_that_differ(inventory: Inventory) -> dict[str, tuple[int, ...]]:
    """Find the CPU flags that KVM compares and that differ, each with the CPUs of the smaller side."""
    view = expectation(inventory)
    cpus = {number: cpu.flags for number, cpu in inventory.host.cpus.items() if cpu.flags}
    if view is None or len(set(cpus.values())) < 2:
        return {}
    return differing_flags(cpus, Bound(view.asked.kernel.low, most=False))


def microcodes(inventory: Inventory) -> dict[str, tuple[int, ...]]:
    """Map each microcode revision to its CPUs, if there are several."""
    found: dict[str, list[int]] = {}
    for number, cpu in sorted(inventory.host.cpus.items()):
        if cpu.microcode:
            found.setdefault(cpu.microcode, []).append(number)
    return {revision: tuple(cpus) for revision, cpus in found.items()} if len(found) > 1 else {}
