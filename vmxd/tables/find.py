"""Features, MSRs and groups of rows by the names that people type: what is meant, or one clear sentence on why not."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Final

from vmxd.errors import UsageError
from vmxd.tables.features import FEATURES, Feature
from vmxd.tables.msrs import DERIVED, MSR_BY_INDEX, MSRS
from vmxd.tables.rows import Field, Flag, Layout, Msr, Row, Unnamed


def _build_uses() -> dict[str, tuple[Feature, ...]]:
    found: dict[str, tuple[Feature, ...]] = {}
    for feature in FEATURES.values():
        for alias in feature.aliases:
            key = alias.casefold()
            found[key] = (*found.get(key, ()), feature)
    return found


def _build_aliases() -> dict[str, tuple[Feature, ...]]:
    found = dict(_USES)
    # Where QEMU and libvirt use one name for two bits, libvirt's use is the SDM's (vmx-invept-single-context).
    for feature in FEATURES.values():
        if feature.row.libvirt and len(found[feature.row.libvirt]) > 1:
            found[feature.row.libvirt] = (feature,)
    return found


_USES: Final = _build_uses()
_BY_ALIAS: Final = _build_aliases()
_MSR_BIT: Final = re.compile(r"(?:(?P<index>0x[0-9a-f]+)|(?P<name>ia32_\w+))\[(?P<bit>\d{1,2})\]")


def find_features(text: str) -> tuple[Feature, ...]:
    """Return the features that a name may mean: none, one, or several where names clash (the SDM's "Load IA32_PAT").

    text: vmxd's name or any alias, in any case; of MSR[bit], either bit of a control's pair.
    """
    key = text.strip().casefold()
    if key in FEATURES:
        return (FEATURES[key],)
    if match := _MSR_BIT.fullmatch(key):
        return tuple(f for f in FEATURES.values() if _at(f, match["index"], match["name"], int(match["bit"])))
    return _BY_ALIAS.get(key, ())


def find_uses(text: str) -> tuple[Feature, ...]:
    """Return every feature that somebody calls so: as find_features(), but of vmx-invept-single-context QEMU's two."""
    return _USES.get(text.strip().casefold()) or find_features(text)


def find_bit(text: str) -> tuple[Msr, str] | None:
    """Return the MSR of a bit or field that is no feature, and what it is; None where no table has it.

    text: its name, or MSR[bit].
    """
    key = text.strip().casefold()
    match = _MSR_BIT.fullmatch(key)
    for msr in MSRS:
        here = match and (
            int(match["index"], 16) == msr.index if match["index"] else match["name"] == msr.name.casefold()
        )
        for row in msr.rows:
            if isinstance(row, Unnamed):
                if match and here and int(match["bit"]) in _bits(msr, row):
                    return msr, f"a bit without a name, set on {row.note}"
            elif key == row.name or (match and here and int(match["bit"]) in _bits(msr, row)):
                return msr, f"{row.name} of {msr.name}"
    return None


def _bits(msr: Msr, row: Row) -> Collection[int]:
    if isinstance(row, Field):
        return range(row.low, row.high + 1)
    return (row.bit, row.bit + 32) if msr.layout is Layout.CONTROLS else (row.bit,)


def _at(feature: Feature, index: str | None, name: str | None, bit: int) -> bool:
    msr, row = feature.msr, feature.row
    if msr is None or not isinstance(row, Flag):
        return False
    twin = MSR_BY_INDEX.get(msr.true) if msr.true is not None else None
    if not any(m.index == int(index, 16) if index else m.name.casefold() == name for m in (msr, twin) if m):
        return False
    return bit in _bits(msr, row)


_OTHER_NAMES: Final = {
    "featctl": "featurecontrol",  # Linux
    "vmxbasicinfo": "vmxbasic",  # VirtualBox
    "vmxeptvpidcaps": "vmxeptvpidcap",
    "vmxeptcaps": "vmxeptvpidcap",
    "vmxeptvpidenum": "vmxeptvpidcap",
    "vmxsecondaryprocbasedctls": "vmxprocbasedctls2",  # Cheat Engine
    "vmxprocbased2ctls": "vmxprocbasedctls2",
    "vmxtertiaryprocbasedctls": "vmxprocbasedctls3",
    "vmxtruepin": "vmxtruepinbasedctls",  # kvm-unit-tests
    "vmxtrueproc": "vmxtrueprocbasedctls",
    "vmxtrueexit": "vmxtrueexitctls",
    "vmxtrueentry": "vmxtrueentryctls",
    "vmxmiscctls": "vmxmisc",  # QEMU's vmxcap
}
"""What others call MSRs, as _key() makes it of their names."""
_AROUND: Final = re.compile(r"^(?:msr)?(?:ia32|core2)?|msr$")
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

    text: the SDM's name or that of Linux, VirtualBox or another, in any case, with or without what all of them begin
    with (misc, true_exit_ctls), or the index in hex.
    """
    if match := _INDEX.fullmatch(text.strip().casefold()):
        return MSR_BY_INDEX.get(int(match[1], 16))
    key = _key(text)
    return _MSR_BY_KEY.get(_OTHER_NAMES.get(key, key))


def _key(name: str) -> str:
    """Strip a name of an MSR of what differs between those who write it: case, underscores, what stands around it."""
    return _AROUND.sub("", name.strip().casefold().replace("_", ""), count=2)


def _short(msr: Msr) -> str:
    return msr.name.removeprefix("IA32_").removeprefix("VMX_").casefold()


_MSR_BY_KEY: Final = {_key(name): msr for msr in MSRS for name in (msr.name, _short(msr))}


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
    raise UsageError(f"no feature is called {text!r}", close_hint(list(close), "vmxd features lists them all"))


def close_hint(close: list[str], otherwise: str) -> str:
    """Name what may have been meant, if anything is close."""
    return f"close {'is' if len(close) == 1 else 'are'}: {', '.join(close)}" if close else otherwise


def closest(text: str, names: Iterable[str]) -> list[str]:
    """Return the few names that a text may be meant for, the closest first; case does not count."""
    import difflib  # noqa: PLC0415 (only where a name was wrong)

    by_key = {name.casefold(): name for name in names}
    return [by_key[match] for match in difflib.get_close_matches(text.strip().casefold(), by_key, n=5)]
