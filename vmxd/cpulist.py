"""The kernel's cpulist format: "0-3,8,10-14" (Linux Documentation/admin-guide/kernel-parameters.rst, cpu lists)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

CPU_MAX: Final = 65535
"""The largest CPU number that is believed; Linux on x86 stops at 8191 (NR_CPUS)."""

Range = tuple[int, int]
"""The first and the last of consecutive CPUs."""

_LONG: Final = 60
_NAMED_MAX: Final = 4 * (CPU_MAX + 1)
"""CPUs that a list may name in all, repetitions counted: more is no list but an attempt to keep us busy."""
_PART: Final = re.compile(r"(\d+)(?:-(\d+)(?::(\d+)/(\d+))?)?", re.ASCII)


def parse(text: str) -> tuple[int, ...]:
    """Read the CPUs of a list, ascending, each once; otherwise as parse_ranges()."""
    return tuple(cpu for first, last in parse_ranges(text) for cpu in range(first, last + 1))


def parse_ranges(text: str) -> tuple[Range, ...]:
    """Read a list as ranges, ascending, with a gap between any two.

    Accepts what the kernel accepts: N, N-M and N-M:USED/GROUP, separated by commas; an empty list is no CPU.
    Raises ValueError, saying what is wrong, on anything else and on numbers above CPU_MAX.
    """
    ranges: list[Range] = []
    named = 0
    for part in text.strip().split(",") if text.strip() else ():
        match = _PART.fullmatch(part.strip())
        if not match or len(part) > 40:
            raise ValueError(f"{part[:40]!r} is no CPU list")
        first, last = int(match[1]), int(match[2] or match[1])
        used, group = int(match[3] or 1), int(match[4] or 1)
        if last > CPU_MAX:
            raise ValueError(f"CPU {last} is above {CPU_MAX}")
        if first > last or not 0 < used <= group:
            raise ValueError(f"{part!r} is an empty range")
        named += last - first + 1
        if named > _NAMED_MAX:
            raise ValueError("it names the same CPUs again and again")
        if used == group:
            ranges.append((first, last))
        else:
            ranges += [(start, min(start + used - 1, last)) for start in range(first, last + 1, group)]
    return merge(ranges)


def merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Join ranges that overlap or touch; the result is ascending."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def to_ranges(cpus: Iterable[int]) -> tuple[Range, ...]:
    """Join CPUs given one by one, in any order, to ranges."""
    return merge((cpu, cpu) for cpu in cpus)


def describe(cpus: Collection[int]) -> str:
    """Name CPUs with their noun, for people: "CPU 4", "CPUs 0-3"; of a long list the count and the beginning."""
    text = format_cpus(cpus)
    if len(text) > _LONG:
        return f"{len(cpus)} CPUs ({text[:_LONG].rpartition(',')[0]},…)"
    return f"CPU{'' if len(cpus) == 1 else 's'} {text}"


def format_cpus(cpus: Iterable[int]) -> str:
    """Print CPUs as the kernel does, e.g. "0-3,8"; no CPU is ""."""
    return format_ranges(to_ranges(cpus))


def format_ranges(ranges: Iterable[Range]) -> str:
    """Print ranges as the kernel does."""
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)
