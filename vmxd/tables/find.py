"""Features by the names that people type: one feature, or one clear sentence on why not."""

from __future__ import annotations

from collections.abc import Iterable

from vmxd.errors import UsageError
from vmxd.tables import FEATURES, Feature, find_bit, find_features


def find_feature(text: str) -> Feature:
    """Return the feature that a name means. Raises UsageError where none or several do, with names to choose from."""
    found = find_features(text)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{text!r} names several features", f"say which: {', '.join(feature.name for feature in found)}"
        )
    if bit := find_bit(text):
        raise UsageError(f"{text!r} is no feature but {bit}", "vmxd features --json lists every bit and field")
    names = {alias: feature.name for feature in FEATURES.values() for alias in (feature.name, *feature.aliases)}
    close = dict.fromkeys(names[match] for match in closest(text, names))
    raise UsageError(
        f"no feature is called {text!r}", f"close are: {', '.join(close)}" if close else "vmxd features lists them all"
    )


def closest(text: str, names: Iterable[str]) -> list[str]:
    """Return the few names that a text may be meant for, the closest first; case does not count."""
    import difflib  # noqa: PLC0415 (only where a name was wrong)

    by_key = {name.casefold(): name for name in names}
    return [by_key[match] for match in difflib.get_close_matches(text.strip().casefold(), by_key, n=5)]
