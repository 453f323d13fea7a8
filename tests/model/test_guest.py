"""What a VM is expected to get, from plain data, and why it differs: model/guest.py and model/release.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.strategies import plausible_readings
from tests.helpers.support import HOSTS
from vmxd.host.scan import scan
from vmxd.model.facts import Parameter
from vmxd.model.guest import PARAMETERS, Expected, Reason, Seen, Why, expect_guest
from vmxd.model.release import parse_release
from vmxd.tables import FEATURES
from vmxd.tables.kvm import BITS, KVM_PARAMETERS, NEWEST, OLDEST, Since
from vmxd.tables.versions import LINUX

MBEC = Since((7, 1), (7, 2))


def msrs(name: str) -> dict[int, int]:
    """Read the values of a recorded host's first CPU."""
    readings = scan(str(HOSTS / name)).inventory.groups[0].readings
    return {index: value for index, value in readings.items() if isinstance(value, int)}


def expected(name: str, kernel: str | None = "6.12.1", **wanted: Parameter) -> Expected:
    """Compute what a guest of a recorded host's CPU gets."""
    return expect_guest(msrs(name), kernel, wanted=wanted)


# Releases ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("6.12.117+deb13-amd64", (6, 12), (6, 12)),
        ("6.1.0-57-cloud-amd64", (6, 1), (6, 1)),
        ("6.18-rc3", (6, 18), (6, 18)),
        ("6.8.0-51-generic", (6, 8), (6, 8)),
        ("6.12", (6, 12), (6, 12)),
        ("5.14.0-611.el9.x86_64", (5, 14), NEWEST),
        ("5.14.21-150500.55.44-default", (5, 14), NEWEST),
        ("5.15.0-200.131.27.el9uek.x86_64", (5, 15), NEWEST),
        ("8.1.0", NEWEST, NEWEST),
        (None, OLDEST, NEWEST),
        ("custom", OLDEST, NEWEST),
    ],
)
def test_a_release_is_a_range_of_series(text: str | None, low: tuple[int, int], high: tuple[int, int]) -> None:
    """A distribution's number tells the series, unless it backports; without a number it may be any that was read."""
    kernel = parse_release(text)

    assert (low, high) == (kernel.low, kernel.high)
    assert not kernel.too_old


def test_the_newest_release_is_that_of_the_sources() -> None:
    """The last series of tables.kvm is the newest Linux that was read."""
    assert LINUX.startswith("{}.{}.".format(*NEWEST))


# The view ---------------------------------------------------------------------------------------------------------


def test_a_guest_of_a_haswell_is_that_of_a_real_one() -> None:
    """What KVM 6.1 in Bochs answered on its Haswell, with all parameters by default."""
    numbers = {
        0x480: 0xD810000000002B, 0x481: 0x7F00000016, 0x482: 0xF7F9FFFE0401E172, 0x483: 0x7FFFFF00036DFF,
        0x484: 0xFFFF000011FF, 0x485: 0x200401E0, 0x486: 0x80000021, 0x487: 0xFFFFFFFF, 0x488: 0x2000,
        0x489: 0x1727FF, 0x48A: 0x34, 0x48B: 0x47FFF00000000, 0x48C: 0xF0106334141, 0x491: 1,
    }  # fmt: skip
    answer = {
        0x480: 0xD8100011E57ED0, 0x481: 0x7F00000016, 0x482: 0xF7F9FFFE0401E172, 0x483: 0x7FFFFF00036DFF,
        0x484: 0xF3FF000011FF, 0x485: 0x20000165, 0x486: 0x80000021, 0x487: 0xFFFFFFFF, 0x488: 0x2000,
        0x489: 0x172FFF, 0x48A: 0x32, 0x48B: 0x27BFF00000000, 0x48C: 0xF0106334041, 0x48D: 0x7F00000016,
        0x48E: 0xF7F9FFFE04006172, 0x48F: 0x7FFFFF00036DFB, 0x490: 0xF3FF000011FB, 0x491: 1,
    }  # fmt: skip

    assert answer == expect_guest(numbers, "6.1.0-57-cloud-amd64").msrs


def test_a_guest_has_what_kvm_emulates() -> None:
    """A Haswell has neither PML nor all of VMCS shadowing; its guests do."""
    view = expected("haswell-ep-2s")

    assert (True, Reason(Why.EMULATED)) == (view.features["pml"], view.reasons["pml"])


@pytest.mark.parametrize(
    ("wanted", "feature", "parameters"),
    [
        ({"eptad": False}, "pml", ("eptad",)),
        ({"ept": False}, "pml", ("ept",)),
        ({"ept": False}, "unrestricted_guest", ("ept",)),
        ({"vpid": False}, "invvpid", ("vpid",)),
        ({"enable_apicv": False}, "posted_intr", ("enable_apicv",)),
        ({"flexpriority": False}, "vapic", ("flexpriority",)),
        ({"eptad": False, "ept": False}, "ept_ad", ("ept", "eptad")),
    ],
)
def test_a_parameter_is_named(wanted: dict[str, Parameter], feature: str, parameters: tuple[str, ...]) -> None:
    """What a parameter takes from guests names the parameter; where it takes several, all of them."""
    view = expect_guest(msrs("skylake-sp-8160-2s"), "6.12.1", wanted=wanted)

    assert False is view.features[feature]
    assert (Why.PARAMETER, parameters) == (view.reasons[feature].why, view.reasons[feature].names)


def test_without_nested_a_guest_gets_no_msr() -> None:
    """With nested=N KVM lists none of the MSRs, and each feature that the CPU has names the parameter."""
    view = expected("haswell-ep-2s", nested=False)

    assert {} == view.msrs
    assert {False} == set(view.features.values())
    assert Reason(Why.NESTED, ("nested",)) == view.reasons["ept"]


@pytest.mark.parametrize(
    ("kernel", "value", "reason"),
    [
        ("6.12", False, Reason(Why.KERNEL, since=MBEC)),
        ("7.3.4", True, None),
        (None, None, Reason(Why.UNKNOWN_KERNEL, since=MBEC)),
        ("5.14.0-611.el9.x86_64", None, Reason(Why.UNKNOWN_KERNEL, since=MBEC)),
        ("5.4.0", None, Reason(Why.UNKNOWN_KERNEL)),
    ],
)
def test_a_kernel_is_named(kernel: str | None, value: bool | None, reason: Reason | None) -> None:
    """Mode-based execute control is there since a release, which the reason names; without a number it is open."""
    numbers = msrs("skylake-sp-8160-2s")
    numbers[0x48C] |= 1 << 22
    view = expect_guest(numbers, kernel)

    assert (value, reason) == (view.features["ept_mode_based_exec"], view.reasons.get("ept_mode_based_exec"))


def test_mode_based_execute_control_takes_advanced_exit_information() -> None:
    """Where the CPU has the control and not the exit information that KVM takes with it, the latter is named."""
    numbers = msrs("skylake-sp-8160-2s")
    numbers[0x48C] &= ~(1 << 22)
    view = expect_guest(numbers, "7.3")

    assert False is view.features["ept_mode_based_exec"]
    assert Reason(Why.HARDWARE, ("ept_advanced_exitinfo",)) == view.reasons["ept_mode_based_exec"]


@pytest.mark.parametrize(
    ("kernel", "seen", "clear", "value"),
    [
        ("6.17", Seen(), (), False),
        ("6.18", Seen(), (), True),
        ("6.18", Seen(), (0x480, 56), False),
        ("6.18", Seen({"xsaves", "user_shstk"}, "6.18"), (), True),
        ("6.18", Seen({"user_shstk"}, "6.18"), (), False),
        ("6.18", Seen({"xsaves"}, "6.18"), (), None),
        ("6.18", Seen({"xsaves"}, "6.1"), (), True),
        ("6.18", Seen(), (0x489, 23), False),
    ],
)
def test_cet_takes_kernel_flags_and_basic(kernel: str, seen: Seen, clear: tuple[int, int], value: bool | None) -> None:
    """CET needs 6.18, BASIC[56], CR4.CET, XSAVES, and a kernel that uses shadow stacks, if it would show it."""
    numbers = msrs("sapphirerapids")
    if clear:
        numbers[clear[0]] &= ~(1 << clear[1])
    view = expect_guest(numbers, kernel, seen=seen)

    assert [value] * 2 == [view.features[name] for name in ("entry_load_cet", "exit_load_cet")]


def test_recorded_parameters_decide() -> None:
    """Parameters as sysfs shows them are after KVM has adjusted them; one that is wanted frees what had followed it."""
    off: dict[str, Parameter] = {
        "nested": True,
        "ept": False,
        "eptad": False,
        "unrestricted_guest": False,
        "pml": False,
    }
    numbers = msrs("skylake-sp-8160-2s")

    assert False is expect_guest(numbers, "6.12", off).features["ept"]
    assert True is expect_guest(numbers, "6.12", off, {"ept": True}).features["ept_ad"]
    assert False is expect_guest(numbers, "6.12", off | {"ept": True}, {"pml": True}).features["ept_ad"]


def test_a_cpu_that_kvm_refuses_has_no_guest() -> None:
    """Where kvm_intel does not load, no guest gets a feature, and the reason says so."""
    numbers = msrs("haswell-ep-2s")
    numbers[0x48B] &= ~(1 << 33)
    view = expect_guest(numbers, "6.12")

    assert {False} == set(view.features.values())
    assert Why.NOT_LOADED is view.reasons["vnmi"].why


def test_an_msr_that_was_not_read_leaves_its_features_open() -> None:
    """Without IA32_VMX_EPT_VPID_CAP it is not known whether KVM uses EPT; what does not take it is known."""
    numbers = msrs("haswell-ep-2s")
    del numbers[0x48C]
    view = expect_guest(numbers, "6.12")

    assert (None, None, True) == tuple(view.features[name] for name in ("ept", "ept_1gb", "vnmi"))
    assert Why.UNKNOWN_HARDWARE is view.reasons["ept"].why


@given(plausible_readings(), st.sampled_from(("6.1", "6.12", "7.3", None)))
def test_each_difference_has_a_reason(readings: dict[int, int], kernel: str | None) -> None:
    """Whatever the CPU has, every feature that a guest does not surely get has a reason."""
    view = expect_guest(readings, kernel)
    explained = {name for name, reason in view.reasons.items() if reason.why is not Why.EMULATED}

    assert {name for name, value in view.features.items() if value is not True} == explained


@given(plausible_readings(), st.dictionaries(st.sampled_from(sorted(KVM_PARAMETERS)), st.booleans()))
def test_known_bits_of_an_unknown_kernel_hold_for_every_kernel(
    readings: dict[int, int], wanted: dict[str, Parameter]
) -> None:
    """What is known although the kernel is not, is so on every release that was read."""
    anywhere = expect_guest(readings, None, wanted=wanted)
    for kernel in ("5.10", "6.1", "6.12", "6.18", "7.2", "7.3"):
        here = expect_guest(readings, kernel, wanted=wanted)
        if not here.refusals and not anywhere.refusals:
            assert {} == {
                name: value
                for name, value in anywhere.features.items()
                if value is not None and here.features[name] is not value
            }


def test_the_tables_name_features_and_parameters() -> None:
    """Every row is of a feature that is one bit, and takes features and parameters that there are."""
    assert set() == BITS.keys() - FEATURES.keys()
    assert set() == {name for row in BITS.values() for name in row.when.split()} - PARAMETERS.keys()
    assert set() == {name for row in BITS.values() for name in row.needs.split()} - BITS.keys()
