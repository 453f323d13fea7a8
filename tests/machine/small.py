"""Guests of the small kind: one emulator, one script of guest/ inside it, and what the script left."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.machine import image
from tests.machine.console import Console
from tests.machine.emulator import Emulator
from tests.machine.run import Run
from vmxd.host.files import Files
from vmxd.host.kvm_text import parse_kvm_text
from vmxd.host.parameters import read_parameters
from vmxd.model.facts import KvmMsrs, Missing, Parameter

_STEP: Final = "@@ "
_RESULTS: Final = "@@ results"
_END: Final = "@@ end"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True, slots=True)
class Results:
    """What a guest left: the files that its script wrote; its kernel's vmxfeatures.h; the emulator's CPU time."""

    directory: Path
    header: str
    cpu_seconds: float

    def text(self, name: str) -> str:
        """Return a file's text."""
        return (self.directory / name).read_text()

    def outcome(self, name: str) -> tuple[int, str]:
        """Return the exit code of a step and what it said on standard error."""
        return int(self.text(f"{name}.rc")), self.text(f"{name}.err")

    def shown(self, name: str) -> Any:  # noqa: ANN401 (JSON)
        """Return what a step that ran ``vmxd show --json`` printed; it must have succeeded."""
        assert (0, "") == self.outcome(name)
        return json.loads(self.text(f"{name}.out"))

    def samples(self, name: str) -> Samples:
        """Return the samples of a step that printed metrics: name and labels -> value."""
        families = text_string_to_metric_families(self.text(f"{name}.out"))
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def rdmsr(self, name: str = "rdmsr") -> dict[int, dict[int, int | None]]:
        """Return what Debian's rdmsr read: CPU -> MSR index -> value, None where it could not."""
        values: dict[int, dict[int, int | None]] = {}
        for line in self.text(f"{name}.out").splitlines():
            cpu, index, value = line.split()
            values.setdefault(int(cpu), {})[int(index, 16)] = None if value == "-" else int(value, 16)
        return values

    def kvm_msrs(self, name: str) -> dict[int, int] | None:
        """Return what kvm_intel, loaded with a set of parameters, gives to guests: index -> value; None if refused."""
        if not (self.directory / "kvm" / name / "kvm.txt").exists():
            assert self.text(f"kvm/{name}/error")
            return None
        answer = parse_kvm_text(self.text(f"kvm/{name}/kvm.txt"), "kvm.txt")
        assert isinstance(answer, KvmMsrs)
        return {index: value for index, value in answer.readings.items() if isinstance(value, int)}

    def kvm_parameters(self, name: str) -> dict[str, Parameter]:
        """Return kvm_intel's parameters once it was loaded with a set of them."""
        found = read_parameters(Files(str(self.directory / "kvm" / name)))
        assert not isinstance(found, Missing)
        return found

    def cpuinfo(self) -> list[dict[str, str]]:
        """Return the guest's own /proc/cpuinfo, CPU by CPU."""
        blocks = self.text("cpuinfo").strip().split("\n\n")
        pairs = [[line.partition(":") for line in block.splitlines()] for block in blocks]
        return [{key.strip(): value.strip() for key, _, value in each} for each in pairs]


@dataclass(frozen=True, slots=True)
class SmallGuest:
    """An emulator and the script that its guest runs.

    seconds: CPU time that it takes on an idle machine. suite: of Debian whose kernel boots, this host's by default.
    """

    name: str
    emulator: Emulator
    script: str
    seconds: float
    suite: str = ""

    def __str__(self) -> str:
        return self.name

    def run(self, run: Run) -> Results:
        """Boot and run the script. Raises GuestError."""
        built = image.build(run.say, self.suite)
        initramfs = image.with_payload(built, self.script, run.directory)
        serial = run.directory / "serial.txt"
        serial.touch()
        started = self.emulator.start(built.kernel, initramfs, serial)
        console = Console(serial, started.process, run, 3 * self.seconds, started.drain)
        try:
            directory = collect(console, run)
        finally:
            started.stop()
        (run.directory / "disc.iso").unlink(missing_ok=True)
        return Results(directory, built.header.read_text(), console.cpu_seconds)


def without_self(metrics: str) -> list[str]:
    """Return the lines of a page of metrics that are about the host, not about vmxd."""
    return [line for line in metrics.splitlines() if "vmxd_" not in line.partition("{")[0]]


def collect(console: Console, run: Run) -> Path:
    """Follow a guest to its end, and return the directory of what its script left. Raises GuestError."""
    archive: list[str] | None = None
    for line in console.lines(last=_END):
        if line == _RESULTS:
            archive = []
        elif line.startswith(_STEP):
            run.say(f"{line.removeprefix(_STEP)} ({console.cpu_seconds:.0f} s of CPU)")
        elif archive is not None:
            archive.append(line)
    directory = run.directory / "results"
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode("".join(archive or ())))) as tar:
        tar.extractall(directory, filter="data")
    return directory
