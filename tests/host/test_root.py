"""vmxd/host/root.py: a root directory becomes a Host, live or recorded, with the CPUs that were asked for."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from tests.helpers.support import ALL_HOSTS, HOSTS, LAKEFIELD
from vmxd import cpulist
from vmxd.errors import MalformedFileError, RootError, UsageError
from vmxd.host.cpus import CPUINFO, ISOLATED, ONLINE, PRESENT
from vmxd.host.recording import KERNEL
from vmxd.host.recording_text import MSR_FILE
from vmxd.host.root import read_host
from vmxd.model.facts import Failed, Host, Source
from vmxd.tables import MSR_BY_INDEX


@pytest.fixture
def lakefield(tmp_path: Path) -> Path:
    """Return a copy of Lakefield's recording: CPUs 0-3 have one value of 0x48b, CPU 4 another."""
    return shutil.copytree(LAKEFIELD, tmp_path / "host")


def scanned(host: Host) -> tuple[int, ...]:
    """Return the CPUs that have readings."""
    return tuple(sorted({cpu for by_cpu in host.readings.values() for cpu in by_cpu}))


# What is no host --------------------------------------------------------------------------------------------------


def missing(path: Path) -> None:
    """Leave the root out."""
    path.unlink(missing_ok=True)


def a_file(path: Path) -> None:
    """Make a file."""
    path.touch()


def a_dangling_link(path: Path) -> None:
    """Make a link to nowhere."""
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [missing, a_file, a_dangling_link])
def test_a_root_that_is_no_directory_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Only a directory can be a host."""
    make(tmp_path / "root")
    with pytest.raises(RootError) as caught:
        read_host(str(tmp_path / "root"))

    assert f"{str(tmp_path / 'root')!r} is not a directory" == str(caught.value)
    assert "--root takes / or a directory that vmxd record wrote" == caught.value.hint


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    """A directory that lists no CPU is no host."""
    with pytest.raises(RootError, match=r"has no CPU in sys/devices/system/cpu/online or proc/cpuinfo$"):
        read_host(str(tmp_path))


@pytest.mark.parametrize("name", [ONLINE, PRESENT, ISOLATED, CPUINFO, KERNEL, MSR_FILE])
def test_a_file_that_cannot_be_read_is_named(lakefield: Path, name: str) -> None:
    """A file that is there but does not read, here a directory in its place, is an error that names it."""
    (lakefield / name).unlink(missing_ok=True)
    (lakefield / name).mkdir(parents=True)
    with pytest.raises(RootError) as caught:
        read_host(str(lakefield))

    assert f"cannot read {lakefield}/{name}: Is a directory" == str(caught.value)


@pytest.mark.parametrize("name", [ONLINE, PRESENT, ISOLATED])
def test_a_malformed_list_of_cpus_is_located(lakefield: Path, name: str) -> None:
    """A list of CPUs that does not parse is an error that names file and line."""
    (lakefield / name).write_text("0-\n")
    with pytest.raises(MalformedFileError) as caught:
        read_host(str(lakefield))

    assert (f"{lakefield}/{name}", 1) == (caught.value.path, caught.value.line)


@pytest.mark.parametrize("target", ["nowhere", MSR_FILE, "/etc/passwd"], ids=["dangling", "loop", "out"])
def test_a_recording_that_is_a_broken_link_is_refused(lakefield: Path, target: str) -> None:
    """An msr.txt that leads nowhere makes a broken recording, not a live machine."""
    (lakefield / MSR_FILE).unlink()
    (lakefield / MSR_FILE).symlink_to(target)
    with pytest.raises(RootError) as caught:
        read_host(str(lakefield))

    assert str(lakefield / MSR_FILE) in str(caught.value)


# Recordings and machines ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_every_test_host_reads_as_a_recording(name: str) -> None:
    """Each recording reads without a note, with readings of online CPUs only and an identity for each CPU."""
    host = read_host(str(HOSTS / name))

    assert (Source.RECORDING, (), str(HOSTS / name)) == (host.source, host.notes, host.root)
    assert cpulist.parse((HOSTS / name / ONLINE).read_text()) == host.online
    assert set(host.online) == set(scanned(host)) | set(host.excluded)
    assert set(host.online) == host.cpus.keys()


def test_a_recording_is_as_old_as_its_msr_values(lakefield: Path) -> None:
    """The time of a recording is when msr.txt was written."""
    os.utime(lakefield / MSR_FILE, (1_600_000_000.25, 1_600_000_000.25))

    assert 1_600_000_000.25 == read_host(str(lakefield)).read_at


def test_a_root_with_devices_is_a_machine(lakefield: Path) -> None:
    """With a dev and without an msr.txt, the devices under the root are read, now; here there are none."""
    (lakefield / MSR_FILE).unlink()
    (lakefield / "dev").mkdir()
    before = time.time()
    host = read_host(str(lakefield))

    assert Source.LIVE is host.source
    assert before <= host.read_at <= time.time()
    assert {index: dict.fromkeys(range(5), Failed("ENOENT")) for index in MSR_BY_INDEX} == host.readings
    assert () == host.notes


def test_a_recording_that_lost_its_msr_txt_is_no_machine(lakefield: Path) -> None:
    """A root with neither msr.txt nor devices is a damaged recording: no hint at a module that is to be loaded."""
    (lakefield / MSR_FILE).unlink()
    with pytest.raises(RootError) as caught:
        read_host(str(lakefield))

    assert f"{lakefield} has no msr.txt, as a recording has, and no dev, as a machine has" == str(caught.value)
    assert "copy a recording whole, or make a new one: vmxd record DIR" == caught.value.hint


def test_a_directory_of_recordings_is_one_for_the_fleet() -> None:
    """Who names a directory of recordings as a host learns the command that reads them all."""
    with pytest.raises(RootError) as caught:
        read_host(str(HOSTS))

    assert f"{HOSTS} is a directory of recordings, not one of them" == str(caught.value)
    assert f"name one of them, or ask all: vmxd fleet summary --recordings {HOSTS}" == caught.value.hint


def test_a_path_with_a_trailing_slash_is_the_same_host(lakefield: Path) -> None:
    """How a root is spelled changes nothing in what is read."""
    assert read_host(str(lakefield)).readings == read_host(f"{lakefield}/./").readings


def test_cpus_that_a_recording_does_not_have_are_excluded(lakefield: Path) -> None:
    """A recording of some CPUs, made with --cpus, reads as one in which the others were left alone."""
    text = (lakefield / MSR_FILE).read_text().replace("0-4=", "1,3=").replace("0-3=", "1=").replace(" 4=", " 3=")
    (lakefield / MSR_FILE).write_text(text)
    host = read_host(str(lakefield))

    assert ((0, 1, 2, 3, 4), (0, 2, 4), (1, 3)) == (host.online, host.excluded, scanned(host))


def test_a_recording_without_msrs_leaves_no_cpu_out(lakefield: Path) -> None:
    """Where no MSR was recorded at all, the CPUs are not excluded: nothing is known of them."""
    (lakefield / MSR_FILE).write_text("# vmxd msr recording 1\n")
    host = read_host(str(lakefield))

    assert ({}, ()) == (host.readings, host.excluded)


def test_present_cpus_that_are_not_online_are_offline(lakefield: Path) -> None:
    """A CPU that sysfs lists as present but not online is offline."""
    (lakefield / PRESENT).write_text("0-6\n")

    assert (5, 6) == read_host(str(lakefield)).offline


def test_without_a_list_of_present_cpus_none_is_offline(lakefield: Path) -> None:
    """Where sysfs has no list of present CPUs, as in a reduced /sys, the online ones count as present."""
    (lakefield / PRESENT).unlink()
    host = read_host(str(lakefield))

    assert ((0, 1, 2, 3, 4), ()) == (host.present, host.offline)


def test_identities_are_those_of_online_cpus(lakefield: Path) -> None:
    """A CPU has an identity where proc/cpuinfo has it and sysfs calls it online; one without is no error."""
    blocks = (lakefield / CPUINFO).read_text().split("\n\n")
    (lakefield / CPUINFO).write_text("\n\n".join((*blocks[1:], "processor\t: 9\n")))
    host = read_host(str(lakefield))

    assert {1, 2, 3, 4} == host.cpus.keys()
    assert (0, 1, 2, 3, 4) == scanned(host)


@pytest.mark.parametrize(("text", "kernel"), [("6.12.57+deb13-amd64\n", "6.12.57+deb13-amd64"), ("\n", None)])
def test_the_kernel_is_its_release(lakefield: Path, text: str, kernel: str | None) -> None:
    """The kernel is what osrelease says, None where that is empty."""
    (lakefield / KERNEL).parent.mkdir(parents=True)
    (lakefield / KERNEL).write_text(text)

    assert kernel == read_host(str(lakefield)).kernel


def test_an_unrecorded_kernel_is_none() -> None:
    """A recording without osrelease does not know its kernel."""
    assert read_host(str(LAKEFIELD)).kernel is None


# --cpus and --skip-isolated ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", Source)
@pytest.mark.parametrize(
    ("only", "skip_isolated", "expected"),
    [
        (None, False, (0, 1, 2, 3, 4)),
        ((0, 1, 2, 3, 4), False, (0, 1, 2, 3, 4)),
        ((4,), False, (4,)),
        ((1, 3, 77), False, (1, 3)),
        (None, True, (0, 3, 4)),
        ((0, 1, 2), True, (0,)),
    ],
)
def test_only_the_chosen_cpus_are_scanned(
    lakefield: Path, source: Source, only: Collection[int] | None, skip_isolated: bool, expected: tuple[int, ...]
) -> None:
    """The two options choose CPUs of a machine and of a recording alike; the rest are excluded, not failed."""
    (lakefield / ISOLATED).write_text("1-2\n")
    if source is Source.LIVE:
        (lakefield / MSR_FILE).unlink()
        (lakefield / "dev").mkdir()
    host = read_host(str(lakefield), only, skip_isolated)

    assert (source, expected) == (host.source, scanned(host))
    assert tuple(cpu for cpu in range(5) if cpu not in expected) == host.excluded
    assert ((0, 1, 2, 3, 4), (1, 2)) == (host.online, host.isolated)


def test_an_msr_without_a_chosen_cpu_is_gone(lakefield: Path) -> None:
    """An MSR that was recorded on other CPUs only is not recorded on the chosen ones."""
    with (lakefield / MSR_FILE).open("a") as file:
        file.write("491: 4=0x0000000000000001\n")
    readings = read_host(str(lakefield), only=(0, 1)).readings

    assert 0x491 not in readings
    assert {0, 1} == readings[0x48B].keys()


def test_a_chosen_cpu_that_is_not_online_is_noted(lakefield: Path) -> None:
    """CPUs that --cpus names and that are not online are named in a note; the others are scanned."""
    host = read_host(str(lakefield), only=(2, 5, 6, 7, 99))

    assert ("--cpus names 5-7,99, not online",) == host.notes
    assert (2,) == scanned(host)


@pytest.mark.parametrize(("only", "skip_isolated"), [((), False), (None, True), ((0, 1), True)], ids=str)
def test_no_cpu_left_is_an_error(lakefield: Path, only: Collection[int] | None, skip_isolated: bool) -> None:
    """Where the options leave no CPU there is nothing to say, and the error lists those that are online."""
    (lakefield / ISOLATED).write_text("0-4\n")
    with pytest.raises(UsageError) as caught:
        read_host(str(lakefield), only, skip_isolated)

    assert "no online CPU is left to read" == str(caught.value)
    assert "online are 0-4; see --cpus and --skip-isolated" == caught.value.hint


@pytest.mark.parametrize(("only", "which"), [((5, 6), "CPUs 5-6"), ((5,), "CPU 5")])
def test_cpus_that_are_not_online_are_an_error(lakefield: Path, only: Collection[int], which: str) -> None:
    """Where none of the CPUs that were asked for is online, the error says of which host."""
    with pytest.raises(UsageError) as caught:
        read_host(str(lakefield), only)

    assert f"{which} of {str(lakefield)!r} {'is' if len(only) == 1 else 'are'} not online" == str(caught.value)
    assert "online are 0-4" == caught.value.hint


def test_without_an_isolated_list_no_cpu_is_isolated(lakefield: Path) -> None:
    """A kernel without the file isolates no CPU."""
    (lakefield / ISOLATED).unlink()
    host = read_host(str(lakefield), skip_isolated=True)

    assert ((), ()) == (host.isolated, host.excluded)


# This machine -----------------------------------------------------------------------------------------------------


def test_this_machine_reads_whatever_it_has() -> None:
    """The live machine reads without an error, with a value or an errno for each online CPU."""
    host = read_host("/")

    assert Source.LIVE is host.source
    assert host.online == scanned(host)
    assert {0x3A: set(host.online), 0x480: set(host.online)} == {i: set(host.readings[i]) for i in (0x3A, 0x480)}
    assert os.uname().release == host.kernel


def test_this_machine_has_no_note_when_all_count_the_same() -> None:
    """A live scan is noted as odd only where the C library counts other CPUs than sysfs lists."""
    host = read_host("/")
    agree = os.sysconf("SC_NPROCESSORS_ONLN") == len(host.online)

    assert agree == (() == host.notes)


def test_one_cpu_of_this_machine_can_be_read_alone() -> None:
    """On a live machine, too, --cpus leaves the other CPUs alone."""
    first, *others = read_host("/").online
    host = read_host("/", only=(first,))

    assert ((first,), tuple(others)) == (scanned(host), host.excluded)


@pytest.mark.parametrize("has_psutil", [True, False], ids=["psutil", "without psutil"])
def test_cpus_that_something_hides_are_noted(monkeypatch: pytest.MonkeyPatch, has_psutil: bool) -> None:
    """Where the C library counts other CPUs than sysfs lists, it is said, with psutil and without."""
    count = len(read_host("/").online)
    if not has_psutil:
        monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setattr("os.sysconf", lambda _: count + 1)

    expected = f"sysfs lists {count} online CPUs, {'psutil' if has_psutil else 'sysconf'} counts {count + 1}"
    assert expected in "".join(read_host("/").notes)
