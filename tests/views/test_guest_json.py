"""What a VM gets and whether kvm_intel loads, as JSON; test_json.py holds both to the schema."""

from __future__ import annotations

from dataclasses import replace

from tests.helpers.support import HOSTS
from vmxd.host.scan import scan
from vmxd.model.facts import KvmMsrs
from vmxd.model.inventory import take_inventory
from vmxd.model.offer import WhatIf, offer
from vmxd.views.guest_json import guest_document, loading_document

HASWELL = replace(scan(str(HOSTS / "haswell-ep-2s")).inventory.host, kernel="6.12.1")
INVENTORY = take_inventory(HASWELL)


def test_an_expectation() -> None:
    """Values are hex of 16 digits by MSR index; a feature that hardware and guest do not share has a reason."""
    document = guest_document(offer(INVENTORY))

    assert ("expected", "6.12.1", []) == (document["source"], document["kernel"], document["mismatches"])
    assert {f"{index:#x}" for index in range(0x480, 0x492)} == document["msrs"].keys()
    assert "0x000000ff00000016" == document["msrs"]["0x481"]
    assert (True, {"why": "emulated", "names": [], "since": None}) == (
        document["features"]["pml"], document["reasons"]["pml"],
    )  # fmt: skip
    assert {"why": "hardware", "names": ["tsc_scaling"], "since": None} == document["reasons"]["tsc_scaling"]


def test_a_question_names_its_parameters() -> None:
    """A feature that a parameter takes names it, and the document has the parameters after load."""
    document = guest_document(offer(INVENTORY, WhatIf(parameters={"eptad": False})), ["pml"])

    assert {"pml": False} == document["features"]
    assert {"pml": {"why": "parameter", "names": ["eptad"], "since": None}} == document["reasons"]
    assert False is document["parameters"]["eptad"]


def test_what_is_not_known_is_null() -> None:
    """Without a value the guest's value is null, and so is a feature of it."""
    readings = {index: by_cpu for index, by_cpu in HASWELL.readings.items() if index != 0x48C}
    document = guest_document(offer(take_inventory(replace(HASWELL, readings=readings))))

    assert None is document["msrs"]["0x48c"]
    assert None is document["features"]["ept_1gb"]


def test_a_mismatch_has_both_values_and_the_bits() -> None:
    """KVM's answer that is not as expected, in figures."""
    given = {index: value or 0 for index, value in offer(INVENTORY).msrs.items()}
    other = given | {0x491: given[0x491] ^ 1}
    document = guest_document(offer(take_inventory(replace(HASWELL, kvm_msrs=KvmMsrs(tuple(other), other)))))
    (found,) = document["mismatches"]

    assert "recorded" == document["source"]
    assert ("0x491", "0x0000000000000001") == (found["msr"], found["bits"])
    assert {f"{other[0x491]:#018x}", f"{given[0x491]:#018x}"} == {found["recorded"], found["expected"]}


def test_loading() -> None:
    """What kvm_intel turns off by itself, and why; with CPUs that differ, what it makes of each MSR."""
    document = loading_document(INVENTORY)

    assert (None, [], {}, {}) == tuple(document[key] for key in ("loads", "refusals", "differing", "differing_flags"))
    assert {"lacking": ["pml"], "after": []} == document["turned_off"]["pml"]

    (one, *_), basic = HASWELL.online, HASWELL.readings[0x48C]
    differing = {0x48C: {**basic, one: int(str(basic[one])) ^ 1 << 21}}
    differ = loading_document(take_inventory(replace(HASWELL, readings={**HASWELL.readings, **differing})))

    assert {"unnoticed": {"IA32_VMX_EPT_VPID_CAP": str(one)}} == differ["differing"]
