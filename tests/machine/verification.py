"""tests/machine/verification.md: what the tests of this directory have shown, written by the run that showed it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.machine import image, packages
from tests.machine.models import KVM

DOCUMENT: Final = Path(__file__).parent / "verification.md"

_TEXT: Final = (Path(__file__).parent / "verification.md.in").read_text()
_SECONDS: Final = re.compile(r"\| \d+ \|$", re.MULTILINE)
_VERSIONS: Final = re.compile(r"^Versions: .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One CPU model, where all comparisons held.

    features: features that are on. unknown: set bits without a name. kernel_flags: flags on the kernel's line, all of
    them derived by vmxd. never_shown: flags that vmxd derives and this kernel, by a fault of its own, cannot show.
    msrs: MSRs whose values are rdmsr's. seconds: the emulator's CPU time.
    """

    model: str
    features: int
    unknown: int
    kernel_flags: int
    never_shown: tuple[str, ...]
    msrs: int
    seconds: float

    def __str__(self) -> str:
        flags = f"{self.kernel_flags} of {self.kernel_flags}"
        flags += "".join(f", but {name} [1]" for name in self.never_shown)
        cells = (self.model, self.features, self.unknown, flags, f"{self.msrs} of {self.msrs}", f"{self.seconds:.0f}")
        return f"| {' | '.join(map(str, cells))} |"


@dataclass(slots=True)
class Loads:
    """One CPU model and kernel, on which every load of kvm_intel went as expected.

    suite: of Debian whose kernel booted, "" for this host's. sets: of parameters; refused: those with which kvm_intel
    does not load.
    """

    model: str
    suite: str
    sets: int = 0
    refused: int = 0

    def __str__(self) -> str:
        cells = (self.model, self.suite or "as above", self.sets, self.refused)
        return f"| {' | '.join(map(str, cells))} |"


@dataclass(slots=True)
class Report:
    """What a session has shown.

    reused: guests of earlier runs may be among those looked at. failed: tests that did not pass; left_out: how many
    were not to run.
    """

    reused: bool = False
    rows: list[Row] = field(default_factory=list)
    loads: dict[str, Loads] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    left_out: int = 0
    _facts: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    def add_fact(self, module: str, heading: str | None, fact: str | None) -> None:
        """Add what a test that passed has shown: the first line of its docstring, under that of its module."""
        lines = self._facts.setdefault(module, (_first_line(heading), []))[1]
        if (line := _first_line(fact)) not in lines:
            lines.append(line)

    def document(self, versions: str) -> str:
        """Return the whole text of tests/machine/verification.md."""
        parts = [
            "\n".join([f"## {heading}\n", *(f"- {fact}" for fact in facts)]) for heading, facts in self._facts.values()
        ]
        rows, loads = ("\n".join(map(str, each)) for each in (self.rows, self.loads.values()))
        return _TEXT.format(rows=rows, loads=loads, versions=versions, facts="\n\n".join(parts))


def versions() -> str:
    """Return the Debian packages that a run stands on, with their versions."""
    names = ("bochs", "qemu-system-x86")
    command = ["dpkg-query", "--show", "--showformat=${Package} ${Version}, ", *names]
    installed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    suites = ("", *dict.fromkeys(guest.suite for guest in KVM))
    kernels = [packages.candidate(packages.kernel_package(image.KERNEL_FLAVOUR, each), each) for each in suites]
    return installed + ", ".join(kernels).replace("=", " ")


def lasting(document: str) -> str:
    """Return a document without what differs between two runs that show the same: times and Debian's versions."""
    return _VERSIONS.sub("", _SECONDS.sub("|", document))


def _first_line(docstring: str | None) -> str:
    assert docstring, "each module and test says what it shows"
    return docstring.partition("\n")[0]
