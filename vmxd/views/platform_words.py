"""What the table of real CPUs says of a host's CPUs, in words: why a feature is missing, in what they are unlike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vmxd.model.attribution import Apart, Attribution, Cause, Unlike
from vmxd.model.platform import Platform
from vmxd.model.seen import Kind
from vmxd.tables.platforms.brands import class_text

_EXAMPLES: Final = 3
_NAMED: Final = 8
"""Features that a line names at most."""

CAUSES: Final = {
    Cause.MICROCODE: "by microcode",
    Cause.CONFIGURATION: "by configuration",
    Cause.HYPERVISOR: "by the hypervisor",
    Cause.PRODUCT: "by product",
    Cause.NOT_KNOWN: "of unknown cause",
    Cause.NEVER: "seen on no CPU like it",
}
"""What a cause is called, those first that can be changed."""


def name_of(kind: Kind | Platform) -> str:
    """Name the microarchitecture of a kind or CPU; its signature if no row has one."""
    return kind.family.name if kind.family else kind.signature


def microcode_of(platform: Platform) -> str:
    """Write a microcode revision, "" if it is not known."""
    return "" if platform.microcode is None else f"{platform.microcode:#x}"


def _like(platform: Platform, *, is_family: bool) -> str:
    """Name the CPUs that a CPU was held against: Xeon CPUs of 06-55-04, or of Skylake-SP."""
    return f"{class_text(platform.product)} of {name_of(platform) if is_family else platform.signature}"


def _examples(platforms: Iterable[Platform]) -> str:
    names = list(dict.fromkeys(each.name for each in platforms))
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more


def attribution_text(found: Attribution, platform: Platform) -> str:
    """Say why a CPU lacks a feature, and by what evidence: one sentence."""
    kind = _like(platform, is_family=found.is_family)
    counts = f"{found.having} of {found.of} {kind} seen have it"
    others = _examples(found.others)
    said = {
        (Cause.NEVER, None): f"none of the {found.of} {kind} seen has it",
        (Cause.PRODUCT, Apart.CLASS): f"other product classes have it ({others}); {counts}",
        (Cause.PRODUCT, Apart.SMX): f"such CPUs with SMX have it ({others}), those without lack it; {counts}",
        (Cause.MICROCODE, Apart.MICROCODE): (
            f"those with microcode {found.since or 0:#x} or later have it ({others}), earlier ones lack it; {counts}"
        ),
        (Cause.CONFIGURATION, Apart.KINDS): f"with one kind of core online, such a CPU has it ({others}); {counts}",
        (Cause.CONFIGURATION, Apart.NOTHING): (
            f"the same product with the same microcode has it elsewhere ({others}): firmware or a setting; {counts}"
        ),
        (Cause.HYPERVISOR, None): f"this is a guest, and its hypervisor decides; of the hardware, {counts}",
        (Cause.NOT_KNOWN, None): (
            f"why is not known: {'this is a guest, and ' * platform.hypervisor}"
            f"{counts if found.of else f'no {kind} were seen'}"
        ),
    }
    return said[found.cause, found.apart]


def brief_text(found: Attribution) -> str:
    """Say in a few words why a CPU lacks a feature, "" if the table does not tell, or no such CPU has it."""
    return {
        Apart.CLASS: "by product: other classes have it",
        Apart.SMX: "by product: such CPUs with SMX have it",
        Apart.MICROCODE: f"by microcode: since {found.since or 0:#x}",
        Apart.KINDS: "by configuration: with one kind of core online, such CPUs have it",
        Apart.NOTHING: "by configuration: the same CPU with the same microcode has it",
        None: "by the hypervisor: such CPUs have it" if found.cause is Cause.HYPERVISOR else "",
    }[found.apart]


def cause_text(found: Attribution) -> str:
    """Say in a few words why a CPU lacks a feature, or that no CPU like it has it; "" if the table does not tell."""
    return CAUSES[found.cause] if found.cause is Cause.NEVER else brief_text(found)


def missing_text(found: Mapping[str, Attribution]) -> str:
    """Say why a host lacks features, by cause; those are named that the table tells something of."""
    by_cause = {cause: [name for name, each in found.items() if each.cause is cause] for cause in CAUSES}
    quiet = (Cause.NOT_KNOWN, Cause.NEVER)
    return "; ".join(
        f"{len(names) if cause in quiet or len(names) > _NAMED else ', '.join(names)} {CAUSES[cause]}"
        for cause, names in by_cause.items()
        if names
    )


def unlike_text(platform: Platform, found: Sequence[Unlike]) -> str:
    """Say in which features a host is unlike its like, all of them had, or all not."""
    names = ", ".join(each.feature for each in found)
    of = f"{min(each.of for each in found)} {class_text(platform.product)} like it that were seen"
    it = "it" if len(found) == 1 else "them"
    return f"has {names}: none of the {of} has {it}" if found[0].has else f"lacks {names}: all {of} have {it}"


def seen_text(first: Platform | None) -> str:
    """Say on which CPU of the table a feature was seen first."""
    if first is None:
        return "on no CPU of vmxd's table; not seen is not no"
    year = f" ({first.family.year})" if first.family else ""
    return f"first on {name_of(first)}{year}, of the CPUs in vmxd's table; newer ones may lack it"
