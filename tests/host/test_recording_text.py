"""vmxd/host/recording.py: msr.txt as text, whole and damaged."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.helpers.support import HOSTS, LAKEFIELD, recorded
from vmxd.errors import MalformedFileError, VmxdError
from vmxd.host.recording_text import MSR_FILE, format_msr_text, parse_msr_text
from vmxd.host.root import read_host
from vmxd.host.scan import scan
from vmxd.model.facts import Failed, Reading
from vmxd.server import self_metrics
from vmxd.views import json, metrics, show
from vmxd.views import lines as layout

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
        (HEAD + "480: 0=0x1 0=0x1\n", 2, "CPU 0 has a value already"),
        (HEAD + "480: 0-2=0x1 2-3=0x2\n", 2, "CPU 2 has a value already"),
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
    layout.lines_text(show.show_lines(result.inventory))
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
