"""What is to be said of a host beside its values: each finding decided once. Pure; views/finding_words.py words each.

A finding is what it is about and on which CPUs. The reasons of an answer (answers.py) are findings too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vmxd.model.attribution import Unlike, unlike
from vmxd.model.checks import Rule
from vmxd.model.facts import Failed, Host, Missing, Parameter
from vmxd.model.guest import Reason
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import Taken
from vmxd.model.offer import Mismatch, expectation, flags_that_differ, microcodes, offer, worst_taken
from vmxd.model.platform import Platform, platform_of
from vmxd.model.states import State, by_cpus
from vmxd.model.status import Verdict
from vmxd.model.vmcs import Refusal
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX
from vmxd.tables.rows import AllOf, Bit, MayBeZero, Unnamed


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The CPUs and the features that a finding is about; of a finding about the host itself, none."""

    cpus: tuple[int, ...] = ()
    features: tuple[str, ...] = ()


# Of the CPUs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Finding):
    """Whether VMX may be used."""

    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class NotJudged(Finding):
    """CPUs of which it is not known whether VMX may be used, on a host where it is known of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedReads(Finding):
    """MSRs, by index, that could not be read, all with one errno."""

    errno: str
    msrs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCompared(Finding):
    """CPUs that could not be read, or not wholly; none: no CPU was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpusDiffer(Finding):
    """CPUs that differ from the most common values of some MSRs; host: which package and kind of core they are.

    kvm: for each of msrs, what KVM does with these CPUs.
    """

    msrs: tuple[int, ...]
    host: Host
    kvm: tuple[Taken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrocodesDiffer(Finding):
    """CPUs of several microcode revisions; revisions: each with its CPUs."""

    revisions: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownBits(Finding):
    """Bits of an MSR that are set and that no row explains: no CPU of tables/platforms sets them."""

    msr: int
    bits: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnnamedBit(Finding):
    """A bit of an MSR that is set, that no source names, and that other CPUs set too: worth a line, not a warning."""

    msr: int
    bit: int
    row: Unnamed


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlikeItsKind(Finding):
    """Features that this host has and no CPU like it, or lacks and all CPUs like it have, by the table of real CPUs."""

    platform: Platform
    found: tuple[Unlike, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRule(Finding):
    """A rule that these CPUs break."""

    rule: Rule


# Of KVM -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOff(Finding):
    """Features that every CPU has and that a parameter of kvm_intel leaves off."""

    parameter: str
    value: Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubted(Finding):
    """Parameters of kvm_intel that are off, on CPUs of which it is not known whether they have what is left off."""

    parameters: tuple[tuple[str, Parameter], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagDiffers(Finding):
    """A flag of /proc/cpuinfo that KVM compares: these CPUs have it and others have not, or the reverse."""

    flag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KvmAnswersOtherwise(Finding):
    """An MSR of guests of which KVM's answer is not what its kernel, parameters and the CPU lead to expect."""

    mismatch: Mismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Finding):
    """Something odd that the reader saw, one sentence."""

    text: str


# Of features that were asked for ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a feature is absent.

    bits: those that decide. is_set: whether they are 1 (a control that must be 1), or 0.
    absent: the MSRs, by index, that do not exist, each because of the next. part: of a feature that is several, the one
    that is absent.
    """

    bits: tuple[Bit, ...] = ()
    absent: tuple[int, ...] = ()
    part: str | None = None
    is_set: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacks(Finding):
    """A feature that some CPUs lack; everywhere: all of them do."""

    everywhere: bool
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class NotKnown(Finding):
    """Features that an MSR leaves unknown on some CPUs."""

    msr: int
    why: Failed | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingKnown(Finding):
    """Features that are unknown as everything is."""

    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestsGetNoVmx(Finding):
    """KVM offers no VMX to guests; is_nested_off: the parameter nested is N."""

    is_nested_off: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestsLack(Finding):
    """A feature that guests are not offered. parameter: what leaves it off; hardware: whether every CPU has it."""

    cause: Cause
    parameter: str | None
    hardware: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestsNotKnown(Finding):
    """What KVM offers to guests is not known. errno: of /dev/kvm; None: it was not asked, or did not say."""

    errno: str | None
    is_asked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestLacks(Finding):
    """Features that a VM is not expected to get, all for one reason; release: of the kernel, None if not known."""

    reason: Reason
    release: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestMayLack(GuestLacks):
    """Features of which it is not known whether a VM gets them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotInTables(Finding):
    """Names of vmx-* features that no table has: whether a VM gets them is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvmRefuses(Finding):
    """Why kvm_intel does not load here, or does not take a CPU."""

    refusal: Refusal


def findings(inventory: Inventory) -> tuple[Finding, ...]:
    """Everything that is wrong or odd about a host, the worst first; of a host that is whole, nothing."""
    return tuple(_findings(inventory))


def _findings(inventory: Inventory) -> Iterator[Finding]:
    if inventory.verdict.usable is not True:
        yield Judged(cpus=inventory.verdict.cpus, verdict=inventory.verdict)
    yield from failed_reads(inventory)
    yield from cpus_differ(inventory)
    if found := microcodes(inventory):
        yield MicrocodesDiffer(revisions=tuple(found.items()))
    yield from (BrokenRule(cpus=each.cpus, rule=each.rule) for each in inventory.violations)
    yield from unknown_bits(inventory)
    yield from unlike_its_kind(inventory)
    yield from of_kvm(inventory)
    yield from left_off(inventory)
    yield from (Note(text=note) for note in inventory.host.notes)


def failed_reads(inventory: Inventory) -> Iterator[FailedReads]:
    """Find the MSRs that could not be read: by errno and by MSRs, with the CPUs."""
    found = by_cpus(
        ((errno, tuple(index for index, state in failed.items() if state.errno == errno)), group.cpus)
        for group in inventory.groups
        if (failed := group.decoded.failed)
        for errno in dict.fromkeys(state.errno for state in failed.values())
    )
    for (errno, msrs), cpus in found.items():
        yield FailedReads(cpus=cpus, errno=errno, msrs=msrs)


def cpus_differ(inventory: Inventory) -> Iterator[CpusDiffer]:
    """Find the CPUs that differ from the most common values: MSRs in which the same CPUs differ are one finding."""
    msrs: dict[tuple[int, ...], list[int]] = {}
    verdicts = worst_taken(inventory)
    for index, msr in inventory.msrs.items():
        if cpus := msr.differing:
            msrs.setdefault(cpus, []).append(index)
    for cpus, indexes in msrs.items():
        features = [each.name for each in inventory.differing if _is_decided_by(each.name, indexes)]
        if IA32_FEATURE_CONTROL in indexes:
            features += [name for name, bit in inventory.firmware.items() if bit.state is State.DIFFERS]
        kvm = tuple(verdicts[index] for index in indexes)
        yield CpusDiffer(cpus=cpus, msrs=tuple(indexes), features=tuple(features), host=inventory.host, kvm=kvm)


def _is_decided_by(name: str, indexes: list[int]) -> bool:
    row, msr = FEATURES[name].row, FEATURES[name].msr
    if isinstance(row, AllOf):
        return any(_is_decided_by(part, indexes) for part in row.of)
    if isinstance(row, MayBeZero):
        return _is_decided_by(row.of, indexes)
    return msr is not None and (msr.index in indexes or msr.true in indexes)


def unknown_bits(inventory: Inventory) -> Iterator[UnknownBits]:
    """Find the bits that are set and that no row explains, by MSR."""
    for index, mask in inventory.unknown.items():
        if mask:
            cpus = [cpu for group in inventory.groups if group.decoded.unknown.get(index) for cpu in group.cpus]
            bits = tuple(bit for bit in range(64) if mask >> bit & 1)
            yield UnknownBits(cpus=tuple(sorted(cpus)), msr=index, bits=bits)


def unlike_its_kind(inventory: Inventory) -> Iterator[UnlikeItsKind]:
    """Find the features in which a host is unlike its like: those that it lacks, then those that it has."""
    found = unlike(inventory)
    for has in (False, True):
        if (these := tuple(each for each in found if each.has is has)) and (platform := platform_of(inventory.host)):
            names = tuple(each.feature for each in these)
            yield UnlikeItsKind(features=names, platform=platform, found=these)


def unnamed_bits(inventory: Inventory) -> Iterator[UnnamedBit]:
    """Find the bits that are set, that no source names, and that other CPUs set too. They are not among findings()."""
    found = by_cpus(
        ((index, bit), group.cpus)
        for group in inventory.groups
        for index, mask in group.decoded.unnamed.items()
        for bit in MSR_BY_INDEX[index].unnamed
        if mask >> bit & 1
    )
    for (index, bit), cpus in found.items():
        yield UnnamedBit(cpus=cpus, msr=index, bit=bit, row=MSR_BY_INDEX[index].unnamed[bit])


def of_kvm(inventory: Inventory) -> Iterator[KvmRefuses | FlagDiffers | KvmAnswersOtherwise]:
    """Find why kvm_intel does not load, beside what firmware and CPUs that differ do, and where KVM surprises."""
    if view := expectation(inventory):
        yield from (KvmRefuses(features=each.features, refusal=each) for each in view.refusals)
    yield from (FlagDiffers(cpus=cpus, flag=flag) for flag, cpus in flags_that_differ(inventory).items())
    if inventory.nested is not None:
        yield from (KvmAnswersOtherwise(mismatch=each) for each in offer(inventory).mismatches)


def left_off(inventory: Inventory) -> Iterator[LeftOff | Doubted]:
    """Find what KVM's parameters leave off, or may."""
    parameters = inventory.host.kvm_parameters
    if isinstance(parameters, Missing):
        return
    for name in dict.fromkeys(each.parameter for each in inventory.kvm_unused):
        features = tuple(each.feature for each in inventory.kvm_unused if each.parameter == name)
        yield LeftOff(features=features, parameter=name, value=parameters[name])
    if inventory.kvm_doubted:
        yield Doubted(parameters=tuple((name, parameters[name]) for name in inventory.kvm_doubted))
