"""vmxd/host/cpus.py: what proc/cpuinfo and sysfs say of the CPUs, and what of it goes into a recording."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.support import ALL_HOSTS, HOSTS
from vmxd.errors import MalformedFileError, RootError
from vmxd.host.cpus import (
    CORE_TYPES,
    CPUINFO,
    ONLINE,
    RECORDED_KEYS,
    read_core_types,
    read_cpuinfo,
    read_online,
    redact_cpuinfo,
)
from vmxd.host.files import Files
from vmxd.model.facts import Cpu

XEON = """\
processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 85
model name	: Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz
stepping	: 4
microcode	: 0x2007006
cpu MHz		: 2793.438
cache size	: 33792 KB
physical id	: 1
siblings	: 48
core id		: 0
cpu cores	: 24
apicid		: 64
fpu		: yes
flags		: fpu msr vmx smx ept
vmx flags	: vnmi preemption_timer
bugs		: spectre_v1
bogomips	: 4200.00
address sizes	: 46 bits physical, 48 bits virtual
power management:

"""

RASPBERRY_PI = """\
processor	: 0
model name	: ARMv7 Processor rev 3 (v7l)
BogoMIPS	: 108.00
Features	: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32
CPU implementer	: 0x41
CPU architecture: 7
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3

Hardware	: BCM2711
Revision	: c03111
Serial		: 10000000abcdef01
Model		: Raspberry Pi 4 Model B Rev 1.1
"""


def files_of(root: Path, contents: Mapping[str, str]) -> Files:
    """Write files under a root directory and return them as vmxd takes them."""
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return Files(str(root))


def test_every_line_that_matters_is_read(tmp_path: Path) -> None:
    """Identity and the vmx flag of a CPU come from its block of proc/cpuinfo."""
    found = read_cpuinfo(files_of(tmp_path, {CPUINFO: XEON}))

    expected = Cpu(
        vendor="GenuineIntel",
        family=6,
        model=85,
        stepping=4,
        model_name="Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz",
        microcode="0x2007006",
        flags=frozenset(("fpu", "msr", "vmx", "smx", "ept")),
        package=1,
        phys_bits=46,
        virt_bits=48,
    )

    assert {0: expected} == found
    assert "06-55-04" == found[0].signature


@pytest.mark.parametrize(
    ("line", "vendor"),
    [
        ("vendor_id\t: GenuineIntel", "GenuineIntel"),
        ("vendor_id\t: CentaurHauls", "CentaurHauls"),
        ("vendor_id\t:   Shanghai  ", "Shanghai"),
        ("vendor_id\t: AuthenticAMD", "AuthenticAMD"),
        ("vendor_id\t: GenuineIotel", "GenuineIotel"),
        ("vendor_id\t: unknown", "unknown"),
        ("vendor_id\t: a:b", "a:b"),
    ],
)
def test_vendors_are_taken_as_they_are(tmp_path: Path, line: str, vendor: str) -> None:
    """A vendor is what the line says, known or not, without the spaces that Zhaoxin pads it with."""
    found = read_cpuinfo(files_of(tmp_path, {CPUINFO: f"processor\t: 0\n{line}\n\n"}))

    assert {0: Cpu(vendor=vendor)} == found


def test_missing_lines_are_not_known(tmp_path: Path) -> None:
    """What proc/cpuinfo does not say is None, and without a flags line there is no vmx flag."""
    found = read_cpuinfo(files_of(tmp_path, {CPUINFO: "processor\t: 3\n"}))

    assert {3: Cpu()} == found
    assert found[3].signature is None


def test_vmx_is_a_whole_word_of_flags(tmp_path: Path) -> None:
    """Only the word vmx on the line "flags" counts: not vmx_something, not the line "vmx flags"."""
    files = files_of(tmp_path, {CPUINFO: "processor\t: 0\nflags\t\t: fpu vmxoff hypervisor\nvmx flags\t: vmx vnmi\n\n"})

    assert {0: Cpu(flags=frozenset(("fpu", "vmxoff", "hypervisor")))} == read_cpuinfo(files)


def test_the_kernel_names_the_kinds_of_core(tmp_path: Path) -> None:
    """On a hybrid part each CPU is of the kind whose event source in sysfs lists it; elsewhere of none."""
    contents = {CORE_TYPES["core"]: "0-1\n", CORE_TYPES["atom"]: "2-3\n", CORE_TYPES["lowpower"]: "4\n"}
    expected = {0: "core", 1: "core", 2: "atom", 3: "atom", 4: "lowpower"}

    assert expected == read_core_types(files_of(tmp_path / "hybrid", contents))
    assert {} == read_core_types(files_of(tmp_path / "other", {ONLINE: "0-4\n"}))


def test_cpus_are_told_apart_by_number(tmp_path: Path) -> None:
    """Each block stands under its own CPU number, whatever the order, with its own stepping and microcode."""
    text = "".join(
        f"processor\t: {cpu}\nstepping\t: {stepping}\nmicrocode\t: {microcode}\n\n"
        for cpu, stepping, microcode in ((5, 7, "0x2"), (0, 4, "0x1"), (3, 7, "0x2"))
    )

    expected = {
        0: Cpu(stepping=4, microcode="0x1"),
        3: Cpu(stepping=7, microcode="0x2"),
        5: Cpu(stepping=7, microcode="0x2"),
    }

    assert expected == read_cpuinfo(files_of(tmp_path, {CPUINFO: text}))


def test_an_arm_cpuinfo_is_read_without_x86_identity(tmp_path: Path) -> None:
    """On ARM a CPU has a number and maybe a model name; the block about the board is no CPU."""
    found = read_cpuinfo(files_of(tmp_path, {CPUINFO: RASPBERRY_PI}))

    assert {0: Cpu(model_name="ARMv7 Processor rev 3 (v7l)")} == found


def test_no_cpuinfo_is_no_identity(tmp_path: Path) -> None:
    """Without proc/cpuinfo nothing is known of any CPU, and that is no error."""
    assert {} == read_cpuinfo(Files(str(tmp_path)))


def test_an_unknown_stepping_is_zero(tmp_path: Path) -> None:
    """Linux prints "stepping : unknown" for stepping 0 where CPUID has no leaf 1."""
    text = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 15\nstepping\t: unknown\n\n"

    assert "06-0f-00" == read_cpuinfo(files_of(tmp_path, {CPUINFO: text}))[0].signature


def test_bytes_that_are_not_utf8_are_marked(tmp_path: Path) -> None:
    """A model name that is not UTF-8 is still read, with U+FFFD for what cannot be."""
    (tmp_path / "proc").mkdir()
    (tmp_path / CPUINFO).write_bytes(b"processor\t: 0\nmodel name\t: Xeon\xff\n\n")

    assert {0: Cpu(model_name="Xeon\N{REPLACEMENT CHARACTER}")} == read_cpuinfo(Files(str(tmp_path)))


def test_what_could_move_a_cursor_is_marked(tmp_path: Path) -> None:
    """Characters that a terminal would obey are replaced by U+FFFD: a recording may come from anybody."""
    text = "processor\t: 0\nmodel name\t: Xeon\x1b[2J \x07\u202e!\n\n"
    mark = "\N{REPLACEMENT CHARACTER}"

    assert {0: Cpu(model_name=f"Xeon{mark}[2J {mark}{mark}!")} == read_cpuinfo(files_of(tmp_path, {CPUINFO: text}))


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    """No name fills a screen, a page or a label: what is longer than any that Linux prints ends in an ellipsis."""
    text = f"processor\t: 0\nvendor_id\t: {'v' * 128}\nmodel name\t: {'m' * 10_000}\n\n"

    assert {0: Cpu(vendor="v" * 128, model_name="m" * 128 + "…")} == read_cpuinfo(files_of(tmp_path, {CPUINFO: text}))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("processor\t: x\n\n", 1, "'processor' is 'x', not a number"),
        ("processor\t:\n\n", 1, "'processor' is '', not a number"),
        ("processor\t: -1\n\n", 1, "'processor' is '-1', not a number"),
        ("processor\t: 0x1\n\n", 1, "'processor' is '0x1', not a number"),
        ("processor\t: \N{ARABIC-INDIC DIGIT ONE}\n", 1, "'processor' is '\N{ARABIC-INDIC DIGIT ONE}', not a number"),
        ("processor\t: 10000000000\n\n", 1, "'processor' is '10000000000', not a number"),
        ("processor\t: 0\n\nprocessor\t: 1.5\n\n", 3, "'processor' is '1.5', not a number"),
        ("processor\t: 0\n\n\nprocessor\t: 1.5\n\n", 4, "'processor' is '1.5', not a number"),
        ("processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: six\n\n", 3, "'cpu family' is 'six', not a number"),
        ("processor\t: 0\n\nprocessor\t: 1\nmodel\t\t: unknown\n\n", 4, "'model' is 'unknown', not a number"),
        ("processor\t: 0\nstepping\t: unknowable\n\n", 2, "'stepping' is 'unknowable', not a number"),
        ("processor\t: 0\nmodel\t\t: " + "9" * 50 + "\n\n", 2, f"'model' is '{'9' * 40}', not a number"),
    ],
)
def test_a_malformed_number_is_located(tmp_path: Path, text: str, line: int, message: str) -> None:
    """Where a number is expected and there is none, the error names the file, the line it stands on, and both."""
    files = files_of(tmp_path, {CPUINFO: text})

    with pytest.raises(MalformedFileError) as caught:
        read_cpuinfo(files)

    assert f"{tmp_path}/proc/cpuinfo:{line}: {message}" == str(caught.value)
    assert (f"{tmp_path}/proc/cpuinfo", line) == (caught.value.path, caught.value.line)


def test_redaction_keeps_whole_lines_of_what_a_cpu_is() -> None:
    """A recorded cpuinfo has the lines that say what a CPU is, byte for byte; no clock, no APIC ID, no size."""
    expected = b"""\
processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 85
model name	: Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz
stepping	: 4
microcode	: 0x2007006
physical id	: 1
siblings	: 48
core id		: 0
cpu cores	: 24
flags		: fpu msr vmx smx ept
vmx flags	: vnmi preemption_timer
bugs		: spectre_v1
address sizes	: 46 bits physical, 48 bits virtual

"""

    assert expected == redact_cpuinfo(XEON.encode())


def test_redaction_drops_serial_numbers() -> None:
    """Of a board's block, where ARM prints a serial number, only the empty line before it is left."""
    expected = b"processor\t: 0\nmodel name\t: ARMv7 Processor rev 3 (v7l)\n\n"

    assert expected == redact_cpuinfo(RASPBERRY_PI.encode())


def test_redaction_keeps_strange_bytes() -> None:
    """Padding, bytes that are no UTF-8, and a last line without its newline stay as they are."""
    data = b"processor\t: 0\nvendor_id\t:   Shanghai  \nmodel name\t: \xff\xfe: \x00\nbogomips\t: 1\xff\nbugs\t\t:"

    assert data.replace(b"bogomips\t: 1\xff\n", b"") == redact_cpuinfo(data)


def test_redaction_of_this_machine_keeps_allowed_lines_only() -> None:
    """What is recorded of this machine is its own lines, in order, all of them of the allowed kinds."""
    data = Path("/proc/cpuinfo").read_bytes()
    lines = iter(data.split(b"\n"))
    redacted = redact_cpuinfo(data)
    kept = redacted.split(b"\n")

    assert all(line in lines for line in kept)  # "in" uses the iterator up: a subsequence
    assert {line.partition(b":")[0].strip().decode() for line in kept if line} <= RECORDED_KEYS
    assert data.count(b"processor\t:") == redacted.count(b"processor\t:")
    assert b"cpu MHz" not in redacted


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_redaction_of_a_recording_changes_nothing(name: str) -> None:
    """Every recorded cpuinfo is redacted already, and redacting loses nothing that vmxd reads."""
    data = (HOSTS / name / CPUINFO).read_bytes()

    assert data == redact_cpuinfo(data)


def test_redaction_loses_nothing_that_is_read(tmp_path: Path) -> None:
    """A CPU reads the same from a redacted cpuinfo as from the whole one."""
    whole = files_of(tmp_path / "whole", {CPUINFO: XEON})
    redacted = files_of(tmp_path / "redacted", {CPUINFO: redact_cpuinfo(XEON.encode()).decode()})

    assert read_cpuinfo(whole) == read_cpuinfo(redacted)


def test_online_cpus_come_from_sysfs(tmp_path: Path) -> None:
    """Sysfs says which CPUs are online, even where proc/cpuinfo lists others."""
    files = files_of(tmp_path, {ONLINE: "0-2,8\n", CPUINFO: "processor\t: 0\n\nprocessor\t: 1\n\n"})

    assert (0, 1, 2, 8) == read_online(files)


def test_online_cpus_come_from_cpuinfo_without_sysfs(tmp_path: Path) -> None:
    """Without sysfs, as in some containers, the CPUs of proc/cpuinfo are the online ones, ascending."""
    files = files_of(tmp_path, {CPUINFO: "processor\t: 4\n\nprocessor\t: 1\n\n"})

    assert (1, 4) == read_online(files)


@pytest.mark.parametrize(
    "contents",
    [
        {},
        {CPUINFO: ""},
        {CPUINFO: "Hardware\t: BCM2711\n"},
        {ONLINE: "\n"},
        {ONLINE: "", CPUINFO: "processor\t: 0\n\n"},
    ],
    ids=["no file", "empty cpuinfo", "no processor", "empty online", "sysfs has the last word"],
)
def test_a_root_without_cpus_is_refused(tmp_path: Path, contents: dict[str, str]) -> None:
    """Where nothing lists a CPU the root is no host, and the error says where vmxd looked."""
    with pytest.raises(RootError) as caught:
        read_online(files_of(tmp_path, contents))

    assert f"{tmp_path} has no CPU in sys/devices/system/cpu/online or proc/cpuinfo" == str(caught.value)
    assert "--root takes / or a directory that vmxd record wrote" == caught.value.hint


@pytest.mark.parametrize("text", ["x\n", "0-\n", "3-0\n", "0-4294967295\n", "0,,1\n", "0\n1\n"])
def test_a_malformed_online_list_is_located(tmp_path: Path, text: str) -> None:
    """A list of CPUs that does not parse is an error that names the file, not a host without CPUs."""
    files = files_of(tmp_path, {ONLINE: text})

    with pytest.raises(MalformedFileError) as caught:
        read_online(files)

    assert (f"{tmp_path}/{ONLINE}", 1) == (caught.value.path, caught.value.line)
    assert str(caught.value).startswith(f"{tmp_path}/{ONLINE}:1: ")
