"""YAML settings, read strictly: every value knows its line, and what would not be understood is an error that names it.

Scalars are taken as they are written, so a name of digits stays a name, as in Go's yaml.v2.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import yaml

from vmxd.errors import VmxdError

_FALSE: Final = frozenset(("false", "no", "off"))
_IMPOSSIBLE: Final = re.compile("[\0\ud800-\udfff]")
_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "value")
)
_NULL: Final = "tag:yaml.org,2002:null"


class SettingsFileError(VmxdError):
    """Raised when a settings file does not read as it should; ``path`` and ``line`` (from 1) say where."""

    def __init__(self, path: str, line: int, message: str, hint: str) -> None:
        super().__init__(f"{path}:{line}: {message}", hint)
        self.path = path
        self.line = line


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a settings file, with the key that it belongs to."""

    path: str
    key: str
    node: yaml.Node

    def error(self, message: str, hint: str) -> SettingsFileError:
        """Return an error about this value, to be raised."""
        return SettingsFileError(self.path, self.node.start_mark.line + 1, message, hint)

    @property
    def is_unset(self) -> bool:
        """Whether nothing is written after the key: no value at all, null or empty text."""
        return isinstance(self.node, yaml.ScalarNode) and (self.node.tag == _NULL or not self.node.value)

    def text(self) -> str:
        """Return a plain value as it is written."""
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag not in _PLAIN_TAGS:
            raise self.error(f"{self.key} takes one plain value", f"write {self.key}: VALUE")
        text: str = self.node.value
        if _IMPOSSIBLE.search(text):
            raise self.error(f"{self.key} has a character that no setting can have", "write it without escapes")
        return text

    def flag(self) -> bool:
        """Return a true or false."""
        text = self.text()
        if self.node.tag != "tag:yaml.org,2002:bool":
            raise self.error(f"{self.key} is neither true nor false", f"write {self.key}: true")
        return text.lower() not in _FALSE

    def texts(self) -> tuple[str, ...]:
        """Return a list of plain values."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"{self.key} takes a list", f"write {self.key}: [VALUE, VALUE]")
        return tuple(Value(self.path, self.key, node).text() for node in self.node.value)

    def section(self, known: Collection[str] | None = None) -> dict[str, Value]:
        """Return the values of a section by key; a key that is not known or there twice is an error, unset is empty.

        known: the keys that it may have; None for any.
        """
        if self.is_unset:
            return {}
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"{self.key} takes keys and values", "write KEY: VALUE, one a line")
        values: dict[str, Value] = {}
        for key_node, node in self.node.value:
            at = Value(self.path, "a key", key_node)
            key = at.text()
            if known is not None and key not in known:
                raise at.error(f"{self.key} has no setting {key!r}", f"it has {', '.join(known)}")
            if key in values:
                raise at.error(f"{key!r} is there twice", "keep one of them")
            values[key] = Value(self.path, key, node)
        return values


def parse(path: str, data: bytes, name: str) -> Value | None:
    """Return the outermost value of a file's content, None where it has none. Raises SettingsFileError.

    path: for the errors; name: what the errors call the outermost value.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsFileError(path, line, "the file is not UTF-8", "save it as UTF-8") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = error.problem or error.context or "it cannot be read"
        raise _not_yaml(path, mark.line + 1 if mark else 1, what) from error
    except yaml.reader.ReaderError as error:
        raise _not_yaml(path, text.count("\n", 0, error.position) + 1, error.reason) from error
    except RecursionError as error:
        raise _not_yaml(path, 1, "it is nested too deeply") from error
    return None if node is None else Value(path, name, node)


def _not_yaml(path: str, line: int, what: str) -> SettingsFileError:
    return SettingsFileError(path, line, f"this is no YAML: {what}", "look at that line and the one before")
