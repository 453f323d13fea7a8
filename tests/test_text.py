"""vmxd/export/text.py: what ``vmxd show`` prints, to the letter, of hosts that bring out each kind of line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import ALL_HOSTS, HOSTS, LAKEFIELD
from vmxd.export.text import to_text
from vmxd.host.witness import MSR_FILE
from vmxd.scan import scan
from vmxd.tables import FEATURES
from vmxd.tables.msrs import MSRS


def shown(root: Path) -> list[str]:
    """Return the lines that ``vmxd show`` prints of a root."""
    return to_text(scan(str(root)).inventory).splitlines()


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
    expected = f"""\
host        recording {LAKEFIELD}
cpu         Intel(R) Core(TM) i5-L16G7 CPU @ 1.40GHz, GenuineIntel
            signature 06-8a-01, microcode not recorded, kernel not recorded
status      unknown: whether VMX may be used is not known: IA32_FEATURE_CONTROL was not recorded
cpus        5 online (0-4), 5 scanned (0-4)
consistent  no: CPU 4 differs in IA32_VMX_PROCBASED_CTLS2 (bus_lock_detection)
features    100 of 149 on every CPU, 1 not known
fingerprint fa1b6ded4f7d
"""

    assert expected.splitlines() == summary(shown(LAKEFIELD))


def test_an_inconsistent_msr_and_feature_name_their_cpus() -> None:
    """Where CPUs disagree, each value and each state stands with the CPUs that have it."""
    lines = section(shown(LAKEFIELD), "IA32_VMX_PROCBASED_CTLS2")

    assert "IA32_VMX_PROCBASED_CTLS2 (0x48b)  0x035d6fff00000000 on CPUs 0-3; 0x435d6fff00000000 on CPU 4" == lines[0]
    assert "  bus_lock_detection                  no   unavailable on CPUs 0-3; optional on CPU 4" in lines
    assert "  ept                                 yes  optional" in lines


def test_a_true_msr_stands_behind_its_legacy_msr() -> None:
    """The values of a TRUE MSR follow those of the MSR that it refines, and its bits are not listed twice."""
    lines = section(shown(LAKEFIELD), "IA32_VMX_PROCBASED_CTLS")

    assert "IA32_VMX_PROCBASED_CTLS (0x482)  0xfff9fffe0401e172 / TRUE 0xfff9fffe04006172" == lines[0]
    assert "  cr3_load_exiting                    yes  default1-clearable" in lines
    assert "  tertiary_controls                   no   unavailable" in lines


def test_numbers_stand_without_a_state() -> None:
    """A field is its number; what is no control is yes or no."""
    expected = """\
IA32_VMX_BASIC (0x480)  0x00da050000000013
  vmcs_revision_id                    19
  vmcs_region_size                    1280
  vmcs_memory_type                    6
  vmcs_32bit_addresses                no
  dual_monitor                        yes
  ins_outs                            yes
  true_ctls                           yes
  any_errcode                         no
  nested_exception                    no
  seamret_keeps_vmcs                  no
"""

    assert expected.splitlines() == section(shown(LAKEFIELD), "IA32_VMX_BASIC")


def test_a_number_of_64_bits_is_its_msr() -> None:
    """An MSR that is one number as a whole has nothing below its heading."""
    assert ["IA32_VMX_CR4_FIXED1 (0x489)  0x0000000000352fff"] == section(shown(LAKEFIELD), "IA32_VMX_CR4_FIXED1")


def test_an_absent_msr_takes_its_features_with_it() -> None:
    """An MSR that the CPU enumerates as absent says so, and its features are "no" for that reason."""
    expected = """\
IA32_VMX_EXIT_CTLS2 (0x493)  absent
  exit_save_fred                      no   MSR absent
  exit_load_fred                      no   MSR absent
  exit_load_spec_ctrl                 no   MSR absent
  exit_prematurely_busy_shadow_stack  no   MSR absent
"""

    assert expected.splitlines() == section(shown(LAKEFIELD), "IA32_VMX_EXIT_CTLS2")


def test_an_msr_that_was_not_recorded_is_a_question() -> None:
    """An MSR that should exist but was not recorded leaves its features unknown, not absent."""
    expected = [
        "IA32_VMX_VMFUNC (0x491)  not recorded",
        "  eptp_switching                      ?    not recorded",
    ]

    assert expected == section(shown(LAKEFIELD), "IA32_VMX_VMFUNC")


def test_an_msr_that_failed_everywhere_is_a_question(tmp_path: Path) -> None:
    """An MSR that could not be read on any CPU keeps its errno, and its features are failed, not absent."""
    root = changed(tmp_path, ("48c: 0-4=0x00000f0106714141", "48c: 0-4=EIO"))
    lines = shown(root)

    assert [
        "IA32_VMX_EPT_VPID_CAP (0x48c)  failed (EIO)",
        "  ept_x_only                          ?    failed",
    ] == section(lines, "IA32_VMX_EPT_VPID_CAP")[:2]
    assert "cpus        5 online (0-4), 5 failed (0-4)" in summary(lines)
    assert "broken      msr_missing on CPUs 0-4: an MSR that the CPU enumerates as present does not fault" in lines


def test_an_msr_that_failed_on_one_cpu_names_it(tmp_path: Path) -> None:
    """Where an MSR failed on one CPU, the value of the others counts, and the CPU is named."""
    root = changed(tmp_path, ("48c: 0-4=0x00000f0106714141", "48c: 0-2,4=0x00000f0106714141 3=EACCES"))
    lines = shown(root)

    assert [
        "IA32_VMX_EPT_VPID_CAP (0x48c)  0x00000f0106714141 on CPUs 0-2,4; failed (EACCES) on CPU 3",
        "  hlat_max_prefix_size                0",
        "  ept_x_only                          yes  present on CPUs 0-2,4; failed on CPU 3",
    ] == section(lines, "IA32_VMX_EPT_VPID_CAP")[:3]
    assert "cpus        5 online (0-4), 4 scanned (0-2,4), 1 failed (3)" in summary(lines)
    assert "failed      1 MSR on CPU 3: /dev/cpu/*/msr may not be opened by this user (EACCES)" in summary(lines)


def test_feature_control_is_shown_bit_by_bit(tmp_path: Path) -> None:
    """The bits of IA32_FEATURE_CONTROL, which are no features, are listed with what they are on every CPU."""
    root = changed(tmp_path, ("480: ", "03a: 0-3=0x0000000000000005 4=0x0000000000000001\n480: "))
    lines = shown(root)
    expected = """\
IA32_FEATURE_CONTROL (0x3a)  0x0000000000000005 on CPUs 0-3; 0x0000000000000001 on CPU 4
  senter_local_functions              0
  locked                              yes
  vmx_inside_smx                      no
  vmx_outside_smx                     no
  senter_enable                       no
  sgx_launch_control                  no
  sgx                                 no
  lmce                                no
"""

    assert expected.splitlines() == section(lines, "IA32_FEATURE_CONTROL")
    assert [
        "status      disabled_by_firmware: firmware has locked VMX off on CPU 4 in IA32_FEATURE_CONTROL",
        "            enable VT-x in the firmware setup, then power-cycle",
    ] == summary(lines)[3:5]


def test_bits_that_nothing_explains_are_listed(tmp_path: Path) -> None:
    """Set bits that no row explains are named by MSR and position."""
    root = changed(tmp_path, ("480: 0-4=0x00da050000000013", "480: 0-4=0x82da050000000013"))

    assert "unknown     IA32_VMX_BASIC[57,63] set, and no source names it" in summary(shown(root))


def test_broken_rules_say_what_should_hold(tmp_path: Path) -> None:
    """A rule that values break stands with its CPUs and what it says."""
    root = changed(tmp_path, ("480: 0-4=0x00da050000000013", "480: 0-4=0x00c2050000000013"))

    assert "broken      vmcs_memory_type on CPUs 0-4: VMCS memory is write-back (6)" in summary(shown(root))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("skylake-sp-8160-2s", "consistent  yes"),
        ("conroe", "consistent  only one CPU is known"),
        ("made-all-unreadable", "consistent  not known"),
        ("made-all-unreadable", "fingerprint none, no capability MSR is known"),
        ("made-cpu-offline", "cpus        3 online (0-1,3), 3 scanned (0-1,3), 1 offline (2)"),
        ("made-isolated", "cpus        4 online (0-3), 2 scanned (0-1), 2 excluded (2-3)"),
        ("made-amd", "features    0 of 149 on every CPU"),
        (
            "kvm-guest",
            "            signature 00-00-00, microcode not recorded, kernel not recorded, under a hypervisor",
        ),
    ],
)
def test_lines_of_other_hosts(name: str, line: str) -> None:
    """Hosts that lack what Lakefield has, or have what it lacks, say so in the summary."""
    assert line in summary(shown(HOSTS / name))


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_every_host_shows_everything_once(name: str) -> None:
    """Each feature and each MSR but the TRUE ones is listed once, in order, on any host; no line ends in spaces."""
    lines = shown(HOSTS / name)
    rows = [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")]
    headings = [line.split()[0] for line in lines if line.startswith("IA32_")]

    assert list(FEATURES) == [row for row in rows if row in FEATURES]
    assert [msr.name for msr in MSRS if msr.twin_of is None] == headings
    assert [] == [line for line in lines if line != line.rstrip()]
