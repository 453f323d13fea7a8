"""A host as a whole: what its CPUs have in common, where they differ, and that nothing is told by accident."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.strategies import (
    BASIC,
    FEATURE_CONTROL,
    OTHER_CPU,
    PLAIN_CPU,
    VMX_CPU,
    any_readings,
    failures,
    host_of,
    hosts,
    plausible_readings,
    without,
    words,
)
from tests.helpers.support import HOSTS, LAKEFIELD
from vmxd.host.scan import scan
from vmxd.model.facts import Cpu, Failed, Host, Missing, Reading
from vmxd.model.inventory import Inventory, take_inventory
from vmxd.model.states import CpuStates, Here, Presence, State
from vmxd.tables import FEATURES, MSR_BY_INDEX
from vmxd.tables.rows import Flag

EIO = Failed("EIO")
CAPABILITIES = [index for index in MSR_BY_INDEX if index != FEATURE_CONTROL]
PRESENT, ABSENT, FAILED, NOT_RECORDED = Presence.PRESENT, Presence.ABSENT, Presence.FAILED, Presence.NOT_RECORDED


def inventory_of(*cpus: Mapping[int, Reading]) -> Inventory:
    """Take the inventory of a host of CPUs 0, 1, ... with these readings."""
    return take_inventory(host_of(dict(enumerate(cpus))))


def fingerprint(*cpus: Mapping[int, Reading]) -> str | None:
    """Return the fingerprint of a host of CPUs with these readings."""
    return inventory_of(*cpus).identity.fingerprint


def features_at(index: int, bit: int, readings: dict[int, int]) -> set[str]:
    """Return the features that a bit decides: of controls with a TRUE MSR, the bits of that one."""
    found: set[str] = set()
    for feature in FEATURES.values():
        if feature.msr and isinstance(feature.row, Flag) and feature.msr.feature_bit(feature.row) == bit:
            true = feature.msr.true
            decisive = true if true is not None and true in readings else feature.msr.index
            found |= {feature.name} if decisive == index else set()
    return found


# Many CPUs


@given(hosts(), st.data())
def test_order_of_cpus_does_not_matter(host: Host, data: st.DataObject) -> None:
    """In whichever order CPUs and MSRs were read, the inventory is the same."""
    order = data.draw(st.permutations(host.online))
    msrs = data.draw(st.permutations(sorted(host.readings)))
    readings = {
        index: {cpu: host.readings[index][cpu] for cpu in order if cpu in host.readings[index]} for index in msrs
    }
    cpus = {cpu: host.cpus[cpu] for cpu in order if cpu in host.cpus}
    other = dataclasses.replace(host, readings=readings, cpus=cpus)

    assert take_inventory(host) == take_inventory(other)


@given(st.lists(any_readings, min_size=1, max_size=4), st.data())
def test_numbers_of_cpus_do_not_matter(cpus: list[dict[int, Reading]], data: st.DataObject) -> None:
    """The same CPUs under other numbers are the same host."""
    numbers = data.draw(st.permutations(range(len(cpus))))
    one = inventory_of(*cpus)
    other = take_inventory(host_of(dict(zip(numbers, cpus, strict=True))))

    assert one.identity == other.identity
    assert one.verdict.status is other.verdict.status
    assert one.unknown == other.unknown
    assert one.feature_control == other.feature_control
    assert sorted(numbers[cpu] for cpu in one.failed) == list(other.failed)
    assert {v.rule: len(v.cpus) for v in one.violations} == {v.rule: len(v.cpus) for v in other.violations}
    for name, feature in one.features.items():
        expected = {presence: tuple(sorted(numbers[cpu] for cpu in c)) for presence, c in feature.cpus.items()}
        assert expected == other.features[name].cpus


@given(any_readings, st.integers(1, 600))
def test_equal_cpus_are_consistent(readings: dict[int, Reading], count: int) -> None:
    """CPUs that answer alike, with values or errors, are never inconsistent, and are one group however many."""
    inventory = take_inventory(host_of(dict.fromkeys(range(count), readings)))

    assert 1 == len(inventory.groups)
    assert {} == inventory.inconsistent
    assert () == inventory.disagreeing
    assert {1} >= {len(msr.values) for msr in inventory.msrs.values()}


@given(plausible_readings(), st.data(), st.integers(0, 511), st.integers(0, 63))
def test_one_bit_of_one_cpu(readings: dict[int, int], data: st.DataObject, cpu: int, bit: int) -> None:
    """One bit turned over on one CPU of 512 is found, counted, and named: the MSR, and the feature if it is one's."""
    index = data.draw(st.sampled_from(sorted(readings)))
    turned = readings | {index: readings[index] ^ 1 << bit}
    inventory = take_inventory(host_of(dict.fromkeys(range(512), readings) | {cpu: turned}))

    assert [cpu] == list(inventory.inconsistent)
    assert index in inventory.inconsistent[cpu]
    assert readings[index] == inventory.msrs[index].most_common
    assert 2 == len(inventory.msrs[index].values)
    assert (cpu,) == inventory.msrs[index].differing
    for name in features_at(index, bit, readings):
        feature = inventory.features[name]
        assert feature in inventory.differing
        assert (cpu,) in feature.presence.values()
        assert {1, 511} == {len(cpus) for cpus in feature.presence.values()}
        assert feature.value is False


def test_features_at() -> None:
    """What the property above expects of a bit is so: TRUE controls decide where there are such."""
    assert {"hlt_exiting"} == features_at(0x482, 39, {0x482: 0})
    assert set() == features_at(0x482, 39, {0x482: 0, 0x48E: 0})
    assert {"hlt_exiting"} == features_at(0x48E, 39, {0x482: 0, 0x48E: 0})
    assert {"ept_ad"} == features_at(0x48C, 21, {0x48C: 0})


def test_lakefield() -> None:
    """On Lakefield, a real host, the P core has bus-lock detection and the four E cores have not."""
    inventory = scan(str(LAKEFIELD)).inventory

    assert {4: (0x48B,)} == inventory.inconsistent
    assert ["bus_lock_detection"] == [feature.name for feature in inventory.differing]
    assert {ABSENT: (0, 1, 2, 3), PRESENT: (4,)} == inventory.features["bus_lock_detection"].presence
    assert inventory.differing == inventory.disagreeing
    assert inventory.features["bus_lock_detection"].value is False


def test_kinds_of_cpus_that_cannot_be_read() -> None:
    """Excluded CPUs are in neither count; a failed CPU is counted apart, and is not called inconsistent."""
    readings = dict(scan(str(HOSTS / "skylake-6700k")).inventory.groups[0].readings)
    unreadable = dict.fromkeys(readings, EIO)
    host = host_of({0: readings, 1: unreadable, 2: readings, 3: readings | {0x48C: EIO}}, excluded=(4, 5))
    inventory = take_inventory(host)

    assert ((0, 2), (1, 3)) == (inventory.scanned, inventory.failed)
    assert {} == inventory.inconsistent
    assert {PRESENT: (0, 2, 3), FAILED: (1,)} == inventory.features["ept"].presence
    assert inventory.features["ept"].value is True
    assert {PRESENT: (0, 2), FAILED: (1, 3)} == inventory.features["ept_ad"].presence
    assert inventory.features["ept_ad"].value is True
    assert (0, 2, 3) == inventory.comparable
    assert "ept" not in [feature.name for feature in inventory.disagreeing]
    assert "ept_ad" in [feature.name for feature in inventory.disagreeing]
    assert () == inventory.differing


@given(hosts())
def test_every_cpu_is_counted_once(host: Host) -> None:
    """Every CPU is scanned, or failed, or nothing is known of it; it stands in one place for every feature."""
    inventory = take_inventory(host)
    nothing_known = set(host.online) - set(inventory.comparable) - set(inventory.failed)

    assert list(host.online) == sorted([*inventory.scanned, *inventory.failed, *nothing_known])
    assert set(inventory.scanned) <= set(inventory.comparable)
    for feature in inventory.features.values():
        assert list(host.online) == sorted(cpu for cpus in feature.cpus.values() for cpu in cpus)
    assert not {cpu for violation in inventory.violations for cpu in violation.cpus} - set(host.online)


def test_failures() -> None:
    """Failed reads are counted by errno over all CPUs; an absent MSR that faults is no failure."""
    one: dict[int, Reading] = {BASIC: 1, 0x482: 0, 0x48B: EIO, 0x485: EIO, 0x486: Failed("EPERM")}

    assert {"EIO": 2, "EPERM": 2} == inventory_of(one, one, {BASIC: 1}).failures


def test_nothing_recorded() -> None:
    """A CPU of which nothing was recorded is neither scanned nor failed, and cannot be compared."""
    inventory = inventory_of({})

    assert ((), (), ()) == (inventory.scanned, inventory.failed, inventory.comparable)


# Unknown is never 0


ON, CLEARABLE, FORCED, OFF, INVALID, DIFFERS, UNKNOWN = State
LOST: Here = (UNKNOWN, EIO)
UNRECORDED: Here = (UNKNOWN, Missing.NOT_RECORDED)


@pytest.mark.parametrize(
    ("here", "state", "value", "everywhere"),
    [
        ([(ON, None)], ON, True, True),
        ([(FORCED, None), LOST], FORCED, True, None),
        ([(CLEARABLE, None), UNRECORDED], CLEARABLE, True, None),
        ([(ON, None), (FORCED, None)], ON, True, True),
        ([(CLEARABLE, None), (FORCED, None)], ON, True, True),
        ([(ON, None), (OFF, Missing.ABSENT)], DIFFERS, False, False),
        ([(FORCED, None), (INVALID, None)], DIFFERS, False, False),
        ([(OFF, None), (OFF, Missing.ABSENT)], OFF, False, False),
        ([(OFF, None), (INVALID, None)], OFF, False, False),
        ([(INVALID, None), LOST], INVALID, False, False),
        ([(OFF, None), UNRECORDED], OFF, False, False),
        ([LOST], UNKNOWN, None, None),
        ([LOST, UNRECORDED], UNKNOWN, None, None),
        ([], UNKNOWN, None, None),
    ],
)
def test_which_word_wins(here: list[Here], state: State, value: bool | None, everywhere: bool | None) -> None:
    """The word is true of every CPU whose state is known; the series follows it, and the answer is yes if all are."""
    states = CpuStates("ept", {each: (cpu,) for cpu, each in enumerate(here)})

    assert (state, value, everywhere) == (states.state, states.value, states.everywhere)


def test_all_failed() -> None:
    """On a CPU with VMX of which nothing could be read, everything is unknown and nothing is 0."""
    inventory = inventory_of(dict.fromkeys(MSR_BY_INDEX, Failed("EPERM")))

    assert {None} == {feature.value for feature in inventory.features.values()}
    assert ({}, {}, {}, {}) == (inventory.msrs, inventory.fields, inventory.feature_control, inventory.unknown)
    assert (None, ()) == (inventory.identity.fingerprint, inventory.scanned)


def test_no_vmx() -> None:
    """On a host without VMX every feature is 0, and nothing failed."""
    inventory = take_inventory(host_of({0: {}, 1: {}}, {0: PLAIN_CPU, 1: PLAIN_CPU}))

    assert {False} == {feature.value for feature in inventory.features.values()}
    assert (0, 1) == inventory.scanned


# Fingerprint


@given(st.lists(plausible_readings(), min_size=1, max_size=3), st.data())
def test_fingerprint_of_equal_hosts(kinds: list[dict[int, int]], data: st.DataObject) -> None:
    """Hosts whose CPUs have the same values have one fingerprint, however many CPUs and in whichever order."""
    more = data.draw(st.lists(st.sampled_from(kinds), max_size=20))

    assert fingerprint(*kinds) == fingerprint(*data.draw(st.permutations(kinds + more)))
    assert 12 == len(fingerprint(*kinds) or "")


@given(st.lists(plausible_readings(), min_size=1, max_size=2), st.data(), words)
def test_fingerprint_of_different_hosts(kinds: list[dict[int, int]], data: st.DataObject, value: int) -> None:
    """Another value of any capability MSR, on all CPUs or one, is another fingerprint."""
    index = data.draw(st.sampled_from([index for index in CAPABILITIES if index in kinds[0]]))
    changed = kinds[0] | {index: value}
    if value != kinds[0][index]:
        assert fingerprint(kinds[0]) != fingerprint(changed)
        assert fingerprint(*kinds, changed) != fingerprint(*kinds) or changed in kinds


@given(st.lists(plausible_readings(), min_size=1, max_size=3), st.data())
def test_fingerprint_without_feature_control(kinds: list[dict[int, int]], data: st.DataObject) -> None:
    """What firmware does with IA32_FEATURE_CONTROL, or whether it can be read, leaves the fingerprint alone."""
    others: list[dict[int, Reading]] = []
    for readings in kinds:
        control = data.draw(st.none() | words | failures)
        rest = without(readings, FEATURE_CONTROL)
        others.append(rest if control is None else rest | {FEATURE_CONTROL: control})

    assert fingerprint(*kinds) == fingerprint(*others)


@given(plausible_readings(), st.data())
def test_fingerprint_with_failed_cpus(readings: dict[int, int], data: st.DataObject) -> None:
    """A CPU that could not be read in full does not change the fingerprint of those that could; alone it has none."""
    lost = data.draw(st.sets(st.sampled_from(sorted(set(readings) - {FEATURE_CONTROL})), min_size=1))
    failed = dict(readings) | dict.fromkeys(lost, EIO)

    assert fingerprint(readings) == fingerprint(failed, readings, failed)
    assert None is fingerprint(failed)


# The rest


def test_identity() -> None:
    """Where CPUs differ, the identity has each distinct value once, in the order of CPUs; where not, the one."""
    identity = take_inventory(host_of({0: {}, 1: {}, 2: {}}, {0: VMX_CPU, 1: OTHER_CPU, 2: VMX_CPU})).identity

    assert ("GenuineIntel", "Xeon") == (identity.vendor, identity.model_name)
    assert "06-55-04,06-55-07" == identity.signature
    assert "0x2007006,0x5003006" == identity.microcode
    assert identity.hypervisor is False


def test_identity_not_recorded() -> None:
    """What /proc/cpuinfo does not say is not known; one CPU that says hypervisor is enough."""
    nothing = take_inventory(host_of({0: {}}, {})).identity
    guest = take_inventory(host_of({0: {}, 1: {}}, {0: Cpu(), 1: Cpu(flags=frozenset(("hypervisor",)))})).identity

    assert (None, None, None, None) == (nothing.vendor, nothing.model_name, nothing.signature, nothing.microcode)
    assert None is guest.signature
    assert guest.hypervisor is True


def test_feature_control() -> None:
    """A bit of IA32_FEATURE_CONTROL is true if it is set on every CPU that told; where none did, there are no bits."""
    bits = inventory_of(
        {BASIC: 1, FEATURE_CONTROL: 5}, {BASIC: 1, FEATURE_CONTROL: 0x40007}, {BASIC: 1}
    ).feature_control

    assert ["locked", "vmx_outside_smx"] == [name for name, value in bits.items() if value]
    assert "sgx" in bits
    assert {} == inventory_of({BASIC: 1}, {BASIC: 1, FEATURE_CONTROL: EIO}).feature_control


def test_fields_of_the_most_common_values() -> None:
    """Numbers are those of most CPUs."""
    one, other = {BASIC: 1024 << 32}, {BASIC: 4096 << 32}

    assert 4096 == inventory_of(one, other, other).fields["vmcs_region_size"]
    assert 1024 == inventory_of(one, other).fields["vmcs_region_size"]


def test_unknown_bits_of_any_cpu() -> None:
    """Bits that no row explains are told if they are set on some CPU, of MSRs in and outside the tables."""
    inventory = inventory_of({BASIC: 1 | 1 << 57}, {BASIC: 1 | 1 << 63, 0x494: 5})

    assert {BASIC: 1 << 63, 0x494: 5} == inventory.unknown


def test_violations() -> None:
    """A rule that CPUs break is told once, with all of them."""
    healthy, broken = {0x48A: 0x2E}, {0x48A: 0x28}
    cpus = [{BASIC: 6 << 50 | 1024 << 32} | readings for readings in (broken, healthy, broken)]
    (violation,) = inventory_of(*cpus).violations

    assert ("vmcs_enum_index", (0, 2)) == (violation.rule.name, violation.cpus)
