"""Many CPUs side by side: groups that agree, the CPUs that differ from most, and what that makes inconsistent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmxd.model.decode import Decoded, decode
from vmxd.model.facts import Host, Missing, Reading, Spans
from vmxd.tables import CAPABILITY_RANGE, MSR_BY_INDEX


@dataclass(frozen=True, slots=True)
class Group:
    """CPUs, ascending, that have the same values, what was read there, and what that means.

    flags: those that /proc/cpuinfo shows for all of them.
    """

    cpus: tuple[int, ...]
    vmx_flag: bool | None
    readings: Mapping[int, Reading]
    decoded: Decoded
    flags: frozenset[str] = frozenset()


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
        """The value that most CPUs have."""
        return self.values[0][0]

    @property
    def differing(self) -> tuple[int, ...]:
        """The CPUs that have another value, ascending."""
        return tuple(sorted(cpu for _, cpus in self.values[1:] for cpu in cpus))


def group_cpus(host: Host) -> tuple[Group, ...]:
    """Group the scanned CPUs of a host by equal readings and flags, the group of the lowest CPU first.

    Readings are those of MSRs that have a meaning for VMX; they are compared once for each range of CPUs that agree,
    not for each CPU.
    """
    indexes = [index for index in host.readings if index in MSR_BY_INDEX or index in CAPABILITY_RANGE]
    changes: dict[int, list[tuple[int, Reading | None]]] = {}
    for column, index in enumerate(indexes):
        end = None
        for first, last, reading in Spans.of(host.readings[index]).spans:
            if end is not None and end != first:
                changes.setdefault(end, []).append((column, None))
            changes.setdefault(first, []).append((column, reading))
            end = last + 1
        if end is not None:
            changes.setdefault(end, []).append((column, None))

    boundaries = iter(sorted(changes))
    boundary = next(boundaries, None)
    row: list[Reading | None] = [None] * len(indexes)
    members: dict[tuple[_Flags, tuple[Reading | None, ...]], list[int]] = {}
    here: dict[_Flags, list[int]] = {}
    excluded = frozenset(host.excluded)
    for number in host.online:
        if number in excluded:
            continue
        while boundary is not None and boundary <= number:
            for column, new in changes[boundary]:
                row[column] = new
            boundary = next(boundaries, None)
            here = {}
        cpu = host.cpus.get(number)
        flags = (cpu.vmx_flag, cpu.feature_control) if cpu else (None, None)
        if flags not in here:
            here[flags] = members.setdefault((flags, tuple(row)), [])
        here[flags].append(number)
    groups = []
    for ((flag, feature_control), found), cpus in members.items():
        readings = {index: reading for index, reading in zip(indexes, found, strict=True) if reading is not None}
        shown = {cpu.flags for number in cpus if (cpu := host.cpus.get(number))}
        flags_of_all = frozenset.intersection(*shown) if shown else frozenset()
        decoded = decode(flag, readings, feature_control=feature_control)
        groups.append(Group(tuple(cpus), flag, readings, decoded, flags_of_all))
    return tuple(groups)


_Flags = tuple[bool | None, bool | None]
"""What /proc/cpuinfo says of VMX and IA32_FEATURE_CONTROL: facts.Cpu.vmx_flag and feature_control."""


def compare_msrs(groups: Sequence[Group]) -> dict[int, MsrValues]:
    """Compare every MSR with a value on any CPU, by index; a failed or unrecorded read is no value."""
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
    """Map the CPUs that differ from the most common values, ascending, to the MSRs they differ in."""
    differing: dict[int, tuple[int, ...]] = {}
    grown: dict[tuple[int, tuple[int, ...]], tuple[int, ...]] = {}
    for msr in msrs:
        for cpu in msr.differing:
            before = differing.get(cpu, ())
            key = (msr.index, before)
            differing[cpu] = grown.setdefault(key, (*before, msr.index)) if key not in grown else grown[key]
    return {cpu: differing[cpu] for cpu in sorted(differing)}


def cpus_of(groups: Iterable[Group]) -> tuple[int, ...]:
    """Collect the CPUs of groups, ascending."""
    return tuple(sorted(cpu for group in groups for cpu in group.cpus))
