"""Questions about a host, answered yes, no or not known, with findings for reasons: what ``vmxd check`` asks. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.model.compare import cpus_of
from vmxd.model.decode import Decoded, Status, unknown_msr
from vmxd.model.facts import Failed, Missing
from vmxd.model.findings import (
    Cause,
    Finding,
    GuestLacks,
    GuestMayLack,
    GuestsGetNoVmx,
    GuestsLack,
    GuestsNotKnown,
    Judged,
    KvmRefuses,
    Lacks,
    NotCompared,
    NothingKnown,
    NotJudged,
    NotKnown,
    cpus_differ,
)
from vmxd.model.guest import Reason, Source
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import NestedStatus
from vmxd.model.offer import AS_IT_IS, Offer, WhatIf, loading, offer
from vmxd.model.profiles import Profile, fit
from vmxd.model.states import Presence
from vmxd.model.vmcs import Refused
from vmxd.tables import FEATURES, MSR_BY_INDEX, Feature
from vmxd.tables.rows import AllOf, Bit, Flag, MayBeZero


class View(enum.Enum):
    """Whose features are asked for."""

    HARDWARE = "hardware"
    """The CPUs': on every one of them."""
    NESTED = "nested"
    """Those that KVM says it offers to guests."""
    GUEST = "guest"
    """Those that a VM gets: as KVM says, or else as its kernel and parameters lead to expect."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One question and its answer.

    question: require, profile, cpu-model, consistent or usable. subject: what of, "" for the last two.
    against: reasons for a no. unknown: reasons why it cannot be told; with reasons against it, the answer is no.
    """

    question: str
    subject: str
    against: tuple[Finding, ...]
    unknown: tuple[Finding, ...]
    offer: Offer | None = None
    """What a VM gets, if that was asked for."""

    @property
    def holds(self) -> bool | None:
        """Yes, no, or None if it cannot be told."""
        return False if self.against else None if self.unknown else True

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """All reasons, those against it first."""
        return (*self.against, *self.unknown)


def overall(answers: Iterable[Answer]) -> bool | None:
    """Answer whether everything holds: one no decides, whatever is not known."""
    seen = {answer.holds for answer in answers}
    return False if False in seen else None if None in seen else True


def usable(inventory: Inventory) -> Answer:
    """Answer whether VMXON may be executed on every CPU."""
    verdict = inventory.verdict
    if verdict.usable is not True:
        reasons = (Judged(cpus=verdict.cpus, verdict=verdict),)
        return Answer("usable", "", reasons, ()) if verdict.usable is False else Answer("usable", "", (), reasons)
    cpus = cpus_of(group for group in inventory.groups if group.decoded.status is not Status.USABLE)
    return Answer("usable", "", (), (NotJudged(cpus=cpus),) if cpus else ())


def consistent(inventory: Inventory) -> Answer:
    """Answer whether all CPUs have the same values."""
    whole = frozenset(inventory.scanned)
    cpus = tuple(sorted(cpu for group in inventory.groups for cpu in group.cpus if cpu not in whole))
    unknown = (NotCompared(cpus=cpus),) if cpus or not inventory.groups else ()
    return Answer("consistent", "", tuple(cpus_differ(inventory)), unknown)


def has_feature(inventory: Inventory, name: str, view: View = View.HARDWARE) -> Answer:
    """Answer whether the host, or what KVM offers to guests, has one feature."""
    return has_features(inventory, view, "require", Profile(name, "", (name,)))


def has_features(
    inventory: Inventory, view: View, question: str, profile: Profile, what_if: WhatIf = AS_IT_IS
) -> Answer:
    """Answer whether the host, or what KVM offers to guests, has every feature of a set."""
    if view is View.GUEST:
        return _of_guests(inventory, question, profile, what_if)
    if view is View.NESTED:
        return Answer(question, profile.name, *_nested(inventory, profile))
    found = fit(profile, {name: feature.everywhere for name, feature in inventory.features.items()})
    against: tuple[Finding, ...] = tuple(_lacks(inventory, FEATURES[name]) for name in found.lacking)
    if found.lacking == profile.features and inventory.verdict.status is Status.NO_VMX:
        against = (Judged(features=found.lacking, verdict=inventory.verdict),)
    if profile.name == KVM_LOAD:
        against += tuple(_refusals(inventory, found.lacking))
    return Answer(question, profile.name, against, tuple(_not_known(inventory, found.unknown)))


KVM_LOAD: Final = "kvm-load"
"""The profile that asks whether kvm_intel loads: its verdict is KVM's, beyond the features that it names."""


def _refusals(inventory: Inventory, lacking: Sequence[str]) -> Iterator[KvmRefuses]:
    """Yield why kvm_intel does not load, beside features that it lacks."""
    for refusal in loading(inventory).refusals:
        if refusal.why is not Refused.NO_VMX and not (refusal.features and set(refusal.features) <= set(lacking)):
            yield KvmRefuses(features=refusal.features, refusal=refusal)


def _lacks(inventory: Inventory, feature: Feature) -> Lacks:
    cpus = inventory.features[feature.name].presence[Presence.ABSENT]
    everywhere = len(cpus) == sum(len(group.cpus) for group in inventory.groups)
    group = next(group for group in inventory.groups if cpus[0] in group.cpus)
    return Lacks(cpus=cpus, features=(feature.name,), everywhere=everywhere, cause=_cause(feature, group.decoded))


def _cause(feature: Feature, decoded: Decoded) -> Cause:
    """Find why a feature is absent."""
    row, msr = feature.row, feature.msr
    if isinstance(row, AllOf):
        part = next((name for name in row.of if decoded.features[name] is Presence.ABSENT), row.of[0])
        cause = _cause(FEATURES[part], decoded)
        return Cause(cause.bits, cause.absent, part, cause.is_set)
    if isinstance(row, MayBeZero):
        control = FEATURES[row.of]
        assert control.msr is not None
        assert isinstance(control.row, Flag)
        true = control.msr.true
        index = true if true is not None and isinstance(decoded.msrs[true], int) else control.msr.index
        return Cause((Bit(index, control.row.bit),), is_set=True)
    assert msr is not None
    absent: list[int] = []
    while decoded.msrs[msr.index] is Missing.ABSENT and msr.index not in absent:
        absent.append(msr.index)
        msr = next((MSR_BY_INDEX[bit.msr] for bit in msr.exists_if if decoded.msrs[bit.msr] is Missing.ABSENT), msr)
    if absent:
        return Cause(MSR_BY_INDEX[absent[-1]].exists_if, tuple(absent))
    return Cause((Bit(msr.index, msr.feature_bit(row)),))


def _not_known(inventory: Inventory, names: Sequence[str]) -> Iterator[Finding]:
    """Yield one reason for each MSR that leaves features unknown."""
    if not names:
        return
    if inventory.verdict.status is Status.UNREADABLE or not inventory.groups:
        yield NothingKnown(features=tuple(names), verdict=inventory.verdict)
        return
    causes: dict[tuple[int, Failed | Missing], tuple[dict[str, None], set[int]]] = {}
    for name in names:
        for group in inventory.groups:
            if group.decoded.features[name] in (Presence.FAILED, Presence.NOT_RECORDED):
                index = unknown_msr(FEATURES[name], group.decoded)
                state = group.decoded.msrs[index]
                why = state if isinstance(state, Failed) else Missing.NOT_RECORDED
                features, cpus = causes.setdefault((index, why), ({}, set()))
                features[name] = None
                cpus.update(group.cpus)
    for (index, why), (features, cpus) in causes.items():
        yield NotKnown(cpus=tuple(sorted(cpus)), features=tuple(features), msr=index, why=why)


def _nested(inventory: Inventory, profile: Profile) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Find reasons against, and reasons unknown, by what KVM offers to guests."""
    view = inventory.nested
    if view is None or view.decoded is None:
        errno = None if view is None else view.errno
        return (), (GuestsNotKnown(features=profile.features, errno=errno, is_asked=view is not None),)
    found = fit(profile, view.values)
    if view.status is NestedStatus.NOT_OFFERED:
        return (GuestsGetNoVmx(features=found.lacking, is_nested_off=is_nested_off(inventory)),), ()
    against = tuple(
        GuestsLack(
            features=(name,),
            cause=_cause(FEATURES[name], view.decoded),
            parameter=(layers := inventory.layers(name)).kvm,
            hardware=layers.hardware.value,
        )
        for name in found.lacking
    )
    unknown = (GuestsNotKnown(features=found.unknown, errno=None, is_asked=True),) if found.unknown else ()
    return against, unknown


def _of_guests(inventory: Inventory, question: str, profile: Profile, what_if: WhatIf) -> Answer:
    """Answer what a VM gets: by KVM's answer, else by the expectation."""
    found = offer(inventory, what_if)
    if found.source is Source.RECORDED:
        return Answer(question, profile.name, *_nested(inventory, profile), found)
    if found.expected is None:
        return Answer(
            question, profile.name, (Judged(features=profile.features, verdict=inventory.verdict),), (), found
        )
    held = fit(profile, found.features)
    reasons = found.reasons
    against: dict[Reason, list[str]] = {}
    unknown: dict[Reason, list[str]] = {}
    for names, by_reason in ((held.lacking, against), (held.unknown, unknown)):
        for name in names:
            by_reason.setdefault(reasons[name], []).append(name)
    return Answer(
        question,
        profile.name,
        tuple(GuestLacks(features=tuple(of), reason=why, release=found.kernel) for why, of in against.items()),
        tuple(GuestMayLack(features=tuple(of), reason=why, release=found.kernel) for why, of in unknown.items()),
        found,
    )


def is_nested_off(inventory: Inventory) -> bool:
    """Tell whether kvm_intel's parameter nested is N."""
    parameters = inventory.host.kvm_parameters
    return not isinstance(parameters, Missing) and parameters.get("nested") is False
