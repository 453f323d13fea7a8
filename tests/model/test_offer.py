"""What a VM gets on a host, and what KVM makes of CPUs that differ: model/offer.py, and the findings that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from tests.helpers.strategies import VMX_CPU, host_of
from tests.helpers.support import HOSTS
from vmxd.host.scan import scan
from vmxd.model.facts import Host, KvmMsrs
from vmxd.model.findings import FlagDiffers, MicrocodesDiffer, findings
from vmxd.model.guest import Source, Why
from vmxd.model.inventory import Inventory, take_inventory
from vmxd.model.kvm import Taken
from vmxd.model.offer import (
    Mismatch,
    WhatIf,
    flags_that_differ,
    loading,
    microcodes,
    offer,
    parameters_that_take,
    taken,
    worst_taken,
)
from vmxd.model.vmcs import Refusal, Refused

HASWELL = scan(str(HOSTS / "haswell-ep-2s")).inventory.host
"""It has no PML; no kernel and no parameter is recorded."""
VALUES = {index: by_cpu[0] for index, by_cpu in HASWELL.readings.items()}


def with_answer(change: Mapping[int, int] | None, kernel: str = "6.12.1") -> Inventory:
    """Return the Haswell as KVM of a kernel answers there as expected, but for some bits; None: it lists no MSR."""
    given = offer(take_inventory(replace(HASWELL, kernel=kernel))).msrs
    readings = {} if change is None else {i: (v or 0) ^ change.get(i, 0) for i, v in given.items()}
    answer = KvmMsrs(tuple(sorted(readings)), readings)
    return take_inventory(replace(HASWELL, kernel=kernel, kvm_msrs=answer))


def two_cpus(readings: Mapping[int, int] = MappingProxyType({}), **lines: object) -> Inventory:
    """Return two Haswell CPUs, of which the second has other values of some MSRs, or other facts of cpuinfo."""
    usual = VALUES | {0x3A: 5}
    cpus = {0: VMX_CPU, 1: replace(VMX_CPU, **lines)}  # type: ignore[arg-type]
    return take_inventory(replace(host_of({0: usual, 1: {**usual, **readings}}, cpus), kernel="6.12.1"))


# What a VM gets -----------------------------------------------------------------------------------------------------


def test_an_answer_wins_over_the_expectation() -> None:
    """KVM's own answer is the offer; a bit that is not as expected is a mismatch, and its feature's reason is open."""
    pml = 1 << 49
    found = offer(with_answer({0x48B: pml}))
    expected = offer(take_inventory(replace(HASWELL, kernel="6.12.1"))).msrs[0x48B] or 0

    assert (Source.RECORDED, False) == (found.source, found.features["pml"])
    assert (Mismatch(0x48B, expected ^ pml, expected, pml),) == found.mismatches
    assert Why.NOT_TOLD is found.reasons["pml"].why
    assert Why.HARDWARE is found.reasons["tsc_scaling"].why


def test_an_answer_as_expected_has_the_reasons_of_the_expectation() -> None:
    """Where both agree nothing is said of it, and an emulated feature is told as such."""
    found = offer(with_answer({}))

    assert () == found.mismatches
    assert (True, Why.EMULATED) == (found.features["pml"], found.reasons["pml"].why)


def test_a_question_is_not_answered_by_what_was_recorded() -> None:
    """Asked about another kernel or a parameter, the offer is an expectation again."""
    inventory = with_answer({0x48B: 1 << 49})

    assert Source.EXPECTED is offer(inventory, WhatIf(kernel="7.3")).source
    assert True is offer(inventory, WhatIf(kernel="6.12.1")).features["pml"]
    assert False is offer(inventory, WhatIf(parameters={"eptad": False})).features["pml"]


def test_kvm_that_gives_nothing() -> None:
    """An answer without the MSRs is that guests get no VMX."""
    found = offer(with_answer(None))

    assert (Source.RECORDED, {}, {False}) == (found.source, dict(found.msrs), set(found.features.values()))


@pytest.mark.parametrize(
    ("host", "source", "value"),
    [("made-amd", Source.EXPECTED, False), ("made-all-unreadable", Source.UNKNOWN, None)],
)
def test_a_cpu_without_vmx_gives_nothing_and_one_that_was_not_read_is_not_known(
    host: str, source: Source, value: bool | None
) -> None:
    """No VMX is an answer, and no values are none."""
    found = offer(scan(str(HOSTS / host)).inventory)

    assert (source, value, value) == (found.source, found.features["ept"], found.features["pml"])


def test_parameters_that_take_a_feature() -> None:
    """PML is emulated with EPT and its A/D bits alone; what is known to be on is not suspected."""
    inventory = take_inventory(replace(HASWELL, kernel="6.12.1"))
    known = replace(HASWELL, kernel="6.12.1", kvm_parameters={"ept": True, "nested": True})

    assert {"ept", "eptad", "nested"} == set(parameters_that_take(inventory, "pml"))
    assert ("eptad",) == parameters_that_take(take_inventory(known), "pml")
    assert ("nested",) == parameters_that_take(inventory, "vmfunc")


# What KVM makes of CPUs that differ ---------------------------------------------------------------------------------


def test_equal_cpus_are_taken() -> None:
    """There is nothing to judge, and kvm_intel loads."""
    inventory = two_cpus()

    assert ({}, {}, {}, {}) == (
        taken(inventory), worst_taken(inventory), flags_that_differ(inventory), microcodes(inventory),
    )  # fmt: skip
    assert (True, ()) == (loading(inventory).loads, loading(inventory).refusals)


def test_the_worst_of_an_msr_is_told() -> None:
    """A CPU that is refused, one MSR that KVM uses unnoticed, one that it never reads."""
    ept, fixed = VALUES[0x48C], VALUES[0x486]
    assert isinstance(ept, int)
    assert isinstance(fixed, int)
    inventory = two_cpus({0x3A: 1, 0x48C: ept ^ 1 << 21, 0x486: fixed ^ 1 << 5})
    verdicts = {0x3A: Taken.REFUSED, 0x48C: Taken.UNNOTICED, 0x486: Taken.IRRELEVANT}

    assert {(1, index): verdict for index, verdict in verdicts.items()} == taken(inventory)
    assert verdicts == worst_taken(inventory)
    assert Refusal(Refused.CPU_DIFFERS) in loading(inventory).refusals


def test_flags_that_differ_are_a_finding() -> None:
    """KVM refuses a CPU for a flag that it compares, without a word: one finding for each, of the smaller side."""
    inventory = two_cpus(flags=VMX_CPU.flags | {"smep", "avx2"})
    found = [each for each in findings(inventory) if isinstance(each, FlagDiffers)]

    assert {"smep": (0,)} == flags_that_differ(inventory)
    assert [FlagDiffers(cpus=(0,), flag="smep")] == found
    assert (Refusal(Refused.CPU_DIFFERS),) == loading(inventory).refusals


def test_microcodes_that_differ_are_a_finding() -> None:
    """CPUs of two revisions are told once, each revision with its CPUs; a CPU without a revision is of none."""
    assert {} == microcodes(two_cpus(microcode=None))
    host: Host = two_cpus().host
    cpus = {0: replace(VMX_CPU, microcode="0x49"), 1: replace(VMX_CPU, microcode="0x43")}
    inventory = take_inventory(replace(host, cpus=cpus))
    (found,) = (each for each in findings(inventory) if isinstance(each, MicrocodesDiffer))

    assert {"0x49": (0,), "0x43": (1,)} == microcodes(inventory) == dict(found.revisions)
    assert True is loading(inventory).loads
