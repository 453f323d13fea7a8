"""What a recording costs follows from what is written in it: work and memory are counted, time is not."""

from __future__ import annotations

import cProfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.support import VMX_CPU, make_root
from vmxd.errors import MalformedFileError, RootError
from vmxd.host.cpus import CPUINFO, read_cpuinfo
from vmxd.host.files import Files
from vmxd.host.recording_text import MSR_FIRST_LINE, parse_msr_text
from vmxd.host.scan import scan

MEMORY_MAX: Final = 256 << 20
"""Bytes that the units of systemd/ may use."""


def peak(work: Callable[[], object]) -> int:
    """Return how many bytes some work had allocated at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def calls(work: Callable[[], object]) -> int:
    """Return how many functions some work called, and how often it went on with a generator."""
    with cProfile.Profile() as profile:
        work()
    return sum(entry.callcount for entry in profile.getstats())


def msr_text(*lines: str) -> str:
    """Return a text of msr.txt."""
    return "\n".join((MSR_FIRST_LINE, *lines, ""))


def test_a_range_costs_the_same_however_long_it_is() -> None:
    """500 MSRs of 65,536 CPUs that agree take the memory of 500 MSRs of 512 CPUs."""
    online = {count: tuple(range(count)) for count in (512, 65536)}
    text = {count: msr_text(*(f"{0x500 + i:x}: 0-{count - 1}=0x1" for i in range(500))) for count in online}
    small, large = (peak(lambda c=count: parse_msr_text(text[c], "msr.txt", online[c])) for count in online)  # type: ignore[misc]

    assert large < 1.5 * small + (8 << 20)  # the ranges of the online CPUs are made once


@pytest.mark.parametrize(
    "line",
    [
        "{:x}: 0-65535=0x1",
        "{:x}: 0-{cut}=0x1 {next}-65535=0x2",
        "{:x}: 0-65535:1/2=0x1",
        "{:x}: 0-65535:{used}/{group}=0x1",
    ],
)
def test_a_small_recording_fits_into_the_units(tmp_path: Path, line: str) -> None:
    """Whatever a few KiB of msr.txt say of 65,536 CPUs, a scan of them stays within the memory of vmxd's units."""
    lines = (
        line.format(0x480 + i, cut=i * 500, next=i * 500 + 1, used=1 << i % 15, group=2 << i % 15) for i in range(120)
    )
    root = make_root(tmp_path / "root", 65536, cpuinfo="")
    (root / CPUINFO).write_text(VMX_CPU.format(0))
    (root / "msr.txt").write_text(msr_text(*lines))

    def read() -> None:
        try:
            scan(str(root))
        except MalformedFileError as error:
            assert "stand for more than 8192 ranges" in str(error)  # noqa: PT017 (most are read)

    assert peak(read) < MEMORY_MAX


def test_a_strided_list_costs_its_ranges() -> None:
    """A list that names one CPU in ten thousand is not walked through CPU by CPU."""
    entries = [f"{cpu}-65535:1/10000=0x1" for cpu in range(200)]
    online = tuple(range(65536))

    assert calls(lambda: parse_msr_text(msr_text("480: " + " ".join(entries)), "msr.txt", online)) < 200_000


@pytest.mark.parametrize("line", ["\n", "a\n", "model\n", "processor\n", "a: b\n", " \n"])
def test_lines_of_cpuinfo_that_say_nothing_cost_nothing(tmp_path: Path, line: str) -> None:
    """A megabyte of lines that are no field of a CPU is passed over without a call for each."""
    root = make_root(tmp_path / "root")
    (root / CPUINFO).write_text(VMX_CPU.format(0) + line * ((1 << 20) // len(line)))

    assert calls(lambda: read_cpuinfo(Files(str(root)))) < 1000


def test_cpus_cost_in_proportion(tmp_path: Path) -> None:
    """Twice the CPUs, each of its own kind, are about twice the work."""
    found = []
    for count in (1000, 2000):
        root = make_root(tmp_path / str(count), count, "processor\t: {0}\nmodel\t\t: {0}\nflags\t\t: vmx\n\n")
        found.append(calls(lambda root=root: read_cpuinfo(Files(str(root)))))  # type: ignore[misc]

    assert found[1] < 2.2 * found[0]


@pytest.mark.parametrize(("count", "flags"), [(65_537, "vmx"), (257, "vmx f{}")], ids=["CPUs", "kinds"])
def test_more_than_a_host_has_is_refused(tmp_path: Path, count: int, flags: str) -> None:
    """65,537 CPUs, or 257 different lines of flags, are no host's."""
    root = make_root(tmp_path / "root")
    blocks = (f"processor\t: {cpu}\nflags\t\t: {flags.format(cpu)}\n\n" for cpu in range(count + 1))
    (root / CPUINFO).write_text("".join(blocks))

    with pytest.raises(MalformedFileError, match="more CPUs, or kinds of CPU, than a host"):
        read_cpuinfo(Files(str(root)))


def test_a_file_is_not_read_beyond_its_bound(tmp_path: Path) -> None:
    """A file that is larger than its content can be costs its bound, not its size."""
    root = make_root(tmp_path / "root")
    with (root / "large").open("wb") as file:
        file.truncate(1 << 40)

    def read() -> None:
        with pytest.raises(RootError, match="has more than 64 KiB"):
            Files(str(root)).read("large")

    assert peak(read) < 1 << 20
