"""What ``vmxd show`` prints: to the letter, of hosts that bring out each kind of line; at any width; on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.strategies import VMX_CPU, host_of, hosts
from tests.helpers.support import HOSTS, LAKEFIELD, TYPICAL_HOSTS, vmxd
from vmxd.host.recording_text import MSR_FILE
from vmxd.host.scan import scan
from vmxd.model.facts import Host
from vmxd.model.inventory import take_inventory
from vmxd.model.offer import offer
from vmxd.tables import FEATURES, find_features
from vmxd.tables.find import GROUPS, find_rows
from vmxd.tables.msrs import MSR_BY_INDEX, MSRS
from vmxd.tables.purpose import PURPOSE
from vmxd.tables.rows import Flag
from vmxd.views.lines import lines_text
from vmxd.views.overview import overview_lines
from vmxd.views.show import choose, show_lines
from vmxd.views.words import describe_cpus, feature_details


def shown(root: Path) -> list[str]:
    """Return the lines that ``vmxd show`` prints of a root."""
    return lines_text(show_lines(scan(str(root)).inventory)).splitlines()


def summary(lines: list[str]) -> list[str]:
    """Return the lines up to the first empty one."""
    return lines[: lines.index("")]


def section(lines: list[str], heading: str) -> list[str]:
    """Return the lines of one MSR, its heading first."""
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{heading} "))
    return [*lines[start:], ""][: [*lines[start:], ""].index("")]


def changed(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """Return a copy of Lakefield's recording with some text of msr.txt replaced."""
    root = shutil.copytree(LAKEFIELD, tmp_path / "root")
    text = (root / MSR_FILE).read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (root / MSR_FILE).write_text(text)
    return root


def test_the_summary_of_an_inconsistent_host() -> None:
    """Lakefield's summary says what it is, why its status is not known, and that CPU 4 differs, in what."""
    depends = "KVM may refuse the CPU"
    expected = f"""\
host        recording {LAKEFIELD}
cpu         Intel(R) Core(TM) i5-L16G7 CPU @ 1.40GHz, GenuineIntel
            signature 06-8a-01, microcode not recorded, kernel not recorded
status      unknown: whether VMX may be used is not known: IA32_FEATURE_CONTROL was not recorded
cpus        5 online (0-4), 5 scanned (0-4)
consistent  no: CPU 4 differs in IA32_VMX_PROCBASED_CTLS2 (bus_lock_detection): {depends}
guests      82 of {len(FEATURES)} features, 4 not known, expected for Linux 5.10 to 7.3
features    100 of {len(FEATURES)} on every CPU, 1 not known
missing     {len(FEATURES) - 102} of unknown cause
fingerprint fa1b6ded4f7d
"""

    assert expected.splitlines() == summary(shown(LAKEFIELD))


def test_an_inconsistent_msr_and_feature_name_their_cpus() -> None:
    """Where CPUs disagree, each value and each state stands with the CPUs that have it."""
    lines = section(shown(LAKEFIELD), "IA32_VMX_PROCBASED_CTLS2")

    assert [
        "IA32_VMX_PROCBASED_CTLS2      0x48b   differs",
        "  0x035d6fff00000000  CPUs 0-3",
        "  0x435d6fff00000000  CPU 4",
    ] == lines[:3]
    assert "  bus_lock_detection                  differs  CPUs 0-3 off; CPU 4 on" in lines
    assert "  ept                                 on" in lines


def test_a_true_msr_stands_behind_its_legacy_msr() -> None:
    """The values of a TRUE MSR follow those of the MSR that it refines, and its bits are not listed twice."""
    lines = section(shown(LAKEFIELD), "IA32_VMX_PROCBASED_CTLS")

    assert [
        "IA32_VMX_PROCBASED_CTLS       0x482   0xfff9fffe0401e172",
        "IA32_VMX_TRUE_PROCBASED_CTLS  0x48e   0xfff9fffe04006172",
    ] == lines[:2]
    assert "  cr3_load_exiting                    default1-clearable" in lines
    assert "  tertiary_controls                   off" in lines


def test_numbers_stand_without_a_state() -> None:
    """A field is its number; what is no control is on or off."""
    expected = """\
IA32_VMX_BASIC                0x480   0x00da050000000013
  vmcs_revision_id                    19
  vmcs_region_size                    1280
  vmcs_memory_type                    6
  vmcs_32bit_addresses                off
  dual_monitor                        on       not offered to guests
  ins_outs                            on
  true_ctls                           on
  any_errcode                         off
  nested_exception                    off
  seamret_keeps_vmcs                  off
"""

    assert expected.splitlines() == section(shown(LAKEFIELD), "IA32_VMX_BASIC")


def test_a_number_of_64_bits_is_its_msr() -> None:
    """An MSR that is one number as a whole has nothing below its heading."""
    assert ["IA32_VMX_CR4_FIXED1           0x489   0x0000000000352fff"] == section(
        shown(LAKEFIELD), "IA32_VMX_CR4_FIXED1"
    )


def test_an_absent_msr_takes_its_features_with_it() -> None:
    """An MSR that the CPU enumerates as absent says so, and its features are "no" for that reason."""
    rows = [row for row in MSR_BY_INDEX[0x493].rows if isinstance(row, Flag)]
    width = max(len(row.name) for row in rows)
    expected = ["IA32_VMX_EXIT_CTLS2           0x493   absent"]
    expected += [f"  {row.name:{width}}  off      MSR absent" for row in rows]

    assert len(expected) > 4
    assert expected == section(shown(LAKEFIELD), "IA32_VMX_EXIT_CTLS2")


def test_an_msr_that_was_not_recorded_is_a_question() -> None:
    """An MSR that should exist but was not recorded leaves its features unknown, not absent."""
    expected = [
        "IA32_VMX_VMFUNC               0x491   not recorded",
        "  eptp_switching                      unknown  not recorded; offered to guests",
    ]

    assert expected == section(shown(LAKEFIELD), "IA32_VMX_VMFUNC")


def test_an_msr_that_failed_everywhere_is_a_question(tmp_path: Path) -> None:
    """An MSR that could not be read on any CPU keeps its errno, and its features are failed, not absent."""
    root = changed(tmp_path, ("48c: 0-4=0x00000f0106714141", "48c: 0-4=EIO"))
    lines = shown(root)

    assert [
        "IA32_VMX_EPT_VPID_CAP         0x48c   failed (EIO)",
        "  ept_x_only                          unknown  failed (EIO)",
    ] == section(lines, "IA32_VMX_EPT_VPID_CAP")[:2]
    assert "cpus        5 online (0-4), 5 failed (0-4)" in summary(lines)
    assert "broken      CPUs 0-4 break msr_missing: an MSR that the CPU enumerates as present does not fault" in lines


def test_an_msr_that_failed_on_one_cpu_names_it(tmp_path: Path) -> None:
    """Where an MSR failed on one CPU, the value of the others counts, and the CPU is named."""
    root = changed(tmp_path, ("48c: 0-4=0x00000f0106714141", "48c: 0-2,4=0x00000f0106714141 3=EACCES"))
    lines = shown(root)

    assert [
        "IA32_VMX_EPT_VPID_CAP         0x48c   0x00000f0106714141",
        "  failed (EACCES)     CPU 3",
        "  hlat_max_prefix_size                0",
        "  ept_x_only                          on       CPU 3 unknown: failed (EACCES)",
    ] == section(lines, "IA32_VMX_EPT_VPID_CAP")[:4]
    assert "cpus        5 online (0-4), 4 scanned (0-2,4), 1 failed (3)" in summary(lines)
    assert (
        "failed      1 MSR could not be read on CPU 3: /dev/cpu/*/msr may not be opened by this user (EACCES)"
        in summary(lines)
    )


def test_feature_control_is_shown_bit_by_bit(tmp_path: Path) -> None:
    """The bits of IA32_FEATURE_CONTROL, which are no features, are listed with the CPUs that disagree."""
    root = changed(tmp_path, ("480: ", "03a: 0-3=0x0000000000000005 4=0x0000000000000001\n480: "))
    lines = shown(root)
    expected = """\
IA32_FEATURE_CONTROL           0x3a   differs
  0x0000000000000005  CPUs 0-3
  0x0000000000000001  CPU 4
  senter_local_functions              0
  locked                              on
  vmx_inside_smx                      off
  vmx_outside_smx                     differs  CPUs 0-3 on; CPU 4 off
  senter_enable                       off
  sgx_launch_control                  off
  sgx                                 off
  lmce                                off
"""

    assert expected.splitlines() == section(lines, "IA32_FEATURE_CONTROL")
    assert [
        "status      disabled_by_firmware: firmware has locked VMX off on CPU 4 in IA32_FEATURE_CONTROL",
        "            enable VT-x in the firmware setup, then power-cycle",
    ] == summary(lines)[3:5]
    differing = "IA32_FEATURE_CONTROL, IA32_VMX_PROCBASED_CTLS2 (bus_lock_detection, vmx_outside_smx)"
    assert any(line.startswith(f"consistent  no: CPU 4 differs in {differing}") for line in summary(lines))


def test_an_msr_without_a_value_is_shown() -> None:
    """An MSR that is asked for stands there with why it has no value, though there are no bits to list."""
    for name, state in [("made-no-msr-module", "failed (ENOENT)"), ("conroe", "not recorded")]:
        done = vmxd("show", "--root", HOSTS / name, "feature_control")

        assert f"IA32_FEATURE_CONTROL           0x3a   {state}" == done.stdout.splitlines()[-1]


def test_bits_that_nothing_explains_are_listed(tmp_path: Path) -> None:
    """Set bits that no row explains are named by MSR and position; those that other CPUs set are undocumented."""
    root = changed(tmp_path, ("480: 0-4=0x00da050000000013", "480: 0-4=0x82da050000000013"))

    assert "unknown     IA32_VMX_BASIC[63] set, and no source names it" in summary(shown(root))
    assert any(line.startswith("unnamed     IA32_VMX_BASIC[57] set: undocumented; ") for line in summary(shown(root)))


def test_broken_rules_say_what_should_hold(tmp_path: Path) -> None:
    """A rule that values break stands with its CPUs and what it says."""
    root = changed(tmp_path, ("480: 0-4=0x00da050000000013", "480: 0-4=0x00c2050000000013"))

    assert "broken      CPUs 0-4 break vmcs_memory_type: VMCS memory is write-back (6)" in summary(shown(root))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("skylake-sp-8160-2s", "consistent  yes"),
        ("conroe", "consistent  only one CPU is known"),
        ("made-all-unreadable", "consistent  not known: CPUs 0-3 could not be read, or not wholly"),
        ("made-eio-one-cpu", "consistent  not known: CPU 1 could not be read, or not wholly; the others agree"),
        ("made-all-unreadable", "fingerprint none: reads failed on every CPU"),
        ("made-eio", "fingerprint none: reads failed on every CPU"),
        ("made-amd", "fingerprint none: no capability MSR has a value"),
        ("made-cpu-offline", "cpus        3 online (0-1,3), 3 scanned (0-1,3), 1 offline (2)"),
        ("made-isolated", "cpus        4 online (0-3), 2 scanned (0-1), 2 excluded (2-3)"),
        ("made-amd", f"features    0 of {len(FEATURES)} on every CPU"),
        (
            "kvm-guest",
            "            signature 00-00-00, microcode not recorded, kernel not recorded, under a hypervisor",
        ),
    ],
)
def test_lines_of_other_hosts(name: str, line: str) -> None:
    """Hosts that lack what Lakefield has, or have what it lacks, say so in the summary."""
    assert line in summary(shown(HOSTS / name))


@pytest.mark.parametrize("name", TYPICAL_HOSTS)
def test_every_host_shows_everything_once(name: str) -> None:
    """Each feature and each MSR but the TRUE ones is listed once, in order, on any host; no line ends in spaces."""
    lines = shown(HOSTS / name)
    headings = [line.split()[0] for line in lines if line.startswith("IA32_") and "_TRUE_" not in line]

    assert list(FEATURES) == feature_rows(lines)
    assert [msr.name for msr in MSRS if msr.twin_of is None] == headings
    assert [] == [line for line in lines if line != line.rstrip()]


def feature_rows(lines: list[str]) -> list[str]:
    """Return the names of the features that have a row, in order."""
    rows = [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")]
    return [name for name in rows if name in FEATURES]


# Packages and kinds of core ---------------------------------------------------------------------------------------


def test_kinds_of_core_are_named(tmp_path: Path) -> None:
    """CPUs that disagree are named with their kind of core, where the kernel tells and all of them are of one."""
    root = changed(tmp_path)
    for kind, cpus in (("core", "4"), ("atom", "0-3")):
        (root / f"sys/devices/cpu_{kind}").mkdir()
        (root / f"sys/devices/cpu_{kind}/cpus").write_text(f"{cpus}\n")
    lines = shown(root)

    assert "  bus_lock_detection                  differs  CPUs 0-3 (cpu_atom) off; CPU 4 (cpu_core) on" in lines
    assert "  0x435d6fff00000000  CPU 4 (cpu_core)" in lines
    differs = "consistent  no: CPU 4 (cpu_core) differs in IA32_VMX_PROCBASED_CTLS2 (bus_lock_detection): KVM may"
    assert any(line.startswith(differs) for line in summary(lines))


def test_packages_are_named() -> None:
    """CPUs that disagree are named with their package, where there are several and all of them are of one."""
    basic = {0: 1 << 54, 1: 1 << 54, 2: 3 << 54, 3: 3 << 54}
    cpus = {cpu: replace(VMX_CPU, package=cpu // 2) for cpu in basic}
    inventory = take_inventory(host_of({cpu: {0x480: value} for cpu, value in basic.items()}, cpus))

    assert "CPUs 2-3 of package 1" == describe_cpus(inventory.host, (2, 3))
    assert "CPUs 1-2" == describe_cpus(inventory.host, (1, 2))
    assert ["CPUs 0-1 of package 0 off", "CPUs 2-3 of package 1 on"] == feature_details(
        inventory, "true_ctls", offer(inventory)
    )


# A choice of features ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["vmx-pml", "0x48b[33]"], ["ept", "pml"]),
        (["0x491"], ["eptp_switching"]),
        (["tertiary"], [name for name, each in FEATURES.items() if each.msr and each.msr.index == 0x492]),
        (["IA32_VMX_TRUE_PINBASED_CTLS"], ["intr_exiting", "nmi_exiting", "vnmi", "preemption_timer", "posted_intr"]),
        (["ept-vpid-cap", "derived"], [n for n, f in FEATURES.items() if not f.msr or f.msr.index == 0x48C]),
        (["vmcs_region_size"], []),
    ],
)
def test_a_choice_by_name(names: list[str], expected: list[str]) -> None:
    """Features, MSRs and groups are chosen by any of their names; they come in the order of the SDM."""
    done = vmxd("show", "--root", LAKEFIELD, *names)

    assert (0, "") == (done.returncode, done.stderr)
    assert expected == feature_rows(done.stdout.splitlines())
    assert "fingerprint" not in done.stdout


def test_a_number_is_chosen_by_name() -> None:
    """A number is chosen by its name; one that is a whole MSR shows that MSR."""
    lines = vmxd("show", "--root", LAKEFIELD, "vmcs_region_size", "cr4_fixed1").stdout.splitlines()

    assert "  vmcs_region_size                    1280" in lines
    assert lines[-1].split() == ["IA32_VMX_CR4_FIXED1", "0x489", "0x0000000000352fff"]


def test_groups_hide_no_feature() -> None:
    """No group or MSR has a name that means a feature, but for vmfunc, which is the control; each name is of one."""
    assert [] == [name for name in GROUPS if find_features(name)]
    assert {"vmfunc"} == {
        msr.name.partition("_VMX_")[2].casefold() for msr in MSRS if find_features(msr.name.partition("_VMX_")[2])
    }
    assert {name for name in FEATURES if FEATURES[name].msr is None} == find_rows("derived")


@given(hosts())
def test_each_feature_is_missing_present_or_unknown(host: Host) -> None:
    """Every feature is of one state that --only takes, and what is inconsistent is of one of these too."""
    inventory = take_inventory(host)
    states = [choose(inventory, [only]) for only in ("missing", "present", "unknown")]

    assert sorted(FEATURES) == sorted(name for names in states for name in names)
    assert {each.name for each in inventory.differing} <= choose(inventory, ["inconsistent"])


def test_only_what_is_inconsistent() -> None:
    """--only narrows what was chosen; where nothing is left, that is said."""
    found = vmxd("show", "--root", LAKEFIELD, "--only", "inconsistent", "--only", "unknown")
    nothing = vmxd("show", "--root", LAKEFIELD, "--only", "inconsistent", "misc")

    assert ["bus_lock_detection", "eptp_switching"] == feature_rows(found.stdout.splitlines())
    assert (0, "none of the features is so") == (nothing.returncode, nothing.stdout.splitlines()[-1])


def test_json_of_a_choice() -> None:
    """--json has the chosen features and numbers; the host is whole."""
    document = json.loads(vmxd("show", "--json", "--root", LAKEFIELD, "pml", "vmcs_region_size").stdout)

    assert (["pml"], {"vmcs_region_size": 1280}) == (list(document["features"]), document["fields"])
    assert "0-4" == document["cpus"]["online"]


def test_long_has_all_names() -> None:
    """--long says what a feature is to the SDM, its bits, and what others call it."""
    expected = [
        "  pml                                 off      offered to guests: emulated by KVM",
        "      Enable PML: bits 49 (may be 1) and 17 (must be 1)",
        "      pml (cpuinfo), VMX_FEATURE_PAGE_MOD_LOGGING, SECONDARY_EXEC_ENABLE_PML, vmx-pml",
    ]

    assert expected == vmxd("show", "--long", "--root", LAKEFIELD, "pml").stdout.splitlines()[-3:]


def test_profiles_are_of_the_summary() -> None:
    """A profile that was asked for is in the summary and in the JSON, with what the CPUs lack."""
    arguments = ("--root", HOSTS / "made-nested", "--profile", "qemu-Broadwell", "pml")
    document = json.loads(vmxd("show", "--json", *arguments).stdout)

    expected = {"fits": False, "lacking": ["rdseed_exiting", "pml"], "unknown": ["eptp_switching"]}

    assert {"qemu-Broadwell-v1": expected} == document["profiles"]
    assert (
        "profile     qemu-Broadwell-v1: lacks 2 of 75: rdseed_exiting, pml; not known: eptp_switching\n"
        in vmxd("show", *arguments).stdout
    )


# On a terminal ----------------------------------------------------------------------------------------------------


@given(hosts(), st.integers(46, 130), st.booleans())
def test_any_host_fits_any_terminal(host: Host, width: int, long: bool) -> None:
    """No line is wider than the terminal, and every feature is there once, however narrow it is."""
    lines = lines_text(show_lines(take_inventory(host), long=long, width=width)).splitlines()

    assert [] == [line for line in lines if len(line) > width]
    assert list(FEATURES) == feature_rows(lines)


def test_many_cpus_fit() -> None:
    """Of hundreds of CPUs that disagree one by one, the count and the beginning are shown, in the columns there are."""
    host = host_of({cpu: {0x480: (1 + cpu % 2) << 54} for cpu in range(448)})
    lines = lines_text(show_lines(take_inventory(host), width=80)).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  ins_outs "))

    assert [
        "  ins_outs                            differs  224 CPUs (0,2,4,6,8,10,12,14,16,",
        "                                               18,20,22,24,26,28,30,32,34,36,38,",
        "                                               40,…) on",
    ] == lines[start : start + 3]


def on_terminal(*arguments: str, columns: int = 80, code: str = "", environment: Mapping[str, str] = {}) -> str:
    """Return what ``vmxd show`` prints on a terminal of its own; code runs in its interpreter before it."""
    leader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {key: os.environ[key] for key in os.environ.keys() - {"COLUMNS", "NO_COLOR", "FORCE_COLOR"}}
    program = f"import sys; {code or 'pass'}; from vmxd.cli import main; sys.exit(main({['show', *arguments]!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=terminal,
        stdin=terminal,
        env={**inherited, "TERM": "xterm-256color", **environment},
    ) as process:
        os.close(terminal)
        data = b""
        with contextlib.suppress(OSError):  # EIO: the terminal's other end is closed
            while more := os.read(leader, 1 << 16):
                data += more
    os.close(leader)
    assert 0 == process.returncode
    return data.decode().replace("\r\n", "\n")


SEQUENCE = re.compile(r"\x1b\[([0-9;]*)m")


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_colour_only_repeats_the_words(columns: int) -> None:
    """On a terminal the text is in colour, in its columns, and without the colour what a narrow pipe would get."""
    text = on_terminal("--root", str(LAKEFIELD), "--all", columns=columns)
    plain = lines_text(show_lines(scan(str(LAKEFIELD)).inventory, width=columns))

    assert {"1", "2", "33", "1;31"} <= set(SEQUENCE.findall(text))
    assert plain == SEQUENCE.sub("", text)


def test_the_first_screen_is_the_answer() -> None:
    """A terminal shows the host, profiles and what it lacks of what matters, in 24 lines."""
    text = on_terminal("--root", str(LAKEFIELD), environment={"NO_COLOR": "1"})

    assert len(text.splitlines()) <= 24
    assert "CPU 4 differs in IA32_VMX_PROCBASED_CTLS2 (bus_lock_detection)" in text
    assert "profile     kvm-fast: lacks 2 of 24: pml, ept_1gb\n" in text
    assert "lacks, of the 40 features that matter most\n  tertiary_controls, invpcid, encls_exiting, pml," in text
    assert "eptp_switching" not in text


@given(hosts(), st.integers(46, 150))
def test_any_overview_fits(host: Host, width: int) -> None:
    """Each feature that matters is named if it is off, and the lines fit; a host without VMX is five lines."""
    inventory = take_inventory(host)
    lines = lines_text(overview_lines(inventory, width)).splitlines()
    words = re.findall(r"\w+", " ".join(lines[lines.index("") if "" in lines else 0 :]))

    assert [] == [line for line in lines if len(line) > width]
    if "no_vmx" in inventory.verdict.status.value and inventory.verdict.everywhere:
        assert not {"lacks", "profile"} & {line.split(" ")[0] for line in lines}
    else:
        assert {name for name in PURPOSE if inventory.features[name].everywhere is False} <= set(words)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_not_wanted(environment: dict[str, str]) -> None:
    """With NO_COLOR, or on a terminal that has none, there is no escape sequence."""
    text = on_terminal("--root", str(LAKEFIELD), "--all", environment=environment)

    assert lines_text(show_lines(scan(str(LAKEFIELD)).inventory, width=80)) == text
