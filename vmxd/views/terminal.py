"""Lines in colour, for a terminal: rich (the extra "terminal") knows what it can show, and minds NO_COLOR and TERM."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.text import Text

from vmxd.views.lines import Line, Tone

_STYLES: Final = {
    Tone.PLAIN: "",
    Tone.TITLE: "bold",
    Tone.FAINT: "dim",
    Tone.GOOD: "green",
    Tone.BAD: "bold red",
    Tone.DOUBT: "yellow",
}


def to_terminal(lines: Iterable[Line]) -> str:
    """Return lines with the terminal's escape sequences; what they say is what layout.to_plain() gives."""
    console = Console(
        file=io.StringIO(), force_terminal=True, soft_wrap=True, highlight=False, markup=False, emoji=False
    )
    for line in lines:
        text = Text.assemble(*((part, _STYLES[tone]) for part, tone in line))
        text.rstrip()
        console.print(text, soft_wrap=True)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()
