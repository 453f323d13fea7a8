"""Two hosts side by side, or any two mappings: what differs, and what cannot be compared. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from vmxd.model.facts import Missing, Parameter
from vmxd.model.inventory import Inventory
from vmxd.tables import MSR_BY_INDEX

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Difference(Generic[Key, Value]):
    """How one mapping differs from another; keys in the order of the first, then those of the second alone.

    differing: keys whose values are known to differ, with both values.
    unknown: keys that cannot be compared, with the value that is known; None if unknown.
    """

    differing: Mapping[Key, tuple[Value | None, Value | None]]
    unknown: Mapping[Key, tuple[Value | None, Value | None]]

    @property
    def differs(self) -> bool | None:
        """Whether anything does; None if nothing is known to and something cannot be told."""
        return True if self.differing else None if self.unknown else False


def _differ(one: object, other: object) -> bool | None:
    return None if one is None or other is None else one != other


def difference(
    one: Mapping[Key, Value | None],
    other: Mapping[Key, Value | None],
    differ: Callable[[Value | None, Value | None], bool | None] = _differ,
) -> Difference[Key, Value]:
    """Compare two mappings, as feature -> True, False or None, and MSR -> value or None.

    A key that one of them lacks is not known there. differ: whether two values differ, None where that cannot be told;
    by default two known values do where they are not equal.
    """
    pairs = {key: (one.get(key), other.get(key)) for key in (*one, *other)}
    answers = {key: differ(*pair) for key, pair in pairs.items()}
    return Difference(
        differing={key: pair for key, pair in pairs.items() if answers[key]},
        unknown={key: pair for key, pair in pairs.items() if answers[key] is None},
    )


@dataclass(frozen=True, slots=True)
class Values(Generic[Value]):
    """The distinct values that CPUs have, the most common first; whole: none of the CPUs has one that is not known."""

    known: tuple[Value, ...]
    whole: bool


def values_differ(one: Values[Value] | None, other: Values[Value] | None) -> bool | None:
    """Tell whether a CPU of one side has a value that no CPU of the other has; None if unknown."""
    if one is None or other is None:
        return None
    ours, theirs = set(one.known), set(other.known)
    if (other.whole and ours - theirs) or (one.whole and theirs - ours):
        return True
    return False if one.whole and other.whole else None


@dataclass(frozen=True, slots=True)
class HostDifference:
    """How one host differs from another, or one CPU of a host from another.

    features: by name, whether software can set it, over the CPUs. msrs: by index, values and absence, over the CPUs.
    fields: numbers of the most common values. parameters: those of kvm_intel.
    nested: features that KVM offers to guests; None if it was not asked on both sides.
    """

    features: Difference[str, Values[bool]]
    msrs: Difference[int, Values[int | Missing]]
    fields: Difference[str, int]
    parameters: Difference[str, Parameter]
    nested: Difference[str, bool] | None

    @property
    def differs(self) -> bool | None:
        """Whether features or values do; None if nothing is known to and something cannot be told.

        Of guests' features only what is known to differ counts, of parameters nothing: they are no values of a CPU.
        """
        answers = {self.features.differs, self.msrs.differs, bool(self.nested and self.nested.differing)}
        return True if True in answers else None if None in answers else False


def host_difference(one: Inventory, other: Inventory) -> HostDifference:
    """Compare two hosts. Numbers of CPUs do not matter, nor which CPU has which value, nor how many have it."""
    nested = None
    if one.nested is not None and other.nested is not None:
        nested = difference(one.nested.values, other.nested.values)
    return HostDifference(
        features=difference(_features(one), _features(other), values_differ),
        msrs=difference(_msrs(one), _msrs(other), values_differ),
        fields=difference(one.fields, other.fields),
        parameters=difference(_parameters(one), _parameters(other)),
        nested=nested,
    )


def _features(inventory: Inventory) -> dict[str, Values[bool] | None]:
    found: dict[str, Values[bool] | None] = {}
    for name, feature in inventory.features.items():
        usable = [state.usable for state, _ in feature.cpus]
        known = dict.fromkeys(value for value in usable if value is not None)
        found[name] = Values(tuple(known), None not in usable)
    return found


def _msrs(inventory: Inventory) -> dict[int, Values[int | Missing] | None]:
    found: dict[int, Values[int | Missing] | None] = {}
    for index in dict.fromkeys((*MSR_BY_INDEX, *(index for group in inventory.groups for index in group.decoded.msrs))):
        states = inventory.msr_states(index)
        known = tuple(state for state in states if isinstance(state, int) or state is Missing.ABSENT)
        found[index] = Values(known, len(known) == len(states))
    return found


def _parameters(inventory: Inventory) -> Mapping[str, Parameter]:
    parameters = inventory.host.kvm_parameters
    return {} if isinstance(parameters, Missing) else parameters
