"""kvm.txt, what KVM gives to guests, in a recording.

It starts with the line "# vmxd kvm recording 1"; then "listed:" and every MSR index that KVM listed, in hex, or the
errno for which it listed none; then one VMX capability MSR a line, with its value or an errno, as in
"48b: 0x000078ff00000000". A recording without this file was made without asking KVM.
"""

from __future__ import annotations

import errno
import re
from typing import Final

from vmxd.errors import MalformedFileError
from vmxd.model.facts import Failed, KvmMsrs, Reading
from vmxd.tables import CAPABILITY_RANGE

KVM_FILE: Final = "kvm.txt"

_FIRST_LINE: Final = "# vmxd kvm recording 1"
_SECOND_LINE: Final = "# listed: <msr index, hex> ... or <errno name>; <msr index, hex>: <value, hex, or errno name>"
_INDEX: Final = re.compile(r"[0-9a-f]{1,8}", re.ASCII)
_VALUE: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)
_ERRNOS: Final = frozenset(errno.errorcode.values())


def parse_kvm_text(text: str, path: str) -> KvmMsrs | Failed:
    """Return what a text of kvm.txt's form holds; ``path`` is for the errors. Raises MalformedFileError."""
    lines = text.split("\n")
    if lines[0] != _FIRST_LINE:
        raise MalformedFileError(path, 1, f"the first line is not {_FIRST_LINE!r}")
    if lines.pop():
        raise MalformedFileError(path, len(lines) + 1, "the file ends within a line")
    listed: tuple[int, ...] | Failed | None = None
    readings: dict[int, Reading] = {}
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        try:
            if listed is None:
                listed = _parse_list(line)
            else:
                index, reading = _parse_value(line)
                if isinstance(listed, Failed) or index not in CAPABILITY_RANGE or index not in listed:
                    raise ValueError(f"{index:x} is no VMX MSR that is listed")
                if index in readings:
                    raise ValueError(f"{index:x} has a value already")
                readings[index] = reading
        except ValueError as error:
            raise MalformedFileError(path, number, str(error)) from error
    if listed is None:
        raise MalformedFileError(path, len(lines), "there is no line 'listed:'")
    if isinstance(listed, Failed):
        return listed
    if missing := [index for index in listed if index in CAPABILITY_RANGE and index not in readings]:
        raise MalformedFileError(path, len(lines), f"{missing[0]:x} is listed and has no value")
    return KvmMsrs(listed, readings)


def _parse_list(line: str) -> tuple[int, ...] | Failed:
    word, colon, rest = line.partition(":")
    if word != "listed" or not colon:
        raise ValueError(f"{line[:40]!r} is not 'listed:' and what KVM listed")
    entries = rest.split()
    if len(entries) == 1 and entries[0] in _ERRNOS:
        return Failed(entries[0])
    if wrong := [entry for entry in entries if not _INDEX.fullmatch(entry)]:
        raise ValueError(f"{wrong[0][:40]!r} is no MSR index in hex")
    return tuple(sorted({int(entry, 16) for entry in entries}))


def _parse_value(line: str) -> tuple[int, Reading]:
    index, colon, rest = line.partition(":")
    if not colon or not _INDEX.fullmatch(index):
        raise ValueError(f"{line[:40]!r} does not start with an MSR index in hex and a colon")
    value = rest.strip()
    if _VALUE.fullmatch(value):
        return int(index, 16), int(value, 16)
    if value in _ERRNOS:
        return int(index, 16), Failed(value)
    raise ValueError(f"{value[:40]!r} is neither 0x and up to 16 lower-case hex digits nor the name of an errno")


def format_kvm_text(answer: KvmMsrs | Failed) -> str:
    """Return KVM's answer in kvm.txt's form."""
    if isinstance(answer, Failed):
        return f"{_FIRST_LINE}\n{_SECOND_LINE}\nlisted: {answer.errno}\n"
    lines = [_FIRST_LINE, _SECOND_LINE, " ".join(["listed:", *(f"{index:x}" for index in answer.listed)])]
    for index, reading in sorted(answer.readings.items()):
        lines.append(f"{index:03x}: {f'{reading:#018x}' if isinstance(reading, int) else reading.errno}")
    return "\n".join(lines) + "\n"
