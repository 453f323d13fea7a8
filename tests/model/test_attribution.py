"""vmxd/model/attribution.py: why a CPU lacks what others of its kind have, and in what it is unlike them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.support import HOSTS
from vmxd.host.scan import scan
from vmxd.model.attribution import Apart, Cause, Unlike, attribute, differences, expected, missing, unlike
from vmxd.model.platform import Platform, platforms
from vmxd.tables import FEATURES


def seen(name: str, microcode: int | None = None, kinds: str | None = None) -> Platform:
    """Find the CPU of the table with a name, and a microcode and kinds of core if given."""
    return next(
        each
        for each in platforms()
        if each.name == name and microcode in (None, each.microcode) and kinds in (None, each.kinds)
    )


@pytest.mark.parametrize(
    ("feature", "cpu", "cause", "apart"),
    [
        ("pml", seen("Core i7-7800X"), Cause.PRODUCT, Apart.CLASS),
        ("shadow_vmcs", seen("Core i9-10980XE"), Cause.PRODUCT, Apart.CLASS),
        ("pml", seen("Core i7-6900K"), Cause.PRODUCT, Apart.CLASS),
        ("pml", seen("Core i9-12900K", kinds="core:16 atom:8"), Cause.CONFIGURATION, Apart.KINDS),
        ("pml", seen("Core i9-13900H"), Cause.CONFIGURATION, Apart.KINDS),
        ("ept_mode_based_exec", seen("Core i9-11900K", 0x1C), Cause.MICROCODE, Apart.MICROCODE),
        ("pconfig", seen("Core i9-13900KF"), Cause.PRODUCT, Apart.SMX),
        ("shadow_vmcs", seen("Core i7-9750H"), Cause.PRODUCT, Apart.SMX),
        ("vmfunc", seen("Pentium Gold G5400"), Cause.PRODUCT, Apart.CLASS),
        ("tsc_scaling", seen("Xeon E5-2699 v3"), Cause.NOT_KNOWN, None),
        ("tsc_scaling", replace(seen("Xeon E5-2699 v3"), product="processor"), Cause.NOT_KNOWN, None),
        ("posted_intr", seen("Core i7-6700K"), Cause.NEVER, None),
        ("shadow_vmcs", seen("Xeon w9-3475X"), Cause.NOT_KNOWN, None),
    ],
)
def test_attribution(feature: str, cpu: Platform, cause: Cause, apart: Apart | None) -> None:
    """The cause is the one that the CPUs of the signature establish, and no stronger one."""
    found = attribute(feature, cpu)

    assert (cause, apart) == (found.cause, found.apart)


def test_the_first_microcode_with_it_is_named() -> None:
    """A Core i9-11900K with microcode 0x1c lacks what those with 0x24 have; with 0x24, that is not the cause."""
    old = seen("Core i9-11900K", 0x1C)

    assert 0x24 == attribute("ept_mode_based_exec", old).since
    assert Cause.MICROCODE is not attribute("ept_mode_based_exec", replace(old, microcode=0x40)).cause
    assert Cause.MICROCODE is not attribute("ept_mode_based_exec", replace(old, microcode=None)).cause


def test_the_same_product_elsewhere() -> None:
    """A CPU that lacks what the same product with the same microcode has lacks it by configuration."""
    having = seen("Xeon Platinum 8160")

    found = attribute("ept", having)

    assert (Cause.CONFIGURATION, Apart.NOTHING, (having,)) == (found.cause, found.apart, found.others[:1])
    assert found.cause.fixable


def test_a_guest_is_told_of_its_hypervisor() -> None:
    """A guest lacks what such CPUs have because of its hypervisor; what no such CPU has, as bare metal does."""
    guest = replace(seen("Xeon Platinum 8160"), hypervisor=True)

    assert Cause.HYPERVISOR is attribute("pml", guest).cause
    assert Cause.NEVER is attribute("pconfig", guest).cause


def test_one_cpu_supports_no_claim() -> None:
    """Of a kind seen once nothing is said to be missing, whatever it lacks."""
    (only,) = [each for each in platforms() if each.family and each.family.name == "Cannon Lake"]
    lacking = [name for name in FEATURES if only.has(name) is False]

    assert {Cause.NOT_KNOWN} == {attribute(name, only).cause for name in lacking}
    assert {None} == {expected(name, replace(only, name="another"), [only]) for name in FEATURES}


def test_leaving_one_out() -> None:
    """Of what the table predicts for a CPU by the others, less than one in a hundred is wrong."""
    answers = [
        (expected(name, each, [other for other in platforms() if other is not each]), each.has(name))
        for each in platforms()[::5]
        for name in FEATURES
        if each.has(name) is not None
    ]
    told = [said is right for said, right in answers if said is not None]

    assert len(told) > len(answers) // 3
    assert told.count(False) * 100 < len(told)


def test_unlike_its_kind() -> None:
    """A CPU that lacks what all of its kind have, or has what none has, differs in that; the table's own do not."""
    cpu = seen("Xeon Platinum 8160")
    has = {name: cpu.has(name) for name in FEATURES}

    assert [] == list(differences(cpu, has))
    found = list(differences(cpu, has | {"ept": False, "hlat": True, "pml": None}))
    assert [Unlike("ept", False, 5), Unlike("hlat", True, 5)] == found


def test_what_explains_a_difference_is_none() -> None:
    """With E-cores online, or without SMX, a CPU is not held against those that have it otherwise."""
    hybrid, without = seen("Core i9-12900K", kinds="core:16 atom:8"), seen("Core i9-13900KF")
    others = replace(hybrid, kinds="core:16")

    assert {Unlike} == {type(each) for each in differences(others, {"ept": False})}
    assert [] == list(differences(others, {"pml": True}))
    assert [] == list(differences(without, {"pconfig": False}))


@pytest.mark.parametrize("name", ["skylake-sp-8160-2s", "made-tie", "made-zeros-vmx", "kvm-guest", "made-amd"])
def test_hosts_that_are_like_their_kind(name: str) -> None:
    """Nothing is said of healthy hosts, of what differs within one, nor of guests and of other makers."""
    assert () == unlike(scan(str(HOSTS / name)).inventory)


def test_missing() -> None:
    """Every feature that no CPU of a host has is attributed; on a CPU without VMX none is."""
    inventory = scan(str(HOSTS / "alderlake-hybrid")).inventory
    found = missing(inventory)

    assert {name for name, cpus in inventory.features.items() if cpus.state.value == "off"} == found.keys()
    assert Cause.CONFIGURATION is found.pop("pml").cause
    assert {Cause.NEVER} == {each.cause for each in found.values()}
    assert {} == missing(scan(str(HOSTS / "made-amd")).inventory)


def test_an_unknown_brand_is_held_against_its_signature() -> None:
    """Of a CPU whose brand is not known, what no CPU of its signature has is never there; else the cause is open."""
    nameless = replace(seen("Xeon Platinum 8160"), name="", product="", microcode=None)

    assert Cause.NEVER is attribute("pconfig", nameless).cause
    assert Cause.NOT_KNOWN is attribute("pml", nameless).cause


def test_no_class_that_was_not_seen_is_blamed() -> None:
    """Of a product class of which no CPU was seen, the class is not the cause."""
    other = replace(seen("Core i7-7800X"), name="Celeron", product="celeron")

    assert (Cause.NOT_KNOWN, 0) == ((found := attribute("pml", other)).cause, found.of)
