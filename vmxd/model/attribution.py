"""Why a CPU lacks what others of its kind have, and in what it is unlike them, by the table of real CPUs. Pure.

One CPU alone supports no claim. A cause is named only if it tells all CPUs with the feature from all without.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vmxd.model.decode import Status
from vmxd.model.inventory import Inventory
from vmxd.model.platform import Platform, platform_of, platforms
from vmxd.model.seen import first_revision
from vmxd.model.states import State


class Cause(enum.Enum):
    """Why a CPU lacks a feature, as far as the table tells."""

    NEVER = "never"
    """None of its kind has it."""
    PRODUCT = "product"
    """Other products of its kind have it: another class, or those with SMX; none of its own."""
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

    having, of: how many CPUs of its kind and class have it, and how many tell. is_family: whether they are of its
    microarchitecture, since too few have its signature. others: CPUs that have it. apart: what tells them from this
    one, None if nothing does. since: the microcode revision that brings the feature.
    """

    cause: Cause
    having: int
    of: int
    is_family: bool
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
    peers = [each for each in like if is_peer(each, platform)]
    having = tuple(each for each in peers if each.has(feature))
    counts = len(having), len(peers), any(each.signature != platform.signature for each in like)
    others = tuple(each for each in like if each.has(feature))
    if platform.hypervisor and others:
        return Attribution(Cause.HYPERVISOR, *counts, having or others)
    if not having:
        if others and peers and _split_by_class((each.product, bool(each.has(feature))) for each in like):
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


def _split_by_class(like: Iterable[tuple[str, bool]]) -> bool:
    """Tell whether the CPUs of each product class agree."""
    found = set(like)
    return all((product, not has) not in found for product, has in found)


def missing(inventory: Inventory) -> dict[str, Attribution]:
    """Attribute each feature that no CPU of a host has; nothing if there is no VMX, or the CPUs cannot be named."""
    platform = _named(inventory)
    if platform is None:
        return {}
    return {name: attribute(name, platform) for name, states in inventory.features.items() if states.state is State.OFF}


def _named(inventory: Inventory) -> Platform | None:
    return None if inventory.verdict.status is Status.NO_VMX else platform_of(inventory.host)


def is_peer(each: Platform, platform: Platform) -> bool:
    """Tell whether a CPU is of another's product class, or may be."""
    return platform.product in ("", each.product)


def _alike(feature: str, platform: Platform, among: Iterable[Platform] | None) -> list[Platform]:
    """List the CPUs that a CPU is held against, of those that tell whether they have a feature.

    They have its signature; if fewer than two of these are of its product class, its microarchitecture.
    """
    near = (each for each in (platforms() if among is None else among) if _is_near(each, platform))
    telling = [each for each in near if each.has(feature) is not None]
    like = [each for each in telling if each.signature == platform.signature]
    if platform.family is None or sum(is_peer(each, platform) for each in like) >= _ENOUGH:
        return like
    return telling


def _is_near(each: Platform, platform: Platform) -> bool:
    if platform.family is not None:
        return each.family == platform.family
    return each.signature == platform.signature


def _tell_apart(having: Sequence[Platform], lacking: Sequence[Platform]) -> tuple[Apart | None, int | None]:
    """Find what tells all CPUs with a feature from all without; and if it is microcode, the first revision with it."""
    if not any(each.is_hybrid for each in having) and all(each.is_hybrid for each in lacking):
        return Apart.KINDS, None
    if all(each.smx for each in having) and all(each.smx is False for each in lacking):
        return Apart.SMX, None
    if len({each.is_hybrid for each in (*having, *lacking)}) > 1:  # two things differ: neither is the cause
        return None, None
    since = first_revision(having, lacking)
    return (None if since is None else Apart.MICROCODE), since


def _equal(one: Platform, other: Platform) -> bool:
    return (one.name, one.kinds) == (other.name, other.kinds) and None is not one.microcode == other.microcode


def expected(feature: str, platform: Platform, among: Iterable[Platform] | None = None) -> bool | None:
    """Predict whether a CPU has a feature, by those of its signature and class; None if they do not tell."""
    peers = [each for each in _alike(feature, platform, among) if is_peer(each, platform)]
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


@dataclass(frozen=True, slots=True)
class Unlike:
    """A feature in which a host is unlike all CPUs of its kind: whether it has it, and how many they are."""

    feature: str
    has: bool
    of: int


def unlike(inventory: Inventory) -> tuple[Unlike, ...]:
    """Find in what a host is unlike its like: at least two CPUs of the table, which agree.

    Nothing is said of a guest, whose hypervisor decides, nor of a feature on which the host's own CPUs differ.
    """
    platform = _named(inventory)
    if platform is None or platform.hypervisor or platform.family is None:
        return ()
    differ = {each.name for each in inventory.differing}
    has = {name: states.value for name, states in inventory.features.items() if name not in differ}
    return tuple(differences(platform, has))


def differences(platform: Platform, has: Mapping[str, bool | None]) -> Iterator[Unlike]:
    """Yield each feature in which a CPU is unlike its like.

    These are CPUs of its class with as many kinds of core, and with SMX if it has SMX.
    """
    near = [
        each
        for each in platforms()
        if _is_near(each, platform)
        and each.is_hybrid == platform.is_hybrid
        and {each.smx, platform.smx} != {True, False}
    ]
    for feature, here in has.items():
        if here is not None:
            peers = [each for each in _alike(feature, platform, near) if is_peer(each, platform)]
            if len(peers) >= _ENOUGH and here not in {each.has(feature) for each in peers}:
                yield Unlike(feature, here, len(peers))
