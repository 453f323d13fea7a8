"""vmxd/host/kvm_file.py: kvm.txt holds what KVM said, all of it or its errno, and damage is located."""

from __future__ import annotations

import contextlib
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmxd.errors import MalformedFileError
from vmxd.host.kvm_text import format_kvm_text, parse_kvm_text
from vmxd.model.facts import Failed, KvmMsrs
from vmxd.tables import CAPABILITY_RANGE

HEAD = "# vmxd kvm recording 1\n"
NO_VALUE = "is neither 0x and up to 16 lower-case hex digits nor the name of an errno"

failures = st.sampled_from(sorted(errno.errorcode.values())).map(Failed)
values = st.integers(0, 2**64 - 1) | failures


@st.composite
def answers(draw: st.DrawFn) -> KvmMsrs:
    """Draw a list of MSRs, with a value or errno for each that is a VMX capability MSR."""
    listed = draw(st.sets(st.integers(0, 2**32 - 1) | st.sampled_from(CAPABILITY_RANGE), max_size=30))
    readings = {index: draw(values) for index in sorted(listed) if index in CAPABILITY_RANGE}
    return KvmMsrs(tuple(sorted(listed)), readings)


@given(answers() | failures)
def test_what_is_written_is_read_again(answer: KvmMsrs | Failed) -> None:
    """Any answer comes back from its text as it was."""
    assert answer == parse_kvm_text(format_kvm_text(answer), "kvm.txt")


def test_the_text_is_as_documented() -> None:
    """The form is fixed: the list with all that KVM listed, then the VMX MSRs."""
    expected = """\
# vmxd kvm recording 1
# listed: <msr index, hex> ... or <errno name>; <msr index, hex>: <value, hex, or errno name>
listed: 8b 480 48b
480: 0x00d8100011e57ed0
48b: ENODATA
"""
    answer = KvmMsrs((0x8B, 0x480, 0x48B), {0x480: 0x00D8100011E57ED0, 0x48B: Failed("ENODATA")})

    assert expected == format_kvm_text(answer)


def test_an_empty_list_is_no_failure() -> None:
    """A KVM that lists nothing has answered; one that could not be asked has not."""
    assert KvmMsrs((), {}) == parse_kvm_text(HEAD + "listed:\n", "kvm.txt")
    assert Failed("EACCES") == parse_kvm_text(HEAD + "listed: EACCES\n", "kvm.txt")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the first line is not '# vmxd kvm recording 1'"),
        ("# vmxd kvm recording 2\n", 1, "the first line is not '# vmxd kvm recording 1'"),
        (HEAD, 1, "there is no line 'listed:'"),
        (HEAD + "480: 0x1\n", 2, "'480: 0x1' is not 'listed:' and what KVM listed"),
        (HEAD + "listed: 480 EIO\n480: 0x1\n", 2, "'EIO' is no MSR index in hex"),
        (HEAD + "listed: 480\n480: 0x1", 3, "the file ends within a line"),
        (HEAD + "listed: 480\n", 2, "480 is listed and has no value"),
        (HEAD + "listed: 480\n481: 0x1\n480: 0x1\n", 3, "481 is no VMX MSR that is listed"),
        (HEAD + "listed: 8b\n8b: 0x1\n", 3, "8b is no VMX MSR that is listed"),
        (HEAD + "listed: EACCES\n480: 0x1\n", 3, "480 is no VMX MSR that is listed"),
        (HEAD + "listed: 480\n480: 0x1\n480: 0x1\n", 4, "480 has a value already"),
        (HEAD + "listed: 480\n480: 1\n", 3, f"'1' {NO_VALUE}"),
        (HEAD + "listed: 480\n0x480: 0x1\n", 3, "'0x480: 0x1' does not start with an MSR index in hex and a colon"),
    ],
)
def test_damaged_text_is_located(text: str, line: int, message: str) -> None:
    """Damage is an error that names file and line."""
    with pytest.raises(MalformedFileError) as caught:
        parse_kvm_text(text, "kvm.txt")

    assert f"kvm.txt:{line}: {message}" == str(caught.value)


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["listed:", " ", "480", "8b", ":", "0x1", "EIO", "\n"])).map("".join)
)
def test_no_text_breaks_the_parser(text: str) -> None:
    """Any text is an answer or a damaged file."""
    answer: KvmMsrs | Failed | None = None
    with contextlib.suppress(MalformedFileError):
        answer = parse_kvm_text(HEAD + text, "kvm.txt")

    assert answer is None or answer == parse_kvm_text(format_kvm_text(answer), "kvm.txt")
