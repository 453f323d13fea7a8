"""A CPU as a row of the table of real CPUs: those of the table, and a host's held against them. Pure."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from vmxd.model.decode import decode
from vmxd.model.facts import Host
from vmxd.model.states import Presence
from vmxd.tables.platforms.brands import NO_BRAND, is_intel, product_class, short_name
from vmxd.tables.platforms.microarchitectures import Microarchitecture, microarchitecture
from vmxd.tables.platforms.seen import Seen, table

_REVISION: Final = re.compile("(?:0x)?([0-9a-f]{1,8})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Platform:
    """One CPU of the table, or the CPUs of a host held against it.

    family: None if no row of the table of microarchitectures has the signature. name: the brand string, shortened.
    product: its product class, "" if the brand string is not known. kinds: logical CPUs by kind of core, "" if not
    known or of one kind. smx: whether it has
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


def platform_of(host: Host) -> Platform | None:
    """Describe a host's CPUs as a row of the table would; None if their signature or brand is not known, or differs."""
    cpus = list(host.cpus.values())
    if len({(each.vendor, each.signature, each.model_name) for each in cpus}) != 1:
        return None
    flags = frozenset.intersection(*(each.flags for each in cpus))
    found = describe(
        cpus[0].vendor,
        cpus[0].signature,
        cpus[0].model_name,
        ",".join({each.microcode or "" for each in cpus}),
        hypervisor=any(each.hypervisor for each in cpus),
    )
    if found is None:
        return None
    smx = "smx" in flags if "pae" in flags else None  # a recording may have but a few flags
    return replace(found, kinds=_kinds(found.name, host), smx=smx)


def describe(
    vendor: str | None, signature: str | None, brand: str | None, microcode: str | None, *, hypervisor: bool
) -> Platform | None:
    """Describe a CPU as a row of the table would, by its vendor and brand strings and a microcode revision in hex.

    None if the signature or the brand is not known. A revision that is no number is not known.
    """
    if signature is None or brand is None:
        return None
    name = short_name(brand) if brand != NO_BRAND else ""
    revision = _REVISION.fullmatch(microcode or "")
    return Platform(
        family=microarchitecture(signature, is_intel=is_intel(vendor, brand)),
        signature=signature,
        name=name,
        product=product_class(brand) if name else "",
        microcode=int(revision[1], 16) if revision else None,
        kinds="",
        smx=None,
        hypervisor=hypervisor,
    )


def _kinds(name: str, host: Host) -> str:
    """Count logical CPUs by kind of core; if a recording does not tell, as the same product with as many of them."""
    if host.core_types:
        return kinds_text(Counter(host.core_types.values()))
    same = (each.kinds for each in platforms() if each.name == name and each.kinds)
    return next((kinds for kinds in same if _total(kinds) == len(host.online)), "")


def is_wanted(platform: Platform) -> bool:
    """Tell whether the table lacks a CPU: it has none of its signature and product class. A guest's is not wanted."""
    alike = ((each.signature, each.product) for each in platforms())
    return not platform.hypervisor and bool(platform.name) and (platform.signature, platform.product) not in alike


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
