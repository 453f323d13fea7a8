"""Questions about a host, answered yes, no or not known, with reasons: what ``vmxd check`` asks. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd import cpulist
from vmxd.model.compare import cpus_of
from vmxd.model.decode import Decoded, Presence, Status
from vmxd.model.facts import Failed, Missing
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import NestedStatus
from vmxd.model.profiles import Profile, fit
from vmxd.tables import FEATURES, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.errnos import explain, explain_kvm
from vmxd.tables.rows import AllOf, Flag, MayBeZero, Msr

_NAMED: Final = 3
"""Features that a sentence on many names."""


class View(enum.Enum):
    """Whose features are asked for."""

    HARDWARE = "hardware"
    """The CPUs': on every one of them."""
    NESTED = "nested"
    """Those that KVM offers to guests."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an answer is no, or not known: one sentence, the features and the CPUs that it is about."""

    text: str
    features: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """One question and its answer.

    question: require, profile, cpu-model, consistent or usable. subject: what of, "" for the last two.
    against: reasons for a no. unknown: reasons why it cannot be told; where there are reasons against it, it is no.
    """

    question: str
    subject: str
    against: tuple[Reason, ...]
    unknown: tuple[Reason, ...]

    @property
    def holds(self) -> bool | None:
        """Yes, no, or None where it cannot be told."""
        return False if self.against else None if self.unknown else True


def overall(answers: Iterable[Answer]) -> bool | None:
    """Return whether everything holds: one no decides, whatever is not known."""
    seen = {answer.holds for answer in answers}
    return False if False in seen else None if None in seen else True


def usable(inventory: Inventory) -> Answer:
    """Answer whether VMXON may be executed on every CPU."""
    verdict = inventory.verdict
    reason = Reason(verdict.reason + (f" (hint: {verdict.hint})" if verdict.hint else ""))
    if verdict.usable is not True:
        against, unknown = ((reason,), ()) if verdict.usable is False else ((), (reason,))
        return Answer("usable", "", against, unknown)
    cpus = cpus_of(group for group in inventory.groups if group.decoded.status is not Status.USABLE)
    text = f"whether VMX may be used on {cpulist.describe(cpus)} is not known"
    return Answer("usable", "", (), (Reason(text, cpus=cpus),) if cpus else ())


def consistent(inventory: Inventory) -> Answer:
    """Answer whether all CPUs have the same values."""
    against = tuple(
        _differing(inventory, index, cpus) for index, msr in inventory.msrs.items() if (cpus := msr.differing)
    )
    whole = frozenset(inventory.scanned)
    cpus = tuple(cpu for group in inventory.groups for cpu in group.cpus if cpu not in whole)
    unknown = (
        [Reason(f"{cpulist.describe(cpus)} could not be read, or not wholly", cpus=tuple(sorted(cpus)))] if cpus else []
    )
    if not inventory.groups:
        unknown.append(Reason("no CPU was read"))
    return Answer("consistent", "", against, tuple(unknown))


def _differing(inventory: Inventory, index: int, cpus: tuple[int, ...]) -> Reason:
    features = tuple(each.name for each in inventory.differing if _stands_in(FEATURES[each.name], index))
    named = f" ({', '.join(features)})" if features else ""
    differ = "differs" if len(cpus) == 1 else "differ"
    return Reason(f"{cpulist.describe(cpus)} {differ} in {msr_name(index)}{named}", features, cpus)


def _stands_in(feature: Feature, index: int) -> bool:
    return feature.msr is not None and index in (feature.msr.index, feature.msr.true)


def has_features(inventory: Inventory, view: View, question: str, profile: Profile) -> Answer:
    """Answer whether the host, or what KVM offers to guests, has every feature of a set."""
    if view is View.NESTED:
        return _nested(inventory, question, profile)
    found = fit(profile, {name: feature.everywhere for name, feature in inventory.features.items()})
    if found.lacking == profile.features and inventory.verdict.status is Status.NO_VMX:
        reasons: tuple[Reason, ...] = (Reason(inventory.verdict.reason, found.lacking),)
    else:
        reasons = tuple(_lacking(inventory, FEATURES[name]) for name in found.lacking)
    return Answer(question, profile.name, reasons, tuple(_not_known(inventory, found.unknown)))


def _lacking(inventory: Inventory, feature: Feature) -> Reason:
    cpus = inventory.features[feature.name].cpus[Presence.ABSENT]
    everywhere = len(cpus) == sum(len(group.cpus) for group in inventory.groups)
    where = "on every CPU" if everywhere else f"on {cpulist.describe(cpus)}"
    group = next(group for group in inventory.groups if cpus[0] in group.cpus)
    return Reason(f"{feature.name} is missing {where}: {_bit(feature, group.decoded)}", (feature.name,), cpus)


def _bit(feature: Feature, decoded: Decoded) -> str:
    """Say which bit says that a feature is missing, and what others call the feature."""
    row = feature.row
    called = f" ({row.libvirt or row.qemu})" if row.libvirt or row.qemu else ""
    if isinstance(row, AllOf):
        parts = [FEATURES[name] for name in row.of if decoded.features[name] is Presence.ABSENT]
        return f"it takes {_bit(parts[0], decoded).replace(' is 0', ', which is 0')}" if parts else "it is not there"
    if isinstance(row, MayBeZero):
        control = FEATURES[row.of]
        assert control.msr is not None
        assert isinstance(control.row, Flag)
        index = control.msr.index
        if control.msr.true is not None and isinstance(decoded.msrs[control.msr.true], int):
            index = control.msr.true
        return f"{msr_name(index)}[{control.row.bit}] is 1{called}"
    assert feature.msr is not None
    if decoded.msrs[feature.msr.index] is Missing.ABSENT:
        return f"there is no {feature.msr.name}, since {_why_absent(feature.msr, decoded)}{called}"
    return f"{feature.location} is 0{called}"


def _why_absent(msr: Msr, decoded: Decoded) -> str:
    """Say which bits leave an MSR out on a CPU that has VMX."""
    absent = [MSR_BY_INDEX[bit.msr] for bit in msr.exists_if if decoded.msrs[bit.msr] is Missing.ABSENT]
    if absent:
        return f"there is no {absent[0].name}, since {_why_absent(absent[0], decoded)}"
    if not msr.exists_if:
        return "there is no VMX"
    bits = [f"{msr_name(bit.msr)}[{bit.bit}]" for bit in msr.exists_if]
    return f"{' and '.join(bits)} {'is' if len(bits) == 1 else 'are'} 0"


def _not_known(inventory: Inventory, names: Sequence[str]) -> Iterator[Reason]:
    """Yield one reason for each MSR that leaves features unknown."""
    if not names:
        return
    if inventory.verdict.status is Status.UNREADABLE or not inventory.groups:
        yield Reason(f"{_list(names)} not known: {inventory.verdict.reason}", tuple(names))
        return
    causes: dict[tuple[int, str], tuple[dict[str, None], set[int]]] = {}
    for name in names:
        for group in inventory.groups:
            if group.decoded.features[name] in (Presence.FAILED, Presence.NOT_RECORDED):
                index, errno = _cause(FEATURES[name], group.decoded)
                features, cpus = causes.setdefault((index, errno), ({}, set()))
                features[name] = None
                cpus.update(group.cpus)
    for (index, errno), (features, cpus) in causes.items():
        where = cpulist.describe(cpus)
        why = (
            f"could not be read on {where}: {explain(errno).meaning} ({errno})"
            if errno
            else f"was not recorded on {where}"
        )
        yield Reason(
            f"{_list(tuple(features))} not known: {msr_name(index)} {why}", tuple(features), tuple(sorted(cpus))
        )


def _cause(feature: Feature, decoded: Decoded) -> tuple[int, str]:
    """Return the MSR that leaves a feature unknown, and the errno of its read, "" where it was not recorded."""
    row = feature.row
    if isinstance(row, AllOf):
        unknown = (name for name in row.of if decoded.features[name] is not Presence.PRESENT)
        return _cause(FEATURES[next(unknown)], decoded)
    msr = FEATURES[row.of].msr if isinstance(row, MayBeZero) else feature.msr
    assert msr is not None
    indexes = (msr.index,) if msr.true is None else (msr.index, msr.true)
    for index in indexes:
        if isinstance(state := decoded.msrs[index], Failed):
            return index, state.errno
    return next((index for index in indexes if decoded.msrs[index] is Missing.NOT_RECORDED), msr.index), ""


def _nested(inventory: Inventory, question: str, profile: Profile) -> Answer:
    view = inventory.nested
    if view is None or view.decoded is None:
        why = "KVM was not asked"
        if view is not None and view.errno is not None:
            errno = explain_kvm(view.errno)
            why = f"{errno.meaning} ({errno.name}; hint: {errno.hint})"
        text = f"what KVM offers to guests is not known: {why}"
        return Answer(question, profile.name, (), (Reason(text, profile.features),))
    found = fit(profile, view.values)
    if view.status is NestedStatus.NOT_OFFERED:
        text = "KVM offers no VMX to guests (kvm_intel's parameter nested is N, or the module is not kvm_intel)"
        return Answer(question, profile.name, (Reason(text, found.lacking),), ())
    unused = {each.feature: each.parameter for each in inventory.kvm_unused}
    reasons = []
    for name in found.lacking:
        feature = FEATURES[name]
        has = {True: "the hardware has it", False: "the hardware lacks it too", None: "of the hardware it is not known"}
        why = (
            f"kvm_intel's parameter {unused[name]} leaves it off"
            if name in unused
            else has[inventory.features[name].value]
        )
        reasons.append(Reason(f"{name} is not offered to guests: {_bit(feature, view.decoded)}; {why}", (name,)))
    unknown = (Reason(f"{_list(found.unknown)} not known: KVM did not say", found.unknown),) if found.unknown else ()
    return Answer(question, profile.name, tuple(reasons), unknown)


def _list(names: Sequence[str]) -> str:
    """Return the first of several features and their verb."""
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return f"{shown} {'is' if len(names) == 1 else 'are'}"
