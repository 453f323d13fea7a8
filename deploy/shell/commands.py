"""The commands of a parser, whatever they are."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A parser and its place: the words that call it, what its help is in the list of commands, its commands."""

    words: tuple[str, ...]
    help: str
    parser: argparse.ArgumentParser

    @property
    def arguments(self) -> list[argparse.Action]:
        """All options and arguments, but for commands."""
        return [
            action
            for action in self.parser._actions  # noqa: SLF001 (argparse has no public name for it)
            if action.help != argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
        ]

    @property
    def has_commands(self) -> bool:
        """Whether it takes commands of its own."""
        return self.parser._subparsers is not None  # noqa: SLF001


def commands_of(parser: argparse.ArgumentParser, *words: str, text: str | None = None) -> Iterator[Command]:
    """Yield the program itself and all its commands, each before its own commands, in the order of --help."""
    yield Command(words or (parser.prog,), parser.description or "" if text is None else text, parser)
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            helps = {listed.dest: listed.help or "" for listed in action._get_subactions()}  # noqa: SLF001
            for name, command in action.choices.items():
                yield from commands_of(command, *(words or (parser.prog,)), name, text=helps.get(name, ""))
