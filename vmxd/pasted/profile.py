"""Profiles as TOML: what a file says, or one sentence with file and line on what is wrong with it. Pure.

A profile is a table, its name the table's:

    [live-migration]
    description = "what hosts of the pool must share"
    requires = ["ept", "vmx-vpid", "IA32_VMX_PROCBASED_CTLS2[57]"]   # any name of a feature
    cpu-models = ["SapphireRapids-v2"]                               # QEMU's, each with all that it wants

tomllib does not say where a value stands. So the file is parsed up to one line after the other, an array or string that
is open there closed by hand, until the value is there: slow, exact, and done only where there is an error to report.
"""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from typing import Any, Final, NoReturn

from vmxd.errors import ProfileError, UsageError
from vmxd.model.profiles import QEMU_PREFIX, Profile, cpu_model_profile
from vmxd.tables import FEATURES
from vmxd.tables.find import closest, find_feature

_TEXTS: Final = ("description", "reason", "source")
_KEYS: Final = ("requires", "cpu-models", *_TEXTS)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_AT_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")
_HINT: Final = 'a profile is written [name], then requires = ["ept", "vpid"]; see docs/profiles.md'
_CLOSERS: Final = ("\n", "\n]", '\n"""', "\n'''", '\n"""]', "\n''']")
_TYPES: Final = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "a table",
}

Where = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""


def parse_profiles(text: str, path: str) -> tuple[Profile, ...]:
    """Return the profiles of a file in its order; path is for messages. Raises ProfileError."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of more digits than Python converts
        says = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a value is too long or too deep"
        match = _AT_LINE.search(says)
        line = int(match[1]) if match and match[1] else text.rstrip("\n").count("\n") + 1 if match else 1
        raise ProfileError(path, line, f"this is not TOML: {_AT_LINE.sub('', says)}", _HINT) from error
    file = _File(text, path)
    return tuple(file.profile(name, table) for name, table in document.items())


class _File:
    """A file that is TOML, whose values are looked at one by one."""

    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self._path = path

    def profile(self, name: str, table: object) -> Profile:
        """Return the profile that a table of the file is. Raises ProfileError."""
        if not isinstance(table, dict):
            self._fail((name,), f"{name!r} is {_type(table)}, not a profile", _HINT)
        if name.startswith(QEMU_PREFIX):
            self._fail((name,), f"{name!r} is the name of a CPU model's profile", f"choose one without {QEMU_PREFIX}")
        if not _NAME.fullmatch(name):
            hint = "a name is up to 64 letters, digits, - and _, the first a letter or digit"
            self._fail((name,), f"{name!r} cannot be the name of a profile", hint)
        for key in table:
            if key not in _KEYS:
                known = ", ".join(closest(key, _KEYS) or _KEYS)
                self._fail((name, key), f"profile {name!r} has an unknown key {key!r}", f"known are: {known}")
        texts = {key: self._string((name, key), table[key]) for key in _TEXTS if key in table}
        wanted = self._features(name, table) | self._cpu_models(name, table)
        if not wanted:
            self._fail((name,), f"profile {name!r} requires nothing", _HINT)
        features = tuple(feature for feature in FEATURES if feature in wanted)
        return Profile(name, texts.get("description", ""), features, texts.get("reason", ""), texts.get("source", ""))

    def _features(self, name: str, table: dict[str, object]) -> set[str]:
        found = set()
        for where, text in self._strings((name, "requires"), table):
            try:
                found.add(find_feature(text).name)
            except UsageError as error:
                self._fail(where, str(error), error.hint, text)
        return found

    def _cpu_models(self, name: str, table: dict[str, object]) -> set[str]:
        found: set[str] = set()
        for where, text in self._strings((name, "cpu-models"), table):
            try:
                found.update(cpu_model_profile(text).features)
            except UsageError as error:
                self._fail(where, str(error), error.hint, text)
        return found

    def _strings(self, where: tuple[str, str], table: dict[str, object]) -> list[tuple[Where, str]]:
        """Return the strings of an array, each with where it stands; none where there is no array."""
        values = table.get(where[1], [])
        if not isinstance(values, list):
            self._fail(where, f"{where[1]} is {_type(values)}, not an array of names", _HINT)
        return [((*where, index), self._string((*where, index), value)) for index, value in enumerate(values)]

    def _string(self, where: Where, value: object) -> str:
        if not isinstance(value, str):
            key = next(step for step in reversed(where) if isinstance(step, str))
            within = f"{key} has" if isinstance(where[-1], int) else f"{key} is"
            self._fail(where, f"{within} {_type(value)} where a string belongs", _HINT)
        return value

    def _fail(self, where: Where, message: str, hint: str, literal: str = "") -> NoReturn:
        raise ProfileError(self._path, line_of(self._text, where, literal), message, hint)


def _type(value: object) -> str:
    return _TYPES.get(type(value), "a date or time")


def line_of(text: str, where: Where, literal: str = "") -> int:
    """Return the line, from 1, on which a value of a TOML file is complete, or begins if it is an array or long string.

    where: the keys and indexes that lead to it. literal: what stands on that line if the value is not written with
    escapes; it makes the search short.
    """
    lines = text.split("\n")
    literal = literal or (where[-1] if isinstance(where[-1], str) else "")
    likely = [number for number, line in enumerate(lines, 1) if literal in line]
    for number in chain(likely, range(1, len(lines) + 1)):
        if any(_leads_to_a_value("\n".join(lines[:number]) + closer, where) for closer in _CLOSERS):
            return number
    return 1


def _leads_to_a_value(text: str, where: Where) -> bool:
    try:
        value: Any = tomllib.loads(text)
        for step in where:
            value = value[step]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return True
