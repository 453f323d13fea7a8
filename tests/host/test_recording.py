"""vmxd/host/recording.py: recordings as directories that are all old or all new."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.support import (
    ALL_HOSTS,
    HOSTS,
    LAKEFIELD,
    recorded,
    tree,
    unprivileged_vmxd,
    vmxd,
    vmxd_with_little_space,
)
from vmxd.errors import RootError
from vmxd.host.cpus import RECORDED_KEYS
from vmxd.host.files import Files
from vmxd.host.parameters import DIRECTORY
from vmxd.host.record import write_recording
from vmxd.host.recording import COPIED, HOST_NAME, is_recording
from vmxd.host.recording_text import MSR_FILE, format_msr_text
from vmxd.host.root import read_host


def record(root: Path, destination: str | Path, *, named: bool = True) -> None:
    """Write a recording of a root; named: with the host's name, if it has one."""
    host = read_host(str(root))
    write_recording(Files(str(root)), host if named else replace(host, name=None), str(destination))


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_recording_a_recording_changes_nothing(tmp_path: Path, name: str) -> None:
    """A recording of a recording has the same files with the same bytes."""
    record(HOSTS / name, tmp_path / "copy")

    assert recorded(HOSTS / name) == tree(tmp_path / "copy")


def test_a_recording_can_be_written_over_itself(tmp_path: Path) -> None:
    """Recording a recording onto itself leaves it as it is, though it is read while it is replaced."""
    host = shutil.copytree(LAKEFIELD, tmp_path / "host", ignore=shutil.ignore_patterns("about.txt", "metrics.prom"))
    record(host, host)

    assert recorded(LAKEFIELD) == tree(host)
    assert ["host"] == os.listdir(tmp_path)


def test_a_pipe_in_a_recording_holds_nobody_up(tmp_path: Path) -> None:
    """A pipe that nobody writes to is refused, not waited for."""
    root = shutil.copytree(LAKEFIELD, tmp_path / "recording")
    (root / MSR_FILE).unlink()
    os.mkfifo(root / MSR_FILE)

    with pytest.raises(RootError, match="is a device, pipe or socket, not a file"):
        read_host(str(root))


def test_a_recording_of_some_cpus_has_only_those(tmp_path: Path) -> None:
    """With --cpus the values of the chosen CPUs are recorded, the others excluded when it is read."""
    host = read_host(str(LAKEFIELD), only=(0, 4))
    write_recording(Files(str(LAKEFIELD)), host, str(tmp_path / "some"))
    again = read_host(str(tmp_path / "some"))

    assert (host.readings, host.excluded) == (again.readings, (1, 2, 3))
    assert host.online == again.online


def test_a_recording_can_be_read_by_others(tmp_path: Path) -> None:
    """A recording has the modes of ordinary files, so that the unprivileged server can read it."""
    done = vmxd("record", "--root", LAKEFIELD, tmp_path / "new", umask=0o022)
    modes = {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "new").rglob("*") if path.is_file()}

    assert 0 == done.returncode
    assert "0o755" == oct((tmp_path / "new").stat().st_mode & 0o777)
    assert {"0o644"} == modes


@pytest.mark.parametrize("existing", ["recording", "empty directory", "nothing"])
def test_what_was_there_is_replaced(tmp_path: Path, existing: str) -> None:
    """A recording takes the place of an older one, of an empty directory or of none, and nothing of the old is left."""
    destination = tmp_path / "host"
    if existing == "recording":
        record(HOSTS / "sapphirerapids", destination)
        (destination / "sys/devices/cpu_core").mkdir()
        (destination / "sys/devices/cpu_core/cpus").write_text("0-71\n")
    elif existing == "empty directory":
        destination.mkdir()
    record(LAKEFIELD, destination)

    assert recorded(LAKEFIELD) == tree(destination)
    assert ["host"] == os.listdir(tmp_path)


def test_readers_see_an_old_or_a_new_recording(tmp_path: Path) -> None:
    """While a recording is replaced 200 times, a reader always finds the directory, and msr.txt of one or the other."""
    destination = tmp_path / "host"
    hosts = [(Files(str(root)), read_host(str(root))) for root in (LAKEFIELD, HOSTS / "skylake-6700k")]
    texts = {format_msr_text(host.readings).encode() for _, host in hosts}
    write_recording(*hosts[0], str(destination))
    seen: set[bytes] = set()
    errors: list[OSError] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                os.stat(destination)
                seen.add((destination / MSR_FILE).read_bytes())
            except OSError as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(1, 201):
            write_recording(*hosts[turn % 2], str(destination))
    finally:
        done.set()
        reader.join()

    assert [] == errors
    assert texts == seen


def a_directory_of_mine(path: Path) -> None:
    """Make a directory with a file that is no recording."""
    (path / "proc").mkdir(parents=True)
    (path / "proc/cpuinfo").write_text("mine\n")


def a_file_of_mine(path: Path) -> None:
    """Make a file."""
    path.write_text("mine\n")


def a_link_of_mine(path: Path) -> None:
    """Make a link to a recording."""
    record(HOSTS / "yonah-t2600", path.with_name("linked"))
    path.symlink_to("linked")


def a_recording_with_a_letter(path: Path) -> None:
    """Make a recording in whose directory something else is kept."""
    record(HOSTS / "yonah-t2600", path)
    (path / "letter.txt").write_text("mine\n")


def another_msr_txt(path: Path) -> None:
    """Make a directory with an msr.txt that is not vmxd's."""
    path.mkdir()
    (path / MSR_FILE).write_text("mine\n")


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        (a_directory_of_mine, "{} is no recording", "name a new directory; vmxd replaces recordings only"),
        (another_msr_txt, "{} is no recording", "name a new directory; vmxd replaces recordings only"),
        (
            a_recording_with_a_letter,
            "{} has 'letter.txt', which is of no recording",
            "name a new directory; vmxd replaces recordings only",
        ),
        (a_file_of_mine, "cannot write {}: Not a directory", "a recording is a directory; name a new one"),
        (a_link_of_mine, "{} is a link, which vmxd does not follow", "name the directory that it leads to"),
    ],
)
def test_what_is_no_recording_is_not_replaced(
    tmp_path: Path, make: Callable[[Path], None], message: str, hint: str
) -> None:
    """Files that are no recording are refused, and nothing of them is lost."""
    destination = tmp_path / "precious"
    make(destination)
    before = tree(tmp_path)
    with pytest.raises(RootError) as caught:
        record(LAKEFIELD, destination)

    assert (message.format(destination), hint) == (str(caught.value), caught.value.hint)
    assert before == tree(tmp_path)


def test_values_are_not_replaced_by_failures(tmp_path: Path) -> None:
    """A recording that has values is kept where not one MSR could be read this time, as without privilege."""
    record(LAKEFIELD, tmp_path / "host")
    with pytest.raises(RootError) as caught:
        record(HOSTS / "made-all-unreadable", tmp_path / "host")

    assert f"no MSR could be read, so the older recording in {tmp_path}/host was kept" == str(caught.value)
    assert recorded(LAKEFIELD) == tree(tmp_path / "host")


@pytest.mark.parametrize(("old", "new"), [("made-all-unreadable", "made-no-msr-module"), ("yonah-t2600", "made-amd")])
def test_an_answer_replaces_what_was_there(tmp_path: Path, old: str, new: str) -> None:
    """Failures replace failures, and a CPU that answered with a fault, for it has no VMX, replaces anything."""
    record(HOSTS / old, tmp_path / "host")
    record(HOSTS / new, tmp_path / "host")

    assert recorded(HOSTS / new) == tree(tmp_path / "host")


def test_a_replaced_recording_does_not_hand_its_mode_on(tmp_path: Path) -> None:
    """A new recording has the mode of a new directory, whatever that of the old one: 0777 would let others write."""
    record(LAKEFIELD, tmp_path / "host")
    fresh = (tmp_path / "host").stat().st_mode
    (tmp_path / "host").chmod(0o777)
    record(LAKEFIELD, tmp_path / "host")

    assert fresh == (tmp_path / "host").stat().st_mode


def test_a_copy_is_as_old_as_its_values(tmp_path: Path) -> None:
    """A recording of a recording is as old as the values in it, not as the copy."""
    source = shutil.copytree(LAKEFIELD, tmp_path / "source")
    os.utime(source / MSR_FILE, (1_600_000_000, 1_600_000_000))
    record(source, tmp_path / "host")

    assert 1_600_000_000 == read_host(str(tmp_path / "host")).read_at


def test_a_cpu_that_went_offline_is_not_recorded_as_online(tmp_path: Path) -> None:
    """The online CPUs of a recording are those of its MSR values, even if the machine has changed since."""
    source = shutil.copytree(LAKEFIELD, tmp_path / "source")
    host = read_host(str(source))
    (source / "sys/devices/system/cpu/online").write_text("0-2\n")
    write_recording(Files(str(source)), host, str(tmp_path / "host"))

    assert host.online == read_host(str(tmp_path / "host")).online


def below_a_file(path: Path) -> Path:
    """Return a path that goes through a file."""
    (path / "file").write_text("mine\n")
    return path / "file" / "host"


def a_name_too_long(path: Path) -> Path:
    """Return a path with a name of more than 255 bytes."""
    return path / ("x" * 300)


def a_loop(path: Path) -> Path:
    """Return a link to itself."""
    (path / "loop").symlink_to("loop")
    return path / "loop"


def in_proc(_: Path) -> Path:
    """Return a path where nobody can make a directory."""
    return Path("/proc/vmxd")


@pytest.mark.parametrize("make", [below_a_file, a_name_too_long, a_loop, in_proc])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Where a directory cannot be put, the error names it, and everything is left as it was."""
    destination = make(tmp_path)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(RootError) as caught:
        record(LAKEFIELD, destination)

    assert str(destination) in str(caught.value)
    assert before == sorted(os.listdir(tmp_path))


def test_a_path_through_a_file_does_not_blame_the_recording(tmp_path: Path) -> None:
    """Where a parent of the destination is a file, the error does not call the destination a file."""
    destination = below_a_file(tmp_path)
    with pytest.raises(RootError) as caught:
        record(LAKEFIELD, destination)

    assert f"{destination} is a file" != str(caught.value)


def test_a_parent_that_may_not_be_written_is_left_alone(public_path: Path) -> None:
    """Who may not write to the parent gets an error, and no scratch directory is left there."""
    source = shutil.copytree(LAKEFIELD, public_path / "source")
    parent = public_path / "parent"
    parent.mkdir(mode=0o555)
    parent.chmod(0o555)
    done = unprivileged_vmxd("record", "--root", source, parent / "host")

    assert (2, "") == (done.returncode, done.stdout)
    assert [
        f"vmxd: cannot write {parent}/host: Permission denied",
        "hint: name a directory whose parent you may write to",
    ] == done.stderr.splitlines()
    assert [] == os.listdir(parent)


def test_a_recording_that_may_not_be_read_is_left_alone(public_path: Path) -> None:
    """Who may not look into what is there already cannot replace it, recording or not."""
    source = shutil.copytree(LAKEFIELD, public_path / "source")
    public_path.chmod(0o777)
    old = public_path / "old"
    old.mkdir(mode=0)
    done = unprivileged_vmxd("record", "--root", source, old)

    assert (2, "") == (done.returncode, done.stdout)
    assert f"vmxd: cannot write {old}: Permission denied" == done.stderr.splitlines()[0]
    assert ["old", "source"] == sorted(os.listdir(public_path))


def test_a_full_disk_leaves_the_old_recording(tmp_path: Path) -> None:
    """Where the new recording cannot be written to its end, the old one stays, and nothing else is left behind."""
    record(HOSTS / "yonah-t2600", tmp_path / "host")

    done = vmxd_with_little_space("record", "--root", LAKEFIELD, tmp_path / "host")

    assert 2 == done.returncode
    assert f"vmxd: cannot write {tmp_path}/host: File too large" == done.stderr.splitlines()[0]
    assert recorded(HOSTS / "yonah-t2600") == tree(tmp_path / "host")
    assert ["host"] == os.listdir(tmp_path)


def test_a_source_that_fails_halfway_leaves_the_old_recording(tmp_path: Path) -> None:
    """Where a file of the host cannot be read, nothing is replaced, and no scratch directory is left."""
    source = shutil.copytree(LAKEFIELD, tmp_path / "source")
    (source / "sys/devices/cpu_atom/cpus").mkdir(parents=True)
    record(HOSTS / "yonah-t2600", tmp_path / "host")
    with pytest.raises(RootError, match=r"cannot read .*/sys/devices/cpu_atom/cpus: Is a directory"):
        record(source, tmp_path / "host")

    assert recorded(HOSTS / "yonah-t2600") == tree(tmp_path / "host")
    assert ["host", "source"] == sorted(os.listdir(tmp_path))


@pytest.mark.parametrize("destination", ["host", "host/", "./host", "a/../host", "host//"])
def test_a_relative_destination_is_from_the_working_directory(tmp_path: Path, destination: str) -> None:
    """A destination may be relative and end in a slash."""
    done = vmxd("record", "--root", LAKEFIELD, destination, cwd=tmp_path)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert recorded(LAKEFIELD) == tree(tmp_path / "host")
    assert "host" in os.listdir(tmp_path)


def test_the_working_directory_can_be_the_destination(tmp_path: Path) -> None:
    """An empty working directory can be recorded into by its name "."."""
    (tmp_path / "here").mkdir()
    done = vmxd("record", "--root", LAKEFIELD, ".", cwd=tmp_path / "here")

    assert (0, "") == (done.returncode, done.stderr)
    assert recorded(LAKEFIELD) == tree(tmp_path / "here")


def test_missing_parents_are_made(tmp_path: Path) -> None:
    """Parents of the destination that are missing are made."""
    record(LAKEFIELD, tmp_path / "a/b/c")

    assert recorded(LAKEFIELD) == tree(tmp_path / "a/b/c")
    assert ["c"] == os.listdir(tmp_path / "a/b")


def test_only_a_root_with_msr_txt_is_a_recording(tmp_path: Path) -> None:
    """A root is a recording if it has an msr.txt, be it a broken link, and the live machine is none."""
    assert not is_recording(Files("/"))
    assert not is_recording(Files(str(tmp_path)))
    assert is_recording(Files(str(LAKEFIELD)))
    (tmp_path / MSR_FILE).symlink_to("nowhere")
    assert is_recording(Files(str(tmp_path)))


# What a recording must not have -----------------------------------------------------------------------------------


def test_a_recording_has_no_other_file(tmp_path: Path) -> None:
    """Of a root full of secrets, a recording has the files of its list and the redacted lines of cpuinfo only.

    The name of the host is one of them, unless it is to be left out.
    """
    source = shutil.copytree(LAKEFIELD, tmp_path / "source")
    for name in ("proc/sys/kernel/hostname", "sys/class/dmi/id/product_serial", "sys/class/net/eth0/address"):
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text("secret\n")
    with (source / "proc/cpuinfo").open("a") as file:
        file.write("Hardware\t: secret\nSerial\t\t: secret\ncpu MHz\t\t: secret\nsecret\n\n")
    record(source, tmp_path / "host")
    record(source, tmp_path / "anonymous", named=False)
    found, anonymous = tree(tmp_path / "host"), tree(tmp_path / "anonymous")

    assert found.keys() <= {MSR_FILE, "proc/cpuinfo", *COPIED}
    assert [HOST_NAME] == [name for name, data in found.items() if b"secret" in data]
    assert {HOST_NAME: b"secret\n", **anonymous} == found
    assert "secret" == read_host(str(tmp_path / "host")).name
    assert None is read_host(str(tmp_path / "anonymous")).name


def secrets() -> set[str]:
    """Return what identifies this machine: its name, its machine ID, serial numbers and network addresses."""
    patterns = ("class/dmi/id/*serial", "class/dmi/id/*uuid", "class/dmi/id/*asset_tag", "class/net/*/address")
    found = set()
    for path in (Path("/etc/machine-id"), *(path for pattern in patterns for path in Path("/sys").glob(pattern))):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found.add(path.read_text().strip())
    return {socket.gethostname(), *(secret for secret in found if len(secret) > 3)}  # a serial number may read "0"


def test_a_recording_of_this_machine_does_not_tell_which_it_is(tmp_path: Path) -> None:
    """A live recording has no machine ID, serial number or address, and no name if asked; its cpuinfo is redacted."""
    record(Path("/"), tmp_path / "host", named=False)
    found = {name: data for name, data in tree(tmp_path / "host").items() if not name.startswith(DIRECTORY)}
    written = "\n".join(data.decode() for data in found.values())
    keys = {line.partition(":")[0].strip() for line in found["proc/cpuinfo"].decode().splitlines() if line}

    assert found.keys() <= {MSR_FILE, "proc/cpuinfo", *COPIED}
    assert [] == [secret for secret in secrets() if re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", written)]
    assert keys <= RECORDED_KEYS


def test_a_recording_of_this_machine_reads_as_it_did(tmp_path: Path) -> None:
    """A live recording, whatever this machine has, has the same CPUs and the same readings."""
    host = read_host("/")
    write_recording(Files("/"), host, str(tmp_path / "host"))
    again = read_host(str(tmp_path / "host"))

    assert (host.online, host.present, host.isolated) == (again.online, again.present, again.isolated)
    assert (host.readings, host.cpus, host.kernel) == (again.readings, again.cpus, again.kernel)
