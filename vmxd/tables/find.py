"""Features, MSRs and groups of rows by the names that people type: what is meant, or one clear sentence on why not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from vmxd.errors import UsageError
from vmxd.tables import FEATURES, MSR_BY_INDEX, Feature, find_bit, find_features
from vmxd.tables.msrs import DERIVED
from vmxd.tables.rows import Layout, Msr, Unnamed

_LINUX_NAMES: Final = {"ia32_feat_ctl": "ia32_feature_control"}
_INDEX: Final = re.compile(r"(?:0x)?([0-9a-f]{2,8})h?", re.ASCII)

GROUPS: Final[dict[str, tuple[int, ...]]] = {
    "pin": (0x481,),
    "primary": (0x482,),
    "secondary": (0x48B,),
    "tertiary": (0x492,),
    "exit": (0x483, 0x493),
    "entry": (0x484,),
    "controls": tuple(msr.index for msr in MSR_BY_INDEX.values() if msr.layout is not Layout.PLAIN),
    "fixed": (0x486, 0x487, 0x488, 0x489),
    "derived": (),
}
"""Short names for what the SDM puts together, each with its MSRs; "derived" is of features that are no single bit."""


def find_msr(text: str) -> Msr | None:
    """Return the MSR that a name means, None where none does.

    text: the SDM's name or Linux', in any case, with or without what all of them begin with (misc, true_exit_ctls), or
    the index in hex.
    """
    key = text.strip().casefold().removeprefix("msr_")
    if match := _INDEX.fullmatch(key):
        return MSR_BY_INDEX.get(int(match[1], 16))
    key = _LINUX_NAMES.get(key, key)
    return next((msr for msr in MSR_BY_INDEX.values() if key in (msr.name.casefold(), _short(msr))), None)


def _short(msr: Msr) -> str:
    return msr.name.removeprefix("IA32_").removeprefix("VMX_").casefold()


def split_names(texts: Iterable[str]) -> Iterator[str]:
    """Yield the names that people type: one an argument, or several between commas, as in ept,vpid."""
    for text in texts:
        parts = [] if find_features(text) else [part for part in text.split(",") if part.strip()]
        yield from parts or (text,)


def find_group(text: str) -> tuple[Feature | Msr, ...]:
    """Return the MSRs of a group, or the derived features; none where no group is called so."""
    key = text.strip().casefold()
    if key == "derived":
        return tuple(FEATURES[row.name] for row in DERIVED)
    return tuple(MSR_BY_INDEX[index] for index in GROUPS.get(key, ()))


def find_rows(text: str) -> frozenset[str]:
    """Return the names of the features, numbers and bits that a text means: one of them, an MSR's, or a group's.

    Raises UsageError where it is none of these, or names several features.
    """
    key = text.strip().casefold().replace("-", "_")
    if not find_features(text):
        if group := find_group(key):
            return frozenset(chain(*((each.name,) if isinstance(each, Feature) else _rows_of(each) for each in group)))
        if msr := find_msr(key):
            return frozenset(_rows_of(msr))
        if any(key in _rows_of(msr) for msr in MSR_BY_INDEX.values()):
            return frozenset((key,))
    msrs = (name for msr in MSR_BY_INDEX.values() for name in (msr.name, _short(msr)))
    return frozenset((find_feature(text, (*GROUPS, *msrs)).name,))


def _rows_of(msr: Msr) -> set[str]:
    return {row.name for row in msr.rows if not isinstance(row, Unnamed)}


def find_feature(text: str, others: Iterable[str] = ()) -> Feature:
    """Return the feature that a name means. Raises UsageError where none or several do, with names to choose from.

    others: names of other things that would have been taken too.
    """
    found = find_features(text)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"{text!r} names several features", f"say which: {', '.join(feature.name for feature in found)}"
        )
    if bit := find_bit(text):
        raise UsageError(
            f"{text!r} is no feature but {bit[1]}", f"vmxd explain {bit[0].name} shows all of it, and its value here"
        )
    names = {alias: feature.name for feature in FEATURES.values() for alias in (feature.name, *feature.aliases)}
    names |= {name: name for name in others}
    close = dict.fromkeys(names[match] for match in closest(text, names))
    raise UsageError(
        f"no feature is called {text!r}", f"close are: {', '.join(close)}" if close else "vmxd features lists them all"
    )


def closest(text: str, names: Iterable[str]) -> list[str]:
    """Return the few names that a text may be meant for, the closest first; case does not count."""
    import difflib  # noqa: PLC0415 (only where a name was wrong)

    by_key = {name.casefold(): name for name in names}
    return [by_key[match] for match in difflib.get_close_matches(text.strip().casefold(), by_key, n=5)]
