"""The man page vmxd(1), and the --help that it is made of."""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Final

import pytest

from deploy.shell import generate, manpage
from deploy.shell.commands import Command, commands_of
from tests.helpers import inside
from tests.helpers.support import REPOSITORY, program
from vmxd.cli import build_parser
from vmxd.commands.parser import Parser

PAGE: Final = REPOSITORY / "deploy/share" / manpage.FILE
COMMANDS: Final = {" ".join(command.words): command for command in commands_of(build_parser())}
WIDTH: Final = 80
ENVIRONMENT: Final = re.compile(r"""environ(?:\.get\(|\[)"([A-Z_]+)"|"([A-Z_]+)" (?:not )?in os\.environ""")

commands = pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))


@functools.cache
def rendered(page: Path) -> str:
    """Return a page as man shows it on a terminal, which must find nothing to warn of."""
    environment = {**os.environ, "MANWIDTH": str(WIDTH), "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    done = subprocess.run(
        [program("man", "man-db"), "--warnings", "-l", page],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def test_what_is_checked_in_is_what_the_parser_says() -> None:
    """The page is in step with the parser; ``make generated`` writes it anew."""
    assert generate.files()[manpage.FILE] == PAGE.read_text()


def test_mandoc_has_nothing_to_say() -> None:
    """Mandoc warns of nothing."""
    done = subprocess.run(
        [program("mandoc", "mandoc"), "-Tlint", "-Wwarning", PAGE], capture_output=True, text=True, check=False
    )

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_the_page_fits_a_terminal() -> None:
    """Man shows the page without a warning, no line wider than the terminal, in the sections that pages have."""
    lines = rendered(PAGE).splitlines()
    sections = [line for line in lines[1:-1] if re.match("[A-Z]", line)]

    assert [] == [line for line in lines if len(line) > WIDTH]
    assert [
        "NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "COMMON OPTIONS", "EXIT STATUS", "FILES", "ENVIRONMENT",
        "EXAMPLES", "SEE ALSO",
    ] == sections  # fmt: skip


@commands
def test_every_option_is_on_the_page(command: Command) -> None:
    """All options and arguments are on the page, with their help."""
    words = " ".join(rendered(PAGE).split())
    texts = [(action.help or "") % {**vars(action), "prog": "vmxd"} for action in command.arguments]
    flags = [flag for action in command.arguments for flag in action.option_strings if flag != "-h"]

    assert [] == [flag for flag in flags if f"{flag} " not in words]
    assert [] == [
        text for text in texts if text not in words and "show this help" not in text and "version" not in text
    ]


@commands
def test_every_command_says_what_the_page_needs(command: Command) -> None:
    """A command has a line in the list of commands, a description, help for each argument, and examples of itself.

    One that only has commands of its own needs no examples.
    """
    titles = [section.title for section in manpage.sections_of(command.parser)]
    described = command.parser.description or ""
    words = " ".join(command.words)

    assert command.help, f"{words}: help="
    assert described[:1].isupper(), f"{words}: description="
    assert described.endswith("."), f"{words}: description="
    assert command.has_commands or manpage.EXAMPLES in titles, f"{words}: epilog= without examples:"
    assert [] == [action.dest for action in command.arguments if not action.help]


@commands
def test_examples_are_commands(command: Command) -> None:
    """What an example calls is a command line that the parser takes."""
    sections = [section for section in manpage.sections_of(command.parser) if section.title == manpage.EXAMPLES]
    lines = [calls(term) for section in sections for term, _ in section.entries]

    assert [] == [line for line in lines if not line]
    assert [] == [words for line in lines for words in line if not hasattr(build_parser().parse_args(words), "run")]


def calls(line: str) -> list[list[str]]:
    """Return the arguments of each call of vmxd in a line for a shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    words.commenters = ""  # DIR#4 is one word
    parts = [
        list(part) for is_end, part in itertools.groupby(words, lambda word: set(word) <= set("|&;<>")) if not is_end
    ]
    return [part[1:] for part in parts if part[0] == "vmxd"]


@commands
def test_help_fits_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of --help is wider than a terminal of 80 columns, and its usage is one line."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    done = inside.vmxd(*command.words[1:], "--help")
    lines = done.stdout.splitlines()

    assert (0, "") == (done.returncode, done.stderr)
    assert [] == [line for line in lines if len(line) > WIDTH]
    assert "" == lines[1]


def test_the_environment_is_on_the_page() -> None:
    """Every environment variable that vmxd looks at is on the page."""
    sources = [path.read_text() for path in (REPOSITORY / "vmxd").rglob("*.py")]
    found = {name for text in sources for names in ENVIRONMENT.findall(text) for name in names if name}
    text = rendered(PAGE)

    assert found
    assert set() == {name for name in found if name not in text}


def test_any_text_is_shown_as_it_is(tmp_path: Path) -> None:
    """What roff would take for its own, a dot or an apostrophe first, backslashes, beyond ASCII, is shown as it is."""
    texts = [".SH is no heading", "'s is no request", r"a \fB backslash", 'caf\N{LATIN SMALL LETTER E WITH ACUTE} ^~`"']
    parser = Parser(prog="vmxd", description="A tool.", epilog="examples:\n  vmxd  it\n\nexit codes:\n  0  fine\n")
    inner = parser.add_subparsers().add_parser("inner", description="Inner.")
    for number, text in enumerate(texts):
        inner.add_argument(f"--option-{number}", action="store_true", help=text)
    (tmp_path / "vmxd.1").write_text(manpage.to_page(parser))
    words = " ".join(rendered(tmp_path / "vmxd.1").split())

    assert [] == [text for text in texts if text not in words]


def test_a_shared_group_is_described_once() -> None:
    """Options that several commands share in a group of one title are described once, others where they are."""
    shared = Parser(add_help=False)
    shared.add_argument_group("host").add_argument("--root", help="the host")
    parser = Parser(prog="vmxd", description="A tool.", epilog="examples:\n  vmxd  it\n\nexit codes:\n  0  fine\n")
    subparsers = parser.add_subparsers()
    for name in ("one", "two"):
        command = subparsers.add_parser(name, description="It.", parents=[shared])
        command.add_argument_group("form").add_argument(f"--{name}", help=f"the {name}")
    page = manpage.to_page(parser)

    assert 1 == page.count("\nthe host\n")
    assert (1, 1) == (page.count("\nthe one\n"), page.count("\nthe two\n"))


def test_the_end_of_help_has_parts() -> None:
    """Parts have a title and a line or more for each term; they and prose are told apart, blank lines or not."""
    epilog = "one:\n  a  first\n  b\n      second\ntwo:\n  c  third\n\nProse of\ntwo lines.\n"
    parts = [(part.title, part.entries) for part in manpage.sections_of(argparse.ArgumentParser(epilog=epilog))]

    assert [
        ("one", (("a", "first"), ("b", "second"))),
        ("two", (("c", "third"),)),
        ("", (("", "Prose of two lines."),)),
    ] == parts


@pytest.mark.parametrize("epilog", ["no title\n  term  text", "title:", "title:\n term  text"])
def test_an_end_of_help_of_another_form_is_refused(epilog: str) -> None:
    """What the page could not show well is an error when it is made."""
    with pytest.raises(ValueError, match=r"title|indented"):
        manpage.sections_of(argparse.ArgumentParser(epilog=epilog))
