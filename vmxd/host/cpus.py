"""Which logical CPUs a host has and what they are: sys/devices/system/cpu, proc/cpuinfo (Linux kernel/cpu/proc.c)."""

from __future__ import annotations

import functools
import re
from typing import Final

from vmxd.errors import MalformedFileError, RootError
from vmxd.host.files import Files
from vmxd.model.facts import Cpu

CPUINFO: Final = "proc/cpuinfo"
ONLINE: Final = "sys/devices/system/cpu/online"
PRESENT: Final = "sys/devices/system/cpu/present"
ISOLATED: Final = "sys/devices/system/cpu/isolated"
CORE_TYPES: Final = {name: f"sys/devices/cpu_{name}/cpus" for name in ("core", "atom", "lowpower")}
"""The CPUs of each kind of core, where the part is hybrid and the kernel counts events on it (arch/x86/events)."""

RECORDED_KEYS: Final = frozenset(
    ("processor", "vendor_id", "cpu family", "model", "model name", "stepping", "microcode",
     "physical id", "siblings", "core id", "cpu cores", "flags", "vmx flags", "bugs", "address sizes")
)  # fmt: skip
"""The lines of proc/cpuinfo that say what a CPU is; clocks, which differ between two reads, stay out."""


def read_online(files: Files) -> tuple[int, ...]:
    """Return the CPUs that are online, from sysfs, else from proc/cpuinfo. Raises RootError where neither says."""
    online = files.read_cpulist(ONLINE)
    if online is None:
        online = tuple(sorted(read_cpuinfo(files)))
    if not online:
        raise RootError(
            f"{files.root} has no CPU in {ONLINE} or {CPUINFO}",
            "--root takes / or a directory that vmxd record wrote",
        )
    return online


def read_cpuinfo(files: Files) -> dict[int, Cpu]:
    """Return every CPU of proc/cpuinfo by number; none where there is no such file. Raises MalformedFileError."""
    cpus: dict[int, Cpu] = {}
    known: dict[tuple[str | None, ...], Cpu] = {}
    line = 1
    for block in (files.read_text(CPUINFO) or "").split("\n\n"):
        fields = _fields(block)
        if "processor" in fields:
            try:
                number = _number(fields, "processor")
                key = tuple(map(fields.get, _USED))
                if key not in known:
                    known[key] = _cpu(fields)
            except _BadFieldError as error:
                raise MalformedFileError(files.path(CPUINFO), line + _line_of(block, error.key), str(error)) from error
            cpus[number or 0] = known[key]
        line += block.count("\n") + 2
    return cpus


def read_core_types(files: Files) -> dict[int, str]:
    """Return the kind of core of each CPU of a hybrid part; empty elsewhere. Raises MalformedFileError."""
    return {cpu: name for name, path in CORE_TYPES.items() for cpu in files.read_cpulist(path) or ()}


_USED: Final = (
    "vendor_id", "cpu family", "model", "stepping", "model name", "microcode", "flags", "physical id", "address sizes"
)  # fmt: skip


_TEXT_MAX: Final = 128
"""Characters of a name that are kept; Linux has room for 64."""


_ADDRESS_SIZES: Final = re.compile(r"(\d{1,3}) bits physical, (\d{1,3}) bits virtual", re.ASCII)


class _BadFieldError(ValueError):
    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"{key!r} is {text[:40]!r}, not a number")
        self.key = key


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.split("\n"))
    return {key.strip(): _printable(value.strip()) for key, colon, value in pairs if colon}


def _line_of(block: str, key: str) -> int:
    """Return at which line of a block, counted from 0, a field stands; the last one where it stands twice."""
    keys = [line.partition(":")[0].strip() for line in block.split("\n")]
    return len(keys) - 1 - keys[::-1].index(key)


def _printable(text: str) -> str:
    """Replace what could move a terminal's cursor: a recording may come from anybody."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


@functools.lru_cache(maxsize=256)
def _flags(line: str) -> frozenset[str]:
    """Return the words of a line of flags: one object for all CPUs that have the same, of whatever host."""
    return frozenset(line.split())


def _cpu(fields: dict[str, str]) -> Cpu:
    sizes = _ADDRESS_SIZES.fullmatch(fields.get("address sizes", ""))
    return Cpu(
        vendor=_short(fields.get("vendor_id")),
        family=_number(fields, "cpu family"),
        model=_number(fields, "model"),
        stepping=_number(fields, "stepping"),
        model_name=_short(fields.get("model name")),
        microcode=_short(fields.get("microcode")),
        flags=_flags(fields.get("flags", "")),
        package=_number(fields, "physical id"),
        phys_bits=int(sizes[1]) if sizes else None,
        virt_bits=int(sizes[2]) if sizes else None,
    )


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"


def _number(fields: dict[str, str], key: str) -> int | None:
    text = fields.get(key)
    if text is None:
        return None
    if key == "stepping" and text == "unknown":  # Linux prints this where CPUID gives none
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise _BadFieldError(key, text)
    return int(text)


def redact_cpuinfo(data: bytes) -> bytes:
    """Return proc/cpuinfo with the lines of RECORDED_KEYS only, byte for byte as they were."""
    lines = data.split(b"\n")
    return b"\n".join(
        line for line in lines if not line or line.partition(b":")[0].strip().decode("latin-1") in RECORDED_KEYS
    )
