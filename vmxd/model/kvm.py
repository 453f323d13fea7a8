"""Does kvm_intel load here, does it take each CPU, and what do its parameters leave off. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from vmxd.model.decode import Decoded, decode
from vmxd.model.facts import Failed, KvmMsrs, Missing, MsrState, Parameter
from vmxd.model.guest import Asked, Expected, evaluate, is_off, is_on, nested_msrs
from vmxd.model.states import Presence
from vmxd.model.vmcs import EPT_VPID_CAP, PLACES, Bound, Refusal, Refused, configure, hardware
from vmxd.tables import CAPABILITY_RANGE, FEATURES, IA32_VMX_BASIC
from vmxd.tables.kvm import (
    BROKEN_PREEMPTION_TIMER,
    COMPARES_MISC,
    CPU_FLAGS,
    IN_EVMCS,
    KVM_PARAMETERS,
    UNCOMPARED_CAPABILITIES,
    KvmParameter,
)


@dataclass(frozen=True, slots=True)
class UnusedFeature:
    """A feature that every CPU has and that KVM leaves off, and the parameter to change."""

    feature: str
    parameter: str


class NestedStatus(enum.Enum):
    """Whether guests may be given VMX."""

    OFFERED = "offered"
    NOT_OFFERED = "not_offered"
    """KVM answers, and has no VMX for guests: nested=0, or the module of another vendor."""
    FAILED = "failed"
    """KVM could not be asked."""


@dataclass(frozen=True, slots=True)
class NestedView:
    """What KVM offers to guests.

    errno: why it could not be asked, None where it could.
    decoded: its MSRs, understood as a CPU's would be; None where it could not be asked.
    values: every feature by name: true where KVM offers it; None where not known.
    """

    status: NestedStatus
    errno: str | None
    decoded: Decoded | None
    values: Mapping[str, bool | None]


_VALUES: Final = {Presence.PRESENT: True, Presence.ABSENT: False, Presence.FAILED: None, Presence.NOT_RECORDED: False}
"""An MSR that KVM does not list is one that no guest gets: what it would say is not offered, whatever its existence."""


def nested_view(answer: KvmMsrs | Failed | Missing) -> NestedView | None:
    """Return what KVM's answer means; None where it was not asked."""
    if isinstance(answer, Missing):
        return None
    if isinstance(answer, Failed):
        return NestedView(NestedStatus.FAILED, answer.errno, None, dict.fromkeys(FEATURES))
    decoded = decode(any(index in CAPABILITY_RANGE for index in answer.listed), answer.readings)
    offered = decoded.msrs[IA32_VMX_BASIC] is not Missing.ABSENT
    return NestedView(
        status=NestedStatus.OFFERED if offered else NestedStatus.NOT_OFFERED,
        errno=None,
        decoded=decoded,
        values={name: _VALUES[presence] for name, presence in decoded.features.items()},
    )


def judge_parameters(
    parameters: Mapping[str, Parameter] | Missing, has: Callable[[str], bool | None], signatures: Collection[str | None]
) -> tuple[tuple[UnusedFeature, ...], tuple[str, ...]]:
    """Return the features that KVM could use and does not, in the order of the table, and the parameters to doubt.

    parameters: those of kvm_intel. has: whether every CPU has a feature, None where not known.
    signatures: of the CPUs, as facts.Cpu.signature.

    Where one parameter turns another off, the first is named. The CPU, an erratum, nested=0 and Hyper-V's enlightened
    VMCS are no findings; a parameter that is off is doubted where it is not known what the CPU has.
    """
    if isinstance(parameters, Missing):
        return (), ()

    def usable(row: KvmParameter) -> bool | None:
        if row.name == "preemption_timer" and not BROKEN_PREEMPTION_TIMER.isdisjoint(signatures):
            return False
        if parameters.get("enlightened_vmcs") is True and row.name not in IN_EVMCS:
            return False
        answers = {_either({has(name) for name in need.split("|")}) for need in row.needs.split()}
        return False if False in answers else None if None in answers else True

    def root(row: KvmParameter) -> KvmParameter | None:
        for name in row.after.split():
            if is_off(parameters.get(name)):
                return root(KVM_PARAMETERS[name]) if name in KVM_PARAMETERS else None
        return row

    found: list[UnusedFeature] = []
    doubted: dict[str, None] = {}
    for row in KVM_PARAMETERS.values():
        cause = root(row) if is_off(parameters.get(row.name)) else None
        if cause is None:
            continue
        answers = {usable(row), usable(cause)}
        if answers == {True}:
            found += [UnusedFeature(feature, cause.name) for feature in row.features.split()]
        elif False not in answers:
            doubted[cause.name] = None
    return tuple(found), tuple(doubted)


def _either(answers: Collection[bool | None]) -> bool | None:
    return True if True in answers else None if None in answers else False


# CPUs that differ --------------------------------------------------------------------------------------------------


class Taken(enum.Enum):
    """What KVM does with a CPU whose MSR differs from that of the CPU it was loaded on."""

    REFUSED = "refused"
    """KVM refuses the CPU: the module does not load, or the CPU does not come up."""
    UNNOTICED = "unnoticed"
    """KVM uses what differs, and never compares it: what the CPU lacks fails later."""
    IRRELEVANT = "irrelevant"
    """KVM uses none of what differs."""
    DEPENDS = "depends"
    """One of the first three, by a kernel or parameter that is not known."""


def take_cpu(view: Expected, index: int, state: MsrState) -> Taken:
    """Judge one MSR of a CPU that differs from the reference, whose MSRs ``view`` was made from.

    Missing.ABSENT is a value; of a read that failed nothing can be said (DEPENDS).
    """
    asked = view.asked
    value = 0 if state is Missing.ABSENT else state
    if index == IA32_VMX_BASIC and value == 0:
        return Taken.REFUSED
    if not isinstance(value, int):
        return Taken.DEPENDS
    other = replace(asked, msrs=hardware({**asked.msrs.known, index: value}))
    kernel = asked.kernel
    answers = {
        _refuses(asked, other, bound) for bound in (Bound(kernel.low, most=False), Bound(kernel.high, most=True))
    }
    if answers == {True}:
        return Taken.REFUSED
    differing = asked.msrs.known.get(index, 0) ^ value
    if index == EPT_VPID_CAP and any(
        _uses_capability(view, name, differing) for name in UNCOMPARED_CAPABILITIES.split()
    ):
        return Taken.DEPENDS if True in answers else Taken.UNNOTICED
    return Taken.DEPENDS if True in answers else Taken.IRRELEVANT


def take_feature_control(reference: int, value: int) -> Taken:
    """Judge IA32_FEATURE_CONTROL of a CPU: only whether it allows VMX is KVM's concern."""
    return Taken.REFUSED if _allows_vmx(reference) is not _allows_vmx(value) else Taken.IRRELEVANT


def _allows_vmx(value: int) -> bool:
    return value & 5 == 5


def _uses_capability(view: Expected, name: str, differing: int) -> bool:
    parameter = "vpid" if name.startswith("invvpid") else "ept"
    return bool(differing >> PLACES[name].bit & 1) and view.parameters.get(parameter) is not False


def _refuses(reference: Asked, other: Asked, bound: Bound) -> bool:
    parameters = evaluate(reference, bound).parameters
    strict = parameters.get("error_on_inconsistent_vmcs_config") is not False
    words = []
    for asked in (reference, other):
        config = configure(asked.msrs, bound, asked.seen.signature, strict=strict)
        nested = nested_msrs(asked, config, parameters, bound) if is_on(parameters["nested"]) else {}
        used = {index: config.kept[index] for index in _COMPARED if index != 0x485 or bound.began(COMPARES_MISC)}
        words.append((used, nested, config.refusals))
    return words[0][:2] != words[1][:2] or bool(set(words[1][2]) - set(words[0][2]))


_COMPARED: Final = (0x480, 0x481, 0x482, 0x48B, 0x492, 0x483, 0x484, 0x485)
"""struct vmcs_config, beside what it hands to guests."""


def differing_flags(cpus: Mapping[int, Collection[str]], bound: Bound) -> dict[str, tuple[int, ...]]:
    """Find the flags that KVM compares and that are not the same on all CPUs, each with the CPUs of the smaller side.

    cpus: the flags of /proc/cpuinfo by CPU.
    """
    found = {}
    for flag, since in CPU_FLAGS.items():
        having = tuple(cpu for cpu, flags in cpus.items() if flag in flags)
        lacking = tuple(cpu for cpu, flags in cpus.items() if flag not in flags)
        if having and lacking and bound.began(since):
            found[flag] = min(lacking, having, key=len)
    return found


# Loading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnedOff:
    """A parameter that KVM turns off by itself: the features that the CPU lacks, or the parameters that are off."""

    parameter: str
    lacking: tuple[str, ...]
    after: tuple[str, ...]


def turned_off(view: Expected) -> tuple[TurnedOff, ...]:
    """List what KVM turns off without a word on this CPU, in the order of the table."""
    found = []
    for row in KVM_PARAMETERS.values():
        if is_off(view.parameters.get(row.name)):
            lacking = tuple(
                need
                for need in row.needs.split()
                if not any(view.asked.msrs.has(name) is not False for name in need.split("|"))
            )
            after = tuple(name for name in row.after.split() if is_off(view.parameters.get(name)))
            if lacking or after:
                found.append(TurnedOff(row.name, lacking, after))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Loading:
    """Whether kvm_intel loads, and takes every CPU.

    loads: None if what decides was not read. refusals: why it does not. turned_off: what it turns off by itself.
    """

    loads: bool | None
    refusals: tuple[Refusal, ...]
    turned_off: tuple[TurnedOff, ...] = field(default=())


def judge_loading(view: Expected, *, usable: bool | None, has_vmx: bool, refused: Collection[int] = ()) -> Loading:
    """Judge a host by its most common values.

    usable: whether IA32_FEATURE_CONTROL allows VMX. refused: CPUs that differ so that KVM refuses them.
    """
    if not has_vmx:
        return Loading(False, (Refusal(Refused.NO_VMX),))
    refusals = (*((Refusal(Refused.FIRMWARE),) if usable is False else ()), *view.refusals)
    if refused:
        refusals = (*refusals, Refusal(Refused.CPU_DIFFERS))
    known = view.asked.msrs.known.keys() >= DECISIVE and usable is not None
    return Loading(False if refusals else True if known else None, refusals, turned_off(view))


DECISIVE: Final = frozenset((0x480, 0x481, 0x482, 0x483, 0x484))
"""What setup_vmcs_config() reads on every CPU."""
