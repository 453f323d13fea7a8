"""Real CPUs and their capability values: seen.txt, which python -m deploy.platforms writes.

A line "values N" is one distinct set of MSR values. A line "cpu" is one CPU: signature, brand string, microcode
revision, logical CPUs by kind of core, traits, and the sets of values that its logical CPUs have.

Sources: recordings of ``vmxd record`` in tests/hosts, and public dumps of CPUID and MSRs (AIDA64 dumps published by
InstLatx64, VirtualBox's CPU profiles). Register values are facts about CPUs; no text was taken.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Final

NAME: Final = "seen.txt"


@dataclass(frozen=True, slots=True)
class Seen:
    """One CPU.

    signature: family-model-stepping in hex. microcode: revision, None if not known. kinds: number of logical CPUs by
    kind of core ("core:16 atom:8"), "" if there is one kind. traits: those of sgx, smx, hypervisor and intel that hold.
    values: indexes of sets of values; more than one if its logical CPUs differ.
    """

    signature: str
    brand: str
    microcode: int | None
    kinds: str
    traits: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """values: sets of values, MSR index to value. cpus: the CPUs."""

    values: tuple[dict[int, int], ...]
    cpus: tuple[Seen, ...]


@functools.cache
def table() -> Table:
    """Load the table."""
    return parse(resources.files(__package__).joinpath(NAME).read_text("utf-8"))


def parse(text: str) -> Table:
    """Read the table's text."""
    values, cpus = [], []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "values":
            pairs = (pair.split("=") for pair in rest.split(": ")[1].split())
            values.append({int(index, 16): int(value, 16) for index, value in pairs})
        elif word == "cpu":
            signature, brand, microcode, kinds, traits, of = (cell.strip() for cell in rest.split("|"))
            revision = int(microcode, 16) if microcode else None
            cpus.append(Seen(signature, brand, revision, kinds, traits, tuple(map(int, of.split()))))
    return Table(tuple(values), tuple(cpus))


def write(table: Table) -> str:
    """Write the table's text; parse() reads it back."""
    lines = ["# vmxd platforms 1: seen.py says what stands here"]
    for at, values in enumerate(table.values):
        lines.append(f"values {at}: " + " ".join(f"{index:x}={value:x}" for index, value in values.items()))
    for cpu in table.cpus:
        microcode = "" if cpu.microcode is None else f"{cpu.microcode:#x}"
        of = " ".join(map(str, cpu.values))
        lines.append(f"cpu {cpu.signature} | {cpu.brand} | {microcode} | {cpu.kinds} | {cpu.traits} | {of}")
    return "".join(" ".join(line.split()) + "\n" for line in lines)
