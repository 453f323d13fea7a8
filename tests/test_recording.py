"""vmxd/host/recording.py: msr.txt as text, and recordings as directories that are all old or all new."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support import ALL_HOSTS, HOSTS, LAKEFIELD, vmxd
from tests.test_msr import public_path, unprivileged_vmxd
from vmxd.errors import MalformedFileError, RootError, VmxdError
from vmxd.export import json, layout, metrics, self_metrics, show
from vmxd.facts import Failed, Reading
from vmxd.host.cpus import RECORDED_KEYS
from vmxd.host.files import Files
from vmxd.host.parameters import DIRECTORY
from vmxd.host.recording import COPIED, format_msr_text, is_recording, parse_msr_text, write_recording
from vmxd.host.root import read_host
from vmxd.host.witness import MSR_FILE
from vmxd.scan import scan

__all__ = ["public_path"]  # a fixture

HEAD = "# vmxd msr recording 1\n"
NO_HEAD = "the first line is not '# vmxd msr recording 1'"
NO_INDEX = "does not start with an MSR index in hex and a colon"
NO_VALUE = "is neither 0x and up to 16 lower-case hex digits nor the name of an errno"

readings = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from(sorted(errno.errorcode.values())).map(Failed))
recordings = st.dictionaries(
    st.integers(0, 0xFFFFFFFF),
    st.dictionaries(st.integers(0, 65535), readings, min_size=1, max_size=12),
    max_size=8,
)


def tree(root: Path) -> dict[str, bytes]:
    """Return what a directory holds: the files below it by relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def recorded(root: Path) -> dict[str, bytes]:
    """Return the files of a test host that belong to the recording."""
    return {name: data for name, data in tree(root).items() if name not in ("about.txt", "metrics.prom")}


def record(root: Path, destination: str | Path) -> None:
    """Write a recording of a root."""
    write_recording(Files(str(root)), read_host(str(root)), str(destination))


# The text ---------------------------------------------------------------------------------------------------------


@given(recordings)
def test_what_is_written_is_read_again(found: dict[int, dict[int, Reading]]) -> None:
    """Any readings, of any CPUs, with any errno, come back from their text as they were."""
    online = {cpu for by_cpu in found.values() for cpu in by_cpu}

    assert found == parse_msr_text(format_msr_text(found), "msr.txt", online)


@given(recordings)
def test_equal_readings_are_written_alike(found: dict[int, dict[int, Reading]]) -> None:
    """The text does not depend on the order in which MSRs and CPUs were read."""
    turned = {index: dict(reversed(by_cpu.items())) for index, by_cpu in reversed(found.items())}

    assert format_msr_text(found) == format_msr_text(turned)


@given(recordings)
def test_a_line_names_each_value_once(found: dict[int, dict[int, Reading]]) -> None:
    """The text has one line for each MSR, ascending, and on it one entry for each distinct value."""
    lines = [line for line in format_msr_text(found).splitlines() if not line.startswith("#")]

    assert sorted(found) == [int(line.partition(":")[0], 16) for line in lines]
    assert [len(set(found[index].values())) for index in sorted(found)] == [len(line.split()) - 1 for line in lines]


def test_the_text_is_as_documented() -> None:
    """The form of msr.txt is that of the documentation: cpulist, 16 digits, errno names, lowest CPU first."""
    found: dict[int, dict[int, Reading]] = {
        0x491: dict.fromkeys(range(5), Failed("EIO")),
        0x48B: {4: 0x435D6FFF00000000, **dict.fromkeys(range(4), 0x035D6FFF00000000)},
        0x3A: {0: 5, 2: 5, 1: Failed("EPERM")},
    }
    expected = f"""\
{HEAD}# <msr index, hex>: <cpu list>=<value, hex, or errno name> ...
03a: 0,2=0x0000000000000005 1=EPERM
48b: 0-3=0x035d6fff00000000 4=0x435d6fff00000000
491: 0-4=EIO
"""

    assert expected == format_msr_text(found)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {}),
        ("# a remark\n", {}),
        ("\n\n", {}),
        ("480: 0=0x1\n", {0x480: {0: 1}}),
        ("480:0=0x1\n", {0x480: {0: 1}}),
        ("0000480: 0=0xffffffffffffffff\n", {0x480: {0: 2**64 - 1}}),
        ("c0000080: 0-1=0xd01\n", {0xC0000080: {0: 0xD01, 1: 0xD01}}),
        ("480: 3=EIO 0,2=0x1   1=0x0\n", {0x480: {0: 1, 1: 0, 2: 1, 3: Failed("EIO")}}),
        ("480: 0-3:1/2=0x1\n", {0x480: {0: 1, 2: 1}}),
        ("# \N{REPLACEMENT CHARACTER}\n480: 0=0x1\n", {0x480: {0: 1}}),
    ],
)
def test_what_people_write_is_read(line: str, expected: dict[int, dict[int, Reading]]) -> None:
    """Remarks, empty lines, short values and any spacing between entries are read, for people write such files too."""
    assert expected == parse_msr_text(HEAD + line, "msr.txt", range(4))


@pytest.mark.parametrize(
    ("damaged", "line", "message"),
    [
        ("", 1, NO_HEAD),
        ("\n", 1, NO_HEAD),
        ("# vmxd msr recording 2\n", 1, NO_HEAD),
        ("# vmxd msr recording 1 \n", 1, NO_HEAD),
        ("\N{ZERO WIDTH NO-BREAK SPACE}" + HEAD, 1, NO_HEAD),
        ("480: 0=0x1\n", 1, NO_HEAD),
        ("\0" * 64, 1, NO_HEAD),
        ("# vmxd msr recording 1\r\n480: 0=0x1\r\n", 1, NO_HEAD),
        ("# vmxd msr recording 1", 1, "the file ends within a line"),
        (HEAD + "480: 0=0x1\n481: 0=0x16", 3, "the file ends within a line"),
        (HEAD + "480: 0=0x1\n\n480: 1=0x1\n", 4, "MSR 480 is listed twice"),
        (HEAD + "3a: 0=0x1\n03a: 1=0x1\n", 3, "MSR 3a is listed twice"),
        (HEAD + "480: 0=0x1 0=0x1\n", 2, "'0=0x1' names a CPU that has a value already"),
        (HEAD + "480: 0-2=0x1 2-3=0x2\n", 2, "'2-3=0x2' names a CPU that has a value already"),
        (HEAD + "480: 0-5,9=0x1\n", 2, "CPU 4-5,9 has a value but is not online"),
        (HEAD + "480 0=0x1\n", 2, f"'480 0=0x1' {NO_INDEX}"),
        (HEAD + ": 0=0x1\n", 2, f"': 0=0x1' {NO_INDEX}"),
        (HEAD + " 480: 0=0x1\n", 2, f"' 480: 0=0x1' {NO_INDEX}"),
        (HEAD + "0x480: 0=0x1\n", 2, f"'0x480: 0=0x1' {NO_INDEX}"),
        (HEAD + "48B: 0=0x1\n", 2, f"'48B: 0=0x1' {NO_INDEX}"),
        (HEAD + "100000480: 0=0x1\n", 2, f"'100000480: 0=0x1' {NO_INDEX}"),
        (HEAD + "-1: 0=0x1\n", 2, f"'-1: 0=0x1' {NO_INDEX}"),
        (HEAD + "x" * 99 + "\n", 2, f"'{'x' * 40}' {NO_INDEX}"),
        (HEAD + "480:\n", 2, "MSR 480 has no value"),
        (HEAD + "480: 0\n", 2, "'0' is not CPUS=VALUE"),
        (HEAD + "480: =0x1\n", 2, "'=0x1' names no CPU"),
        (HEAD + "480: 0 =0x1\n", 2, "'0' is not CPUS=VALUE"),
        (HEAD + "480: 0=\n", 2, f"'' {NO_VALUE}"),
        (HEAD + "480: 0=1\n", 2, f"'1' {NO_VALUE}"),
        (HEAD + "480: 0=0x\n", 2, f"'0x' {NO_VALUE}"),
        (HEAD + "480: 0=0xg\n", 2, f"'0xg' {NO_VALUE}"),
        (HEAD + "480: 0=0xAB\n", 2, f"'0xAB' {NO_VALUE}"),
        (HEAD + "480: 0=0X1\n", 2, f"'0X1' {NO_VALUE}"),
        (HEAD + "480: 0=-0x1\n", 2, f"'-0x1' {NO_VALUE}"),
        (HEAD + "480: 0=0x1=2\n", 2, f"'0x1=2' {NO_VALUE}"),
        (HEAD + f"480: 0=0x{'1' * 17}\n", 2, f"'0x{'1' * 17}' {NO_VALUE}"),
        (HEAD + "480: 0=EFOO\n", 2, f"'EFOO' {NO_VALUE}"),
        (HEAD + "480: 0=eio\n", 2, f"'eio' {NO_VALUE}"),
        (HEAD + "480: 3-0=0x1\n", 2, "'3-0' is an empty range"),
        (HEAD + "480: 0-=0x1\n", 2, "'0-' is no CPU list"),
        (HEAD + "480: all=0x1\n", 2, "'all' is no CPU list"),
        (HEAD + "480: 0-4294967295=0x1\n", 2, "CPU 4294967295 is above 65535"),
        (HEAD + "480: 0-9999999999999999999999999999999999999999999999999=0x1\n", 2, f"'0-{'9' * 38}' is no CPU list"),
    ],
)
def test_damaged_text_is_located(damaged: str, line: int, message: str) -> None:
    """Whatever is wrong with msr.txt, the error names the file, the line and what stands there."""
    with pytest.raises(MalformedFileError) as caught:
        parse_msr_text(damaged, "dir/msr.txt", range(4))

    assert f"dir/msr.txt:{line}: {message}" == str(caught.value)
    assert ("dir/msr.txt", line) == (caught.value.path, caught.value.line)


@pytest.mark.parametrize(
    "line",
    [
        "480: 0=0x1\r",
        "480: 0=0x1\v1=0x2",
        "480: 0=0x1\N{NO-BREAK SPACE}1=0x2",
        "480: 0=0x1\0",
        "480\N{REPLACEMENT CHARACTER}: 0=0x1",
        "480: 0=0x1 \N{REPLACEMENT CHARACTER}",
        "480: \N{ARABIC-INDIC DIGIT ONE}=0x1",
    ],
    ids=ascii,
)
def test_a_character_out_of_place_is_located(line: str) -> None:
    """Carriage returns, NUL bytes and whatever is no ASCII are damage too: vmxd writes nothing of the kind."""
    with pytest.raises(MalformedFileError) as caught:
        parse_msr_text(f"{HEAD}{line}\n", "dir/msr.txt", range(4))

    assert ("dir/msr.txt", 2) == (caught.value.path, caught.value.line)
    assert str(caught.value).startswith("dir/msr.txt:2: ")


@pytest.mark.parametrize("data", [b"480: 0-4=0x1\xff\n", b"\xc3\x28: 0=0x1\n", b"480: 0=\xed\xa0\x80\n"])
def test_bytes_that_are_not_utf8_are_located(tmp_path: Path, data: bytes) -> None:
    """Bytes of msr.txt that are no UTF-8 are damage at a place like any other."""
    host = shutil.copytree(LAKEFIELD, tmp_path / "host")
    (host / MSR_FILE).write_bytes(HEAD.encode() + data)
    with pytest.raises(MalformedFileError) as caught:
        read_host(str(host))

    assert (str(host / MSR_FILE), 2) == (caught.value.path, caught.value.line)
    assert caught.value.hint.endswith("make a new one with vmxd record DIR")


# Damaged recordings -----------------------------------------------------------------------------------------------


def use(root: Path) -> str | None:
    """Read a root to the end, in every form that vmxd prints; return the error if vmxd refuses it."""
    try:
        result = scan(str(root))
    except VmxdError as error:
        return f"{error}\n{error.hint}"
    layout.to_plain(show.show_lines(result.inventory))
    json.to_json(json.inventory_document(result.inventory))
    metrics.to_text(metrics.HostCollector(result.inventory), self_metrics.SelfCollector(result))
    return None


words = st.sampled_from(
    ["480", "3a", "48b:", "491:", ":", "0", "0-3", "0-4=", "=", "0x1", "EIO", "0-4=EIO", "4=0x0", ",", "-", "#", "\r"]
)
lines = st.lists(words, max_size=6).map(" ".join)
"""Lines that come closer to the form of msr.txt than random bytes ever would."""


@pytest.fixture(scope="module")
def damaged_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root that each example overwrites."""
    return shutil.copytree(LAKEFIELD, tmp_path_factory.mktemp("damaged") / "host")


@given(st.binary(max_size=200) | st.lists(lines).map(lambda found: (HEAD + "\n".join((*found, ""))).encode()))
@example(b"")
@example(HEAD.encode())
@example(HEAD.encode() + b"480: 0-4=EIO\n48b: 0-4=0x0\n")
def test_no_msr_txt_breaks_vmxd(damaged_root: Path, data: bytes) -> None:
    """Whatever stands in msr.txt, vmxd shows the host or refuses it in one sentence and one hint."""
    (damaged_root / MSR_FILE).write_bytes(data)
    refused = use(damaged_root)

    assert refused is None or 2 == len(refused.splitlines())


mutations = st.lists(
    st.tuples(
        st.sampled_from(("flip", "delete", "insert", "repeat")),
        st.floats(0, 1),
        st.integers(1, 12),
        st.binary(min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)
"""What to do to a file, where in it, how many bytes long, and with which bytes."""


def mutate(data: bytes, changes: list[tuple[str, float, int, bytes]]) -> bytes:
    """Return data with some bytes flipped, deleted, inserted or doubled."""
    for kind, where, length, other in changes:
        start = int(where * len(data))
        before, piece, after = data[:start], data[start : start + length], data[start + length :]
        data = {
            "flip": before + bytes(byte ^ other[i % len(other)] for i, byte in enumerate(piece)) + after,
            "delete": before + after,
            "insert": before + other + piece + after,
            "repeat": before + piece + piece + after,
        }[kind]
    return data


@settings(max_examples=200)
@given(
    st.sampled_from(("lakefield-i5-l16g7", "sapphirerapids", "kvm-guest", "yonah-t2600")),
    st.sampled_from((MSR_FILE, MSR_FILE, "proc/cpuinfo", "sys/devices/system/cpu/online")),
    mutations,
)
def test_no_damage_breaks_vmxd(
    damaged_root: Path, name: str, file: str, changes: list[tuple[str, float, int, bytes]]
) -> None:
    """A real recording with a few bytes flipped, lost, added or doubled is shown, or refused like any damaged one."""
    for other, data in recorded(HOSTS / name).items():
        (damaged_root / other).parent.mkdir(parents=True, exist_ok=True)
        (damaged_root / other).write_bytes(mutate(data, changes) if other == file else data)
    refused = use(damaged_root)

    assert refused is None or 2 == len(refused.splitlines())


# Directories ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_recording_a_recording_changes_nothing(tmp_path: Path, name: str) -> None:
    """A recording of a recording has the same files with the same bytes."""
    record(HOSTS / name, tmp_path / "copy")

    assert recorded(HOSTS / name) == tree(tmp_path / "copy")


def test_a_recording_can_be_written_over_itself(tmp_path: Path) -> None:
    """Recording a recording onto itself leaves it as it is, though it is read while it is replaced."""
    host = shutil.copytree(LAKEFIELD, tmp_path / "host", ignore=shutil.ignore_patterns("about.txt", "metrics.prom"))
    record(host, host)

    assert recorded(LAKEFIELD) == tree(host)
    assert ["host"] == os.listdir(tmp_path)


def test_a_recording_of_some_cpus_has_only_those(tmp_path: Path) -> None:
    """With --cpus the values of the chosen CPUs are recorded, the others excluded when it is read."""
    host = read_host(str(LAKEFIELD), only=(0, 4))
    write_recording(Files(str(LAKEFIELD)), host, str(tmp_path / "some"))
    again = read_host(str(tmp_path / "some"))

    assert (host.readings, host.excluded) == (again.readings, (1, 2, 3))
    assert host.online == again.online


def test_a_recording_can_be_read_by_others(tmp_path: Path) -> None:
    """A recording has the modes of ordinary files, so that the unprivileged server can read it."""
    done = vmxd("record", "--root", LAKEFIELD, tmp_path / "new", umask=0o022)
    modes = {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "new").rglob("*") if path.is_file()}

    assert 0 == done.returncode
    assert "0o755" == oct((tmp_path / "new").stat().st_mode & 0o777)
    assert {"0o644"} == modes


@pytest.mark.parametrize("existing", ["recording", "empty directory", "nothing"])
def test_what_was_there_is_replaced(tmp_path: Path, existing: str) -> None:
    """A recording takes the place of an older one, of an empty directory or of none, and nothing of the old is left."""
    destination = tmp_path / "host"
    if existing == "recording":
        record(HOSTS / "sapphirerapids", destination)
        (destination / "sys/devices/cpu_core").mkdir()
        (destination / "sys/devices/cpu_core/cpus").write_text("0-71\n")
    elif existing == "empty directory":
        destination.mkdir()
    record(LAKEFIELD, destination)

    assert recorded(LAKEFIELD) == tree(destination)
    assert ["host"] == os.listdir(tmp_path)


def test_readers_see_an_old_or_a_new_recording(tmp_path: Path) -> None:
    """While a recording is replaced 200 times, a reader always finds the directory, and msr.txt of one or the other."""
    destination = tmp_path / "host"
    hosts = [(Files(str(root)), read_host(str(root))) for root in (LAKEFIELD, HOSTS / "skylake-6700k")]
    texts = {format_msr_text(host.readings).encode() for _, host in hosts}
    write_recording(*hosts[0], str(destination))
    seen: set[bytes] = set()
    errors: list[OSError] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                os.stat(destination)
                seen.add((destination / MSR_FILE).read_bytes())
            except OSError as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(1, 201):
            write_recording(*hosts[turn % 2], str(destination))
    finally:
        done.set()
        reader.join()

    assert [] == errors
    assert texts == seen


def a_directory_of_mine(path: Path) -> None:
    """Make a directory with a file that is no recording."""
    (path / "proc").mkdir(parents=True)
    (path / "proc/cpuinfo").write_text("mine\n")


def a_file_of_mine(path: Path) -> None:
    """Make a file."""
    path.write_text("mine\n")


def a_link_of_mine(path: Path) -> None:
    """Make a link to a file."""
    path.with_name("linked").write_text("mine\n")
    path.symlink_to("linked")


def a_recording_with_a_letter(path: Path) -> None:
    """Make a recording in whose directory something else is kept."""
    record(HOSTS / "yonah-t2600", path)
    (path / "letter.txt").write_text("mine\n")


def another_msr_txt(path: Path) -> None:
    """Make a directory with an msr.txt that is not vmxd's."""
    path.mkdir()
    (path / MSR_FILE).write_text("mine\n")


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (a_directory_of_mine, "{} is no recording", "name a new directory; vmxd replaces recordings only"),
        (another_msr_txt, "{} is no recording", "name a new directory; vmxd replaces recordings only"),
        (
            a_recording_with_a_letter,
            "{} has 'letter.txt', which is of no recording",
            "name a new directory; vmxd replaces recordings only",
        ),
        (a_file_of_mine, "cannot write {}: Not a directory", "a recording is a directory; name a new one"),
        (a_link_of_mine, "cannot write {}/../linked: Not a directory", "a recording is a directory; name a new one"),
    ],
)
def test_what_is_no_recording_is_not_replaced(
    tmp_path: Path, make: Callable[[Path], None], message: str, hint: str
) -> None:
    """Files that are no recording are refused, and nothing of them is lost."""
    destination = tmp_path / "precious"
    make(destination)
    before = tree(tmp_path)
    with pytest.raises(RootError) as caught:
        record(LAKEFIELD, destination)

    assert (message.format(destination).replace("/precious/..", ""), hint) == (str(caught.value), caught.value.hint)
    assert before == tree(tmp_path)


def test_values_are_not_replaced_by_failures(tmp_path: Path) -> None:
    """A recording that has values is kept where not one MSR could be read this time, as without privilege."""
    record(LAKEFIELD, tmp_path / "host")
    with pytest.raises(RootError) as caught:
        record(HOSTS / "made-all-unreadable", tmp_path / "host")

    assert f"no MSR could be read, so the older recording in {tmp_path}/host was kept" == str(caught.value)
    assert recorded(LAKEFIELD) == tree(tmp_path / "host")


@pytest.mark.parametrize(("old", "new"), [("made-all-unreadable", "made-no-msr-module"), ("yonah-t2600", "made-amd")])
def test_an_answer_replaces_what_was_there(tmp_path: Path, old: str, new: str) -> None:
    """Failures replace failures, and a CPU that answered with a fault, for it has no VMX, replaces anything."""
    record(HOSTS / old, tmp_path / "host")
    record(HOSTS / new, tmp_path / "host")

    assert recorded(HOSTS / new) == tree(tmp_path / "host")


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_followed(tmp_path: Path, exists: bool) -> None:
    """A destination that is a link stays one; what it leads to is replaced, or made."""
    (tmp_path / "real").mkdir()
    if exists:
        record(HOSTS / "yonah-t2600", tmp_path / "real/host")
    (tmp_path / "link").symlink_to("real/host")
    record(LAKEFIELD, tmp_path / "link")

    assert "real/host" == os.readlink(tmp_path / "link")
    assert recorded(LAKEFIELD) == tree(tmp_path / "real/host")
    assert ["host"] == os.listdir(tmp_path / "real")


def test_a_replaced_recording_keeps_its_mode(tmp_path: Path) -> None:
    """Who may enter a recording is decided once, where it is made: its successor has the same mode."""
    record(LAKEFIELD, tmp_path / "host")
    (tmp_path / "host").chmod(0o750)
    record(LAKEFIELD, tmp_path / "host")

    assert 0o750 == (tmp_path / "host").stat().st_mode & 0o7777


def test_a_copy_is_as_old_as_its_values(tmp_path: Path) -> None:
    """A recording of a recording is as old as the values in it, not as the copy."""
    source = shutil.copytree(LAKEFIELD, tmp_path / "source")
    os.utime(source / MSR_FILE, (1_600_000_000, 1_600_000_000))
    record(source, tmp_path / "host")

    assert 1_600_000_000 == read_host(str(tmp_path / "host")).read_at


def test_a_cpu_that_went_offline_is_not_recorded_as_online(tmp_path: Path) -> None:
    """The online CPUs of a recording are those of its MSR values, even if the machine has changed since."""
    source = shutil.copytree(LAKEFIELD, tmp_path / "source")
    host = read_host(str(source))
    (source / "sys/devices/system/cpu/online").write_text("0-2\n")
    write_recording(Files(str(source)), host, str(tmp_path / "host"))

    assert host.online == read_host(str(tmp_path / "host")).online


def below_a_file(path: Path) -> Path:
    """Return a path that goes through a file."""
    (path / "file").write_text("mine\n")
    return path / "file" / "host"


def a_name_too_long(path: Path) -> Path:
    """Return a path with a name of more than 255 bytes."""
    return path / ("x" * 300)


def a_loop(path: Path) -> Path:
    """Return a link to itself."""
    (path / "loop").symlink_to("loop")
    return path / "loop"


def in_proc(_: Path) -> Path:
    """Return a path where nobody can make a directory."""
    return Path("/proc/vmxd")


@pytest.mark.parametrize("make", [below_a_file, a_name_too_long, a_loop, in_proc])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Where a directory cannot be put, the error names it, and everything is left as it was."""
    destination = make(tmp_path)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(RootError) as caught:
        record(LAKEFIELD, destination)

    assert str(destination) in str(caught.value)
    assert before == sorted(os.listdir(tmp_path))


def test_a_path_through_a_file_does_not_blame_the_recording(tmp_path: Path) -> None:
    """Where a parent of the destination is a file, the error does not call the destination a file."""
    destination = below_a_file(tmp_path)
    with pytest.raises(RootError) as caught:
        record(LAKEFIELD, destination)

    assert f"{destination} is a file" != str(caught.value)


def test_a_parent_that_may_not_be_written_is_left_alone(public_path: Path) -> None:
    """Who may not write to the parent gets an error, and no scratch directory is left there."""
    source = shutil.copytree(LAKEFIELD, public_path / "source")
    parent = public_path / "parent"
    parent.mkdir(mode=0o555)
    parent.chmod(0o555)
    done = unprivileged_vmxd("record", "--root", source, parent / "host")

    assert (2, "") == (done.returncode, done.stdout)
    assert [
        f"vmxd: cannot write {parent}/host: Permission denied",
        "hint: name a directory whose parent you may write to",
    ] == done.stderr.splitlines()
    assert [] == os.listdir(parent)


def test_a_recording_that_may_not_be_read_is_left_alone(public_path: Path) -> None:
    """Who may not look into what is there already cannot replace it, recording or not."""
    source = shutil.copytree(LAKEFIELD, public_path / "source")
    public_path.chmod(0o777)
    old = public_path / "old"
    old.mkdir(mode=0)
    done = unprivileged_vmxd("record", "--root", source, old)

    assert (2, "") == (done.returncode, done.stdout)
    assert f"vmxd: cannot write {old}: Permission denied" == done.stderr.splitlines()[0]
    assert ["old", "source"] == sorted(os.listdir(public_path))


# No file may grow beyond 100 bytes: write() fails with EFBIG where a full disk gives ENOSPC.
_WITH_LITTLE_SPACE = """
import resource, sys
import vmxd.cli
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.exit(vmxd.cli.main())
"""


def vmxd_with_little_space(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run vmxd where a file cannot have more than 100 bytes."""
    command = [sys.executable, "-c", _WITH_LITTLE_SPACE, *(os.fspath(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_full_disk_leaves_the_old_recording(tmp_path: Path) -> None:
    """Where the new recording cannot be written to its end, the old one stays, and nothing else is left behind."""
    record(HOSTS / "yonah-t2600", tmp_path / "host")

    done = vmxd_with_little_space("record", "--root", LAKEFIELD, tmp_path / "host")

    assert 2 == done.returncode
    assert f"vmxd: cannot write {tmp_path}/host: File too large" == done.stderr.splitlines()[0]
    assert recorded(HOSTS / "yonah-t2600") == tree(tmp_path / "host")
    assert ["host"] == os.listdir(tmp_path)


def test_a_source_that_fails_halfway_leaves_the_old_recording(tmp_path: Path) -> None:
    """Where a file of the host cannot be read, nothing is replaced, and no scratch directory is left."""
    source = shutil.copytree(LAKEFIELD, tmp_path / "source")
    (source / "sys/devices/cpu_atom/cpus").mkdir(parents=True)
    record(HOSTS / "yonah-t2600", tmp_path / "host")
    with pytest.raises(RootError, match=r"cannot read .*/sys/devices/cpu_atom/cpus: Is a directory"):
        record(source, tmp_path / "host")

    assert recorded(HOSTS / "yonah-t2600") == tree(tmp_path / "host")
    assert ["host", "source"] == sorted(os.listdir(tmp_path))


@pytest.mark.parametrize("destination", ["host", "host/", "./host", "a/../host", "host//"])
def test_a_relative_destination_is_from_the_working_directory(tmp_path: Path, destination: str) -> None:
    """A destination may be relative and end in a slash."""
    done = vmxd("record", "--root", LAKEFIELD, destination, cwd=tmp_path)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert recorded(LAKEFIELD) == tree(tmp_path / "host")
    assert "host" in os.listdir(tmp_path)


def test_the_working_directory_can_be_the_destination(tmp_path: Path) -> None:
    """An empty working directory can be recorded into by its name "."."""
    (tmp_path / "here").mkdir()
    done = vmxd("record", "--root", LAKEFIELD, ".", cwd=tmp_path / "here")

    assert (0, "") == (done.returncode, done.stderr)
    assert recorded(LAKEFIELD) == tree(tmp_path / "here")


def test_missing_parents_are_made(tmp_path: Path) -> None:
    """Parents of the destination that are missing are made."""
    record(LAKEFIELD, tmp_path / "a/b/c")

    assert recorded(LAKEFIELD) == tree(tmp_path / "a/b/c")
    assert ["c"] == os.listdir(tmp_path / "a/b")


def test_only_a_root_with_msr_txt_is_a_recording(tmp_path: Path) -> None:
    """A root is a recording if it has an msr.txt, be it a broken link, and the live machine is none."""
    assert not is_recording(Files("/"))
    assert not is_recording(Files(str(tmp_path)))
    assert is_recording(Files(str(LAKEFIELD)))
    (tmp_path / MSR_FILE).symlink_to("nowhere")
    assert is_recording(Files(str(tmp_path)))


# What a recording must not have -----------------------------------------------------------------------------------


def test_a_recording_has_no_other_file(tmp_path: Path) -> None:
    """Of a root full of secrets, a recording has the files of its list and the redacted lines of cpuinfo only."""
    source = shutil.copytree(LAKEFIELD, tmp_path / "source")
    for name in ("proc/sys/kernel/hostname", "sys/class/dmi/id/product_serial", "sys/class/net/eth0/address"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text("secret\n")
    with (source / "proc/cpuinfo").open("a") as file:
        file.write("Hardware\t: secret\nSerial\t\t: secret\ncpu MHz\t\t: secret\nsecret\n\n")
    record(source, tmp_path / "host")
    found = tree(tmp_path / "host")

    assert found.keys() <= {MSR_FILE, "proc/cpuinfo", *COPIED}
    assert [] == [name for name, data in found.items() if b"secret" in data]


def secrets() -> set[str]:
    """Return what identifies this machine: its name, its machine ID, serial numbers and network addresses."""
    patterns = ("class/dmi/id/*serial", "class/dmi/id/*uuid", "class/dmi/id/*asset_tag", "class/net/*/address")
    found = set()
    for path in (Path("/etc/machine-id"), *(path for pattern in patterns for path in Path("/sys").glob(pattern))):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found.add(path.read_text().strip())
    return {socket.gethostname(), *(secret for secret in found if len(secret) > 3)}  # a serial number may read "0"


def test_a_recording_of_this_machine_does_not_tell_which_it_is(tmp_path: Path) -> None:
    """A live recording has no host name, machine ID, serial number or address; its cpuinfo is redacted."""
    record(Path("/"), tmp_path / "host")
    found = {name: data for name, data in tree(tmp_path / "host").items() if not name.startswith(DIRECTORY)}
    written = "\n".join(data.decode() for data in found.values())
    keys = {line.partition(":")[0].strip() for line in found["proc/cpuinfo"].decode().splitlines() if line}

    assert found.keys() <= {MSR_FILE, "proc/cpuinfo", *COPIED}
    assert [] == [secret for secret in secrets() if re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", written)]
    assert keys <= RECORDED_KEYS


def test_a_recording_of_this_machine_reads_as_it_did(tmp_path: Path) -> None:
    """A live recording, whatever this machine has, has the same CPUs and the same readings."""
    host = read_host("/")
    write_recording(Files("/"), host, str(tmp_path / "host"))
    again = read_host(str(tmp_path / "host"))

    assert (host.online, host.present, host.isolated) == (again.online, again.present, again.isolated)
    assert (host.readings, host.cpus, host.kernel) == (again.readings, again.cpus, again.kernel)
