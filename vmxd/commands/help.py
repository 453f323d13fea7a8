"""How --help looks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any


class HelpFormatter(argparse.HelpFormatter):
    """Help with a usage of one line and commands in one column; paragraphs of one line are filled, others kept."""

    def _format_usage(
        self, usage: str | None, actions: Iterable[argparse.Action], groups: Iterable[Any], prefix: str | None
    ) -> str:
        return super()._format_usage(usage or synopsis(self._prog, actions, groups), actions, groups, prefix)

    def _format_action(self, action: argparse.Action) -> str:
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return self._join_parts([self._format_action(command) for command in action._get_subactions()])  # noqa: SLF001
        return super()._format_action(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(
            paragraph if "\n" in paragraph else super(HelpFormatter, self)._fill_text(paragraph, width, indent)
            for paragraph in paragraphs
        )


def synopsis(prog: str, actions: Iterable[argparse.Action], groups: Iterable[Any] = ()) -> str:
    """Return how a command is called, in one line: only what must be given has a place of its own.

    groups: argparse's groups of options that exclude each other.
    """
    actions, groups = list(actions), [group for group in groups if group.required]
    parts = [prog]
    if any(not action.required for action in actions if action.option_strings):
        parts.append("[options]")
    for group in groups:
        names = " | ".join(map(_argument, group._group_actions))  # noqa: SLF001
        parts.append(f"({names})" if " | " in names else names)
    parts += [_argument(action) for action in actions if action.option_strings and action.required]
    parts += [_argument(action) for action in actions if not action.option_strings]
    return " ".join(parts)


def _argument(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    if action.option_strings:
        return action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {name}"
    forms = {"?": "[{0}]", "*": "[{0} ...]", "+": "{0} [{0} ...]", argparse.PARSER: "{0} ..."}
    return forms.get(str(action.nargs), "{0}").format(name)
