"""Text for a terminal or a pipe: lines of parts that have a tone, laid out once, plain or in colour."""

from __future__ import annotations

import enum
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final


class Tone(enum.Enum):
    """How a part of a line looks, as an SGR parameter (ECMA-48); colour only repeats what the words say."""

    PLAIN = ""
    TITLE = "1"
    FAINT = "2"
    GOOD = "32"
    BAD = "1;31"
    DOUBT = "33"


Part = tuple[str, Tone]
Line = tuple[Part, ...]

_ROOM: Final = 24
"""Columns that a text needs beside its head; with fewer it goes below."""
_BELOW: Final = 4
_WORD_ENDS: Final = re.compile(r"(\s+|(?<=,)(?=\S))")
"""Where a line may break: also within a list of CPUs."""
_GAP: Final = "  "
_NUMBER: Final = re.compile(r"\+?\d[\d,]*(\.\d+)?", re.ASCII)


def printable(text: str) -> str:
    """Put a question mark in place of each character that a terminal would obey."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def lines_text(lines: Iterable[Line], *, colour: bool = False) -> str:
    """Render lines as text, newline at the end; no line ends in spaces, and nothing in it moves a cursor."""
    return "".join(_rendered(line, colour=colour) + "\n" for line in lines)


def _rendered(line: Line, *, colour: bool) -> str:
    parts = [(printable(text), tone) for text, tone in line]
    while parts and not (last := parts[-1][0].rstrip()):
        parts.pop()
    if parts:
        parts[-1] = last, parts[-1][1]
    return "".join(f"\x1b[{tone.value}m{text}\x1b[0m" if colour and tone.value else text for text, tone in parts)


def beside(head: Sequence[Part], said: Part, indent: int, width: int | None) -> list[Line]:
    """Lay a text out beside a head, in the column ``indent`` and wrapped there; below the head if that is narrow.

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
    wrapped = _wrap(text, width - taken)
    lines += [((" " * taken, Tone.PLAIN), (each, tone)) for each in wrapped]
    return lines if below else [(*head, gap, (wrapped[0], tone)), *lines[1:]]


def _wrap(text: str, width: int) -> list[str]:
    wrapper = textwrap.TextWrapper(max(1, width), break_on_hyphens=False)
    wrapper.wordsep_simple_re = _WORD_ENDS
    return wrapper.wrap(text) or [""]


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None) -> list[Line]:
    """Lay out rows in aligned columns under their headers, if there are any; columns of numbers to the right.

    width: columns of the terminal, into which the widest texts are wrapped; numbers never are. None: do not wrap.
    """
    body = [tuple(map(printable, row)) for row in rows]
    cells = [tuple(headers), *body] if headers else body
    right = [is_numeric(column) for column in zip(*body, strict=True)] or [False] * len(headers)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    texts = [column for column, number in enumerate(right) if not number]
    while width is not None and texts and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        widest = max(texts, key=widths.__getitem__)
        if widths[widest] <= _BELOW:
            break
        widths[widest] -= 1
    lines: list[Line] = []
    for number, row in enumerate(cells):
        wrapped = [[cell] if width is None else _wrap(cell, widths[column]) for column, cell in enumerate(row)]
        for at in range(max(map(len, wrapped))):
            columns = [each[at] if at < len(each) else "" for each in wrapped]
            text = _GAP.join(
                f"{cell:>{widths[column]}}" if right[column] else f"{cell:<{widths[column]}}"
                for column, cell in enumerate(columns)
            )
            lines.append(((text, Tone.FAINT if headers and not number else Tone.PLAIN),))
    return lines


def is_numeric(cells: Iterable[str]) -> bool:
    """Whether the cells of a column are numbers; some may be empty, or a dash for none."""
    distinct = set(cells) - {"", "-"}
    return bool(distinct) and all(map(_NUMBER.fullmatch, distinct))
