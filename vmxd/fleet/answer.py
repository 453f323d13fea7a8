"""What every answer about a fleet can be: lines for people, a table for spreadsheets, a document for programs. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import vmxd
from vmxd.fleet.model import Fleet
from vmxd.fleet.times import format_time
from vmxd.fleet.words import hosts_text, some
from vmxd.views.json import Json
from vmxd.views.lines import Line, Tone, beside, table


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under column names, all of one length; title: a line above it, for people only."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


class Answer:
    """An answer to a question about a fleet; each question's file has its own.

    holds: True if the answer is yes, False if it is no, None if it is not known.
    """

    __slots__ = ()

    @property
    def holds(self) -> bool | None:
        """By default nothing is asked that could be denied."""
        return True

    def document(self) -> Json:
        """Tell programs."""
        raise NotImplementedError

    def csv(self) -> Table:
        """Tell spreadsheets."""
        raise NotImplementedError

    def sentences(self) -> Iterable[str]:
        """Tell people in short."""
        return ()

    def tables(self) -> Iterable[Table]:
        """Tell people the rest."""
        return ()

    def notes(self) -> Iterable[str]:
        """Tell people on standard error, in whatever form the answer is."""
        return ()

    def lines(self, width: int | None, names: int | None) -> Iterator[Line]:
        """Lay sentences and tables out. width: columns of the terminal, None: do not wrap.

        names: hosts of a group to name, None for all.
        """
        del names
        begun = False
        for sentence in self.sentences():
            begun = True
            yield from paragraph(sentence, 0, width)
        for each in self.tables():
            if each.rows:
                yield from [()] * begun
                begun = True
                yield from paragraph(each.title, 0, width, Tone.TITLE) if each.title else ()
                yield from table(each.columns, each.rows, width)


def paragraph(text: str, indent: int, width: int | None, tone: Tone = Tone.PLAIN) -> list[Line]:
    """Lay out a text in a column of its own."""
    return beside((), (text, tone), indent, width)


def section(
    heading: str, tone: Tone, groups: Mapping[tuple[str, ...], Sequence[str]], width: int | None, names: int | None
) -> Iterator[Line]:
    """Lay out hosts that are alike under what is said of them, the most hosts first. names: as for Answer.lines()."""
    yield from ((), ((heading, tone),)) if groups else ()
    for said, hosts in sorted(groups.items(), key=lambda item: -len(item[1])):
        for number, text in enumerate(filter(None, said)):
            yield from paragraph(text, 4 if number else 2, width)
        yield from paragraph(f"{hosts_text(len(hosts))}: {some(hosts, names or len(hosts))}", 4, width)


def to_csv(each: Table) -> str:
    """Render a table as CSV (RFC 4180), column names first.

    A text that a spreadsheet would run as a formula begins with an apostrophe: hosts choose their names and models.
    """
    output = io.StringIO()
    csv.writer(output).writerows([_inert(cell) for cell in row] for row in (each.columns, *each.rows))
    return output.getvalue()


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def source_document(fleet: Fleet, schema: str) -> Json:
    """Return what every document about a fleet begins with."""
    return {
        "schema": schema,
        "vmxd": vmxd.__version__,
        "source": fleet.source,
        "time": format_time(fleet.taken_at),
        "warnings": list(fleet.warnings),
    }
