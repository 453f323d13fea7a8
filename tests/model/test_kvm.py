"""What KVM leaves off, who is to blame, and what an answer of /dev/kvm means: model/kvm.py and tables/kvm.py."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.strategies import any_readings, plausible_readings, without
from tests.helpers.support import HOSTS
from vmxd.host.scan import scan
from vmxd.model.decode import decode
from vmxd.model.facts import Failed, KvmMsrs, Missing, Parameter, Reading
from vmxd.model.guest import expect_guest
from vmxd.model.kvm import (
    NestedStatus,
    Taken,
    UnusedFeature,
    differing_flags,
    judge_loading,
    judge_parameters,
    nested_view,
    take_cpu,
    take_feature_control,
    turned_off,
)
from vmxd.model.states import Presence
from vmxd.model.vmcs import Bound, Refusal, Refused
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


# Loading, and taking a CPU ----------------------------------------------------------------------------------------


def values(name: str) -> dict[int, int]:
    """Return the values of a recorded host's first CPU."""
    readings = scan(str(HOSTS / name)).inventory.groups[0].readings
    return {index: value for index, value in readings.items() if isinstance(value, int)}


def flipped(numbers: Mapping[int, int], index: int, *bits: int) -> dict[int, int]:
    """Return values with bits of one MSR turned over."""
    return {**numbers, index: numbers[index] ^ sum(1 << bit for bit in bits)}


@pytest.mark.parametrize(
    ("index", "bits", "refused"),
    [
        (0x482, (39,), Refusal(Refused.CONTROL, ("hlt_exiting",))),
        (0x481, (32, 35), Refusal(Refused.CONTROL, ("intr_exiting", "nmi_exiting"))),
        (0x484, (41,), Refusal(Refused.CONTROL, ("entry_ia32e_mode",))),
        (0x483, (47,), Refusal(Refused.CONTROL, ("exit_ack_intr",))),
        (0x48B, (33,), Refusal(Refused.EPT_CAPABILITIES, ("ept",))),
        (0x48B, (37,), Refusal(Refused.VPID_CAPABILITIES, ("vpid",))),
        (0x482, (63,), Refusal(Refused.EPT_CAPABILITIES, ("ept",))),
        (0x484, (46,), Refusal(Refused.PAIR, ("entry_load_pat", "exit_load_pat"))),
        (0x480, (48,), Refusal(Refused.VMCS_ADDRESSES, ("vmcs_32bit_addresses",))),
        (0x480, (52,), Refusal(Refused.MEMORY_TYPE)),
        (0x480, (43, 44), Refusal(Refused.VMCS_SIZE)),
        (0x48D, (32,), None),
        (0x48C, (6,), None),
        (0x488, (13,), None),
    ],
)
def test_kvm_refuses_to_load(index: int, bits: tuple[int, ...], refused: Refusal | None) -> None:
    """Each refusal of setup_vmcs_config() is named with its controls; what it does not read is none."""
    found = expect_guest(flipped(values("skylake-sp-8160-2s"), index, *bits), "6.12").refusals

    assert (refused in found) if refused else () == found


def test_a_cet_pair_is_refused_since_6_18() -> None:
    """One half of the CET pair is no inconsistency to a kernel that does not use it."""
    numbers = flipped(values("sapphirerapids"), 0x484, 52)

    assert () == expect_guest(numbers, "6.17").refusals
    assert (Refusal(Refused.PAIR, ("entry_load_cet", "exit_load_cet")),) == expect_guest(numbers, "6.18").refusals


@pytest.mark.parametrize(("kernel", "wanted"), [("5.10", {}), ("6.12", {"error_on_inconsistent_vmcs_config": False})])
def test_an_inconsistency_may_be_no_refusal(kernel: str, wanted: Mapping[str, Parameter]) -> None:
    """Before error_on_inconsistent_vmcs_config, and without it, capabilities without their control are forgotten."""
    view = expect_guest(flipped(values("haswell-ep-2s"), 0x48B, 33), kernel, None, wanted)

    assert ((), False) == (view.refusals, view.features["ept"])


@pytest.mark.parametrize(
    ("index", "bit", "kernel", "parameters", "taken"),
    [
        (0x48B, 42, "6.12", {}, Taken.REFUSED),
        (0x48B, 62, "6.12", {}, Taken.REFUSED),
        (0x48B, 62, "5.10", {}, Taken.IRRELEVANT),
        (0x48B, 54, "6.12", {}, Taken.IRRELEVANT),
        (0x485, 15, "6.12", {}, Taken.REFUSED),
        (0x480, 49, "6.12", {}, Taken.REFUSED),
        (0x48C, 17, "6.12", {}, Taken.UNNOTICED),
        (0x48C, 21, "6.12", {}, Taken.UNNOTICED),
        (0x48C, 21, "6.12", {"ept": False}, Taken.IRRELEVANT),
        (0x48C, 42, "6.12", {}, Taken.UNNOTICED),
        (0x48C, 42, "6.12", {"vpid": False}, Taken.IRRELEVANT),
        (0x48C, 6, "6.12", {}, Taken.REFUSED),
        (0x48C, 6, "6.12", {"nested": False}, Taken.UNNOTICED),
        (0x48C, 8, "6.12", {}, Taken.IRRELEVANT),
        (0x48D, 37, "6.12", {}, Taken.IRRELEVANT),
        (0x486, 5, "6.12", {}, Taken.IRRELEVANT),
        (0x489, 20, "6.12", {}, Taken.REFUSED),
        (0x489, 20, "6.12", {"nested": False}, Taken.IRRELEVANT),
        (0x48A, 2, "6.12", {}, Taken.IRRELEVANT),
        (0x491, 0, "6.12", {}, Taken.IRRELEVANT),
        (0x48B, 54, None, {}, Taken.DEPENDS),
        (0x48B, 55, None, {}, Taken.IRRELEVANT),
        (0x48B, 62, None, {}, Taken.DEPENDS),
    ],
)
def test_what_kvm_does_with_a_cpu_that_differs(
    index: int, bit: int, kernel: str | None, parameters: Mapping[str, Parameter], taken: Taken
) -> None:
    """A difference is refused, used without being noticed, or none of KVM's business, by kernel and parameters."""
    numbers = values("skylake-sp-8160-2s") | {0x491: 1}
    view = expect_guest(numbers, kernel, None, parameters)

    assert taken is take_cpu(view, index, numbers[index] ^ 1 << bit)


def test_ipi_virtualization_is_compared() -> None:
    """The tertiary controls are part of what KVM compares, since it uses one."""
    numbers = values("made-tertiary")

    assert Taken.REFUSED is take_cpu(expect_guest(numbers, "6.12"), 0x492, numbers[0x492] ^ 1 << 4)


@pytest.mark.parametrize(
    ("value", "taken"),
    [(0x1, Taken.REFUSED), (0x0, Taken.REFUSED), (0x100005, Taken.IRRELEVANT), (5, Taken.IRRELEVANT)],
)
def test_of_feature_control_vmx_alone_is_kvms_concern(value: int, taken: Taken) -> None:
    """A CPU on which VMX is off is refused; LMCE and the like are not looked at."""
    assert taken is take_feature_control(5, value)


def test_flags_that_kvm_compares() -> None:
    """A flag that stands for a CR4 bit is compared, with no message; others are not, nor those of newer kernels."""
    flags = {0: {"smep", "avx2", "lam"}, 1: {"smep", "avx2"}, 2: {"avx2"}}

    assert {"smep": (2,)} == differing_flags(flags, Bound((6, 1), most=False))
    assert {"smep": (2,), "lam": (0,)} == differing_flags(flags, Bound((6, 12), most=False))


def test_what_kvm_turns_off_by_itself() -> None:
    """On a Haswell without PML the parameter goes off for lack of the feature; with ept=N others follow."""
    view = expect_guest(values("haswell-ep-2s"), "6.12", None, {"ept": False})
    off = {each.parameter: (each.lacking, each.after) for each in turned_off(view)}

    assert (("pml",), ("ept", "eptad")) == off["pml"]
    assert ((), ("ept",)) == off["eptad"]
    assert "ept" not in off


def test_loading() -> None:
    """KVM loads on a real CPU; not without VMX, nor where firmware or a CPU that differs forbids it."""
    view = expect_guest(values("haswell-ep-2s"), "6.12")

    assert True is judge_loading(view, usable=True, has_vmx=True).loads
    assert None is judge_loading(view, usable=None, has_vmx=True).loads
    assert (Refusal(Refused.FIRMWARE),) == judge_loading(view, usable=False, has_vmx=True).refusals
    assert (Refusal(Refused.NO_VMX),) == judge_loading(view, usable=None, has_vmx=False).refusals
    assert (Refusal(Refused.CPU_DIFFERS),) == judge_loading(view, usable=True, has_vmx=True, refused=(4,)).refusals
