"""``vmxd diff``: two mappings, two hosts, two CPUs of one; what differs, what cannot be told, and the exit code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.helpers.strategies import any_readings, host_of, hosts, plausible_readings
from tests.helpers.support import HOSTS, LAKEFIELD, REPOSITORY, TYPICAL_HOSTS, vmxd
from vmxd.host.recording_text import MSR_FILE
from vmxd.host.scan import scan
from vmxd.model.difference import Values, difference, host_difference, values_differ
from vmxd.model.facts import Host, Missing, Reading
from vmxd.model.inventory import take_inventory
from vmxd.tables import FEATURES
from vmxd.views.diff import Side, diff_document, diff_lines
from vmxd.views.json import to_json
from vmxd.views.lines import lines_text

SCHEMA = Draft202012Validator(json.loads((REPOSITORY / "docs/schema/diff-1.json").read_text()))

answers = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from((True, False, None)))


def diff(one: str | Path, other: str | Path) -> tuple[int, list[str]]:
    """Return the exit code and the lines of the command, which must say nothing else."""
    done = vmxd("diff", HOSTS / one, HOSTS / other)
    assert "" == done.stderr
    return done.returncode, done.stdout.splitlines()


def rows(lines: list[str]) -> list[list[str]]:
    """Return the words of each line."""
    return [line.split() for line in lines]


def copy(tmp_path: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Return a copy of a recording with some text of msr.txt replaced."""
    root = shutil.copytree(HOSTS / name, tmp_path / "copy")
    text = (root / MSR_FILE).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (root / MSR_FILE).write_text(text)
    return root


# Two mappings -----------------------------------------------------------------------------------------------------


@given(answers, answers)
def test_a_difference_is_symmetric(one: dict[str, bool | None], other: dict[str, bool | None]) -> None:
    """Every key differs, is not known or is the same; the other way round only the pairs are."""
    there, back = difference(one, other), difference(other, one)
    same = {key for key in one if one[key] is not None and one[key] == other.get(key)}

    assert {key: (b, a) for key, (a, b) in there.differing.items()} == back.differing
    assert {key: (b, a) for key, (a, b) in there.unknown.items()} == back.unknown
    assert (one.keys() | other.keys()) - same == there.differing.keys() ^ there.unknown.keys()
    assert there.differs is back.differs


@given(answers)
def test_what_is_not_known_never_differs(one: dict[str, bool | None]) -> None:
    """Beside nothing, nothing differs and every key is unknown; what is known of a mapping equals itself."""
    known = {key: value for key, value in one.items() if value is not None}

    assert ({}, one.keys()) == (difference(one, {}).differing, difference(one, {}).unknown.keys())
    assert False is difference(known, known).differs


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (((1,), True), ((1,), True), False),
        (((1, 2), True), ((2, 1), True), False),
        (((1, 2), True), ((1,), True), True),
        (((1,), True), ((2,), False), True),
        (((1,), True), ((1,), False), None),
        (((1, 2), True), ((1,), False), None),
        (((), False), ((1,), True), None),
        (((1,), False), ((1,), False), None),
    ],
)
def test_values_of_many_cpus(
    one: tuple[tuple[int, ...], bool], other: tuple[tuple[int, ...], bool], expected: bool | None
) -> None:
    """Sets of values differ where one has what the other, known whole, has not; of gaps nothing is concluded."""
    assert expected is values_differ(Values(*one), Values(*other))
    assert expected is values_differ(Values(*other), Values(*one))


# Two hosts --------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(hosts(), hosts())
def test_hosts_differ_both_ways(one: Host, other: Host) -> None:
    """A host differs from another in what the other differs from it, and never from itself."""
    a, b = take_inventory(one), take_inventory(other)

    assert host_difference(a, b).features.differing.keys() == host_difference(b, a).features.differing.keys()
    assert host_difference(a, b).msrs.differing.keys() == host_difference(b, a).msrs.differing.keys()
    assert host_difference(a, b).differs is host_difference(b, a).differs
    assert host_difference(a, a).differs is not True


@given(plausible_readings(), any_readings)
def test_a_feature_differs_with_its_msrs(one: dict[int, Reading], other: dict[int, Reading]) -> None:
    """Where no MSR differs, or is in doubt, no feature does or is; a plausible CPU is known whole but for 0x3a."""
    a, b = (take_inventory(host_of({0: readings})) for readings in (one, other))
    found = host_difference(a, b)

    assert found.msrs.differing or found.msrs.unknown or not found.features.differing
    assert {} == host_difference(a, a).features.unknown


@pytest.mark.parametrize("name", TYPICAL_HOSTS)
def test_a_host_is_like_itself(name: str) -> None:
    """A host does not differ from itself: exit code 0 where all of it is known, else 2."""
    code, lines = diff(name, name)
    found = host_difference(*(scan(str(HOSTS / name)).inventory for _ in range(2)))
    whole = not found.msrs.unknown and not found.features.unknown

    assert (0 if whole else 2) == code
    assert [] == [line for line in lines if line.startswith(("IA32_", "host", "kvm_intel", "derived"))]


def test_two_kinds_of_host() -> None:
    """MSRs, features and numbers that differ stand side by side, and what the hosts are."""
    code, lines = diff("skylake-6700k", "skylake-sp-8160-2s")
    found = rows(lines)

    assert 1 == code
    assert ["signature", "06-5e-03", "06-55-04"] in found
    assert ["IA32_VMX_PROCBASED_CTLS2", "0x48b", "0x001ffcff00000000", "0x025f7fff00000000"] in found
    assert ["vapic_reg", "off", "on"] in found
    assert [] == [row for row in found if row[:1] == ["ept"]]


def test_what_is_not_known_is_not_lacking() -> None:
    """A feature whose MSR failed on one host is unknown there, and counted apart from those that differ."""
    code, lines = diff("made-eio", "skylake-sp-8160-2s")

    assert 2 == code
    assert ["IA32_VMX_EPT_VPID_CAP", "0x48c", "failed", "(EIO)", "0x00000f0106734141"] in rows(lines)
    assert ["ept_ad", "unknown", "on"] in rows(lines)
    assert "differ      not in anything that is known of both" in lines


def test_one_cpu_of_many_that_lacks_a_feature(tmp_path: Path) -> None:
    """A host one of whose CPUs lacks a feature differs from one all of whose CPUs have it."""
    changed = copy(tmp_path, "made-disabled", ("48b: 0-3=0x025f7fff", "48b: 0-2=0x025f7fff00000000 3=0x005f7fff"))
    code, lines = diff("made-disabled", changed)

    assert 1 == code
    assert ["tsc_scaling", "on", "differs"] in rows(lines)


def test_two_cpus_of_one_host() -> None:
    """DIR#N is one CPU: Lakefield's differ in one feature, two of its small ones in nothing that is known."""
    code, lines = diff(f"{LAKEFIELD}#0", f"{LAKEFIELD}#4")

    assert 1 == code
    assert [f"A           recording {LAKEFIELD}, CPU 0", f"B           recording {LAKEFIELD}, CPU 4"] == lines[:3:2]
    assert ["bus_lock_detection", "off", "on"] in rows(lines)
    assert 2 == diff(f"{LAKEFIELD}#0", f"{LAKEFIELD}#1")[0]


def test_status_alone_is_a_value() -> None:
    """Where firmware has locked VMX off, no feature differs, but the MSR that says so does."""
    code, lines = diff("made-disabled", "made-smx-only")

    assert 1 == code
    assert "differ      1 MSR" in lines
    assert ["status", "disabled_by_firmware", "smx_only"] in rows(lines)


def test_what_kvm_makes_of_it() -> None:
    """Parameters of kvm_intel that differ are shown, and that guests get VMX on one host only is one line."""
    _, lines = diff("made-nested", "made-ept-off")

    assert ["ept", "Y", "N"] in rows(lines)
    assert ["VMX", "75", "features", "none"] in rows(lines)


def test_parameters_alone_are_no_difference(tmp_path: Path) -> None:
    """A parameter is shown, but no value of a CPU: the exit code is that of the values."""
    changed = copy(tmp_path, "made-nested")
    (changed / "sys/module/kvm_intel/parameters/ept").write_text("N\n")
    code, lines = diff("made-nested", changed)

    assert diff("made-nested", "made-nested")[0] == code
    assert ["ept", "Y", "N"] in rows(lines)


def test_the_xor_names_its_bits() -> None:
    """The xor of two values names each bit, by the kernel's macro if there is one; an unknown MSR is shown too."""
    code, lines = diff("made-tertiary", "made-future")

    assert 1 == code
    assert ["xor", "0x8800000000000000:", "63", "unknown,", "59", "unknown"] in rows(lines)
    assert ["unknown", "MSR", "0x494", "not", "recorded", "0x8000000000000001"] in rows(lines)
    xors = "\n".join(line for line in diff("haswell-ep-2s", "icelake-sp-2s")[1] if line.startswith("  xor"))
    assert "0x4bdf800000000000: 62 SECONDARY_EXEC_BUS_LOCK_DETECTION, 59 pconfig," in xors
    assert "0x0000010000000001: 44:32 vmcs_region_size, 30:0 vmcs_revision_id" in xors
    assert "0x0000000000601800: 22 CR4.PKE, 21 CR4.SMAP, 12 CR4.LA57, 11 CR4.UMIP" in xors


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (LAKEFIELD.name, LAKEFIELD.name, ["of either, or not on every CPU: eptp_switching, IA32_FEATURE_CONTROL"]),
        ("made-smx-only", "skylake-sp-8160-2s", ["of one of them: 1 feature, 2 MSRs"]),
        (
            "conroe",
            "made-no-msr-module",
            [
                f"of one of them: {len(FEATURES)} features, 20 MSRs",
                "of either, or not on every CPU: IA32_FEATURE_CONTROL",
            ],
        ),
        ("made-zeros", "made-zeros-vmx", []),
    ],
)
def test_what_is_not_known_is_said(one: str, other: str, expected: list[str]) -> None:
    """Features and MSRs of which it cannot be told are counted or named, and with nothing else the exit code is 2."""
    code, lines = diff(one, other)

    assert [f"not known   {text}" for text in expected] == [line for line in lines if line.startswith("not known")]
    assert (2 if expected else 0) == code


def test_a_name_with_a_number_sign(tmp_path: Path) -> None:
    """A directory whose own name ends in # and a number is that directory."""
    root = shutil.copytree(LAKEFIELD, tmp_path / "host#9")

    assert f"A           recording {root}" == diff(root, LAKEFIELD)[1][0]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("#9", f"CPU 9 of {str(LAKEFIELD)!r} is not online\nhint: online are 0-4\n"),
        ("/nothing", "is not a directory"),
        ("#x", "#x"),
    ],
)
def test_what_is_no_host(other: str, expected: str) -> None:
    """A CPU that is not online, or no host at all, is one sentence and one hint, and exit code 2."""
    done = vmxd("diff", LAKEFIELD, f"{LAKEFIELD}{other}")

    assert (2, "", 2) == (done.returncode, done.stdout, len(done.stderr.splitlines()))
    assert expected in done.stderr


# Views ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(hosts(), hosts(), st.integers(40, 130))
def test_any_two_hosts_fit_any_terminal(one: Host, other: Host, width: int) -> None:
    """No line is wider than the terminal, and each feature that differs has one row."""
    a, b = (Side(take_inventory(host), None) for host in (one, other))
    found = host_difference(a.inventory, b.inventory)
    lines = lines_text(diff_lines(a, b, found, width)).splitlines()

    assert [] == [line for line in lines if len(line) > width]
    assert sorted(found.features.differing) == sorted(
        name for line in lines for name in re.findall(r"^  (\w+)", line) if name in found.features.differing
    )


@settings(max_examples=40)
@given(hosts(), hosts())
def test_any_two_hosts_obey_the_schema(one: Host, other: Host) -> None:
    """``diff --json`` of any two hosts is what the schema says."""
    a, b = (Side(take_inventory(host), None) for host in (one, other))
    document: dict[str, Any] = json.loads(to_json(diff_document(a, b, host_difference(a.inventory, b.inventory))))

    assert [] == [error.message for error in SCHEMA.iter_errors(document)]


def test_as_json() -> None:
    """``diff --json`` has both sides, and both states of what differs."""
    done = vmxd("diff", "--json", f"{LAKEFIELD}#0", LAKEFIELD)
    document = json.loads(done.stdout)
    low, high = ({"state": "value", "value": f"0x{digits}5d6fff00000000"} for digits in ("03", "43"))

    assert (1, "differ") == (done.returncode, document["answer"])
    assert ("0", "0-4", str(LAKEFIELD)) == (document["a"]["cpus"], document["b"]["cpus"], document["b"]["root"])
    assert {"IA32_VMX_PROCBASED_CTLS2": {"a": [low], "b": [low, high]}} == document["msrs"]["differing"]
    assert {"eptp_switching"} == document["features"]["unknown"].keys()
    assert Missing.NOT_RECORDED.value == document["msrs"]["unknown"]["IA32_VMX_VMFUNC"]["a"][0]["state"]
