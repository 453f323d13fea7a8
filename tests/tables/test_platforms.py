"""vmxd/tables/platforms: every CPU has its microarchitecture and class, and the file says what was read from it."""

from __future__ import annotations

from typing import Final

import pytest

from deploy.platforms import merged
from tests.helpers.support import HOSTS, REAL_HOSTS
from vmxd.host.scan import scan
from vmxd.model.decode import decode
from vmxd.model.platform import Platform, platforms
from vmxd.model.seen import first_seen
from vmxd.tables import FEATURES
from vmxd.tables.msrs import MSRS
from vmxd.tables.platforms.brands import CLASSES, NUMBERS, is_intel, numbered, product_class, short_name
from vmxd.tables.platforms.microarchitectures import MICROARCHITECTURES, microarchitecture
from vmxd.tables.platforms.seen import parse, table, write
from vmxd.views.platform_words import name_of

NAMELESS: Final = ("arrandale-2540p", "kvm-guest")
"""Recordings of which the signature is not known, or that are of a guest."""


def test_every_cpu_has_a_microarchitecture_and_a_class() -> None:
    """No CPU of the table is of an unknown kind, and signatures stand in one row each."""
    keys = [(row.is_intel, text) for row in MICROARCHITECTURES for text in row.signatures.split()]

    assert [] == [each for each in platforms() if each.family is None or each.product not in CLASSES]
    assert len(set(keys)) == len(keys)
    assert [row.year for row in MICROARCHITECTURES] == sorted(row.year for row in MICROARCHITECTURES)


def test_the_file_reads_back() -> None:
    """Writing the table and reading it gives the same table; taking its own CPUs in again changes nothing."""
    assert parse(write(table())) == table()
    assert merged(table(), ()) == table()


def test_bits_without_a_name() -> None:
    """The rows of undocumented bits are those that CPUs of the table set, with the year of the oldest."""
    rows = {(msr.index, bit): row for msr in MSRS for bit, row in msr.unnamed.items()}
    seen: dict[tuple[int, int], list[Platform]] = {}
    for each in platforms():
        decoded = [decode(True, table().values[at]) for at in each.values]
        assert {} == {index: mask for one in decoded for index, mask in one.unknown.items() if mask}
        for index, bit in rows:
            if any(one.unnamed.get(index, 0) >> bit & 1 for one in decoded):
                seen.setdefault((index, bit), []).append(each)

    assert {key: row.since for key, row in rows.items()} == {key: year(of[0]) for key, of in seen.items()}
    for key, of in seen.items():
        if "every" in rows[key].note:
            first, later = rows[key].note.split(" and every Intel CPU of later ")
            intel = [each for each in platforms() if each.family and each.family.is_intel]
            assert "years" == later
            assert [each for each in intel if name_of(each) == first or year(each) > rows[key].since] == of


def year(platform: Platform) -> int:
    """Return the year of a CPU's microarchitecture."""
    assert platform.family
    return platform.family.year


@pytest.mark.parametrize("name", [name for name in REAL_HOSTS if name not in NAMELESS])
def test_no_recording_contradicts_first_seen(name: str) -> None:
    """What a recorded CPU has was first seen in its year or before."""
    inventory = scan(str(HOSTS / name)).inventory
    identity = inventory.identity
    assert identity.signature
    family = microarchitecture(identity.signature, is_intel=is_intel(identity.vendor, identity.model_name))
    assert family
    late = {
        feature
        for feature, cpus in inventory.features.items()
        if cpus.value and ((first := first_seen(feature)) is None or (first.family and first.family.year > family.year))
    }

    assert late <= {"eptp_switching", "ept_violation_ve"} & set(FEATURES)


@pytest.mark.parametrize(
    ("brand", "name", "product"),
    [
        ("Intel(R) Xeon(R) CPU E5-2660 v3 @ 2.60GHz", "Xeon E5-2660 v3", "xeon"),
        ("13th Gen Intel(R) CoreT i7-1370P", "Core i7-1370P", "core"),
        ("INTEL(R) XEON(R) PLATINUM 8570", "Xeon Platinum 8570", "xeon"),
        ("Intel(R) Core(TM) Ultra 9 285H", "Core Ultra 9 285H", "core"),
        ("Intel(R) Pentium(R) Gold G5400 CPU @ 3.70GHz", "Pentium Gold G5400", "pentium"),
        ("ZHAOXIN KaiXian KX-U6780A@2.7GHz", "ZHAOXIN KaiXian KX-U6780A", "other"),
        ("Genuine Intel(R) CPU 0000 @ 2.60GHz", "Genuine 0000", "processor"),
        ("Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz", "Xeon Platinum 8160", "xeon"),
        ("12th Gen Intel(R) Core(TM) i7-12700K", "Core i7-12700K", "core"),
        ("Intel(R) Core(TM)2 Duo CPU E8400 @ 3.00GHz", "Core 2 Duo E8400", "core"),
        ("AMD EPYC 9354 32-Core Processor", "AMD EPYC 9354 32-Core", "other"),
        ("Intel", "Intel", "processor"),
        ("CPU", "CPU", "other"),
    ],
)
def test_brands(brand: str, name: str, product: str) -> None:
    """A brand string is shortened to what tells products apart, is never empty, and is classed."""
    assert (name, product) == (short_name(brand), product_class(brand))


def test_numbers_are_right_where_the_table_can_tell() -> None:
    """A processor number names the microarchitecture that the CPU has, for every CPU of the table that has one."""
    told = [
        (each.name, guess, each.family.name) for each in platforms() if each.family and (guess := numbered(each.name))
    ]
    names = {row.name for row in MICROARCHITECTURES}

    assert len(told) > len(platforms()) // 4
    assert [] == [row for row in told if row[1] != row[2]]
    assert set(NUMBERS.values()) <= names
