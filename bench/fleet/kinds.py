"""Kinds of host: a recording, set up as a host of a fleet would be, and the page that vmxd serves for it.

Recordings come with what their makers could dump: many lack IA32_FEATURE_CONTROL or the microcode's revision. A kind
fills in what is not there, or changes what firmware or a hypervisor would change, before vmxd takes its inventory; the
page is vmxd's own.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Final

from vmxd.commands.profiles import builtin_profiles
from vmxd.host.root import read_host
from vmxd.host.scan import Scan
from vmxd.model.facts import Host, Reading
from vmxd.model.inventory import take_inventory
from vmxd.server.live import LiveCollector
from vmxd.server.negotiate import Format
from vmxd.server.render import render_metrics
from vmxd.tables import IA32_FEATURE_CONTROL
from vmxd.tables.rows import Bit

HOSTS: Final = Path(__file__).resolve().parents[2] / "tests" / "hosts"

LOCKED_ON: Final = 0x5
"""IA32_FEATURE_CONTROL as firmware leaves it: locked (bit 0), VMX outside SMX (bit 2)."""

POSTED_INTERRUPTS: Final = (Bit(0x481, 39), Bit(0x48D, 39))
PML: Final = (Bit(0x48B, 49),)


@dataclass(frozen=True, slots=True)
class Kind:
    """A host as vmxd would meet it.

    recording: a directory of tests/hosts. microcode: revision on every CPU where the recording has none.
    cleared: bits that firmware or a hypervisor hides, on every CPU. stale: whether its recording is out of date.
    """

    recording: str
    microcode: str = ""
    cleared: tuple[Bit, ...] = ()
    stale: bool = False


KERNEL = "6.12.57+deb13-amd64"
"""Of hosts whose recording has none."""


@dataclass(frozen=True, slots=True)
class Page:
    """A host's page in the text format, plain and as gzip."""

    text: bytes = field(repr=False)
    gzip: bytes = field(repr=False)


@cache
def page(kind: Kind) -> Page:
    """Return what a vmxd on a host of this kind serves; rendered once."""
    begin = time.perf_counter()
    inventory = take_inventory(set_up(kind, read_host(str(HOSTS / kind.recording), nested=True)), builtin_profiles())
    fixed = render_metrics(Scan(inventory, time.perf_counter() - begin), Format.TEXT)
    text = fixed + LiveCollector(stale=kind.stale).render(Format.TEXT)
    return Page(text, gzip.compress(text, mtime=0))


def set_up(kind: Kind, host: Host) -> Host:
    """Make a recorded host one of a kind."""
    readings = {index: dict(column) for index, column in host.readings.items()}
    if IA32_FEATURE_CONTROL not in readings and readings:
        readings[IA32_FEATURE_CONTROL] = dict.fromkeys(host.online, LOCKED_ON)
    for bit in kind.cleared:
        readings[bit.msr] = _without(bit.bit, readings[bit.msr])
    cpus = {
        number: replace(cpu, microcode=cpu.microcode or kind.microcode or None) for number, cpu in host.cpus.items()
    }
    return replace(host, cpus=cpus, readings=readings, kernel=host.kernel or KERNEL, read_at=time.time())


def _without(bit: int, column: Mapping[int, Reading]) -> dict[int, Reading]:
    return {cpu: value & ~(1 << bit) if isinstance(value, int) else value for cpu, value in column.items()}
