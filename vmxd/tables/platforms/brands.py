"""What a CPU's brand string says of the product: its maker, its class, and a short name."""

from __future__ import annotations

import re
from typing import Final

CLASSES: Final = {
    "core": "Core CPUs",
    "xeon": "Xeon CPUs",
    "pentium": "Pentium CPUs",
    "celeron": "Celeron CPUs",
    "atom": "Atom CPUs",
    "processor": "CPUs of brand Intel Processor",
    "other": "CPUs",
}
"""Product classes, and what their CPUs are called.

Parts of one signature differ by class: Core i7-7800X has no PML, Xeons of 06-55-04 have.

processor: Intel's brands without one of these names ("Intel Processor N100", engineering samples).
other: Centaur, VIA, Zhaoxin and whoever else.
"""

NO_BRAND: Final = "unknown"
"""What Linux prints as the model name if CPUID has no brand string."""

NUMBERS: Final = {
    r"xeon (?:bronze|silver|gold|platinum) \d1\d\d": "Skylake-SP",
    r"xeon (?:bronze|silver|gold|platinum) \d2\d\d": "Cascade Lake",
    r"xeon (?:gold|platinum) \d3\d\dhl?": "Cooper Lake",
    r"xeon (?:silver|gold|platinum) \d3\d\d": "Ice Lake-SP",
    r"xeon (?:bronze|silver|gold|platinum) \d4\d\d": "Sapphire Rapids",
    r"xeon (?:bronze|silver|gold|platinum) \d5\d\d": "Emerald Rapids",
    r"xeon 67\d\de": "Sierra Forest",
    r"xeon 6\d\d\dp": "Granite Rapids",
    r"xeon e[57]-\d{4} v2": "Ivy Bridge-E",
    r"xeon e[57]-\d{4} v3": "Haswell-E",
    r"xeon e[57]-\d{4} v4": "Broadwell-E",
    r"xeon e5-\d{4}": "Sandy Bridge-E",
    r"(?:core )?i7-3(?:820(?!q)|930k|960x|970x)": "Sandy Bridge-E",
    r"(?:core )?i7-4[89]\d\dk": "Ivy Bridge-E",
    r"(?:core )?i7-5[89]\d\dk": "Haswell-E",
    r"(?:core )?i7-6[89]\d\dk": "Broadwell-E",
    r"(?:core )?i[357]-2\d{3}": "Sandy Bridge",
    r"(?:core )?i[357]-3\d{3}": "Ivy Bridge",
    r"(?:core )?i[357]-4\d{3}": "Haswell",
    r"(?:core )?i[357]-5\d{3}": "Broadwell",
    r"(?:core )?i[3579]-6\d{3}": "Skylake",
    r"(?:core )?i[3579]-7\d{3}": "Kaby Lake",
    r"(?:core )?i[3579]-(?!8121)[89]\d{3}": "Coffee Lake",
    r"(?:core )?i[3579]-10\d\dg\d": "Ice Lake",
    r"(?:core )?i[3579]-10\d{3}": "Comet Lake",
    r"(?:core )?i[3579]-11\d{2}g\d": "Tiger Lake",
    r"(?:core )?i[3579]-12\d{3}": "Alder Lake",
    r"(?:core )?i[3579]-1[34]\d{3}": "Raptor Lake",
    r"(?:core )?ultra [579] 1\d\d": "Meteor Lake",
    r"(?:core )?ultra [579] 2\d\dv": "Lunar Lake",
    r"(?:core )?ultra [579] 2\d\d": "Arrow Lake",
}
"""Intel's processor numbers, as patterns of short names in lower case, and the microarchitecture that most parts with
such a number have (intel.com, "Intel Processor Names, Numbers and Generation List"). X parts of Core are named after
a number of another generation."""

_WORD: Final = re.compile(r"(?<![\w-])(core|xeon|pentium|celeron|atom)", re.ASCII | re.IGNORECASE)
_NOISE: Final = re.compile(
    r"\((?:R|TM)\)|\b(?:CPU|Processor)\b|\bIntel(?=\W+[A-Z])|\b\d+(?:st|nd|rd|th) Gen\b|(?:\b0 )?@ *[\d.]+\+? ?[GM]Hz"
    r"|(?<=\bCore)T\b",
    re.IGNORECASE,
)
_SHOUTED: Final = re.compile(r"\b(XEON|PLATINUM|GOLD|SILVER|BRONZE)\b", re.ASCII)


def is_intel(vendor: str | None, brand: str | None) -> bool:
    """Tell Intel's CPUs from those of makers that reuse its vendor string or its models."""
    return vendor == "GenuineIntel" and not re.match("(?:via|zhaoxin|centaur)", brand or "", re.ASCII | re.IGNORECASE)


def product_class(brand: str) -> str:
    """Classify a brand string, one of CLASSES.

    >>> product_class("Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz")
    'xeon'
    """
    if word := _WORD.search(brand):
        return word[1].lower()
    return "processor" if re.search("intel", brand, re.ASCII | re.IGNORECASE) else "other"


def short_name(brand: str) -> str:
    """Shorten a brand string to what tells products apart: no trademarks, generation, frequency, nor common words.

    >>> short_name("12th Gen Intel(R) Core(TM) i9-12900K")
    'Core i9-12900K'
    >>> short_name("INTEL(R) XEON(R) GOLD 5520+")
    'Xeon Gold 5520+'
    """
    text = " ".join(_NOISE.sub(" ", brand).split())
    return _SHOUTED.sub(lambda word: word[0].capitalize(), text) or brand


def numbered(name: str) -> str | None:
    """Guess a microarchitecture's name by a processor number; None if the table of numbers does not tell.

    >>> numbered("Xeon Gold 6130")
    'Skylake-SP'
    """
    key = name.casefold()
    return next((family for pattern, family in NUMBERS.items() if re.match(rf"{pattern}(?![\dx])", key)), None)


def class_text(product: str) -> str:
    """Say what CPUs of a product class are called; CPUs, if the class is not known."""
    return CLASSES.get(product, "CPUs")
