"""Microarchitectures of CPUs with VMX, by CPU signature, oldest first.

Names and models: Linux 7.3 arch/x86/include/asm/intel-family.h; Centaur and Zhaoxin: names of their makers. A year is
that in which the first CPU of the row was sold, by the makers' announcements (Intel: ark.intel.com, "Launch Date").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Microarchitecture:
    """One row: name, year, and its CPU signatures.

    signatures: family-model in hex, which stands for every stepping that no other row names, or family-model-stepping.
    is_intel: False for Centaur and Zhaoxin, whose family 6 has models that Intel uses too.
    """

    name: str
    year: int
    signatures: str
    is_intel: bool = True


# fmt: off
MICROARCHITECTURES: Final = (
    Microarchitecture("Yonah",             2006, "06-0e"),
    Microarchitecture("Merom",             2006, "06-0f 06-16"),
    Microarchitecture("Penryn",            2007, "06-17"),
    Microarchitecture("Dunnington",        2008, "06-1d"),
    Microarchitecture("Isaiah",            2008, "06-0f", is_intel=False),
    Microarchitecture("Nehalem",           2008, "06-1a 06-1e 06-1f"),
    Microarchitecture("Nehalem-EX",        2010, "06-2e"),
    Microarchitecture("Westmere",          2010, "06-25 06-2c"),
    Microarchitecture("Westmere-EX",       2011, "06-2f"),
    Microarchitecture("Sandy Bridge",      2011, "06-2a"),
    Microarchitecture("Sandy Bridge-E",    2011, "06-2d"),
    Microarchitecture("Ivy Bridge",        2012, "06-3a"),
    Microarchitecture("Haswell",           2013, "06-3c 06-45 06-46"),
    Microarchitecture("Ivy Bridge-E",      2013, "06-3e"),
    Microarchitecture("Silvermont",        2013, "06-37 06-4a 06-4d 06-5a"),
    Microarchitecture("Isaiah II",         2014, "06-0f-0e", is_intel=False),
    Microarchitecture("Haswell-E",         2014, "06-3f"),
    Microarchitecture("Broadwell",         2014, "06-3d 06-47"),
    Microarchitecture("Broadwell-DE",      2015, "06-56"),
    Microarchitecture("Airmont",           2015, "06-4c"),
    Microarchitecture("Skylake",           2015, "06-4e 06-5e"),
    Microarchitecture("Broadwell-E",       2016, "06-4f"),
    Microarchitecture("Goldmont",          2016, "06-5c"),
    Microarchitecture("Kaby Lake",         2016, "06-8e-09 06-9e-09"),
    Microarchitecture("Skylake-SP",        2017, "06-55"),
    Microarchitecture("Denverton",         2017, "06-5f"),
    Microarchitecture("Coffee Lake",       2017, "06-8e-0a 06-9e-0a 06-9e-0b 06-9e-0c 06-9e-0d"),
    Microarchitecture("Goldmont Plus",     2017, "06-7a"),
    Microarchitecture("WuDaoKou",          2018, "07-0b 07-1b", is_intel=False),
    Microarchitecture("Cannon Lake",       2018, "06-66"),
    Microarchitecture("Whiskey Lake",      2018, "06-8e-0b"),
    Microarchitecture("LuJiaZui",          2019, "07-3b", is_intel=False),
    Microarchitecture("CNS",               2019, "06-47", is_intel=False),
    Microarchitecture("Cascade Lake",      2019, "06-55-05 06-55-06 06-55-07"),
    Microarchitecture("Comet Lake",        2019, "06-8e-0c 06-a5 06-a6"),
    Microarchitecture("Ice Lake",          2019, "06-7d 06-7e 06-9d"),
    Microarchitecture("Cooper Lake",       2020, "06-55-0a 06-55-0b"),
    Microarchitecture("Snow Ridge",        2020, "06-86"),
    Microarchitecture("Lakefield",         2020, "06-8a"),
    Microarchitecture("Tiger Lake",        2020, "06-8c 06-8d"),
    Microarchitecture("Elkhart Lake",      2021, "06-96"),
    Microarchitecture("Jasper Lake",       2021, "06-9c"),
    Microarchitecture("Rocket Lake",       2021, "06-a7"),
    Microarchitecture("Ice Lake-SP",       2021, "06-6a 06-6c"),
    Microarchitecture("Alder Lake",        2021, "06-97 06-9a"),
    Microarchitecture("YongFeng",          2022, "07-5b", is_intel=False),
    Microarchitecture("Raptor Lake",       2022, "06-b7 06-ba 06-bf"),
    Microarchitecture("Sapphire Rapids",   2023, "06-8f"),
    Microarchitecture("Alder Lake-N",      2023, "06-be"),
    Microarchitecture("Emerald Rapids",    2023, "06-cf"),
    Microarchitecture("Meteor Lake",       2023, "06-aa 06-ac"),
    Microarchitecture("Sierra Forest",     2024, "06-af"),
    Microarchitecture("Granite Rapids",    2024, "06-ad 06-ae"),
    Microarchitecture("Lunar Lake",        2024, "06-bd"),
    Microarchitecture("Arrow Lake",        2024, "06-c5 06-c6 06-b5"),
    Microarchitecture("Bartlett Lake",     2025, "06-b7-04 06-d7"),
    Microarchitecture("Panther Lake",      2026, "06-cc"),
    Microarchitecture("Wildcat Lake",      2026, "06-d5"),
    Microarchitecture("Clearwater Forest", 2026, "06-dd"),
)
# fmt: on
"""In the order of their years."""

_BY_SIGNATURE: Final = {(row.is_intel, text): row for row in MICROARCHITECTURES for text in row.signatures.split()}


def microarchitecture(signature: str, *, is_intel: bool) -> Microarchitecture | None:
    """Find the microarchitecture of a CPU signature, family-model-stepping in hex; None if no row has it.

    >>> microarchitecture("06-55-07", is_intel=True).name
    'Cascade Lake'
    """
    by_stepping = _BY_SIGNATURE.get((is_intel, signature))
    return by_stepping or _BY_SIGNATURE.get((is_intel, signature.rpartition("-")[0]))
