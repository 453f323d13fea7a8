"""Many CPUs side by side: groups that agree, the CPUs that differ from most, and what that makes inconsistent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmxd.model.decode import Decoded
from vmxd.model.facts import Host, Missing, Reading


@dataclass(frozen=True, slots=True)
class Group:
    """CPUs, ascending, that have the same values, what was read there, and what that means."""

    cpus: tuple[int, ...]
    vmx_flag: bool | None
    readings: Mapping[int, Reading]
    decoded: Decoded


Value = int | Missing
"""What CPUs can agree on: an MSR's value, or that it is absent. A failed or unrecorded read is no opinion."""


@dataclass(frozen=True, slots=True)
class MsrValues:
    """One MSR over the CPUs that have a value, or know it absent.

    values: each distinct one with its CPUs, the most common first (ties: that of the lowest CPU).
    """

    index: int
    values: tuple[tuple[Value, tuple[int, ...]], ...]

    @property
    def most_common(self) -> Value:
        """The value that most CPUs have; what a CPU that differs differs from."""
        return self.values[0][0]

    @property
    def differing(self) -> tuple[int, ...]:
        """The CPUs that have another value, ascending."""
        return tuple(sorted(cpu for _, cpus in self.values[1:] for cpu in cpus))


def group_readings(host: Host) -> list[tuple[tuple[int, ...], bool | None, dict[int, Reading]]]:
    """Return the scanned CPUs of a host in groups of equal readings, the group of the lowest CPU first.

    A group is its CPUs, their vmx flag, and MSR index -> reading.
    """
    indexes = tuple(host.readings)
    columns = [host.readings[index] for index in indexes]
    members: dict[tuple[bool | None, tuple[Reading | None, ...]], list[int]] = {}
    excluded = frozenset(host.excluded)
    for cpu in host.online:
        if cpu not in excluded:
            flag = host.cpus[cpu].vmx_flag if cpu in host.cpus else None
            members.setdefault((flag, tuple([column.get(cpu) for column in columns])), []).append(cpu)
    return [
        (
            tuple(cpus),
            flag,
            {index: reading for index, reading in zip(indexes, readings, strict=True) if reading is not None},
        )
        for (flag, readings), cpus in members.items()
    ]


def compare_msrs(groups: Sequence[Group]) -> dict[int, MsrValues]:
    """Return every MSR that some CPU has an opinion on and not all call absent, by index."""
    found: dict[int, MsrValues] = {}
    for index in sorted({index for group in groups for index in group.decoded.msrs}):
        by_value: dict[Value, list[int]] = {}
        for group in groups:
            state = group.decoded.msrs.get(index)
            if isinstance(state, int) or state is Missing.ABSENT:
                by_value.setdefault(state, []).extend(group.cpus)
        if by_value.keys() - {Missing.ABSENT}:
            ranked = sorted(by_value.items(), key=lambda item: (-len(item[1]), min(item[1])))
            found[index] = MsrValues(index, tuple((value, tuple(sorted(cpus))) for value, cpus in ranked))
    return found


def inconsistent_cpus(msrs: Iterable[MsrValues]) -> dict[int, tuple[int, ...]]:
    """Return the CPUs that differ from the most common values, ascending, each with the MSRs it differs in."""
    differing: dict[int, list[int]] = {}
    for msr in msrs:
        for cpu in msr.differing:
            differing.setdefault(cpu, []).append(msr.index)
    return {cpu: tuple(differing[cpu]) for cpu in sorted(differing)}


def cpus_of(groups: Iterable[Group]) -> tuple[int, ...]:
    """Return the CPUs of groups, ascending."""
    return tuple(sorted(cpu for group in groups for cpu in group.cpus))
