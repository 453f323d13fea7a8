"""The kernel's own list of VMX features: arch/x86/include/asm/vmxfeatures.h."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

HEADER: Final = "arch/x86/include/asm/vmxfeatures.h"

DEFINE: Final = re.compile(
    r'^#define\s+VMX_FEATURE_(\w+)\s+\(\s*(\d+)\s*\*\s*32\s*\+\s*(\d+)\s*\)\s*(?:/\*\s*(?:"([^"]*)")?)?', re.MULTILINE
)


class Macro(NamedTuple):
    """One VMX_FEATURE_*: position is word * 32 + bit, shown the flag in /proc/cpuinfo."""

    name: str
    position: int
    shown: str | None


def is_opt_in(header: str) -> bool:
    """Return whether only bits with a quoted name are shown in /proc/cpuinfo; the header's own note says so."""
    note = re.sub(r"[\s*]+", " ", header)
    assert "this feature bit is not displayed in /proc/cpuinfo at all" in note
    return 'If the string is ""' not in note


def parse_header(header: str) -> list[Macro]:
    """Return every VMX_FEATURE_* of a header."""
    opt_in = is_opt_in(header)
    macros: list[Macro] = []
    for match in DEFINE.finditer(header):
        name, word, bit, quoted = match.groups()
        by_default = None if opt_in else name.lower()
        macros.append(Macro(name, int(word) * 32 + int(bit), by_default if quoted is None else quoted or None))
    assert header.count("#define VMX_FEATURE_") == len(macros) > 0
    return macros
