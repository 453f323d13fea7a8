"""The tables against the kernel's own list of VMX features, arch/x86/include/asm/vmxfeatures.h.

A bit that a newer kernel names, or shows in /proc/cpuinfo, fails the test until the tables have it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.linux_header import HEADER, is_opt_in, parse_header
from tests.helpers.support import missing_tool
from vmxd.tables import FEATURES

SOURCES: Final = Path("/usr/src")

OPT_IN: Final = """
/*
 * Note: If the comment begins with a quoted string, that string is used
 * in /proc/cpuinfo instead of the macro name.  Otherwise, this feature bit
 * is not displayed in /proc/cpuinfo at all.
 */
#define VMX_FEATURE_INTR_EXITING	( 0*32+  0) /* VM-Exit on vectored interrupts */
#define VMX_FEATURE_PREEMPTION_TIMER	( 0*32+  6) /* "preemption_timer" VMX Preemption Timer */
#define VMX_FEATURE_APICV	        ( 0*32+ 25) /* "apicv" TPR shadow + APIC reg virt */
#define VMX_FEATURE_UNRESTRICTED_GUEST	( 2*32+  7) /* "unrestricted_guest" Allow "invalid" states */
#define VMX_FEATURE_IPI_VIRT		( 3*32+  4) /* "ipi_virt" Enable IPI virtualization */
"""
"""A few lines of Linux 6.12, in the form that it has since 6.11: shown is what has a quoted name."""

OPT_OUT: Final = """
/*
 * Note: If the comment begins with a quoted string, that string is used
 * in /proc/cpuinfo instead of the macro name.  If the string is "",
 * this feature bit is not displayed in /proc/cpuinfo at all.
 */
#define VMX_FEATURE_INTR_EXITING	( 0*32+  0) /* "" VM-Exit on vectored interrupts */
#define VMX_FEATURE_PREEMPTION_TIMER	( 0*32+  6) /* VMX Preemption Timer */
#define VMX_FEATURE_UNRESTRICTED_GUEST	( 2*32+  7) /* Allow Big Real Mode and other "invalid" states */
#define VMX_FEATURE_EPT_VIOLATION_VE	( 2*32+ 18) /* "" Conditionally reflect EPT violations */
"""
"""A few lines of Linux 6.1, in the form that it had before: hidden is what has an empty name."""


def differences(header: str) -> list[str]:
    """Return, in words, what a header has and the tables lack; an older kernel may lack and hide what is newer."""
    ours = {feature.row.linux: feature for feature in FEATURES.values() if feature.row.linux}
    opt_in = is_opt_in(header)
    found: list[str] = []
    for name, position, shown in parse_header(header):
        where = f"{position // 32}*32+{position % 32}"
        if name not in ours:
            found.append(f"no row is VMX_FEATURE_{name} ({where})")
            continue
        feature = ours[name]
        if position != feature.linux_position:
            found.append(f"VMX_FEATURE_{name} is {where}, {feature.name} {feature.linux_position}")
        if opt_in and shown != feature.cpuinfo_flag:
            found.append(f"/proc/cpuinfo shows VMX_FEATURE_{name} as {shown}, {feature.name} is {feature.cpuinfo_flag}")
    return found


def newest(directories: list[str]) -> str:
    """Return the directory of the highest kernel version among linux-headers-6.12.117+deb12-common and the like."""
    return max(directories, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


@pytest.fixture
def installed_header() -> str:
    """Return the text of the newest vmxfeatures.h that Debian's kernel headers put here."""
    directories = [path.name for path in SOURCES.glob("linux-headers-*-common*") if (path / HEADER).is_file()]
    if not directories:
        missing_tool("vmxfeatures.h", "linux-headers-<version>-common")
    return (SOURCES / newest(directories) / HEADER).read_text()


def test_tables_have_all_of_linux(installed_header: str) -> None:
    """Every VMX_FEATURE_* of the kernel is in the tables, at its place and under the name that Linux shows."""
    assert [] == differences(installed_header)


def test_header_is_whole(installed_header: str) -> None:
    """The installed header has at least the 63 macros of Linux 6.1, in words 0 to 3."""
    macros = parse_header(installed_header)

    assert len(macros) >= 63
    assert {0, 1, 2, 3} <= {macro.position // 32 for macro in macros}


@pytest.mark.parametrize("header", [OPT_IN, OPT_OUT], ids=["since 6.11", "before"])
def test_known_header(header: str) -> None:
    """Lines that the tables have, in either form, make no difference."""
    assert [] == differences(header)


@pytest.mark.parametrize("header", [OPT_IN, OPT_OUT], ids=["since 6.11", "before"])
@pytest.mark.parametrize("comment", ["", " /* A new thing */", ' /* "new_thing" A new thing */', ' /* "" Hidden */'])
def test_new_bit_is_reported(header: str, comment: str) -> None:
    """A bit that only the kernel knows is reported, shown or not."""
    line = f"#define VMX_FEATURE_NEW_THING\t( 2*32+ 27){comment}\n"

    assert ["no row is VMX_FEATURE_NEW_THING (2*32+27)"] == differences(header + line)


def test_moved_bit_is_reported() -> None:
    """A bit that the kernel has elsewhere is reported."""
    moved = OPT_IN.replace("3*32+  4", "4*32+  4")

    assert ["VMX_FEATURE_IPI_VIRT is 4*32+4, ipi_virt 100"] == differences(moved)


def test_newly_shown_flag_is_reported() -> None:
    """A flag that the kernel has begun to show is reported."""
    shown = OPT_IN.replace("/* VM-Exit on vectored", '/* "intr_exiting" VM-Exit on vectored')

    assert ["/proc/cpuinfo shows VMX_FEATURE_INTR_EXITING as intr_exiting, intr_exiting is None"] == differences(shown)


def test_renamed_flag_is_reported() -> None:
    """A flag that the kernel shows under another name is reported."""
    renamed = OPT_IN.replace('"apicv"', '"apicv2"')

    assert ["/proc/cpuinfo shows VMX_FEATURE_APICV as apicv2, apicv is apicv"] == differences(renamed)


def test_what_is_shown() -> None:
    """A quoted name is shown; without one the macro's is before 6.11 and none since; an empty one hides."""
    since = {macro.name: macro.shown for macro in parse_header(OPT_IN)}
    before = {macro.name: macro.shown for macro in parse_header(OPT_OUT)}

    assert None is since["INTR_EXITING"] is before["INTR_EXITING"]
    assert "preemption_timer" == since["PREEMPTION_TIMER"] == before["PREEMPTION_TIMER"]
    assert "unrestricted_guest" == since["UNRESTRICTED_GUEST"] == before["UNRESTRICTED_GUEST"]
    assert None is before["EPT_VIOLATION_VE"]


def test_newest() -> None:
    """Versions are compared as numbers: 6.12 is newer than 6.1."""
    names = ["linux-headers-6.1.0-56-common", "linux-headers-6.12.117+deb12-common", "linux-headers-6.1.0-9-common"]

    assert "linux-headers-6.12.117+deb12-common" == newest(names)
