"""What a stranger who wrote a recording, or a user who owns a directory above one, can do to root: nothing."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.support import LAKEFIELD, as_root, recorded, tree, vmxd
from tests.helpers.swapping import swapping

SECRET: Final = "of-root-only"
COMMANDS: Final = ("show", "metrics", "explain ept", "show --json")
ESCAPES: Final = "\x1b]0;title\x07\x1b[31m\x9b1m\x85\u2028red"
FILES: Final = (*recorded(LAKEFIELD), "proc/sys/kernel/osrelease", "kvm.txt", "sys/module/kvm_intel/parameters/ept")
TRIES: Final = 12


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Copy a recording."""
    return Path(shutil.copytree(LAKEFIELD, tmp_path / "recording"))


@pytest.mark.parametrize("name", FILES)
def test_no_link_leads_out_of_a_recording(recording: Path, tmp_path: Path, name: str) -> None:
    """A file or directory of a recording that is a link to elsewhere is not read, told of or copied."""
    elsewhere = tmp_path / "elsewhere" / Path(name).name
    elsewhere.parent.mkdir()
    elsewhere.write_text(f"{SECRET}\n")
    file = recording / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    for place, target in ((file, elsewhere), (file.parent, elsewhere.parent)):
        if place == recording:
            continue
        if place.is_dir():
            shutil.rmtree(place)
        place.symlink_to(target)
        told = [vmxd("show", "--json", "--root", recording), vmxd("record", "--root", recording, tmp_path / "copy")]

        assert SECRET not in "".join(done.stdout + done.stderr for done in told)
        assert SECRET.encode() not in b"".join(tree(tmp_path / "copy").values())
        place.unlink()


@pytest.mark.parametrize("name", [name for name in FILES if "parameters" not in name])
def test_every_file_has_a_bound(recording: Path, name: str) -> None:
    """A file of a size that no such file has is refused by its name, and not read whole."""
    file = recording / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    os.truncate(file, 1 << 40)
    done = vmxd("record", "--root", recording, recording.with_name("copy"))

    assert (2, "") == (done.returncode, done.stdout)
    assert f"{file} has more than " in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_no_control_character_reaches_a_terminal(recording: Path, command: str) -> None:
    """Whatever a recording calls its CPU, its kernel or itself, nothing is printed that a terminal obeys."""
    cpuinfo = recording / "proc/cpuinfo"
    cpuinfo.write_text(cpuinfo.read_text().replace("model name\t: Intel", f"model name\t: {ESCAPES}"))
    release = recording / "proc/sys/kernel/osrelease"
    release.parent.mkdir(parents=True, exist_ok=True)
    release.write_text(ESCAPES)
    named = recording.rename(recording.with_name(f"x{ESCAPES}"))
    done = vmxd(*command.split(), "--root", named)
    told = done.stdout + done.stderr

    assert "red" in told
    assert set() == {character for character in told if not character.isprintable()} - {"\n"}


@as_root
def test_who_owns_a_directory_above_loses_root_nothing(public_path: Path) -> None:
    """Whoever swaps a directory above DIR for a link to one of root's, while root records, takes no file from root."""
    roots, user = public_path / "roots", public_path / "user"
    (roots / "host" / "proc").mkdir(parents=True)
    (roots / "host" / "proc" / "cpuinfo").write_text(SECRET)
    (roots / "host" / "msr.txt").write_text(SECRET)
    user.mkdir()
    shutil.copytree(LAKEFIELD, user / "above" / "host", ignore=shutil.ignore_patterns("about.txt", "metrics.prom"))
    (user / "link").symlink_to(roots)
    for path in (user, *user.rglob("*")):
        shutil.chown(path, *pwd.getpwnam("nobody")[2:4]) if not path.is_symlink() else None
    before = tree(roots)
    with swapping(user, "above", "link"):
        done = [vmxd("record", "--root", LAKEFIELD, user / "above" / "host") for _ in range(TRIES)]

    assert before == tree(roots)
    assert [roots / "host"] == list(roots.iterdir())
    assert {each.returncode for each in done} <= {0, 2}


@pytest.mark.parametrize("kind", ["directory", "link"])
@as_root
def test_what_takes_the_place_of_dir_is_not_removed(public_path: Path, kind: str) -> None:
    """Whoever swaps DIR for a directory of root's, or a link to it, while root records, takes no file from root."""
    roots, user = public_path / "roots", public_path / "user"
    user.mkdir()
    precious = (user if kind == "directory" else roots) / "precious"
    precious.mkdir(parents=True)
    (precious / "file").write_text(SECRET)
    if kind == "link":
        (user / "precious").symlink_to(precious)
    shutil.copytree(LAKEFIELD, user / "host", ignore=shutil.ignore_patterns("about.txt", "metrics.prom"))
    shutil.chown(user, *pwd.getpwnam("nobody")[2:4])
    with swapping(user, "host", "precious"):
        done = [vmxd("record", "--root", LAKEFIELD, user / "host") for _ in range(TRIES)]

    assert SECRET in [data.decode() for name, data in tree(public_path).items() if name.endswith("file")]
    assert {each.returncode for each in done} <= {0, 2}
    assert "Traceback" not in "".join(each.stderr for each in done)
