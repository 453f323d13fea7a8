"""What KVM leaves off, who is to blame, and what an answer of /dev/kvm means: model/kvm.py and tables/kvm.py."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.strategies import any_readings, plausible_readings, without
from tests.helpers.support import HOSTS
from vmxd.host.scan import scan
from vmxd.model.decode import Presence, decode
from vmxd.model.facts import Failed, KvmMsrs, Missing, Parameter, Reading
from vmxd.model.kvm import NestedStatus, UnusedFeature, judge_parameters, nested_view
from vmxd.tables import CAPABILITY_RANGE, FEATURES
from vmxd.tables.kvm import IN_EVMCS, KVM_PARAMETERS

ON: Mapping[str, Parameter] = {**dict.fromkeys((*KVM_PARAMETERS, "nested"), True), "ple_gap": 128}
EVERY_FEATURE = dict.fromkeys(FEATURES, True)


def blamed(
    off: Mapping[str, Parameter], cpu: Mapping[str, bool | None] = EVERY_FEATURE, signature: str | None = None
) -> dict[str, str]:
    """Return the findings, feature to parameter, of a host where all is on but for some parameters."""
    found, _ = judge_parameters({**ON, **off}, cpu.get, {signature})
    return {each.feature: each.parameter for each in found}


# The table --------------------------------------------------------------------------------------------------------


def test_the_table_names_features_and_parameters() -> None:
    """Every name in the table is a feature of vmxd's, or a parameter; nested alone has no row, being a choice."""
    rows = KVM_PARAMETERS.values()
    features = {name for row in rows for text in (row.features, row.needs.replace("|", " ")) for name in text.split()}

    assert set() == features - FEATURES.keys()
    assert {"nested"} == {name for row in rows for name in row.after.split()} - KVM_PARAMETERS.keys()
    assert set() == IN_EVMCS - KVM_PARAMETERS.keys()


def test_a_feature_is_left_off_by_one_parameter() -> None:
    """No feature stands at two parameters, so that a finding names each feature once."""
    features = [name for row in KVM_PARAMETERS.values() for name in row.features.split()]

    assert len(set(features)) == len(features)


# Who is to blame --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        ({}, {}),
        ({"vpid": False}, {"vpid": "vpid"}),
        ({"ple_gap": 0}, {"ple": "ple_gap"}),
        ({"flexpriority": False}, {"flexpriority": "flexpriority", "vapic": "flexpriority"}),
        (
            {"ept": False, "eptad": False, "unrestricted_guest": False, "pml": False},
            dict.fromkeys(("ept", "ept_ad", "unrestricted_guest", "pml"), "ept"),
        ),
        ({"eptad": False, "pml": False}, {"ept_ad": "eptad", "pml": "eptad"}),
        ({"unrestricted_guest": False}, {"unrestricted_guest": "unrestricted_guest"}),
        (
            {"enable_apicv": False, "enable_ipiv": False},
            dict.fromkeys(("apicv", "vapic_reg", "vid", "posted_intr", "ipi_virt"), "enable_apicv"),
        ),
        ({"enable_shadow_vmcs": False}, {"shadow_vmcs": "enable_shadow_vmcs"}),
        ({"nested": False, "enable_shadow_vmcs": False}, {}),
        ({"nested": False}, {}),
        ({"vpid": "what"}, {}),
    ],
)
def test_the_first_cause_is_named(off: Mapping[str, Parameter], expected: Mapping[str, str]) -> None:
    """Of parameters that turn each other off the first is to blame; nested=N is a choice, other text tells nothing."""
    assert expected == blamed(off)


@pytest.mark.parametrize("lacks", [False, None])
@pytest.mark.parametrize(
    ("off", "feature"),
    [
        ({"pml": False}, "pml"),
        ({"ept": False}, "ept_wb"),
        ({"ept": False, "unrestricted_guest": False}, "invept_all_context"),
        ({"enable_apicv": False}, "posted_intr"),
        ({"enable_shadow_vmcs": False}, "vmwrite_vmexit_fields"),
        ({"vpid": False}, "invvpid"),
    ],
)
def test_a_cpu_that_lacks_what_kvm_needs_is_no_finding(
    off: Mapping[str, Parameter], feature: str, lacks: bool | None
) -> None:
    """Where the CPU lacks what KVM needs, or where that is not known, no parameter is blamed."""
    assert blamed(off)
    assert {} == blamed(off, EVERY_FEATURE | {feature: lacks})


@pytest.mark.parametrize(
    ("off", "unknown", "expected"),
    [
        ({"vpid": False}, ("vpid",), ("vpid",)),
        ({"vpid": False}, ("invvpid_single_context",), ()),
        ({"ept": False, "eptad": False, "pml": False}, tuple(FEATURES), ("ept",)),
        ({"eptad": False, "enable_apicv": False}, tuple(FEATURES), ("eptad", "enable_apicv")),
        ({"nested": False, "enable_shadow_vmcs": False}, tuple(FEATURES), ()),
        ({}, tuple(FEATURES), ()),
    ],
)
def test_a_parameter_that_cannot_be_judged_is_doubted(
    off: Mapping[str, Parameter], unknown: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """Where what the CPUs have is not known, what is off is doubted, the first cause alone; else it is not."""
    cpu = EVERY_FEATURE | dict.fromkeys(unknown)

    assert expected == judge_parameters({**ON, **off}, cpu.get, ())[1]


def test_either_of_two_needs_will_do() -> None:
    """VPIDs take one of two kinds of INVVPID: a finding is made with either, and not without both."""
    kinds = ("invvpid_single_context", "invvpid_all_context")

    for kind in kinds:
        assert {"vpid": "vpid"} == blamed({"vpid": False}, EVERY_FEATURE | {kind: False})
    assert {} == blamed({"vpid": False}, EVERY_FEATURE | dict.fromkeys(kinds, False))


def test_a_broken_preemption_timer_is_no_finding() -> None:
    """KVM leaves the timer of CPUs with the erratum off, as on the Westmere 06-25-02."""
    assert {} == blamed({"preemption_timer": False}, signature="06-25-02")
    assert blamed({"preemption_timer": False}, signature="06-55-04")


def test_an_enlightened_vmcs_is_no_finding() -> None:
    """On Hyper-V, what its enlightened VMCS has no field for is left off for that; the rest is a finding as ever."""
    off: dict[str, Parameter] = {**dict.fromkeys(KVM_PARAMETERS, False), "enlightened_vmcs": True}
    left_off = {KVM_PARAMETERS[name].features for name in IN_EVMCS}

    assert left_off == set(blamed(off))
    assert left_off < set(blamed(off | {"enlightened_vmcs": False}))


@given(st.dictionaries(st.sampled_from((*KVM_PARAMETERS, "nested")), st.booleans()), plausible_readings())
def test_a_finding_is_of_a_feature_that_is_there_and_a_parameter_that_is_off(
    parameters: dict[str, Parameter], readings: dict[int, int]
) -> None:
    """Whatever is on and whatever the CPU has, a finding names a feature that it has and a parameter that is N."""
    has = {name: presence is Presence.PRESENT for name, presence in decode(True, readings).features.items()}
    found, doubted = judge_parameters(parameters, has.get, ())

    assert () == doubted
    assert [] == [each for each in found if not has[each.feature] or parameters[each.parameter]]
    assert len({each.feature for each in found}) == len(found)


@pytest.mark.parametrize("state", list(Missing))
def test_without_parameters_there_is_no_finding(state: Missing) -> None:
    """A module that is not loaded, or was not recorded, leaves nothing off."""
    assert ((), ()) == judge_parameters(state, EVERY_FEATURE.get, ())


def test_findings_of_the_made_hosts() -> None:
    """On made-nested apicv is off by choice and pml by lack; on made-ept-off ept=N is the root of all."""
    nested = scan(str(HOSTS / "made-nested")).inventory
    ept_off = scan(str(HOSTS / "made-ept-off")).inventory

    assert {"enable_apicv"} == {each.parameter for each in nested.kvm_unused}
    assert UnusedFeature("pml", "ept") in ept_off.kvm_unused
    assert {"ept"} == {each.parameter for each in ept_off.kvm_unused}


# The nested view --------------------------------------------------------------------------------------------------


def answer(readings: Mapping[int, Reading], *others: int) -> KvmMsrs:
    """Return what KVM says where it lists these MSRs, and others that are no VMX ones."""
    return KvmMsrs(tuple(sorted((*readings, *others))), readings)


def test_kvm_that_was_not_asked_has_no_view() -> None:
    """Not recorded is not failed, and not an answer."""
    assert nested_view(Missing.NOT_RECORDED) is None


def test_kvm_that_could_not_be_asked_says_nothing_of_any_feature() -> None:
    """A failed open keeps its errno, and leaves every feature unknown."""
    view = nested_view(Failed("EACCES"))

    assert view is not None
    assert (NestedStatus.FAILED, "EACCES", None) == (view.status, view.errno, view.decoded)
    assert dict.fromkeys(FEATURES) == view.values


@pytest.mark.parametrize("readings", [{}, {0x480: 0}])
def test_kvm_that_lists_no_vmx_msr_offers_no_feature(readings: Mapping[int, Reading]) -> None:
    """An answer without VMX MSRs is an answer: guests get none of the features, as on a CPU without VMX."""
    view = nested_view(answer(readings, 0x8B, 0x10A))

    assert view is not None
    assert (NestedStatus.NOT_OFFERED, None) == (view.status, view.errno)
    assert dict.fromkeys(FEATURES, False) == view.values


@given(plausible_readings())
def test_the_view_is_decoded_like_a_cpu(readings: dict[int, int]) -> None:
    """Values mean of KVM's guests what they would mean of a CPU."""
    listed = {index: value for index, value in readings.items() if index in CAPABILITY_RANGE}
    view = nested_view(answer(listed, 0x8B))
    expected = decode(True, listed).features

    assert view is not None
    assert view.status is NestedStatus.OFFERED
    assert {name: presence is Presence.PRESENT for name, presence in expected.items()} == view.values


def test_an_msr_that_kvm_does_not_list_is_not_offered() -> None:
    """Where a control says that an MSR exists and KVM does not list it, a guest cannot use what it would say."""
    guest = scan(str(HOSTS / "kvm-guest")).inventory.groups[0].readings
    whole = nested_view(answer(guest))
    view = nested_view(answer(without(guest, 0x48C)))

    assert whole is not None
    assert view is not None
    assert (True, True) == (whole.values["ept_1gb"], whole.values["ept"])
    assert (False, True) == (view.values["ept_1gb"], view.values["ept"])


def test_an_msr_that_kvm_refuses_leaves_its_features_unknown() -> None:
    """A value that KVM lists and does not give is a failure: its features are unknown, not absent."""
    guest = scan(str(HOSTS / "kvm-guest")).inventory.groups[0].readings
    view = nested_view(answer(dict(guest) | {0x48C: Failed("ENODATA")}))

    assert view is not None
    assert (None, True) == (view.values["ept_1gb"], view.values["ept"])


@given(any_readings)
def test_any_answer_has_a_view_of_every_feature(readings: dict[int, Reading]) -> None:
    """Whatever KVM answers, every feature has a value or none, and one that is not offered has no feature."""
    view = nested_view(answer({index: value for index, value in readings.items() if index in CAPABILITY_RANGE}))

    assert view is not None
    assert FEATURES.keys() == view.values.keys()
    assert view.status is not NestedStatus.NOT_OFFERED or True not in view.values.values()
