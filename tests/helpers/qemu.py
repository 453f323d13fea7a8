"""A QEMU, asked what its named CPU models want of VMX; as a program it writes the recording of the answers anew.

python -m tests.helpers.qemu COMMAND...    write tests/tables/qemu_models.json with the QEMU of COMMAND
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tests.helpers.support import REPOSITORY
from vmxd.tables import CAPABILITY_RANGE

RECORDING: Final = REPOSITORY / "tests" / "tables" / "qemu_models.json"
_WARNING: Final = re.compile(r"MSR\(([0-9A-Fa-f]+)[Hh]\)(?:\.\S+)? \[bit (\d+)\]")


class Qemu:
    """A running QEMU without a machine, asked over QMP (docs/interop/qmp-spec.rst)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        version = self._answer()["QMP"]["version"]["qemu"]
        self.version = f"{version['major']}.{version['minor']}.{version['micro']}"
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 (JSON)
        """Return QEMU's answer to a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        while "return" not in (answer := self._answer()):
            assert "error" not in answer
        return answer["return"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def models(self) -> dict[str, str | None]:
        """Return every CPU model by name, with the name that it is an alias of."""
        return {each["name"]: each.get("alias-of") for each in self("query-cpu-definitions")}

    def vmx_features(self, model: str) -> set[str]:
        """Return the properties vmx-* that a model has for a guest that is given VMX."""
        wanted = {"name": model, "props": {"vmx": True}}
        properties = self("query-cpu-model-expansion", type="full", model=wanted)["model"]["props"]
        return {name for name, value in properties.items() if name.startswith("vmx-") and value is True}


@contextlib.contextmanager
def running(*command: str) -> Iterator[Qemu]:
    """Run QEMU, and stop it at the end."""
    options = ("-machine", "none", "-display", "none", "-nodefaults", "-S", "-qmp", "stdio")
    with subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield Qemu(process)
        finally:
            process.kill()


def wanted_bits(command: Sequence[str], model: str) -> dict[int, int]:
    """Return the bits that a model wants, by MSR, unnamed ones too: what QEMU's emulator complains that it lacks."""
    options = ("-machine", "pc,accel=tcg", "-cpu", f"{model},vmx=on,check", "-display", "none", "-nodefaults", "-S")
    with tempfile.NamedTemporaryFile("r+") as errors:
        with subprocess.Popen([*command, *options, "-qmp", "stdio"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=errors, text=True) as process:  # fmt: skip
            Qemu(process)("quit")
        errors.seek(0)
        bits: dict[int, int] = {}
        for msr, bit in _WARNING.findall(errors.read()):
            if int(msr, 16) in CAPABILITY_RANGE:
                bits[int(msr, 16)] = bits.get(int(msr, 16), 0) | 1 << int(bit)
    return bits


def record(command: Sequence[str]) -> dict[str, Any]:
    """Return what a QEMU says: its version, the models by what they want of VMX, and their other names."""
    with running(*command) as qemu:
        models = qemu.models()
        versioned = [name for name, alias in models.items() if alias is None and qemu.vmx_features(name)]
    groups: dict[tuple[tuple[int, int], ...], list[str]] = {}
    for name in sorted(versioned):
        groups.setdefault(tuple(sorted(wanted_bits(command, name).items())), []).append(name)
    return {
        "qemu": qemu.version,
        "groups": [
            {"models": names, "bits": {hex(i): hex(mask) for i, mask in bits}} for bits, names in groups.items()
        ],
        "aliases": {name: alias for name, alias in sorted(models.items()) if alias in versioned},
    }


if __name__ == "__main__":
    text = json.dumps(record(sys.argv[1:]))
    RECORDING.write_text(text.replace('{"models"', '\n{"models"').replace('"aliases"', '\n"aliases"') + "\n")
