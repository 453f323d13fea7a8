"""What ``vmxd platforms`` prints: which CPUs have features, or what CPUs have; the same as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import vmxd
from vmxd.model.platform import Platform
from vmxd.model.seen import Kind, easiest, given_to_guests, shares, unread
from vmxd.tables import FEATURES
from vmxd.tables.cpu_models import first_model, largest_model
from vmxd.tables.rows import Msr
from vmxd.tables.versions import LINUX
from vmxd.views.json import Json
from vmxd.views.lines import lines_text, table
from vmxd.views.platform_json import cpu_document
from vmxd.views.platform_words import microcode_of, name_of

PLATFORMS_SCHEMA: Final = "vmxd.platforms/1"
_EXAMPLES: Final = 3
_COLUMNS: Final = ("microarchitecture", "year", "signature", "class", "seen", "microcode", "for example")
_NOT_NO: Final = "Not seen is not no: the table holds some CPUs of each kind, and of many kinds none."


Silent = Mapping[Msr, Sequence[Platform]]
"""MSRs that were not read, and the CPUs on which they exist, or may."""


def _silent(silent: Silent) -> Iterator[str]:
    by_cpus: dict[tuple[Platform, ...], list[str]] = {}
    for msr, cpus in silent.items():
        by_cpus.setdefault(tuple(cpus), []).append(f"{msr.name} ({msr.index:#x})")
    for of, msrs in by_cpus.items():
        was = "was" if len(msrs) == 1 else "were"
        yield f"not known of {_count(of)}, since {', '.join(msrs)} {was} not read there: {', '.join(_families(of))}"


def _count(cpus: Sequence[Platform]) -> str:
    return "1 CPU" if len(cpus) == 1 else f"{len(cpus)} CPUs"


def _silent_document(silent: Silent) -> list[Json]:
    return [
        {"msr": msr.name, "index": f"{msr.index:#x}", "cpus": len(cpus), "microarchitectures": _families(cpus)}
        for msr, cpus in silent.items()
    ]


def _families(cpus: Sequence[Platform]) -> list[str]:
    return list(dict.fromkeys(name_of(each) for each in cpus))


# Which CPUs have it -----------------------------------------------------------------------------------------------


def kinds_to_text(question: str, features: Sequence[str], kinds: Sequence[Kind], silent: Silent) -> str:
    """Tell which kinds of CPU have what was asked for, oldest first.

    question: the features, and those that were to be lacking, in words. features: those to be there.
    """
    having = [kind for kind in kinds if kind.having]
    seen, of = (sum(len(part) for part in parts) for parts in ([k.having for k in kinds], [k.of for k in kinds]))
    lines = [f"{question}: {seen} of {of} CPUs seen have it" + ("" if having else "; it was not seen on any")]
    if first := next(iter(having), None):
        since = f", {first.family.year}" if first.family else ""
        lines.append(f"first seen on {name_of(first)}{since}")
    if (choice := easiest(having)) is not None:
        lines.append(f"easy to get: {choice.name} ({name_of(choice)})")
    if features:
        model, it = first_model(*features), "it" if len(features) == 1 else "all of these"
        lines.append(
            f"QEMU: {f'the first CPU model that wants {it} is {model}' if model else f'no CPU model wants {it}'}"
        )
    lines += list(_silent(silent))
    if having:
        lines += ["", *_columns(_COLUMNS, [_row(kind) for kind in having])]
    lacking: Counter[str] = Counter()
    for kind in kinds:
        if not kind.having:
            lacking[f"{name_of(kind)} {kind.product}"] += len(kind.of)
    if lacking:
        lines += ["", f"Not seen on: {', '.join(f'{name} ({count})' for name, count in lacking.items())}."]
    lines.append(_NOT_NO)
    return "\n".join(lines) + "\n"


def _row(kind: Kind) -> tuple[str, ...]:
    examples = list(dict.fromkeys(each.name for each in kind.having))
    more = f" and {len(examples) - _EXAMPLES} more" if len(examples) > _EXAMPLES else ""
    return (
        name_of(kind),
        str(kind.family.year) if kind.family else "",
        kind.signature,
        kind.product,
        f"{len(kind.having)} of {len(kind.of)}",
        "" if kind.since is None else f"since {kind.since:#x}",
        ", ".join(examples[:_EXAMPLES]) + more,
    )


def _columns(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out the columns in which some row has a text."""
    used = [at for at in range(len(headers)) if any(row[at] for row in rows)]
    lines = table([headers[at] for at in used], ([row[at] for at in used] for row in rows))
    return lines_text(lines).splitlines()


def kinds_to_csv(kinds: Sequence[Kind]) -> str:
    """Write a row for each CPU that tells: its kind, and whether it has what was asked for."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("microarchitecture", "year", "signature", "class", "cpu", "microcode", "kinds", "has"))
    for kind in kinds:
        year = kind.family.year if kind.family else ""
        for each in kind.of:
            has = "yes" if each in kind.having else "no"
            of_kind = (name_of(kind), year, kind.signature, kind.product)
            writer.writerow((*of_kind, each.name, microcode_of(each), each.kinds, has))
    return text.getvalue()


def kinds_document(features: Sequence[str], lacks: Sequence[str], kinds: Sequence[Kind], silent: Silent) -> Json:
    """Build the document of ``vmxd platforms FEATURE --json`` (docs/schema/platforms-1.json)."""
    choice = easiest(kinds)
    return {
        "schema": PLATFORMS_SCHEMA,
        "vmxd": vmxd.__version__,
        "features": list(features),
        "lacks": list(lacks),
        "easy_to_get": None if choice is None else choice.name,
        "first_qemu_model": first_model(*features) if features else None,
        "not_read": _silent_document(silent),
        "platforms": [
            {
                "microarchitecture": kind.family.name if kind.family else None,
                "year": kind.family.year if kind.family else None,
                "signature": kind.signature,
                "class": kind.product,
                "seen": len(kind.of),
                "having": len(kind.having),
                "microcode_since": None if kind.since is None else f"{kind.since:#x}",
                "cpus": [cpu_document(each) | {"has": each in kind.having} for each in kind.of],
            }
            for kind in kinds
        ],
    }


# What CPUs have ---------------------------------------------------------------------------------------------------


def cpus_to_text(title: str, among: Sequence[Platform]) -> str:
    """Tell what CPUs have: the features of all, of some, and of none of them."""
    lines = [f"{title}: {_count(among)} seen"]
    names = ("microarchitecture", "year", "signature", "class", "cpu", "microcode", "kinds of core")
    rows = [
        (
            name_of(each),
            str(each.family.year) if each.family else "",
            each.signature,
            each.product,
            each.name,
            microcode_of(each),
            each.kinds,
        )
        for each in among
    ]
    lines += [*_columns(names, rows), ""]
    lines += [*_models(among), ""]
    found = shares(among)
    some = {name: both for name, both in found.items() if all(both)}
    every = [name for name, (have, lack) in found.items() if have and not lack]
    none = [name for name, (have, lack) in found.items() if lack and not have]
    lines += [f"every one has ({len(every)}):", f"  {', '.join(every) or 'nothing'}"]
    if some:
        lines.append("some have:")
        for name, (have, lack) in some.items():
            lines.append(f"  {name}: {_told(have)}; not {_told(lack)}")
    lines += [f"seen on none ({len(none)}):", f"  {', '.join(none) or 'nothing'}"]
    lines += list(_silent(unread(found, among)))
    lines.append(_NOT_NO)
    return "\n".join(lines) + "\n"


def _models(among: Sequence[Platform]) -> Iterator[str]:
    """Say which of QEMU's CPU models these carry, by the VMX features that a guest gets."""
    of = Counter(largest_model(given_to_guests(each)) for each in among)
    names = [f"{name or 'none'}{f' ({count})' * (len(of) > 1)}" for name, count in of.most_common()]
    yield f"QEMU: the largest CPU model whose VMX features a guest gets, with Linux {LINUX}: {', '.join(names)}"


def _told(platforms: Sequence[Platform]) -> str:
    details = (
        f"{each.name}"
        + (f" (microcode {microcode_of(each)}" if each.microcode is not None else "")
        + (
            f", {each.kinds})"
            if each.kinds and each.microcode is not None
            else ")"
            if each.microcode is not None
            else ""
        )
        for each in platforms
    )
    return ", ".join(dict.fromkeys(details))


def cpus_document(among: Sequence[Platform]) -> Json:
    """Build the document of ``vmxd platforms CPU --json`` (docs/schema/platforms-1.json)."""
    return {
        "schema": PLATFORMS_SCHEMA,
        "vmxd": vmxd.__version__,
        "not_read": _silent_document(unread(FEATURES, among)),
        "cpus": [
            {
                "microarchitecture": each.family.name if each.family else None,
                "year": each.family.year if each.family else None,
                "signature": each.signature,
                "class": each.product,
                **cpu_document(each),
                "largest_qemu_model": largest_model(given_to_guests(each)),
                "features": {name: each.has(name) for name in FEATURES},
            }
            for each in among
        ],
    }
