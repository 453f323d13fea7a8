"""vmxd/views/lines.py: what is printed moves no cursor, and tables fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmxd.views.lines import Tone, lines_text, table

TEXTS = st.text(st.characters() | st.sampled_from("\x1b\x07\x9b\u202e\n\r\t a,"), max_size=30)


@given(TEXTS, TEXTS, st.booleans())
def test_nothing_obeys(text: str, other: str, colour: bool) -> None:
    """Whatever a part holds, a line is one line, and its only escape sequences are those of its tones."""
    printed = lines_text([((text, Tone.BAD), (other, Tone.PLAIN))], colour=colour)
    bare = printed.removesuffix("\n").replace("\x1b[1;31m", "").replace("\x1b[0m", "")

    assert bare.isprintable()
    assert bare == bare.rstrip()


def test_table() -> None:
    """Columns are aligned under their headers, numbers to the right."""
    rows = [("db-03", "9", "lacks pml"), ("web", "1,024", "")]

    assert "host    CPUs  what\ndb-03      9  lacks pml\nweb    1,024\n" == lines_text(
        table(("host", "CPUs", "what"), rows)
    )


@pytest.mark.parametrize("width", [20, 40, 80])
@given(rows=st.lists(st.tuples(st.text("ab ,", max_size=60), st.integers(0, 10**6).map(str)), min_size=1, max_size=5))
def test_table_fits(width: int, rows: list[tuple[str, str]]) -> None:
    """A table is as wide as the terminal at most, and loses no letter."""
    printed = lines_text(table(("text", "n"), rows, width))

    assert [] == [line for line in printed.splitlines() if len(line) > width]
    assert sum(text.count("a") for text, _ in rows) == printed.count("a")
