"""Profiles as TOML: the text of a file, or one sentence with file and key on what is wrong with it. Pure.

A profile is a table, its name the table's:

    [live-migration]
    description = "what hosts of the pool must share"
    requires = ["ept", "vmx-vpid", "IA32_VMX_PROCBASED_CTLS2[57]"]   # any name of a feature
    cpu-models = ["SapphireRapids-v2"]                               # QEMU's, each with all that it wants
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

from vmxd.errors import ProfileError, UsageError
from vmxd.model.profiles import QEMU_PREFIX, Profile, cpu_model_profile
from vmxd.tables import FEATURES
from vmxd.tables.find import closest, find_feature

_TEXTS: Final = ("description", "reason", "source")
_KEYS: Final = ("requires", "cpu-models", *_TEXTS)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_AT_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")
_HINT: Final = 'a profile is written [name], then requires = ["ept", "vpid"]; see docs/profiles.md'
_TYPES: Final = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "a table",
}


def parse_profiles(text: str, path: str) -> tuple[Profile, ...]:
    """Read the profiles of a file in its order; path is for messages. Raises ProfileError."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of more digits than Python converts
        says = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a value is too long or too deep"
        match = _AT_LINE.search(says)
        line = int(match[1]) if match and match[1] else text.rstrip("\n").count("\n") + 1 if match else 1
        raise ProfileError(f"{path}:{line}", f"this is not TOML: {_AT_LINE.sub('', says)}", _HINT) from error
    return tuple(_profile(name, table, path) for name, table in document.items())


def _profile(name: str, table: object, path: str) -> Profile:
    if not isinstance(table, dict):
        raise ProfileError(path, f"{_short(name)} is {_type(table)}, not a profile", _HINT)
    if name.startswith(QEMU_PREFIX):
        hint = f"choose one without {QEMU_PREFIX}"
        raise ProfileError(path, f"{_short(name)} is the name of a CPU model's profile", hint)
    if not _NAME.fullmatch(name):
        hint = "a name is up to 64 letters, digits, - and _, the first a letter or digit"
        raise ProfileError(path, f"{_short(name)} cannot be the name of a profile", hint)
    for key in table:
        if key not in _KEYS:
            known = ", ".join(closest(key, _KEYS) or _KEYS)
            raise ProfileError(path, f"profile {name!r} has an unknown key {_short(key)}", f"known are: {known}")
    texts = {key: _string(table[key], f"{key} is", f"{path}: {name}.{key}") for key in _TEXTS if key in table}
    wanted: set[str] = set()
    for key, features_of in (("requires", _feature), ("cpu-models", _cpu_model)):
        where = f"{path}: {name}.{key}"
        values = table.get(key, [])
        if not isinstance(values, list):
            raise ProfileError(where, f"{key} is {_type(values)}, not an array of names", _HINT)
        for value in values:
            try:
                wanted |= features_of(_string(value, f"{key} has", where))
            except UsageError as error:
                raise ProfileError(where, str(error), error.hint) from error
    if not wanted:
        raise ProfileError(path, f"profile {name!r} requires nothing", _HINT)
    features = tuple(feature for feature in FEATURES if feature in wanted)
    return Profile(name, texts.get("description", ""), features, texts.get("reason", ""), texts.get("source", ""))


def _feature(name: str) -> set[str]:
    return {find_feature(name).name}


def _cpu_model(name: str) -> set[str]:
    return set(cpu_model_profile(name).features)


def _string(value: object, which: str, where: str) -> str:
    if not isinstance(value, str):
        raise ProfileError(where, f"{which} {_type(value)} where a string belongs", _HINT)
    return value


def _type(value: object) -> str:
    return _TYPES.get(type(value), "a date or time")


def _short(name: str) -> str:
    return repr(name if len(name) <= 64 else f"{name[:64]}…")
