"""The marks that tell, without any privilege, that a host's MSRs may have changed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.helpers.support import HOSTS, REAL_HOSTS
from vmxd.errors import RootError
from vmxd.host.changes import BOOT_ID, MARKS, MICROCODE, RESUMES, Witness
from vmxd.host.files import Files
from vmxd.host.parameters import DIRECTORY
from vmxd.host.record import write_recording
from vmxd.host.recording import COPIED
from vmxd.host.root import read_host

BOOT: Final = "5d0f4c5e-8d3a-4c53-9f9b-0f6f3f2c1a7b"
CONTENTS: Final = dict(zip(MARKS, (BOOT, "0-7", "0x5003604", "3"), strict=True))


def make(root: Path, contents: dict[str, str]) -> Files:
    """Write files under a root, each with the newline that the kernel's have."""
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return Files(str(root))


def test_same(tmp_path: Path) -> None:
    """A host is as it was while all its marks are."""
    files = make(tmp_path, CONTENTS)

    assert Witness((*CONTENTS.values(), None)) == Witness.of(files)
    assert False is Witness.of(files).differs(Witness.of(files))


@pytest.mark.parametrize("name", MARKS)
def test_changed(tmp_path: Path, name: str) -> None:
    """A reboot, a CPU gone offline, a late microcode load and a resume each make a difference, in both directions."""
    before = Witness.of(make(tmp_path, CONTENTS))
    after = Witness.of(make(tmp_path, {name: CONTENTS[name] + "0"}))

    assert (True, True) == (before.differs(after), after.differs(before))


@pytest.mark.parametrize("name", [MICROCODE, RESUMES])
def test_missing_mark(tmp_path: Path, name: str) -> None:
    """A mark that a kernel does not have, then or now, is no difference; those that it has still tell."""
    full = Witness.of(make(tmp_path / "full", CONTENTS))
    less = Witness.of(make(tmp_path / "less", {each: text for each, text in CONTENTS.items() if each != name}))
    rebooted = Witness.of(make(tmp_path / "less", {BOOT_ID: "another"}))

    assert (False, False) == (full.differs(less), less.differs(full))
    assert True is full.differs(rebooted)


@pytest.mark.parametrize("later", [{"ept": "N"}, {"ept": "Y", "pml": "Y"}, {}])
def test_kvm_intel(tmp_path: Path, later: dict[str, str]) -> None:
    """So do kvm_intel that is loaded anew with other parameters, and kvm_intel that is taken out."""

    def parameters(of: dict[str, str]) -> dict[str, str]:
        return {f"{DIRECTORY}/{name}": text for name, text in of.items()} | {"sys/module/kvm/version": "1"}

    loaded = Witness.of(make(tmp_path / "then", CONTENTS | parameters({"ept": "Y"})))
    changed = Witness.of(make(tmp_path / "now", CONTENTS | parameters(later)))
    unrecorded = Witness.of(make(tmp_path / "less", CONTENTS))

    assert (True, True, False) == (loaded.differs(changed), changed.differs(loaded), unrecorded.differs(loaded))


def test_unknown(tmp_path: Path) -> None:
    """Without a boot_id of then nothing tells, even where other marks differ: they may be another machine's."""
    now = Witness.of(make(tmp_path / "now", CONTENTS))
    others = {name: f"{text}0" for name, text in CONTENTS.items() if name != BOOT_ID}

    assert None is Witness.of(make(tmp_path / "then", others)).differs(now)
    assert None is Witness.of(Files(str(tmp_path / "nothing"))).differs(now)


def test_nothing_to_compare_with(tmp_path: Path) -> None:
    """Where none of the marks can be seen now, as in a bare container, nothing tells."""
    assert None is Witness.of(make(tmp_path, CONTENTS)).differs(Witness.of(Files(str(tmp_path / "nothing"))))


@pytest.mark.parametrize("name", REAL_HOSTS)
def test_recordings_without_boot_id(name: str) -> None:
    """None of the recordings kept here claims to be of this or any boot."""
    assert None is Witness.of(Files(str(HOSTS / name))).differs(Witness.of(Files("/")))


def test_recorded(tmp_path: Path) -> None:
    """A recording has every mark of its host, so it is no different from the host that it was made of."""
    make(tmp_path / "host", CONTENTS | {"proc/cpuinfo": "processor\t: 0"})
    (tmp_path / "host/dev").mkdir()
    files = Files(str(tmp_path / "host"))
    write_recording(files, read_host(files.root), str(tmp_path / "recording"))

    assert set(MARKS) <= set(COPIED)
    assert Witness.of(files) == Witness.of(Files(str(tmp_path / "recording")))


def test_unreadable(tmp_path: Path) -> None:
    """A mark that is there and cannot be read is an error, not a difference."""
    (tmp_path / BOOT_ID).mkdir(parents=True)

    with pytest.raises(RootError, match="boot_id"):
        Witness.of(Files(str(tmp_path)))
