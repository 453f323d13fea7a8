"""The list of features that vmxd knows, as text, and the finding of one by whatever name a user knows it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from vmxd.errors import UsageError
from vmxd.tables import FEATURES, Feature, find_bit, find_features


def find(text: str) -> Feature:
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
    names = {
        alias.casefold(): feature.name for feature in FEATURES.values() for alias in (feature.name, *feature.aliases)
    }
    close = dict.fromkeys(names[match] for match in difflib.get_close_matches(text.casefold(), names, n=5))
    raise UsageError(
        f"no feature is called {text!r}", f"close are: {', '.join(close)}" if close else "vmxd features lists them all"
    )


def to_text(features: Sequence[Feature]) -> str:
    """Return one line a feature: name, MSR and bit, then its other names."""
    rows = [(feature.name, feature.location or "derived", ", ".join(_names(feature))) for feature in features]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "".join(f"{name:<{widths[0]}}  {location:<{widths[1]}}  {names}\n" for name, location, names in rows)


def _names(feature: Feature) -> list[str]:
    row = feature.row
    names = [row.sdm, feature.linux_name, f"cpuinfo {feature.cpuinfo_flag}" if feature.cpuinfo_flag else None]
    if row.qemu and row.qemu == row.libvirt:
        names.append(row.qemu)
    else:
        names += [f"{row.qemu} (QEMU)" if row.qemu else None, f"{row.libvirt} (libvirt)" if row.libvirt else None]
    return [name for name in names if name]
