"""The text of a recording: msr.txt, in place of the MSR devices, and what its other text has in common with it.

msr.txt starts with the line "# vmxd msr recording 1"; then one MSR a line with every logical CPU: "48b:
0-3=0x035d6fff00000000 4=0x435d6fff00000000". CPU lists are the kernel's; the name of an errno may replace a value.
An MSR that is not listed was not recorded.

failure.txt is the only file of a host that could not be recorded: the line "# vmxd failure 1", then the reason.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from vmxd import cpulist
from vmxd.errors import MalformedFileError
from vmxd.model.facts import Failed, Reading, Span, Spans

MSR_FILE: Final = "msr.txt"
FAILURE_FILE: Final = "failure.txt"
MSR_FIRST_LINE: Final = "# vmxd msr recording 1"
FAILURE_FIRST_LINE: Final = "# vmxd failure 1"

_MSR_REMARK: Final = "# <msr index, hex>: <cpu list>=<value, hex, or errno name> ..."
INDEX: Final = re.compile(r"[0-9a-f]{1,8}", re.ASCII)
_VALUE: Final = re.compile(r"0x[0-9a-f]{1,16}", re.ASCII)
FAILURES: Final = {name: Failed(name) for name in errno.errorcode.values()}
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
        index, rest = parse_head(line)
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
            reading = parse_reading(value)
            spans += [Span(first, last, reading) for first, last in ranges]
        if not spans:
            raise ValueError(f"MSR {index:x} has no value")
        if index in readings:
            raise ValueError(f"MSR {index:x} is listed twice")
        found = readings[index] = Spans(spans)
        if len(found.only(known)) != len(found):
            raise ValueError(f"CPU {cpulist.format_cpus(set(found).difference(online))} has a value but is not online")

    parse_lines(text, path, MSR_FIRST_LINE, parse)
    return readings


def parse_lines(text: str, path: str, first_line: str, parse: Callable[[str], None]) -> int:
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


def parse_head(line: str) -> tuple[int, str]:
    """Split a line into the MSR index that it starts with and what follows the colon. Raises ValueError."""
    index, colon, rest = line.partition(":")
    if not colon or not INDEX.fullmatch(index):
        raise ValueError(f"{line[:40]!r} does not start with an MSR index in hex and a colon")
    return int(index, 16), rest


def parse_reading(text: str) -> Reading:
    """Read a value or the name of an errno. Raises ValueError."""
    if _VALUE.fullmatch(text):
        return int(text, 16)
    if text in FAILURES:
        return FAILURES[text]
    raise ValueError(f"{text[:40]!r} is neither 0x and up to 16 lower-case hex digits nor the name of an errno")


def format_msr_text(readings: Readings) -> str:
    """Print readings in msr.txt's form: MSRs ascending, values of one MSR in the order of their lowest CPU."""
    return "\n".join((MSR_FIRST_LINE, _MSR_REMARK, *_msr_lines(readings), ""))


def _msr_lines(readings: Readings) -> Iterator[str]:
    for index, by_cpu in sorted(readings.items()):
        by_reading: dict[Reading, list[cpulist.Range]] = {}
        for first, last, reading in Spans.of(by_cpu).spans:
            by_reading.setdefault(reading, []).append((first, last))
        entries = (f"{cpulist.format_ranges(cpus)}={format_reading(reading)}" for reading, cpus in by_reading.items())
        yield f"{index:03x}: {' '.join(entries)}"


def parse_failure_text(text: str, path: str) -> str:
    """Read failure.txt: the reason. path: for the errors. Raises MalformedFileError."""
    reasons: list[str] = []
    end = parse_lines(text, path, FAILURE_FIRST_LINE, reasons.append)
    if len(reasons) != 1:
        raise MalformedFileError(path, end, "it has not one reason")
    return reasons[0]


def format_failure_text(reason: str) -> str:
    """Print the reason why a host could not be recorded in failure.txt's form."""
    return f"{FAILURE_FIRST_LINE}\n{reason}\n"


def format_reading(reading: Reading) -> str:
    """Print a value or the name of an errno."""
    return f"{reading:#018x}" if isinstance(reading, int) else reading.errno
