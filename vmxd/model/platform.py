"""Real CPUs as a reference: which of them have a feature, and why one CPU lacks what others of its kind have. Pure.

The table is a sample: what none of its CPUs has was "not seen", which is not "no". One CPU alone supports no claim.
"""

from __future__ import annotations

import enum
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vmxd.model.decode import decode
from vmxd.model.inventory import Inventory
from vmxd.model.states import Presence
from vmxd.tables import FEATURES
from vmxd.tables.platforms.brands import is_intel, product_class, short_name
from vmxd.tables.platforms.microarchitectures import Microarchitecture, microarchitecture
from vmxd.tables.platforms.seen import Seen, table
from vmxd.tables.rows import Msr


@dataclass(frozen=True, slots=True)
class Platform:
    """One CPU of the table, or the CPUs of a host held against it.

    family: None if no row of the table of microarchitectures has the signature. name: the brand string, shortened.
    product: its product class. kinds: logical CPUs by kind of core, "" if not known or of one kind. smx: whether it has
    SMX (Intel TXT), None if not known. microcode: revision, None if not known.
    """

    family: Microarchitecture | None
    signature: str
    name: str
    product: str
    microcode: int | None
    kinds: str
    smx: bool | None
    hypervisor: bool
    values: tuple[int, ...] = ()

    def has_some(self, feature: str) -> bool:
        """Tell whether some kind of core is known to have a feature."""
        return any(_features(at)[feature] is Presence.PRESENT for at in self.values)

    @property
    def is_hybrid(self) -> bool:
        """Whether CPUs of several kinds of core are online."""
        return " " in self.kinds

    def has(self, feature: str) -> bool | None:
        """Tell whether every kind of core has a feature; None if its MSR was read on none."""
        answers = [_features(at)[feature] for at in self.values]
        if Presence.ABSENT in answers:
            return False
        return True if Presence.PRESENT in answers else None


def platform_of(inventory: Inventory) -> Platform | None:
    """Describe a host's CPUs as a row of the table would; None if their signature or brand is not known, or differs."""
    cpus = {replace(cpu, package=None, microcode=None) for cpu in inventory.host.cpus.values()}
    if len(cpus) != 1 or (cpu := cpus.pop()).signature is None or cpu.model_name is None:
        return None
    revisions = {each.microcode for each in inventory.host.cpus.values()}
    revision = revisions.pop() if len(revisions) == 1 else None
    name = short_name(cpu.model_name)
    return Platform(
        family=microarchitecture(cpu.signature, is_intel=is_intel(cpu.vendor, cpu.model_name)),
        signature=cpu.signature,
        name=name,
        product=product_class(cpu.model_name),
        microcode=int(revision, 16) if revision else None,
        kinds=_kinds(name, inventory),
        smx="smx" in cpu.flags if "pae" in cpu.flags else None,  # a recording may have but a few flags
        hypervisor=cpu.hypervisor,
    )


def _kinds(name: str, inventory: Inventory) -> str:
    """Count logical CPUs by kind of core; if a recording does not tell, as the same product with as many of them."""
    host = inventory.host
    if host.core_types:
        return kinds_text(Counter(host.core_types.values()))
    same = (each.kinds for each in platforms() if each.name == name and each.kinds)
    return next((kinds for kinds in same if _total(kinds) == len(host.online)), "")


def kinds_text(kinds: Mapping[str, int]) -> str:
    """Write logical CPUs by kind of core, as in core:16 atom:8."""
    return " ".join(f"{kind}:{count}" for kind, count in sorted(kinds.items(), reverse=True))


def _total(kinds: str) -> int:
    return sum(int(part.partition(":")[2]) for part in kinds.split())


@functools.cache
def platforms() -> tuple[Platform, ...]:
    """List every CPU of the table, by microarchitecture, oldest first, then by signature and name."""
    found = [_platform(row) for row in table().cpus]
    return tuple(sorted(found, key=lambda each: (_age(each), each.signature, each.name, each.microcode or 0)))


def _platform(row: Seen) -> Platform:
    traits = row.traits.split()
    return Platform(
        family=microarchitecture(row.signature, is_intel="intel" in traits),
        signature=row.signature,
        name=short_name(row.brand),
        product=product_class(row.brand),
        microcode=row.microcode,
        kinds=row.kinds,
        smx="smx" in traits if row.microcode is not None else None,
        hypervisor="hypervisor" in traits,
        values=row.values,
    )


def _age(platform: Platform) -> tuple[int, str]:
    return (platform.family.year, platform.family.name) if platform.family else (9999, "")


@functools.cache
def _features(at: int) -> Mapping[str, Presence]:
    return decode(True, table().values[at]).features


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


class Cause(enum.Enum):
    """Why a CPU lacks a feature, as far as the table tells."""

    NEVER = "never"
    """None of its signature has it."""
    PRODUCT = "product"
    """Other products of its signature have it: another class, or those with SMX."""
    MICROCODE = "microcode"
    """CPUs of its class with a later microcode have it, those with an earlier one lack it."""
    CONFIGURATION = "configuration"
    """The same silicon has it elsewhere: other kinds of core are online, or SGX, firmware or a hypervisor differ."""
    HYPERVISOR = "hypervisor"
    """Such CPUs have it, and this is a guest: its hypervisor decides."""
    NOT_KNOWN = "not_known"
    """Too few CPUs of its kind were seen, or nothing that is known tells those with it from those without."""

    @property
    def fixable(self) -> bool:
        """Whether a microcode update or another configuration can bring the feature."""
        return self in (Cause.MICROCODE, Cause.CONFIGURATION, Cause.HYPERVISOR)


class Apart(enum.Enum):
    """What tells CPUs that have a feature from those that lack it."""

    CLASS = "class"
    SMX = "smx"
    KINDS = "kinds"
    """Kinds of core that are online."""
    MICROCODE = "microcode"
    NOTHING = "nothing"
    """Brand, class, microcode and kinds of core are equal."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """Why a CPU lacks a feature, and the evidence.

    having, of: how many CPUs of its signature and class have it, and how many tell. others: CPUs that have it. apart:
    what tells them from this one, None if nothing does. since: the microcode revision that brings the feature.
    """

    cause: Cause
    having: int
    of: int
    others: tuple[Platform, ...] = ()
    apart: Apart | None = None
    since: int | None = None


_ENOUGH = 2
"""CPUs of one kind that it takes to claim something of the kind."""


def attribute(feature: str, platform: Platform, among: Iterable[Platform] | None = None) -> Attribution:
    """Say why a CPU lacks a feature, by what was seen of CPUs with its signature.

    among: the CPUs to go by, by default those of the table.
    """
    like = _alike(feature, platform, among)
    peers = [each for each in like if each.product == platform.product]
    having = tuple(each for each in peers if each.has(feature))
    counts = len(having), len(peers)
    if platform.hypervisor and (having or any(each.has(feature) for each in like)):
        return Attribution(Cause.HYPERVISOR, *counts, having)
    if not having:
        others = tuple(each for each in like if each.has(feature))
        if others:
            return Attribution(Cause.PRODUCT, *counts, others, Apart.CLASS)
        return Attribution(Cause.NEVER if len(peers) >= _ENOUGH else Cause.NOT_KNOWN, *counts)
    lacking = [platform, *(each for each in peers if not each.has(feature))]
    apart, since = _tell_apart(having, lacking)
    cause = {
        Apart.KINDS: Cause.CONFIGURATION,
        Apart.SMX: Cause.PRODUCT,
        Apart.MICROCODE: Cause.MICROCODE,
        None: Cause.NOT_KNOWN,
    }[apart]
    if apart is None and (same := tuple(each for each in having if _equal(each, platform))):
        return Attribution(Cause.CONFIGURATION, *counts, same, Apart.NOTHING)
    return Attribution(cause, *counts, having, apart, since)


def _alike(feature: str, platform: Platform, among: Iterable[Platform] | None) -> list[Platform]:
    """List the CPUs that a CPU is held against, of those that tell whether they have a feature.

    They have its signature; if fewer than two of these are of its product class, its microarchitecture.
    """
    telling = [each for each in (platforms() if among is None else among) if each.has(feature) is not None]
    like = [each for each in telling if each.signature == platform.signature]
    if platform.family is None or sum(each.product == platform.product for each in like) >= _ENOUGH:
        return like
    return [each for each in telling if each.family == platform.family]


def _tell_apart(having: Sequence[Platform], lacking: Sequence[Platform]) -> tuple[Apart | None, int | None]:
    """Find what tells all CPUs with a feature from all without; and if it is microcode, the first revision with it."""
    if not any(each.is_hybrid for each in having) and all(each.is_hybrid for each in lacking):
        return Apart.KINDS, None
    if all(each.smx for each in having) and all(each.smx is False for each in lacking):
        return Apart.SMX, None
    since = first_revision(having, lacking)
    return (None if since is None else Apart.MICROCODE), since


def first_revision(having: Iterable[Platform], lacking: Iterable[Platform]) -> int | None:
    """Find the microcode revision that brings a feature; None if not every CPU with it is later than all without."""
    with_it, without = ([each.microcode for each in some] for some in (having, lacking))
    dated = [(at, has) for some, has in ((with_it, True), (without, False)) for at in some if at is not None]
    if len(dated) < len(with_it) + len(without) or not with_it or not without:
        return None
    least, most = min(at for at, has in dated if has), max(at for at, has in dated if not has)
    return least if most < least else None


def _equal(one: Platform, other: Platform) -> bool:
    return (one.name, one.kinds) == (other.name, other.kinds) and None is not one.microcode == other.microcode


def expected(feature: str, platform: Platform, among: Iterable[Platform] | None = None) -> bool | None:
    """Predict whether a CPU has a feature, by those of its signature and class; None if they do not tell."""
    peers = [each for each in _alike(feature, platform, among) if each.product == platform.product]
    having, lacking = ([each for each in peers if each.has(feature) is has] for has in (True, False))
    if not having or not lacking:
        enough = len(peers) >= _ENOUGH or any(each.name == platform.name for each in peers)
        return bool(having) if enough else None
    apart, since = _tell_apart(having, lacking)
    if apart is Apart.KINDS:
        return not platform.is_hybrid
    if apart is Apart.SMX:
        return platform.smx
    if since is not None and platform.microcode is not None:
        return platform.microcode >= since
    return None


def differences(platform: Platform, has: Mapping[str, bool | None]) -> Iterator[tuple[str, bool]]:
    """Yield each feature in which a CPU is unlike all of its kind, and whether it has it: at least two others agree."""
    for feature, here in has.items():
        peers = [each for each in _alike(feature, platform, None) if each.product == platform.product]
        if here is not None and len(peers) >= _ENOUGH and here not in {each.has(feature) for each in peers}:
            yield feature, here
