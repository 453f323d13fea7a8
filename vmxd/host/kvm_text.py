"""The text of a recording: kvm.txt, in place of dev/kvm.

kvm.txt starts with the line "# vmxd kvm recording 1"; then "listed:" and every MSR index that KVM listed, in hex, or
the errno for which it listed none; then one VMX capability MSR a line with its value or an errno: "48b:
0x000078ff00000000". A recording without this file was made without asking KVM.
"""

from __future__ import annotations

from typing import Final

from vmxd.errors import MalformedFileError
from vmxd.host.recording_text import FAILURES, INDEX, format_reading, parse_head, parse_lines, parse_reading
from vmxd.model.facts import Failed, KvmMsrs, Reading
from vmxd.tables import CAPABILITY_RANGE

KVM_FILE: Final = "kvm.txt"

_FIRST_LINE: Final = "# vmxd kvm recording 1"
_REMARK: Final = "# listed: <msr index, hex> ... or <errno name>; <msr index, hex>: <value, hex, or errno name>"


def parse_kvm_text(text: str, path: str) -> KvmMsrs | Failed:
    """Read kvm.txt. path: for the errors. Raises MalformedFileError."""
    listed: tuple[int, ...] | Failed | None = None
    readings: dict[int, Reading] = {}

    def parse(line: str) -> None:
        nonlocal listed
        if listed is None:
            listed = _parse_listed(line)
            return
        index, value = parse_head(line)
        if isinstance(listed, Failed) or index not in CAPABILITY_RANGE or index not in listed:
            raise ValueError(f"{index:x} is no VMX MSR that is listed")
        if index in readings:
            raise ValueError(f"{index:x} has a value already")
        readings[index] = parse_reading(value.strip())

    end = parse_lines(text, path, _FIRST_LINE, parse)
    if listed is None:
        raise MalformedFileError(path, end, "there is no line 'listed:'")
    if isinstance(listed, Failed):
        return listed
    if missing := [index for index in listed if index in CAPABILITY_RANGE and index not in readings]:
        raise MalformedFileError(path, end, f"{missing[0]:x} is listed and has no value")
    return KvmMsrs(listed, readings)


def _parse_listed(line: str) -> tuple[int, ...] | Failed:
    word, colon, rest = line.partition(":")
    if word != "listed" or not colon:
        raise ValueError(f"{line[:40]!r} is not 'listed:' and what KVM listed")
    entries = rest.split()
    if len(entries) == 1 and entries[0] in FAILURES:
        return FAILURES[entries[0]]
    if wrong := [entry for entry in entries if not INDEX.fullmatch(entry)]:
        raise ValueError(f"{wrong[0][:40]!r} is no MSR index in hex")
    return tuple(sorted({int(entry, 16) for entry in entries}))


def format_kvm_text(answer: KvmMsrs | Failed) -> str:
    """Print KVM's answer in kvm.txt's form."""
    if isinstance(answer, Failed):
        return f"{_FIRST_LINE}\n{_REMARK}\nlisted: {answer.errno}\n"
    listed = " ".join(["listed:", *(f"{index:x}" for index in answer.listed)])
    values = (f"{index:03x}: {format_reading(reading)}" for index, reading in sorted(answer.readings.items()))
    return "\n".join((_FIRST_LINE, _REMARK, listed, *values, ""))
