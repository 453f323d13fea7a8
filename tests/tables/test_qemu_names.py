"""The names that an older QEMU does not know, held against the QEMU that is installed."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.helpers.support import missing_tool
from vmxd.fleet.guest_cpu import PROPERTIES
from vmxd.tables.qemu_names import SINCE, knows, parse_version


def test_the_installed_qemu_knows_what_the_table_says() -> None:
    """Each property is known since the table says; one that the table has as newer than this QEMU is not known."""
    try:
        asked = [
            subprocess.run(["qemu-system-x86_64", *arguments], capture_output=True, text=True, check=True).stdout
            for arguments in (("-version",), ("-cpu", "help"))
        ]
    except FileNotFoundError:
        missing_tool("qemu-system-x86_64", "qemu-system-x86")
    match = re.search(r"version (\S+)", asked[0])
    version = parse_version(match[1]) if match else None
    assert version
    recognised = set(asked[1].partition("Recognized CPUID flags")[2].split())

    for each in PROPERTIES:
        assert not knows(version, each.name) or each.name in recognised, each.name
        if each.name in SINCE and version <= SINCE[each.name].without:
            assert each.name not in recognised


@pytest.mark.parametrize(
    ("text", "version"), [("7.2", (7, 2)), ("7.2.9+dfsg-7", (7, 2)), ("11.1.3", (11, 1)), ("7", None), ("x", None)]
)
def test_versions(text: str, version: tuple[int, int] | None) -> None:
    """A version is its series; what is none is none."""
    assert version == parse_version(text)
