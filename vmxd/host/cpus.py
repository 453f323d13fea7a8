"""Which logical CPUs a host has and what they are: sys/devices/system/cpu, proc/cpuinfo (Linux kernel/cpu/proc.c)."""

from __future__ import annotations

import functools
import re
from typing import Final

from vmxd.cpulist import CPU_MAX
from vmxd.errors import MalformedFileError, RootError
from vmxd.host.files import TEXT_MAX, Files, printable
from vmxd.model.facts import Cpu

CPUINFO: Final = "proc/cpuinfo"
CPUINFO_MAX: Final = 32 << 20
"""Bytes: 8,192 CPUs have some 26 MiB."""
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

_FLAGS_MAX: Final = 1 << 14
"""Characters of the line "flags"; Linux 6.12 has 23 words of 32 flags."""
_FLAGS_KINDS_MAX: Final = 256
"""Different lines "flags" in one file; a host has one, or one for each kind of core."""
_ADDRESS_SIZES: Final = re.compile(r"(\d{1,3}) bits physical, (\d{1,3}) bits virtual", re.ASCII)
_LINE: Final = re.compile(
    rb"(?P<end>\n\n+)|^[ \t]*(?P<key>processor|vendor_id|cpu family|model name|model|stepping|microcode|flags"
    rb"|physical id|address sizes)[ \t]*:(?P<value>.*)$",
    re.MULTILINE,
)
"""The end of a block, or a line that is read; all others are skipped by the matcher."""


def read_online(files: Files) -> tuple[int, ...]:
    """Read the CPUs that are online, from sysfs, else from proc/cpuinfo. Raises RootError if neither says."""
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
    """Read every CPU of proc/cpuinfo by number; none if there is no such file. Raises MalformedFileError."""
    data = files.read(CPUINFO, CPUINFO_MAX) or b""
    cpus: dict[int, Cpu] = {}
    known: dict[tuple[bytes | None, ...], Cpu] = {}
    kinds: set[frozenset[str]] = set()
    block: dict[bytes, re.Match[bytes]] = {}

    def end_block() -> None:
        """Add the CPU of a block; all CPUs whose lines are equal are one object."""
        if b"processor" in block:
            try:
                number = _number(block, b"processor")
                key = tuple(block[key]["value"] if key in block else None for key in _USED)
                if key not in known:
                    known[key] = _cpu(block)
                    kinds.add(known[key].flags)
            except _BadFieldError as error:
                line = data.count(b"\n", 0, error.at) + 1
                raise MalformedFileError(files.path(CPUINFO), line, str(error)) from error
            cpus[number or 0] = known[key]
        block.clear()

    for match in _LINE.finditer(data):
        if match["key"] is not None:
            block[match["key"]] = match
            continue
        end_block()
        if len(cpus) > CPU_MAX + 1 or len(kinds) > _FLAGS_KINDS_MAX:
            line = data.count(b"\n", 0, match.start()) + 1
            raise MalformedFileError(files.path(CPUINFO), line, "it has more CPUs, or kinds of CPU, than a host")
    end_block()
    return cpus


def read_core_types(files: Files) -> dict[int, str]:
    """Read the kind of core of each CPU of a hybrid part; empty elsewhere. Raises MalformedFileError."""
    return {cpu: name for name, path in CORE_TYPES.items() for cpu in files.read_cpulist(path) or ()}


_USED: Final = tuple(
    b"vendor_id,cpu family,model,stepping,model name,microcode,flags,physical id,address sizes".split(b",")
)
_Block = dict[bytes, re.Match[bytes]]


class _BadFieldError(ValueError):
    """A field that should be a number; ``at`` is its offset."""

    def __init__(self, key: str, text: str, at: int) -> None:
        super().__init__(f"{key!r} is {text[:40]!r}, not a number")
        self.at = at


def _cpu(block: _Block) -> Cpu:
    sizes = _ADDRESS_SIZES.fullmatch(_text(block, b"address sizes") or "")
    return Cpu(
        vendor=_text(block, b"vendor_id"),
        family=_number(block, b"cpu family"),
        model=_number(block, b"model"),
        stepping=_number(block, b"stepping"),
        model_name=_text(block, b"model name"),
        microcode=_text(block, b"microcode"),
        flags=_flags(_text(block, b"flags", _FLAGS_MAX) or ""),
        package=_number(block, b"physical id"),
        phys_bits=int(sizes[1]) if sizes else None,
        virt_bits=int(sizes[2]) if sizes else None,
    )


@functools.lru_cache(maxsize=_FLAGS_KINDS_MAX)
def _flags(line: str) -> frozenset[str]:
    """Split a line of flags into words: one object for all CPUs that have the same, of whatever host."""
    return frozenset(line.split())


def _text(block: _Block, key: bytes, limit: int = TEXT_MAX) -> str | None:
    return printable(block[key]["value"].strip().decode(errors="replace"), limit) if key in block else None


def _number(block: _Block, key: bytes) -> int | None:
    text = _text(block, key)
    if text is None:
        return None
    if key == b"stepping" and text == "unknown":  # Linux prints this if CPUID gives none
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise _BadFieldError(key.decode(), text, block[key].start())
    return int(text)


def redact_cpuinfo(data: bytes) -> bytes:
    """Keep the lines of RECORDED_KEYS only, byte for byte as they were, and empty ones."""
    return b"\n".join(line for line in data.split(b"\n") if not line or _key(line) in RECORDED_KEYS)


def _key(line: bytes) -> str:
    return line.partition(b":")[0].strip().decode("latin-1")
