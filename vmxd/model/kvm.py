"""What KVM makes of the hardware: features that its parameters leave off, and what it offers to guests. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.model.decode import Decoded, Presence, decode
from vmxd.model.facts import Failed, KvmMsrs, Missing, Parameter
from vmxd.tables import CAPABILITY_RANGE, FEATURES, IA32_VMX_BASIC
from vmxd.tables.kvm import BROKEN_PREEMPTION_TIMER, IN_EVMCS, KVM_PARAMETERS, KvmParameter


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


def is_off(parameter: Parameter | None) -> bool:
    """Return whether a parameter is N or 0."""
    return parameter is not None and not isinstance(parameter, str) and not parameter
