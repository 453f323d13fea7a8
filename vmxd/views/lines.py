"""Lines for a terminal or a pipe, laid out once: parts that have a tone, printed plain or by terminal.py in colour."""

from __future__ import annotations

import enum
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final


class Tone(enum.Enum):
    """What a part of a line is; colour only repeats what the words say."""

    PLAIN = "plain"
    TITLE = "title"
    FAINT = "faint"
    GOOD = "good"
    BAD = "bad"
    DOUBT = "doubt"


Part = tuple[str, Tone]
Line = tuple[Part, ...]

_ROOM: Final = 24
"""Columns that a text needs beside what it belongs to; with fewer it goes below."""
_BELOW: Final = 4
_WORD_ENDS: Final = re.compile(r"(\s+|(?<=,)(?=\S))")
"""Where a line may break: also within a list of CPUs."""


def to_plain(lines: Iterable[Line]) -> str:
    """Return lines as text without colour, newline at the end; no line ends in spaces."""
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)


def beside(head: Sequence[Part], said: Part, indent: int, width: int | None) -> list[Line]:
    """Return a head with a text beside it, in the column ``indent`` and wrapped there; below it where that is narrow.

    width: columns of the terminal; None: do not wrap.
    """
    text, tone = said
    taken = max(indent, sum(len(part) for part, _ in head))
    gap = (" " * (taken - sum(len(part) for part, _ in head)), Tone.PLAIN)
    if width is None or not text:
        return [(*head, gap, said)]
    lines: list[Line] = []
    if below := width - taken < min(_ROOM, len(text)):
        lines, taken = [tuple(head)], min(_BELOW, width // 4)
    wrapper = textwrap.TextWrapper(max(1, width - taken), break_on_hyphens=False)
    wrapper.wordsep_simple_re = _WORD_ENDS
    wrapped = wrapper.wrap(text)
    lines += [((" " * taken, Tone.PLAIN), (each, tone)) for each in wrapped]
    return lines if below else [(*head, gap, (wrapped[0], tone)), *lines[1:]]
