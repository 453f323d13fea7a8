"""CPUs side by side: who agrees, what is most common, and who differs."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given

from tests.helpers.strategies import BASIC, OTHER_CPU, PLAIN_CPU, VMX_CPU, group_of, host_of, hosts, plausible_readings
from vmxd.model.compare import MsrValues, compare_msrs, cpus_of, group_cpus, inconsistent_cpus
from vmxd.model.facts import Failed, Host, Missing, Reading
from vmxd.tables import CAPABILITY_RANGE, MSR_BY_INDEX

EIO = Failed("EIO")
MISC = 0x485


def misc(*readings: Reading) -> MsrValues:
    """Return IA32_VMX_MISC compared over CPUs 0, 1, ... that have these readings of it."""
    groups = [group_of({BASIC: 1, MISC: reading}, (cpu,)) for cpu, reading in enumerate(readings)]
    return compare_msrs(groups)[MISC]


def grouped(host: Host) -> list[tuple[tuple[int, ...], bool | None, Mapping[int, Reading]]]:
    """Return the groups of a host: CPUs, vmx flag and readings."""
    return [(group.cpus, group.vmx_flag, group.readings) for group in group_cpus(host)]


def test_groups() -> None:
    """CPUs with equal readings are one group, that of the lowest CPU first."""
    one: dict[int, Reading] = {BASIC: 1}
    two: dict[int, Reading] = {BASIC: 2}
    host = host_of({7: one, 0: two, 3: one, 5: two})

    assert [((0, 5), True, two), ((3, 7), True, one)] == grouped(host)


def test_failure_and_gap_are_readings() -> None:
    """A CPU where an MSR failed, or was not recorded, or failed otherwise, is in a group of its own."""
    host = host_of({0: {BASIC: 1}, 1: {BASIC: EIO}, 2: {BASIC: Failed("EPERM")}, 3: {}, 4: {BASIC: 1}})

    assert [
        ((0, 4), True, {BASIC: 1}),
        ((1,), True, {BASIC: EIO}),
        ((2,), True, {BASIC: Failed("EPERM")}),
        ((3,), True, {}),
    ] == grouped(host)


def test_flag_divides_groups() -> None:
    """CPUs with equal readings are several groups where their vmx flag differs; other identity divides nothing."""
    cpus = {0: VMX_CPU, 1: PLAIN_CPU, 2: OTHER_CPU}
    host = host_of({cpu: {BASIC: 1} for cpu in range(4)}, cpus)

    assert [((0, 2), True, {BASIC: 1}), ((1,), False, {BASIC: 1}), ((3,), None, {BASIC: 1})] == grouped(host)


def test_excluded_cpus_are_in_no_group() -> None:
    """CPUs that were left alone are compared with nothing."""
    host = host_of({0: {BASIC: 1}, 1: {BASIC: 1}}, excluded=(1, 2))

    assert [((0,), True, {BASIC: 1})] == grouped(host)


@given(hosts())
def test_groups_divide_the_host(host: Host) -> None:
    """Every scanned CPU is in one group, with its own readings of VMX MSRs, and no two groups are alike."""
    groups = grouped(host)
    known = [index for index in host.readings if index in MSR_BY_INDEX or index in CAPABILITY_RANGE]

    assert list(host.online) == sorted(cpu for cpus, _, _ in groups for cpu in cpus)
    assert all(cpus == tuple(sorted(cpus)) for cpus, _, _ in groups)
    assert [cpus[0] for cpus, _, _ in groups] == sorted(cpus[0] for cpus, _, _ in groups)
    for number, (cpus, flag, readings) in enumerate(groups):
        assert (flag, readings) not in [(other_flag, other) for _, other_flag, other in groups[number + 1 :]]
        for cpu in cpus:
            assert readings == {i: host.readings[i][cpu] for i in known if cpu in host.readings[i]}


def test_most_common_first() -> None:
    """The most common value comes first, and the CPUs with another differ, ascending."""
    compared = misc(5, 7, 7, 6, 7, 5)

    assert ((7, (1, 2, 4)), (5, (0, 5)), (6, (3,))) == compared.values
    assert 7 == compared.most_common
    assert (0, 3, 5) == compared.differing


def test_tie() -> None:
    """Of two values equally common, that of the lowest CPU counts as the host's."""
    assert 9 == misc(9, 1, 1, 9).most_common
    assert 1 == misc(1, 9, 1, 9).most_common
    assert (1, 2) == misc(9, 1, 1, 9).differing


def test_failed_read_is_no_opinion() -> None:
    """A CPU where the read failed neither differs nor counts, however many there are."""
    assert ((7, (2,)),) == misc(EIO, EIO, 7).values
    assert MISC not in compare_msrs([group_of({BASIC: 1, MISC: EIO})])


def test_unrecorded_is_no_opinion() -> None:
    """A CPU where an MSR was not recorded does not differ."""
    groups = [group_of({BASIC: 1}, (0, 1)), group_of({BASIC: 1, MISC: 7}, (2,))]

    assert ((7, (2,)),) == compare_msrs(groups)[MISC].values


def test_absent_is_an_opinion() -> None:
    """A CPU that enumerates an MSR as absent differs from those that have it, and the reverse."""
    groups = [group_of({BASIC: 1, 0x482: 1 << 63, 0x48B: 3}, (0,)), group_of({BASIC: 1, 0x482: 0}, (1, 2))]

    assert ((Missing.ABSENT, (1, 2)), (3, (0,))) == compare_msrs(groups)[0x48B].values


def test_all_absent_is_left_out() -> None:
    """An MSR that no CPU has is not compared."""
    assert {BASIC, 0x482} == set(compare_msrs([group_of({BASIC: 1, 0x482: 0}), group_of({BASIC: 2, 0x482: 0})]))
    assert {} == compare_msrs([group_of({}, vmx_flag=False)])
    assert {} == compare_msrs([])


def test_msr_outside_the_tables() -> None:
    """An MSR that the tables do not have is compared like the others."""
    groups = [group_of({BASIC: 1, 0x494: 1}, (0, 2)), group_of({BASIC: 1, 0x494: 3}, (1,))]

    assert ((1, (0, 2)), (3, (1,))) == compare_msrs(groups)[0x494].values


def test_ascending() -> None:
    """MSRs are compared in ascending order, in whichever order they were read, new ones included."""
    assert [0x480, 0x485, 0x494, 0x495] == list(compare_msrs([group_of({0x495: 1, 0x494: 1, 0x485: 1, BASIC: 1})]))


def test_inconsistent_cpus() -> None:
    """CPUs that differ are listed ascending, each with the MSRs it differs in."""
    msrs = [
        MsrValues(0x480, ((1, (0, 1, 2, 4)), (2, (3,)))),
        MsrValues(0x485, ((1, (0, 2, 4)), (3, (3,)), (2, (1,)))),
        MsrValues(0x486, ((1, (0, 1, 2, 3, 4)),)),
    ]

    assert [(1, (0x485,)), (3, (0x480, 0x485))] == list(inconsistent_cpus(msrs).items())
    assert {} == inconsistent_cpus(msrs[2:])


def test_cpus_of() -> None:
    """The CPUs of groups are listed ascending, whichever group they are of."""
    assert (0, 1, 2, 9) == cpus_of([group_of({}, (2, 9)), group_of({}, (0, 1))])


@given(hosts(plausible_readings()))
def test_compared_values_are_the_readings(host: Host) -> None:
    """On CPUs read in full, each MSR's values are those read, on the CPUs where they were read."""
    compared = compare_msrs(group_cpus(host))

    assert set(host.readings) == set(compared)
    for index, msr in compared.items():
        seen = {cpu: value for value, cpus in msr.values for cpu in cpus if value is not Missing.ABSENT}
        assert seen == host.readings[index]
        assert set(host.online) == {cpu for _, cpus in msr.values for cpu in cpus}
