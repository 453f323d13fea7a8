"""The text of a recording: msr.txt in place of the MSR devices, kvm.txt in place of dev/kvm.

msr.txt starts with the line "# vmxd msr recording 1"; then one MSR a line with every logical CPU: "48b:
0-3=0x035d6fff00000000 4=0x435d6fff00000000". CPU lists are the kernel's; the name of an errno may replace a value.
An MSR that is not listed was not recorded.

kvm.txt starts with the line "# vmxd kvm recording 1"; then "listed:" and every MSR index that KVM listed, in hex, or
the errno for which it listed none; then one VMX capability MSR a line with its value or an errno: "48b:
0x000078ff00000000". A recording without this file was made without asking KVM.

failure.txt is the only file of a host that could not be recorded: the line "# vmxd failure 1", then the reason.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from vmxd import cpulist
from vmxd.errors import MalformedFileError
from vmxd.model.facts import Failed, KvmMsrs, Reading, Span, Spans
from vmxd.tables import CAPABILITY_RANGE

MSR_FILE: Final = "msr.txt"
KVM_FILE: Final = "kvm.txt"
FAILURE_FILE: Final = "failure.txt"
MSR_FIRST_LINE: Final = "# vmxd msr recording 1"
FAILURE_FIRST_LINE: Final = "# vmxd failure 1"

_MSR_REMARK: Final = "# <msr index, hex>: <cpu list>=<value, hex, or errno name> ..."
_KVM_FIRST_LINE: Final = "# vmxd kvm recording 1"
_KVM_REMARK: Final = "# listed: <msr index, hex> ... or <errno name>; <msr index, hex>: <value, hex, or errno name>"
_INDEX: Final = re.compile(r"[0-9a-f]{1,8}", re.ASCII)
_VALUE: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)
_FAILURES: Final = {name: Failed(name) for name in errno.errorcode.values()}
_STRIDES_MAX: Final = 8192
"""Ranges that strided lists (0-65535:1/2) of a file may stand for: each stands for as many as half of its CPUs."""

Readings = Mapping[int, Mapping[int, Reading]]


def parse_msr_text(text: str, path: str, online: Collection[int]) -> dict[int, Spans]:
    """Read msr.txt: MSR index -> CPU -> value or errno.

    path: for the errors. Raises MalformedFileError, also on a CPU that is not in ``online``: it cannot have been read.
    """
    known = cpulist.to_ranges(online)
    strides = 0
    readings: dict[int, Spans] = {}

    def parse(line: str) -> None:
        nonlocal strides
        index, rest = _parse_head(line)
        spans = []
        for entry in filter(None, rest.split(" ")):
            cpus, equals, value = entry.partition("=")
            if not equals:
                raise ValueError(f"{entry[:40]!r} is not CPUS=VALUE")
            ranges = cpulist.parse_ranges(cpus)
            if not ranges:
                raise ValueError(f"{entry[:40]!r} names no CPU")
            strides += max(0, len(ranges) - cpus.count(",") - 1)
            if strides > _STRIDES_MAX:
                raise ValueError(f"{entry[:40]!r} and the lists before it stand for more than {_STRIDES_MAX} ranges")
            reading = _parse_reading(value)
            spans += [Span(first, last, reading) for first, last in ranges]
        if not spans:
            raise ValueError(f"MSR {index:x} has no value")
        if index in readings:
            raise ValueError(f"MSR {index:x} is listed twice")
        found = readings[index] = Spans(spans)
        if len(found.only(known)) != len(found):
            raise ValueError(f"CPU {cpulist.format_cpus(set(found).difference(online))} has a value but is not online")

    _parse_lines(text, path, MSR_FIRST_LINE, parse)
    return readings


def parse_kvm_text(text: str, path: str) -> KvmMsrs | Failed:
    """Read kvm.txt. path: for the errors. Raises MalformedFileError."""
    listed: tuple[int, ...] | Failed | None = None
    readings: dict[int, Reading] = {}

    def parse(line: str) -> None:
        nonlocal listed
        if listed is None:
            listed = _parse_listed(line)
            return
        index, value = _parse_head(line)
        if isinstance(listed, Failed) or index not in CAPABILITY_RANGE or index not in listed:
            raise ValueError(f"{index:x} is no VMX MSR that is listed")
        if index in readings:
            raise ValueError(f"{index:x} has a value already")
        readings[index] = _parse_reading(value.strip())

    end = _parse_lines(text, path, _KVM_FIRST_LINE, parse)
    if listed is None:
        raise MalformedFileError(path, end, "there is no line 'listed:'")
    if isinstance(listed, Failed):
        return listed
    if missing := [index for index in listed if index in CAPABILITY_RANGE and index not in readings]:
        raise MalformedFileError(path, end, f"{missing[0]:x} is listed and has no value")
    return KvmMsrs(listed, readings)


def _parse_lines(text: str, path: str, first_line: str, parse: Callable[[str], None]) -> int:
    """Hand each line but remarks to parse(), whose ValueError becomes one with the line; return the number of lines."""
    lines = text.split("\n")
    if lines[0] != first_line:
        raise MalformedFileError(path, 1, f"the first line is not {first_line!r}")
    if lines.pop():
        raise MalformedFileError(path, len(lines) + 1, "the file ends within a line")
    for number, line in enumerate(lines, 1):
        if line and not line.startswith("#"):
            try:
                parse(line)
            except ValueError as error:
                raise MalformedFileError(path, number, str(error)) from error
    return len(lines)


def _parse_head(line: str) -> tuple[int, str]:
    index, colon, rest = line.partition(":")
    if not colon or not _INDEX.fullmatch(index):
        raise ValueError(f"{line[:40]!r} does not start with an MSR index in hex and a colon")
    return int(index, 16), rest


def _parse_reading(text: str) -> Reading:
    if _VALUE.fullmatch(text):
        return int(text, 16)
    if text in _FAILURES:
        return _FAILURES[text]
    raise ValueError(f"{text[:40]!r} is neither 0x and up to 16 lower-case hex digits nor the name of an errno")


def _parse_listed(line: str) -> tuple[int, ...] | Failed:
    word, colon, rest = line.partition(":")
    if word != "listed" or not colon:
        raise ValueError(f"{line[:40]!r} is not 'listed:' and what KVM listed")
    entries = rest.split()
    if len(entries) == 1 and entries[0] in _FAILURES:
        return _FAILURES[entries[0]]
    if wrong := [entry for entry in entries if not _INDEX.fullmatch(entry)]:
        raise ValueError(f"{wrong[0][:40]!r} is no MSR index in hex")
    return tuple(sorted({int(entry, 16) for entry in entries}))


def format_msr_text(readings: Readings) -> str:
    """Print readings in msr.txt's form: MSRs ascending, values of one MSR in the order of their lowest CPU."""
    return "\n".join((MSR_FIRST_LINE, _MSR_REMARK, *_msr_lines(readings), ""))


def _msr_lines(readings: Readings) -> Iterator[str]:
    for index, by_cpu in sorted(readings.items()):
        by_reading: dict[Reading, list[cpulist.Range]] = {}
        for first, last, reading in Spans.of(by_cpu).spans:
            by_reading.setdefault(reading, []).append((first, last))
        entries = (f"{cpulist.format_ranges(ranges)}={_format(reading)}" for reading, ranges in by_reading.items())
        yield f"{index:03x}: {' '.join(entries)}"


def format_kvm_text(answer: KvmMsrs | Failed) -> str:
    """Print KVM's answer in kvm.txt's form."""
    if isinstance(answer, Failed):
        return f"{_KVM_FIRST_LINE}\n{_KVM_REMARK}\nlisted: {answer.errno}\n"
    listed = " ".join(["listed:", *(f"{index:x}" for index in answer.listed)])
    values = (f"{index:03x}: {_format(reading)}" for index, reading in sorted(answer.readings.items()))
    return "\n".join((_KVM_FIRST_LINE, _KVM_REMARK, listed, *values, ""))


def parse_failure_text(text: str, path: str) -> str:
    """Read failure.txt: the reason. path: for the errors. Raises MalformedFileError."""
    reasons: list[str] = []
    end = _parse_lines(text, path, FAILURE_FIRST_LINE, reasons.append)
    if len(reasons) != 1:
        raise MalformedFileError(path, end, "it has not one reason")
    return reasons[0]


def format_failure_text(reason: str) -> str:
    """Print the reason why a host could not be recorded in failure.txt's form."""
    return f"{FAILURE_FIRST_LINE}\n{reason}\n"


def _format(reading: Reading) -> str:
    return f"{reading:#018x}" if isinstance(reading, int) else reading.errno
