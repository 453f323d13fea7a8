"""Every command in the documentation does what its page says."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest
import yaml
from promql_parser import VectorSelector, parse

from deploy.shell.commands import commands_of
from tests.helpers.docs import (
    NOT_RUN,
    PAGES,
    PROGRAMS,
    Block,
    Command,
    Session,
    blocks,
    commands,
    hidden_commands,
    matches,
    refreshed,
    rewrite,
    words_of_commands,
)
from tests.helpers.support import REPOSITORY, program
from vmxd.cli import build_parser

BLOCKS: Final = {page: blocks(page) for page in PAGES}
ALL: Final = list(itertools.chain.from_iterable(BLOCKS.values()))
LANGUAGES: Final = frozenset(("console", "sh", "python", "promql", "yaml", "toml", "json", "diff", "text"))


def of(language: str) -> list[Block]:
    """Return the blocks in a language."""
    return [block for block in ALL if block.language == language]


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.is_run for block in BLOCKS[page])])
def test_commands(page: str, tmp_path: Path, update: bool) -> None:
    """Commands succeed, or end with the code that the page shows next, and print what it shows."""
    for each in ("promtool", "curl"):
        program(each, {"promtool": "prometheus"}.get(each, each))
    changes: list[tuple[Block, Command, list[str]]] = []
    session = Session(tmp_path)
    try:
        for block in BLOCKS[page]:
            listed = list(commands(block)) if block.is_run else []
            for command, following in itertools.zip_longest(listed, listed[1:]):
                code, printed = session.run(command)
                shown = following is not None and following.text == "echo $?"
                expected = int(block.options.get("exit", 0)) if following is None else code if shown else 0
                where = f"{page}:{command.line + 1}: {command.text}"
                assert expected == code, "\n".join([where, *printed])
                if command.output and not matches(command.output, printed):
                    assert update, "\n".join([where, *printed, "(make generated)"])
                    changes.append((block, command, refreshed(command.output, printed)))
    finally:
        session.close()
    rewrite(page, changes)


@pytest.mark.parametrize(
    ("expected", "printed", "same", "new"),
    [
        ("a\nb", "a\nb", True, "a\nb"),
        ("a", "a\nb", False, "a\nb"),
        ("a\n…", "a\nb\nc", True, "a\n…"),
        ("a 1\n…", "a 2\nb\nc", False, "a 2\n…"),
        ("a\n…\nc 1", "a\nb\nc 2", False, "a\n…\nc 2"),
        ("a\n…\nc 1\nd\n…", "a\nb\nc 2\nd 2\ne", False, "a\n…\nc 2\nd 2\n…"),
        ("in … ms", "in 12 ms", True, "in 12 ms"),
        ("in … ms", "in 12 s", False, "in 12 s"),
    ],
)
def test_elisions(expected: str, printed: str, same: bool, new: str) -> None:
    """A line … stands for any lines and is kept when outputs are refreshed, a … within a line for any text."""
    assert same is matches(expected.splitlines(), printed.splitlines())
    assert new.splitlines() == refreshed(expected.splitlines(), printed.splitlines())


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_what_they_are(page: str) -> None:
    """Every block of commands is run, or says why not in a word of NOT_RUN; no other block hides commands."""
    for block in BLOCKS[page]:
        assert block.language in LANGUAGES, block.where
        assert block.options.keys() <= {"not-run", "exit"}, block.where
        assert block.options.get("not-run", "host") in NOT_RUN, block.where
        assert [] == hidden_commands(block), f"{block.where}: begin it with ```console or ```sh"
        if block.is_run:
            words = itertools.chain.from_iterable(_programs(command.text) for command in commands(block))
            assert set() == set(words) - PROGRAMS, f"{block.where}: run, or marked with not-run=?"


def _programs(command: str) -> Iterator[str]:
    """Yield the words of a command line that name programs."""
    begins = True
    for word in shlex.shlex(command, posix=True, punctuation_chars=True):
        if set(word) <= set("|;&"):
            begins = True
        elif begins:
            begins = False
            yield word


@pytest.mark.parametrize("page", [*PAGES, "systemd/README.md"])
def test_commands_that_are_not_run(page: str) -> None:
    """A command in a sentence, or in a block that is not run, is vmxd's with its options, or a target of make."""
    options = {each.words: each.parser._option_string_actions.keys() for each in commands_of(build_parser())}
    targets = set(re.findall(r"^([\w-]+(?: [\w-]+)*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    targets = {name for names in targets for name in names.split()}
    for words in words_of_commands(page):
        given = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
        if words[:1] == ("vmxd",) and len(words) > 1:
            command = max((each for each in options if each == words[: len(each)]), key=len)
            assert len(command) > 1 or given, words
            assert set() == given - options[command], words
        elif words[:1] == ("make",):
            assert set() == {word for word in words[1:] if "=" not in word} - targets, words


def test_every_reason_is_used() -> None:
    """NOT_RUN explains no word that no page has."""
    assert NOT_RUN.keys() == {block.options["not-run"] for block in ALL if "not-run" in block.options}


@pytest.mark.parametrize("block", [b for b in ALL if b.options.get("not-run") == "make"], ids=lambda block: block.where)
def test_make(block: Block) -> None:
    """The Makefile has each target that a page names."""
    for command in commands(block):
        words = shlex.split(command.text, comments=True)
        if words[0] == "make":
            result = subprocess.run(
                [program("make", "make"), "--dry-run", *words[1:]],
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (0, "") == (result.returncode, result.stderr), block.where


@pytest.mark.parametrize("block", of("promql"), ids=lambda block: block.where)
def test_queries(block: Block) -> None:
    """Every query is PromQL, and asks for series that vmxd or its rules have."""
    text = re.sub(r" *#.*", "", block.text)
    whole = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    for query in whole if _parses(whole) else text.splitlines():
        if query.strip():
            names = {node.name for node in _selectors(parse(query))}
            assert set() == names - series(), block.where


def _parses(queries: list[str]) -> bool:
    try:
        return all(parse(query) for query in queries)
    except ValueError:
        return False


def _selectors(expression: object) -> Iterator[VectorSelector]:
    """Yield the vector selectors of a parsed expression."""
    if isinstance(expression, VectorSelector):
        yield expression
        return
    for name in ("expr", "lhs", "rhs", "vector_selector", "vs", "param"):
        if (inner := getattr(expression, name, None)) is not None:
            yield from _selectors(inner)
    for argument in getattr(expression, "args", None) or ():
        yield from _selectors(argument)


@cache
def series() -> frozenset[str]:
    """Return the names of all series: of vmxd, as its reference has them, of the recording rules, of Prometheus."""
    metrics = re.findall(r"^## (\w+)$", (REPOSITORY / "docs/reference/metrics.md").read_text(), re.MULTILINE)
    rules = (yaml.safe_load(path.read_text()) for path in (REPOSITORY / "deploy/prometheus").glob("*.rules.yml"))
    recorded = [rule.get("record") for file in rules for group in file["groups"] for rule in group["rules"]]
    return frozenset(("up", "ALERTS", "pool:vmx_profile:required", *metrics, *filter(None, recorded)))


@pytest.mark.parametrize("block", [*of("yaml"), *of("toml")], ids=lambda block: block.where)
def test_files(block: Block) -> None:
    """YAML and TOML that a page shows can be read."""
    assert (yaml.safe_load if block.language == "yaml" else tomllib.loads)(block.text)
