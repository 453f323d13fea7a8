"""A directory of recordings: whatever one of them is, the others are answered, and it is named with the reason."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.inside import vmxd
from tests.helpers.support import ALL_HOSTS, HOSTS
from vmxd.errors import RootError
from vmxd.fleet.recordings import Reader, read_recordings

GOOD: Final = ("lakefield-i5-l16g7", "sapphirerapids")


def quiet(_done: int, _count: int) -> None:
    """Say nothing of how far it is."""


def without_msrs(recording: Path) -> Path:
    """Take msr.txt out of a recording, and return where it was."""
    (recording / "msr.txt").unlink()
    return recording / "msr.txt"


def link_to_nowhere(recording: Path) -> None:
    """Make a link of a recording, as to a disk that is not mounted."""
    shutil.rmtree(recording)
    recording.symlink_to("/no/such/disk")


DAMAGE: Final[dict[str, tuple[Callable[[Path], object], str]]] = {
    "cut off": (lambda path: os.truncate(path / "msr.txt", 150), "the file ends within a line"),
    "noise": (lambda path: (path / "msr.txt").write_bytes(bytes(range(256))), "the first line is not"),
    "no msr.txt": (without_msrs, "is no recording: it has no msr.txt"),
    "a directory": (lambda path: without_msrs(path).mkdir(), "Is a directory"),
    "a pipe": (lambda path: os.mkfifo(without_msrs(path)), "is a device, pipe or socket, not a file"),
    "endless": (lambda path: without_msrs(path).symlink_to("/dev/zero"), "is or passes a link that leads out of"),
    "huge": (lambda path: os.truncate(path / "msr.txt", 65 << 20), "has more than 4,096 KiB"),
    "a loop": (lambda path: without_msrs(path).symlink_to("msr.txt"), "Too many levels of symbolic links"),
    "lost": (link_to_nowhere, "is no recording: it has no msr.txt"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_one_damaged_among_good_ones(damage: str, tmp_path: Path) -> None:
    """It is a host of which nothing is known, with the reason; the others are what they are without it."""
    spoil, reason = DAMAGE[damage]
    for name in (*GOOD, "denverton"):
        shutil.copytree(HOSTS / name, tmp_path / name)
    spoil(tmp_path / "denverton")
    bad, *others = read_recordings(str(tmp_path), quiet).hosts

    assert ("denverton", None, None, None) == (bad.name, bad.status, bad.kind, bad.has("ept"))
    assert reason in (bad.reason or "")
    assert [(True, False), (True, True)] == [(host.has("ept"), host.has("pml")) for host in others]


def test_what_is_no_host(tmp_path: Path) -> None:
    """Files and hidden directories beside the recordings are none."""
    shutil.copytree(HOSTS / GOOD[0], tmp_path / "host")
    (tmp_path / ".git").mkdir()
    (tmp_path / "README").write_text("Our hosts.\n")

    assert ["host"] == [host.name for host in read_recordings(str(tmp_path), quiet).hosts]


def test_one_recording_is_no_fleet() -> None:
    """A recording in place of a directory of them is an error that says so; so is one without any."""
    with pytest.raises(RootError, match="lakefield-i5-l16g7 is one recording, not a directory of them"):
        read_recordings(str(HOSTS / GOOD[0]), quiet)
    with pytest.raises(RootError, match="proc has no recordings"):
        read_recordings(str(HOSTS / GOOD[0] / "proc"), quiet)


def test_equal_facts_are_understood_once(tmp_path: Path) -> None:
    """Read after all others, a host is what it is when read alone; of an equal one only name and kernel are another."""
    reader = Reader()
    for name in (*ALL_HOSTS, *ALL_HOSTS):
        alone, among = Reader().read(name, str(HOSTS / name)), reader.read(name, str(HOSTS / name))
        assert alone == among or (alone.kind, among.kind) != (None, None)
        assert str(alone.kind) == str(among.kind)
    shutil.copytree(HOSTS / "made-nested", tmp_path / "twin")
    (tmp_path / "twin" / "proc" / "sys" / "kernel").mkdir(parents=True, exist_ok=True)
    (tmp_path / "twin" / "proc" / "sys" / "kernel" / "osrelease").write_text("6.18.0\n")
    first, twin = reader.read("made-nested", str(HOSTS / "made-nested")), reader.read("twin", str(tmp_path / "twin"))

    assert ("twin", "6.18.0") == (twin.name, twin.kernel)
    assert first.kind is twin.kind
    assert first.nested is twin.nested is not None


def test_command(tmp_path: Path) -> None:
    """The command answers for the good ones, and leaves the damaged one unknown."""
    for name in GOOD:
        shutil.copytree(HOSTS / name, tmp_path / name)
    os.truncate(tmp_path / GOOD[0] / "msr.txt", 150)
    done = vmxd("fleet", "has", "pml", "--recordings", tmp_path, "--csv")

    assert 2 == done.returncode
    assert ["lakefield-i5-l16g7,unknown", "sapphirerapids,has"] == sorted(
        ",".join(line.split(",")[:2]) for line in done.stdout.splitlines()[1:]
    )
