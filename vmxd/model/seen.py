"""What the table of real CPUs says of features: which CPUs have them, since when, and what a guest gets there. Pure.

The table is a sample: what none of its CPUs has was "not seen", which is not "no".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.model.guest import expect_guest
from vmxd.model.platform import Platform, platforms
from vmxd.tables import FEATURES
from vmxd.tables.platforms.microarchitectures import Microarchitecture
from vmxd.tables.platforms.seen import table
from vmxd.tables.rows import Msr
from vmxd.tables.versions import LINUX


def given_to_guests(platform: Platform) -> frozenset[str]:
    """Expect what a guest gets of every kind of core of a CPU of the table: the newest Linux, default parameters."""
    views = (expect_guest(table().values[at], LINUX).features for at in platform.values)
    return frozenset.intersection(*(frozenset(name for name, has in view.items() if has) for view in views))


def first_seen(feature: str) -> Platform | None:
    """Find the oldest CPU of the table with a feature, on one kind of core or all; None if none has it."""
    return next((each for each in platforms() if each.has_some(feature)), None)


@dataclass(frozen=True, slots=True)
class Kind:
    """CPUs of the table that one row of an answer is about: one signature and product class, and which of them have it.

    of: every CPU of the kind that tells. having: those that have all that was asked for.
    since: the microcode revision that brought it, None if revisions do not tell.
    """

    family: Microarchitecture | None
    signature: str
    product: str
    of: tuple[Platform, ...]
    having: tuple[Platform, ...]
    since: int | None


Test = Callable[[Platform], "bool | None"]


def kinds_of(test: Test, among: Iterable[Platform]) -> tuple[Kind, ...]:
    """Group CPUs by signature and product class, those of which test() is not known left out, oldest first."""
    by_kind: dict[tuple[str, str], list[Platform]] = {}
    for each in among:
        if test(each) is not None:
            by_kind.setdefault((each.signature, each.product), []).append(each)
    return tuple(
        Kind(
            of[0].family,
            signature,
            product,
            tuple(of),
            having := tuple(each for each in of if test(each)),
            first_revision(having, [each for each in of if not test(each)]),
        )
        for (signature, product), of in by_kind.items()
    )


_EASY: Final = ("core", "pentium", "celeron", "processor", "atom", "xeon", "other")
"""Product classes, those that anybody can buy first."""


def easiest(kinds: Iterable[Kind]) -> Platform | None:
    """Choose the CPU that is easiest to get: of a client's class, the oldest; None if none has what was asked for."""
    having = [each for kind in kinds for each in kind.having if not each.hypervisor]
    return min(having, key=lambda each: _EASY.index(each.product), default=None)


def unread(names: Iterable[str], among: Iterable[Platform]) -> dict[Msr, tuple[Platform, ...]]:
    """Map each MSR that leaves a feature unknown to the CPUs on which it exists, or may, and was not read."""
    msrs = {msr: name for name in names if (msr := FEATURES[name].msr)}
    found = {msr: tuple(each for each in among if each.has(name) is None) for msr, name in msrs.items()}
    return {msr: cpus for msr, cpus in found.items() if cpus}


def shares(among: Sequence[Platform]) -> dict[str, tuple[tuple[Platform, ...], tuple[Platform, ...]]]:
    """Map each feature to the CPUs that have it and those that lack it."""
    return {
        name: (tuple(e for e in among if e.has(name)), tuple(e for e in among if e.has(name) is False))
        for name in FEATURES
    }


def first_revision(having: Iterable[Platform], lacking: Iterable[Platform]) -> int | None:
    """Find the microcode revision that brings a feature; None if not every CPU with it is later than all without."""
    with_it, without = ([each.microcode for each in some] for some in (having, lacking))
    dated = [(at, has) for some, has in ((with_it, True), (without, False)) for at in some if at is not None]
    if len(dated) < len(with_it) + len(without) or not with_it or not without:
        return None
    least, most = min(at for at, has in dated if has), max(at for at, has in dated if not has)
    return least if most < least else None
