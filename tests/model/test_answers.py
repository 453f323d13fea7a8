"""``vmxd check``: the answers, their reasons, and the exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given

from tests.helpers.documents import complaints
from tests.helpers.strategies import hosts
from tests.helpers.support import HOSTS, TYPICAL_HOSTS
from vmxd.cli import main
from vmxd.commands.profiles import builtin_profiles
from vmxd.model import answers
from vmxd.model.answers import View
from vmxd.model.facts import Host
from vmxd.model.inventory import take_inventory
from vmxd.views.check import answers_document, check_lines

Json = dict[str, Any]


def check(capfd: pytest.CaptureFixture[str], host: str | Path, *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines of ``vmxd check`` on a host."""
    code = main(["check", "--root", str(HOSTS / host), *arguments])
    return code, capfd.readouterr().out.splitlines()


def test_a_host_that_has_everything(capfd: pytest.CaptureFixture[str]) -> None:
    """What holds is one line and exit code 0; features go by any name, several in one flag or in several."""
    asked = ("--require", "ept,vmx-vpid", "--require=VMX_FEATURE_MODE_BASED_EPT_EXEC", "--profile", "kvm-fast")

    known = "guests: expected for Linux 5.10 to 7.3, as the kernel is not known"
    assert (0, ["OK: 5 checks passed", known]) == check(capfd, "lunarlake-hybrid", *asked, "--cpu-model", "IvyBridge")


def test_a_feature_that_only_some_cpus_lack(capfd: pytest.CaptureFixture[str]) -> None:
    """The reason names the CPUs, the bit of the MSR and QEMU's name."""
    code, lines = check(capfd, "made-tie", "--require", "tsc_scaling")

    assert (1, "FAILED: 1 check, 1 failed") == (code, lines[0])
    assert [
        "require tsc_scaling: tsc_scaling is missing on CPUs 2-3: IA32_VMX_PROCBASED_CTLS2[57] is 0 (vmx-tsc-scaling)"
    ] == lines[1:]


def test_a_cpu_model_that_does_not_fit(capfd: pytest.CaptureFixture[str]) -> None:
    """Every feature that a CPU model wants and the host lacks is a line of its own."""
    code, lines = check(capfd, "skylake-6700k", "--view", "hardware", "--cpu-model", "haswell-noTSX")

    assert (1, 4) == (code, len(lines))
    assert [
        "cpu-model Haswell-v2: posted_intr is missing on every CPU: IA32_VMX_PINBASED_CTLS[39] is 0 (vmx-posted-intr)",
        "cpu-model Haswell-v2: vid is missing on every CPU: IA32_VMX_PROCBASED_CTLS2[41] is 0 (vmx-apicv-vid)",
    ] == [lines[1], lines[3]]


@pytest.mark.parametrize(
    ("host", "feature", "says"),
    [
        (
            "arrandale-2540p",
            "eptp_switching",
            "there is no IA32_VMX_VMFUNC, since IA32_VMX_PROCBASED_CTLS2[45] is 0 (vmx-eptp-switching)",
        ),
        ("yonah-t2600", "cr3_load_noexit", "IA32_VMX_PROCBASED_CTLS[15] is 1 (vmx-cr3-load-noexit)"),
        ("skylake-6700k", "apicv", "it takes IA32_VMX_PROCBASED_CTLS2[40], which is 0 (vmx-apicv-register)"),
        ("made-amd", "ept", "there is no VMX: /proc/cpuinfo shows no vmx flag"),
    ],
)
def test_why_a_feature_is_missing(capfd: pytest.CaptureFixture[str], host: str, feature: str, says: str) -> None:
    """The reason is a bit that is 0, or must be 1, a part that is missing, an absent MSR, or that there is no VMX."""
    code, lines = check(capfd, host, "--require", feature)

    assert (1, True) == (code, lines[1].endswith(f": {says}")), lines


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("made-eio-one-cpu", "IA32_VMX_EPT_VPID_CAP could not be read on CPU 1: RDMSR faulted (#GP) (EIO)"),
        ("made-all-unreadable", "the CPU has VMX, but its MSRs cannot be read: "),
    ],
)
def test_what_could_not_be_read_is_not_known(capfd: pytest.CaptureFixture[str], host: str, says: str) -> None:
    """A feature that could not be read, if on one CPU only, is neither there nor missing: exit code 2, one line."""
    code, lines = check(capfd, host, "--profile", "kvm-fast")

    assert (2, ["UNKNOWN: 1 check, 1 not known"]) == (code, lines[:1])
    assert (2, True) == (len(lines), f"are not known: {says}" in lines[1])


def test_no_outweighs_unknown(capfd: pytest.CaptureFixture[str]) -> None:
    """Where one thing is missing and another not known, the answer is no, and both are said."""
    code, lines = check(
        capfd, "emeraldrapids-2s", "--view=hardware", "--cpu-model=DiamondRapids", "--require=eptp_switching"
    )

    assert (1, "FAILED: 2 checks, 1 failed, 1 not known") == (code, lines[0])
    assert (
        "require eptp_switching: eptp_switching is not known: IA32_VMX_VMFUNC was not recorded on CPUs 0-111" in lines
    )
    assert 1 == sum("nested_exception is missing" in line for line in lines)


REFUSED: Final = "KVM refuses the CPU; before Linux 6.3 only when it loads"


@pytest.mark.parametrize(
    ("host", "code", "says"),
    [
        ("made-tie", 1, [f"consistent: CPUs 2-3 differ in IA32_VMX_PROCBASED_CTLS2 (tsc_scaling): {REFUSED}"]),
        ("made-disabled-one-cpu", 1, [f"consistent: CPU 5 differs in IA32_FEATURE_CONTROL (vmx_outside_smx): {REFUSED}",
                                      ("usable: firmware has locked VMX off on CPU 5 in IA32_FEATURE_CONTROL"
                                      " (hint: enable VT-x in the firmware setup, then power-cycle)")]),
        ("made-cpu-unreadable", 2, ["consistent: CPU 2 could not be read, or not wholly",
                                    "usable: whether VMX may be used on CPU 2 is not known"]),
        ("made-smx-only", 1, [("usable: firmware allows VMX inside SMX (Intel TXT) only"
                              " (hint: enable VMX outside SMX in the firmware setup, or boot with tboot)")]),
        ("made-isolated", 0, []),
    ],
)  # fmt: skip
def test_without_a_question(capfd: pytest.CaptureFixture[str], host: str, code: int, says: list[str]) -> None:
    """Asked nothing in particular, vmxd asks whether CPUs are consistent and VMX usable on every one of them."""
    found, lines = check(capfd, host)

    assert (code, says) == (found, lines[1:])
    assert "2 checks" in lines[0]


def test_the_nested_view(capfd: pytest.CaptureFixture[str]) -> None:
    """What KVM does not offer to guests is said with the parameter that leaves it off, or what the hardware has."""
    code, lines = check(capfd, "made-nested", "--view", "nested", "--cpu-model", "Skylake-Server", "--require", "ept")

    assert (1, "FAILED: 2 checks, 1 failed") == (code, lines[0])
    assert (
        "cpu-model Skylake-Server-v1: vid is not offered to guests: IA32_VMX_PROCBASED_CTLS2[41] is 0 (vmx-apicv-vid); "
        "left off by KVM (enable_apicv)"
    ) in lines
    assert any(line.endswith("(vmx-pml); the hardware lacks it too") for line in lines)


def test_the_nested_view_of_a_host_that_was_not_asked(capfd: pytest.CaptureFixture[str]) -> None:
    """A recording without kvm.txt cannot tell what guests get."""
    says = "profile nested: what KVM offers to guests is not known: KVM was not asked"

    assert (2, ["UNKNOWN: 1 check, 1 not known", says]) == check(
        capfd, "lunarlake-hybrid", "--view=nested", "--profile=nested"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--kernel=6.12",), 1, [
            "guests: expected for Linux 6.12",
            ("cpu-model SapphireRapids-v8: ept_mode_based_exec is not given to guests: KVM offers it since 7.2, "
            "this is 6.12"),
            ("cpu-model SapphireRapids-v8: exit_load_cet, entry_load_cet are not given to guests: KVM offers it since "
            "6.18, this is 6.12"),
        ]),
        (("--kernel=7.3", "--kvm-parameter=eptad=N"), 1, [
            "guests: expected for Linux 7.3 with eptad=N",
            "cpu-model SapphireRapids-v8: pml, ept_ad are not given to guests: eptad=N",
        ]),
        (("--kernel=7.3.4",), 0, ["guests: expected for Linux 7.3"]),
        ((), 2, [
            "guests: expected for Linux 5.10 to 7.3, as the kernel is not known",
            ("cpu-model SapphireRapids-v8: ept_mode_based_exec is not known for guests: KVM offers it since 7.2; the "
            "kernel is not known"),
            ("cpu-model SapphireRapids-v8: exit_load_cet, entry_load_cet are not known for guests: KVM offers it since "
            "6.18; the kernel is not known"),
        ]),
    ],
)  # fmt: skip
def test_a_cpu_model_is_a_question_about_guests(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, says: list[str]
) -> None:
    """Whether a VM can be of a CPU model is answered by what KVM gives it, with the reason and how it is known."""
    found, lines = check(capfd, "sapphirerapids", "--cpu-model", "SapphireRapids-v8", *arguments)

    assert (code, says) == (found, lines[1:])


def test_a_guest_has_what_the_hardware_lacks(capfd: pytest.CaptureFixture[str]) -> None:
    """KVM emulates PML, which a Haswell lacks: a VM can be of a CPU model that wants it, the hardware cannot."""
    asked = ("haswell-ep-2s", "--require", "pml")

    assert 1 == check(capfd, *asked)[0]
    assert 0 == check(capfd, *asked, "--view", "guest")[0]


def test_the_profile_of_loading_is_kvms_verdict(capfd: pytest.CaptureFixture[str]) -> None:
    """The profile kvm-load says no for what is no feature: VMCS addresses of 32 bits, VMX that firmware has off."""
    yonah = check(capfd, "yonah-t2600", "--profile", "kvm-load")[1]
    disabled = check(capfd, "made-disabled", "--profile", "kvm-load")[1]

    assert "profile kvm-load: kvm_intel does not load: VMCS addresses have 32 bits" in yonah
    assert ["profile kvm-load: kvm_intel does not load: IA32_FEATURE_CONTROL forbids VMX"] == disabled[1:]


def test_profiles_of_a_directory(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A profile of one's own is asked for by its name, and listed with the others."""
    (tmp_path / "pool.toml").write_text('[pool]\ndescription = "pool 7"\nrequires = ["pml"]\n')

    assert 1 == check(capfd, "denverton", "--profile-dir", str(tmp_path), "--profile", "pool")[0]
    code, lines = check(capfd, "denverton", "--profile-dir", str(tmp_path), "--list-profiles")
    assert (0, "pool         1 features; pool 7") == (code, lines[-1])


def test_cpu_models_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    """Every model has a line with its versions, other names and how many features it wants."""
    code, lines = check(capfd, "denverton", "--list-cpu-models")

    assert (0, 25) == (code, len(lines))
    assert "Icelake-Server      -v1 to -v9, 72 to 78 features, -v2 also Icelake-Server-noTSX" in lines


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--require", "etp"), "no feature is called 'etp'"),
        (("--require", "ept,,vpid"), "--require names nothing between two commas"),
        (("--profile", "kvm-fats"), "no profile is called 'kvm-fats'"),
        (("--cpu-model", "SapphireRapid"), "'SapphireRapid'\nhint: close is: SapphireRapids"),
        (("--cpu-model", "SapphireRapids-v99"), "the last that QEMU 11.1.3 has is SapphireRapids-v8"),
        (("--view", "guests"), "--view takes hardware, guest or nested, not 'guests'"),
        (("--kernel", "newest"), "'newest' is no release of Linux"),
        (("--kvm-parameter", "eptda=N"), "kvm_intel has no parameter 'eptda'; close are: eptad"),
        (("--kvm-parameter", "ept=maybe"), "ept is Y or N, not 'maybe'"),
        (("--view=hardware", "--kernel=6.12"), "--kernel and --kvm-parameter are about guests"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked(capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str) -> None:
    """A wrong name is one sentence and a hint, exit code 2, and no answer."""
    assert 2 == main(["check", "--root", str(HOSTS / "denverton"), *arguments])
    captured = capfd.readouterr()

    assert ("", 2) == (captured.out, len(captured.err.splitlines()))
    assert says in captured.err


@pytest.mark.parametrize("name", TYPICAL_HOSTS)
def test_json_obeys_its_schema(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever the answers, the JSON is that of the schema, and says the same as the text and the exit code."""
    asked = ("--profile=kvm-fast", "--cpu-model=SapphireRapids-v5", "--require=apicv", "--usable", "--consistent")
    code, (status, *lines) = check(capfd, name, *asked)
    assert code == check_json(capfd, name, *asked)[0]
    document = check_json(capfd, name, *asked)[1]

    assert [] == complaints("check", document)
    assert {0: ("yes", "OK"), 1: ("no", "FAILED"), 2: ("unknown", "UNKNOWN")}[code] == (
        document["answer"],
        status.partition(":")[0],
    )
    assert [line for line in lines if not line.startswith("guests: ")] == [
        f"{each['check']} {each['name'] or ''}".rstrip() + f": {reason['reason']}"
        for each in document["checks"]
        for reason in (*each["against"], *each["unknown"])
    ]


def check_json(capfd: pytest.CaptureFixture[str], host: str, *arguments: str) -> tuple[int, Json]:
    """Return the exit code and the document of ``vmxd check --json``."""
    code = main(["check", "--root", str(HOSTS / host), "--json", *arguments])
    document: Json = json.loads(capfd.readouterr().out)
    return code, document


@given(hosts())
def test_any_host_is_answered(host: Host) -> None:
    """On any host every question has an answer that agrees with its reasons, and the metric with the answer."""
    inventory = take_inventory(host, builtin_profiles())
    found = [answers.consistent(inventory), answers.usable(inventory)]
    for each in inventory.profiles:
        answer = answers.has_features(inventory, View.HARDWARE, "profile", each.profile)
        lacking = {name for reason in answer.against for name in reason.features}
        unknown = {name for reason in answer.unknown for name in reason.features}
        if each.profile.name == "kvm-load":  # KVM's verdict: it asks for more than these features, never for less
            assert not (answer.holds and each.fits is False)
        else:
            assert (each.fits, set(each.lacking), set(each.unknown)) == (answer.holds, lacking, unknown)
        found += [answer, answers.has_features(inventory, View.NESTED, "profile", each.profile)]

    assert [] == complaints("check", answers_document(inventory, found))
    assert len(check_lines(found)) == 1 + sum(len(answer.reasons) for answer in found)


def test_a_recording_with_a_damaged_file_ends_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What cannot be read at all is no answer: exit code 2."""
    shutil.copytree(HOSTS / "denverton", tmp_path / "root")
    (tmp_path / "root/msr.txt").write_text("48b\n")

    assert (2, []) == check(capfd, tmp_path / "root", "--usable")
