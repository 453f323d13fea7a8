"""Whether a host can start a VM, as far as VMX decides it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vmxd.model.answers import Answer, View, has_features, usable
from vmxd.model.findings import Finding, GuestLacks, KvmRefuses, NotInTables
from vmxd.model.guest import Reason, Source, Why
from vmxd.model.inventory import Inventory
from vmxd.model.offer import AS_IT_IS, WhatIf, loading
from vmxd.model.profiles import Profile
from vmxd.model.vmcs import Refused

QUESTION: Final = "vm"
VMX_ITSELF: Final = "true_ctls"
"""What KVM gives every guest to which it gives VMX, so that it tells whether it does (tables.kvm: always)."""
_OF_VERDICT: Final = (Refused.NO_VMX, Refused.FIRMWARE)
"""Refusals that a host's verdict tells."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a VM takes to start.

    vmx: whether it has VMX by its own words. features: those that it takes, by vmxd's names in the order of the SDM.
    unheard: names of vmx-* features that no table has.
    """

    name: str
    vmx: bool
    features: tuple[str, ...] = ()
    unheard: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """The features that decide; of a VM that takes no more than VMX, the one that stands for it."""
        return (self.features or (VMX_ITSELF,)) if self.vmx else ()


def starts(inventory: Inventory, needs: Needs, what_if: WhatIf = AS_IT_IS) -> Answer:
    """Answer whether a host can start a VM, by what KVM gives to guests there; one without VMX always."""
    if not needs.vmx:
        return Answer(QUESTION, needs.name, (), ())
    answer = has_features(inventory, View.GUEST, QUESTION, Profile(needs.name, "", needs.asked), what_if)
    against, unknown = (
        tuple(_of_vmx(each) if not needs.features else each for each in found)
        for found in (answer.against, answer.unknown)
    )
    against = tuple(_together(against))
    if unheard := needs.unheard:
        unknown += (NotInTables(features=unheard),)
    if answer.offer and answer.offer.source is not Source.RECORDED and answer.offer.expected:
        against += _not_loading(inventory)
    return replace(answer, against=against, unknown=unknown)


def _of_vmx(finding: Finding) -> Finding:
    return replace(finding, features=("vmx",)) if isinstance(finding, GuestLacks) else finding


def _together(against: Iterable[Finding]) -> Iterator[Finding]:
    """Put the features that the CPU lacks into one finding."""
    lacking: list[str] = []
    release = None
    for each in against:
        if isinstance(each, GuestLacks) and each.reason == Reason(Why.HARDWARE, each.features):
            lacking += each.features
            release = each.release
        else:
            yield each
    if lacking:
        yield GuestLacks(features=tuple(lacking), reason=Reason(Why.HARDWARE, tuple(lacking)), release=release)


def _not_loading(inventory: Inventory) -> tuple[Finding, ...]:
    """Find why KVM does not run: the verdict on VMX, then what kvm_intel refuses."""
    refusals = loading(inventory).refusals
    refused: Sequence[Finding] = [
        KvmRefuses(features=each.features, refusal=each) for each in refusals if each.why not in _OF_VERDICT
    ]
    return (*usable(inventory).against, *refused)
