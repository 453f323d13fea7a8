"""What a scan costs from 1 to 8,192 CPUs: recordings by stage, and the live reader against the bare system calls."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench import report
from bench.servers import OF_8_CPUS
from vmxd.host import cpus
from vmxd.host.files import Files
from vmxd.host.msr import MsrDevices, read_msrs
from vmxd.host.recording_text import MSR_FILE
from vmxd.host.root import read_host
from vmxd.host.scan import Scan
from vmxd.model.inventory import take_inventory
from vmxd.server.negotiate import Format
from vmxd.server.render import render_metrics

COUNTS: Final = (1, 8, 64, 512, 8192)
_STAGES: Final = ("read", "inventory", "render")
_CPUINFO_BLOCK: Final = (OF_8_CPUS / cpus.CPUINFO).read_text().partition("\n\n")[0].partition("\n")[2]
_FLAGS: Final = " ".join(f"flag_{number:03}" for number in range(150))
"""What the recording's short line of flags lacks: a kernel prints some 150 more, and all of them are to be parsed."""
_ALL_ONES: Final = b"\xff" * 0x1000
"""A file in a device's place: every MSR index is an offset in it, and every MSR that a bit enumerates exists."""


def run_recordings(rounds: int) -> None:
    """Measure and print the stages of a scan of recordings, and of rendering."""
    functions: dict[tuple[int, str], Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count in COUNTS:
            root = _make_host(Path(scratch), count)
            text = (OF_8_CPUS / MSR_FILE).read_text().replace(" 0-7=", f" {_cpu_list(count)}=")
            (root / MSR_FILE).write_text(text)
            for stage, function in zip(_STAGES, _stages(str(root)), strict=True):
                functions[count, stage] = function
        seconds = report.medians(functions, rounds)
    report.print_title(f"Scan of a recording: {MSR_FILE} of {OF_8_CPUS.name} for all CPUs, {rounds} rounds in turn; ms")
    report.print_table(
        ("CPUs", *_STAGES),
        [(f"{count:,}", *(report.number(1e3 * seconds[count, stage]) for stage in _STAGES)) for count in COUNTS],
    )


def run_live(rounds: int) -> None:
    """Measure and print the live reader, and a whole live scan, against the same system calls in a bare loop."""
    functions: dict[tuple[int, str], Callable[[], object]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count in COUNTS:
            root = _make_host(Path(scratch), count)
            _make_devices(root, count)
            functions |= {(count, name): function for name, function in _readers(str(root), count).items()}
        seconds = report.medians(functions, rounds)
    report.print_title(f"Live reader on files in place of dev/cpu/N/msr, {rounds} rounds in turn")
    rows = []
    for count in COUNTS:
        bare, reader, whole = (seconds[count, name] for name in ("bare", "reader", "scan"))
        own = 1e6 * (reader - bare) / count
        ratios = (reader / bare, whole / bare)
        rows.append([f"{count:,}", *map(report.number, (1e3 * bare, 1e3 * reader, 1e3 * whole, own, *ratios))])
    report.print_table(
        ("CPUs", "bare ms", "read_msrs ms", "scan ms", "own us per CPU", "read_msrs : bare", "scan : bare"), rows
    )
    print("A file answers within a microsecond; a real RDMSR interrupts its CPU, so there the ratios are lower.\n")


def _stages(root: str) -> tuple[Callable[[], object], ...]:
    host = read_host(root)
    inventory = take_inventory(host)
    last = Scan(inventory, 0.0)
    return (
        (lambda: read_host(root)),
        (lambda: take_inventory(host)),
        (lambda: [render_metrics(last, each) for each in Format]),
    )


def _readers(root: str, count: int) -> dict[str, Callable[[], object]]:
    files = Files(root)
    online = tuple(range(count))
    cpuinfo = cpus.read_cpuinfo(files)
    devices = MsrDevices(files)
    indexes = tuple(read_msrs(devices, (0,), cpuinfo))
    paths = [files.path(f"dev/cpu/{cpu}/msr") for cpu in online]
    return {
        "bare": lambda: _bare(paths, indexes),
        "reader": lambda: read_msrs(devices, online, cpuinfo),
        "scan": lambda: take_inventory(read_host(root)),
    }


def _bare(paths: Sequence[str], indexes: Sequence[int]) -> None:
    """Make the system calls of a scan and nothing else: the floor."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        for index in indexes:
            os.pread(fd, 8, index)
        os.close(fd)


def _cpu_list(count: int) -> str:
    return f"0-{count - 1}" if count > 1 else "0"


def _make_host(scratch: Path, count: int) -> Path:
    """Make a root of equal CPUs, without MSRs."""
    root = scratch / str(count)
    for name in (cpus.ONLINE, cpus.PRESENT, cpus.CPUINFO):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    for name in (cpus.ONLINE, cpus.PRESENT):
        (root / name).write_text(_cpu_list(count) + "\n")
    blocks = (f"processor\t: {cpu}\n{_CPUINFO_BLOCK} {_FLAGS}\n\n" for cpu in range(count))
    (root / cpus.CPUINFO).write_text("".join(blocks))
    return root


def _make_devices(root: Path, count: int) -> None:
    directory = root / "dev" / "cpu"
    (directory / "0").mkdir(parents=True)
    (directory / "0" / "msr").write_bytes(_ALL_ONES)
    for cpu in range(1, count):
        (directory / str(cpu)).symlink_to("0")
