"""The rules of healthy values: each accepts real CPUs and rejects a value broken on purpose, and that one alone."""

from __future__ import annotations

import functools
import re
from typing import Final

import pytest
from hypothesis import given

from tests.helpers.strategies import BASIC, arbitrary_readings, group_of
from tests.helpers.support import HOSTS, REAL_HOSTS
from vmxd.host.scan import scan
from vmxd.model.checks import RULES, Effect, Rule, broken_rules
from vmxd.model.compare import Group
from vmxd.model.facts import Failed, Reading
from vmxd.model.guest import expect_guest
from vmxd.tables import MSR_BY_INDEX

XOR = dict[int, int]
"""MSR index -> the bits that are turned over."""

NEW: Final = "sapphirerapids"
OLD: Final = "harpertown-x5482"
"""A CPU without TRUE controls."""

NO_EPT: Final = "haswell-ep-2s"
NO_5LEVEL: Final = "skylake-sp-8160-2s"
CONROE: Final = "harpertown-x5482"

ALSO: Final = {
    "unrestricted_guest_ept": {"ept_capabilities_ept", "controls_ept"},
    "controls_ept": {"ept_capabilities_ept", "unrestricted_guest_ept"},
    "ept_capabilities_ept": {"controls_ept", "unrestricted_guest_ept"},
    "ept_page_walks": {"ept_capabilities"},
    "cr0_fixed": {"cr_fixed_values"},
}
"""Rule -> others that the same value has to break: without EPT, nothing that takes it can be."""

FLAGS: Final = {"cr4_fixed1_flags": frozenset(("smep", "avx2"))}
"""The flags that a CPU shows, by rule; none for the others."""

PAIRS: Final = ((13, 12), (14, 19), (15, 21), (16, 23), (18, 25), (20, 28), (21, 26), (22, 29), (19, 27))
"""VM-entry control and the VM-exit control that goes with it, by bit."""


def hi(*bits: int) -> int:
    """Return the allowed 1-settings of controls."""
    return sum(1 << bit + 32 for bit in bits)


CASES: Final[dict[str, list[tuple[str, XOR]]]] = {
    "basic_bit_31": [(NEW, {0x480: 1 << 31})],
    "basic_bits_47_45": [(NEW, {0x480: 1 << bit}) for bit in (45, 46, 47)],
    "vmcs_region_size": [(NEW, {0x480: (1280 ^ size) << 32}) for size in (0, 4097, 8191)],
    "vmcs_memory_type": [(NEW, {0x480: (6 ^ memory_type) << 50}) for memory_type in (0, 4, 15)],
    "default1_set": [(OLD, {index: 1 << 1}) for index in (0x481, 0x482, 0x483, 0x484)] + [(OLD, {0x482: 1 << 15})],
    "required_is_allowed": [
        (OLD, {0x481: 1 << 31}),
        (NEW, {0x481: 1 << 31, 0x48D: 1 << 31}),
        (OLD, {0x482: hi(1)}),
    ],
    "true_allowed_1": [(NEW, {0x48D: hi(20)}), (NEW, {0x48E: hi(31)}), (NEW, {0x48F: hi(31)}), (NEW, {0x490: hi(31)})],
    "true_allowed_0": [(NEW, {index: 1 << 9}) for index in (0x48E, 0x48F, 0x490)] + [(NEW, {0x48D: 1 << 3})],
    "msr_unexpected": [(OLD, {0x48D: 0x7F_00000016}), (OLD, {0x491: 1}), (NEW, {0x480: 1 << 55})],
    "msr_missing": [],
    "procbased_ctls2_low": [(NEW, {0x48B: 1 << 1})],
    "unrestricted_guest_ept": [(NEW, {0x48B: hi(1)})],
    "unrestricted_guest_store_lma": [(NEW, {0x485: 1 << 5})],
    "pml_ept_ad": [(NEW, {0x48C: 1 << 21})],
    "cr0_fixed": [(NEW, {0x486: 1 << 40}), (NEW, {0x487: 1})],
    "cr4_fixed": [(NEW, {0x488: 1 << 63}), (NEW, {0x489: 1 << 13})],
    "cr3_targets": [(NEW, {0x485: (4 ^ count) << 16}) for count in (257, 511)],
    "vmcs_enum_bits": [(NEW, {0x48A: 1 << bit}) for bit in (0, 10, 63)],
    "vmcs_enum_index": [(NEW, {0x48A: 0x2E ^ value}) for value in (0x28, 0)],
    "posted_intr_vid": [(NEW, {0x48B: hi(8, 9)})],
    "vapic_reg_vid": [(NEW, {0x48B: hi(8)}), (NEW, {0x48B: hi(9), 0x481: hi(7), 0x48D: hi(7)})],
    "preemption_timer_save": [
        (NEW, {0x483: hi(22), 0x48F: hi(22)}),
        (NEW, {0x481: hi(6), 0x48D: hi(6)}),
    ],
    "entry_exit_pairs": [
        (NEW, {index: hi(bit) for index in indexes})
        for entry, exit_ in PAIRS
        for bit, indexes in ((entry, (0x484, 0x490)), (exit_, (0x483, 0x48F)))
    ],
    "vmcs_addresses": [(NEW, {0x480: 1 << 48})],
    "ept_capabilities_ept": [(NO_EPT, {0x48B: hi(1)})],
    "vpid_capabilities_vpid": [(NEW, {0x48B: hi(5)})],
    "ept_capabilities": [(NO_5LEVEL, {0x48C: 1 << bit}) for bit in (6, 14, 20, 25, 26)],
    "vpid_capabilities": [(NEW, {0x48C: 1 << bit}) for bit in (32, 40, 41, 42, 43)],
    "ept_page_sizes": [(NEW, {0x48C: 1 << 16})],
    "ept_page_walks": [(NEW, {0x48C: 1 << 6})],
    "controls_ept": [(NEW, {0x48B: hi(1)})],
    "vnmi_nmi_window": [(NEW, {0x481: hi(5), 0x48D: hi(5)}), (NEW, {0x482: hi(22), 0x48E: hi(22)})],
    "controls_vtpr": [(NEW, {0x482: hi(21), 0x48E: hi(21)}), (CONROE, {0x482: hi(21)})],
    "posted_intr_ack": [(NEW, {0x483: hi(15), 0x48F: hi(15)})],
    "vid_intr_exiting": [(NEW, {0x481: hi(0), 0x48D: hi(0)})],
    "ia32e_host_64": [(NEW, {0x483: hi(9), 0x48F: hi(9)}), (NEW, {0x484: hi(9), 0x490: hi(9)})],
    "default1_low": [(OLD, {0x482: 1 << 7}), (NEW, {0x48E: 1 << 15}), (NEW, {0x48F: 1 << 0}), (NEW, {0x490: 1 << 2})],
    "cr_fixed_values": [(NEW, {0x486: 1 << 1}), (NEW, {0x486: 1}), (NEW, {0x488: 1 << 4}), (NEW, {0x487: 1 << 20})],
    "cr4_fixed1_flags": [(NEW, {0x489: 1 << 20})],
}
"""By rule: a real CPU, and what is turned over in it to break that rule and no other."""

BROKEN: Final = [(name, host, xor) for name, cases in CASES.items() for host, xor in cases]
broken = pytest.mark.parametrize(
    ("name", "host", "xor"),
    BROKEN,
    ids=[f"{name} {' '.join(f'{i:x}^{mask:x}' for i, mask in xor.items())}" for name, _, xor in BROKEN],
)


@functools.cache
def groups(host: str) -> tuple[Group, ...]:
    """Return the groups of a recorded host."""
    return scan(str(HOSTS / host)).inventory.groups


def changed(host: str, xor: XOR) -> dict[int, Reading]:
    """Return the readings of a recorded host with some bits turned over; an MSR that it has not is 0 before."""
    readings = dict(groups(host)[0].readings)
    for index, mask in xor.items():
        value = readings.get(index, 0)
        assert isinstance(value, int)
        readings[index] = value ^ mask
    return readings


def names(group: Group) -> list[str]:
    """Return the names of the rules that a group breaks."""
    return [rule.name for rule in broken_rules(group)]


def test_every_rule_is_tried() -> None:
    """Every rule has a case that breaks it; a new rule needs one."""
    assert [rule.name for rule in RULES] == list(CASES)
    assert ["msr_missing"] == [name for name, cases in CASES.items() if not cases]  # has a test of its own


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_accepts_real_cpus(rule: object) -> None:
    """A rule holds on every recorded CPU, 2006 to 2024, of three vendors and under KVM."""
    assert [] == [host for host in REAL_HOSTS for group in groups(host) if rule in broken_rules(group)]


@broken
def test_rejects_a_broken_value(name: str, host: str, xor: XOR) -> None:
    """A value broken on purpose breaks its rule, and none beside it that does not follow."""
    found = names(group_of(changed(host, xor), flags=FLAGS.get(name, frozenset())))

    assert name in found
    assert set() == set(found) - {name} - ALSO.get(name, set())


@broken
def test_what_is_not_known_breaks_nothing(name: str, host: str, xor: XOR) -> None:
    """The same values break nothing once the MSRs that show it could not be read, or were not recorded."""
    readings = changed(host, xor)
    failed = readings | dict.fromkeys(xor, Failed("EPERM"))
    unrecorded = {index: reading for index, reading in readings.items() if index not in xor}

    assert name not in names(group_of(failed))
    assert name not in names(group_of(unrecorded))


@pytest.mark.parametrize("index", [index for index in MSR_BY_INDEX if index not in (0x3A, 0x491, 0x492, 0x493)])
def test_missing_msr(index: int) -> None:
    """An MSR that faults although the CPU enumerates it is missing; one that cannot be read otherwise is not."""
    readings = changed(NEW, {})

    assert index in readings
    assert "msr_missing" in names(group_of(readings | {index: Failed("EIO")}))
    assert [] == names(group_of(readings | {index: Failed("EPERM")}))


def test_missing_is_not_unenumerated() -> None:
    """An MSR that faults is not missing if it is 0x3A or new, without VMX, or while its enumeration is not known."""
    assert [] == names(group_of(changed(OLD, {}) | dict.fromkeys((0x48D, 0x491, 0x494, 0x3A), Failed("EIO"))))
    assert [] == names(group_of(dict.fromkeys(MSR_BY_INDEX, Failed("EIO")), vmx_flag=False))
    assert [] == names(group_of({BASIC: 1 << 32 | 6 << 50, 0x482: Failed("EPERM"), 0x48B: Failed("EIO")}))


@pytest.mark.parametrize(
    "xor",
    [
        {0x480: (1280 ^ 1) << 32},
        {0x480: (1280 ^ 4096) << 32},
        {0x485: (4 ^ 256) << 16},
        {0x485: 4 << 16},
        {0x48A: 0x2E ^ 0x2A},
        {0x48A: 0x2E ^ 0x3FE},
        {0x485: 1 << 29},
        {0x481: hi(7), 0x48D: hi(7)},
        {0x480: 1 << 63 | 1 << 57},
    ],
    ids=str,
)
def test_accepts_the_edges(xor: XOR) -> None:
    """The least and the most that is allowed breaks nothing, nor does what Centaur's CNS has, nor new silicon."""
    assert [] == names(group_of(changed(NEW, xor)))


def test_zeros_of_a_hypervisor_are_not_unexpected() -> None:
    """MSRs that should not exist may answer 0: hypervisors do that where hardware faults."""
    assert [] == names(group_of(changed(OLD, {}) | dict.fromkeys((0x48D, 0x48E, 0x48F, 0x490, 0x491), 0)))
    assert [] == names(group_of(dict.fromkeys(MSR_BY_INDEX, 0)))


def test_without_vmx_nothing_is_unexpected() -> None:
    """Where IA32_VMX_BASIC reads 0 there is no VMX, and whatever else answers breaks no rule."""
    assert [] == names(group_of(dict.fromkeys(MSR_BY_INDEX, (1 << 64) - 1) | {BASIC: 0}))


@given(arbitrary_readings())
def test_rules_judge_anything(readings: dict[int, Reading]) -> None:
    """Whatever was read, the broken rules are some of RULES, in its order."""
    found = broken_rules(group_of(readings))

    assert tuple(rule for rule in RULES if rule in found) == found


def test_rule_names() -> None:
    """A rule's name is unique and a plain metric label, and it says what holds in half a sentence."""
    assert len(RULES) == len({rule.name for rule in RULES})
    for rule in RULES:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", rule.name)
        assert not rule.says.endswith(".")


@pytest.mark.parametrize(
    "name",
    ["vmcs_addresses", "ept_capabilities_ept", "vpid_capabilities_vpid", "ia32e_host_64", "vmcs_memory_type",
     "posted_intr_ack", "vid_intr_exiting"],
)  # fmt: skip
def test_kvm_refuses_what_a_rule_says_it_does(name: str) -> None:
    """Where a rule says that KVM refuses, a value that breaks it keeps kvm_intel from loading."""
    for host, xor in CASES[name]:
        values = {index: value for index, value in changed(host, xor).items() if isinstance(value, int)}

        assert Effect.REFUSES is next(rule.kvm for rule in RULES if rule.name == name)
        assert expect_guest(values, "6.12").refusals


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.kvm is Effect.NONE], ids=lambda rule: rule.name)
def test_kvm_loads_where_a_rule_says_that_it_does_not_look(rule: Rule) -> None:
    """Where a rule says that KVM does not look, a value that breaks it keeps nothing from loading."""
    for host, xor in CASES[rule.name]:
        values = {index: value for index, value in changed(host, xor).items() if isinstance(value, int)}
        if host == NEW:
            assert () == expect_guest(values, "6.12").refusals
