"""vmxd/host/msr.py against real files and devices: each errno that Linux' msr.c can give and a test can bring about.

Left to the machine tests, for it takes the msr driver: its own EPERM (here a device with the same check gives it) and
ENXIO of read(), when a CPU goes offline (here a reader says so). EIO of open() takes a CPU without MSRs.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.strategies import host_of
from tests.helpers.support import HOSTS, REAL_HOSTS, VMX_CPU, is_root, make_root, unprivileged_vmxd, vmxd
from vmxd.host.files import Files
from vmxd.host.msr import SWEEP, MsrDevices
from vmxd.host.recording_text import parse_msr_text
from vmxd.host.root import read_host
from vmxd.model.decode import Status
from vmxd.model.facts import Cpu, Failed, Host, Reading
from vmxd.model.inventory import Inventory, take_inventory
from vmxd.tables import MSR_BY_INDEX
from vmxd.tables.errnos import ERRNOS, explain
from vmxd.views.verdict_words import verdict_hint, verdict_sentence

PLAIN_CPU = "processor\t: {}\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu msr svm\n\n"


def device_path(root: Path, cpu: int = 0) -> Path:
    """Make the directory of a CPU's msr device and return where the device is to be."""
    directory = root / f"dev/cpu/{cpu}"
    directory.mkdir(parents=True)
    return directory / "msr"


# What each error is made with ------------------------------------------------------------------------------------


def nothing(_: Path) -> None:
    """Leave the device out: the msr module is not loaded."""


def a_socket(path: Path) -> None:
    """Make a Unix socket, which open() answers as it does a device without a driver."""
    directory = os.open(path.parent, os.O_RDONLY)  # the address of a socket has 107 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)


def a_static_node(path: Path) -> None:
    """Make the device node of a CPU that no machine has: major 202, the number of the CPU."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(202, 8191))
    except PermissionError:
        pytest.skip("making a device node takes CAP_MKNOD")
    with contextlib.suppress(OSError):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except PermissionError:
            pytest.skip("devices may not be opened here: nodev, or a device cgroup")


def a_link_out(path: Path) -> None:
    """Make a link to a file outside of the root, whose bytes are nobody's business."""
    path.symlink_to("/proc/self/mem")


def another_device(path: Path) -> None:
    """Make the node of a device that is not an MSR's: opening one can have an effect, so it is not even opened."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device node takes CAP_MKNOD")


def a_fifo(path: Path) -> None:
    """Make a pipe that nobody writes to."""
    os.mkfifo(path)


def an_empty_file(path: Path) -> None:
    """Make a file that is too short for any MSR."""
    path.touch()


def a_short_file(path: Path) -> None:
    """Make a file that ends within IA32_FEATURE_CONTROL."""
    path.write_bytes(bytes(0x3A + 7))


def a_directory(path: Path) -> None:
    """Make a directory, which opens but does not read."""
    path.mkdir()


def a_loop(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (nothing, "ENOENT"),
        (a_socket, "ENXIO"),
        (a_static_node, "ENXIO"),
        (another_device, "ENXIO"),
        (a_fifo, "ENXIO"),
        (a_link_out, "EXDEV"),
        (an_empty_file, "ENODATA"),
        (a_short_file, "ENODATA"),
        (a_directory, "EISDIR"),
        (a_loop, "ELOOP"),
    ],
)
def test_an_error_is_a_fact_with_a_sentence_and_a_hint(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    """An MSR that cannot be read is kept with its errno, the CPU is failed, and the verdict says why and what to do."""
    root = make_root(tmp_path)
    make(device_path(root))
    host = read_host(str(root))
    inventory = take_inventory(host)

    assert {0: Failed(name)} == host.readings[0x3A] == host.readings[0x480]
    assert ((), (0,)) == (inventory.scanned, inventory.failed)
    assert Status.UNREADABLE is inventory.verdict.status
    said = verdict_sentence(inventory.verdict)
    assert f"the CPU has VMX, but its MSRs cannot be read: {explain(name).meaning} ({name})" == said
    assert explain(name).hint == verdict_hint(inventory.verdict)


def show_without_privilege(root: Path) -> dict[str, Any]:
    """Return what ``vmxd show --json`` prints of a root that nobody reads."""
    done = unprivileged_vmxd("show", "--json", "--root", root)
    assert (0, "") == (done.returncode, done.stderr)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_device_of_mode_600_needs_its_owner(public_path: Path) -> None:
    """Nobody gets EACCES from a device that only root may open, and is told to be root or to read a recording."""
    root = make_root(public_path / "host")
    device = device_path(root)
    device.write_bytes(bytes(0x500))
    device.chmod(0o600 if is_root() else 0)
    document = show_without_privilege(root)

    assert {"state": "failed", "errno": "EACCES"} == document["groups"][0]["msrs"]["IA32_VMX_BASIC"]
    assert "0" == document["cpus"]["failed"]
    assert "unreadable" == document["status"]
    assert document["reason"].endswith("/dev/cpu/*/msr may not be opened by this user (EACCES)")
    assert ERRNOS["EACCES"].hint == document["hint"]


def test_root_opens_what_nobody_may_not(public_path: Path) -> None:
    """The same device of mode 0600 is read by root, so what nobody lacks is the privilege."""
    if not is_root():
        pytest.skip("needs root")
    root = make_root(public_path / "host")
    device = device_path(root)
    device.write_bytes(bytes(0x500))
    device.chmod(0o600)

    assert {0: 0} == read_host(str(root)).readings[0x480]


@pytest.mark.parametrize(
    ("name", "meaning", "hint"),
    [
        ("ENOENT", "no /dev/cpu/*/msr", "modprobe msr"),
        ("EACCES", "by this user", "as root"),
        ("EPERM", "CAP_SYS_RAWIO", "initial user namespace"),
        ("ENXIO", "offline", "/sys/devices/system/cpu/online"),
        ("EIO", "#GP", "hypervisor"),
        ("ENODATA", "fewer than 8 bytes", "--root"),
        ("EFAULT", "EFAULT", "kernel log"),
    ],
)
def test_an_errno_is_explained_by_its_cause(name: str, meaning: str, hint: str) -> None:
    """Each errno of msr.c has a sentence with its cause and a hint with the next step; others are named as they are."""
    row = explain(name)

    assert name == row.name
    assert meaning in row.meaning
    assert hint in row.hint


def test_every_explained_errno_exists() -> None:
    """The table of errnos has no name that the C library does not have."""
    assert set() == set(ERRNOS) - set(errno.errorcode.values())


def test_a_value_is_8_bytes_little_endian_at_the_offset_of_its_index(tmp_path: Path) -> None:
    """An MSR is the 8 bytes at the file offset that equals its index, lowest byte first."""
    root = make_root(tmp_path)
    data = bytearray(0x500)
    data[0x3A : 0x3A + 8] = bytes((1, 2, 3, 4, 5, 6, 7, 0xF8))
    device_path(root).write_bytes(data)

    assert {0x3A: {0: 0xF807060504030201}, 0x480: {0: 0}} == read_host(str(root)).readings


def test_a_device_is_opened_read_only_and_not_inherited(tmp_path: Path) -> None:
    """The descriptor can neither write to an MSR nor reach a program that vmxd might start."""
    device_path(tmp_path).write_bytes(bytes(8))
    fd = MsrDevices(Files(str(tmp_path))).open(0)
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(fd, bytes(8), 0)
        inherited = os.get_inheritable(fd)
    finally:
        os.close(fd)

    assert not inherited


# Which MSRs are read, in what order, and how often ----------------------------------------------------------------


class RecordedDevices(MsrDevices):
    """Devices that answer with given readings, EIO where there is none, and write down what they are asked."""

    def __init__(self, readings: Mapping[int, Mapping[int, Reading]]) -> None:
        super().__init__(Files(os.devnull))
        self.readings = readings
        self.asked: dict[int, list[int]] = {}
        self._cpus: dict[int, int] = {}

    def open(self, cpu: int) -> int:
        """Return a real descriptor, and remember whose it is."""
        fd = os.open(os.devnull, os.O_RDONLY)
        self._cpus[fd] = cpu
        self.asked.setdefault(cpu, [])
        return fd

    def pread(self, fd: int, index: int) -> bytes:
        """Return the reading of the CPU whose descriptor it is."""
        cpu = self._cpus[fd]
        self.asked[cpu].append(index)
        reading = self.readings.get(index, {}).get(cpu, Failed("EIO"))
        if isinstance(reading, Failed):
            raise OSError(getattr(errno, reading.errno), reading.errno)
        return reading.to_bytes(8, "little")


def live_copy(name: str, root: Path) -> tuple[Path, RecordedDevices]:
    """Return a host of the test hosts as a machine of its own: a root without msr.txt, and its devices."""
    source = read_host(str(HOSTS / name))
    shutil.copytree(HOSTS / name, root, ignore=shutil.ignore_patterns("*.txt", "*.prom"))
    text = (HOSTS / name / "msr.txt").read_text()
    return root, RecordedDevices(parse_msr_text(text, "msr.txt", source.online))


def values_of(readings: Mapping[int, Mapping[int, Reading]]) -> dict[tuple[int, int], int]:
    """Return the values among readings, by MSR and CPU."""
    return {
        (index, cpu): reading
        for index, by_cpu in readings.items()
        for cpu, reading in by_cpu.items()
        if isinstance(reading, int)
    }


def enumerated(values: Mapping[int, int]) -> set[int]:
    """Return the MSRs that exist by rules that were tried on 223 real core groups, written apart from the tables."""

    def is_set(index: int, bit: int) -> bool:
        return bool(values.get(index, 0) >> bit & 1)

    found = {0x3A, *range(0x480, 0x48B), 0x48C}  # the last one is read wherever VMX is, as KVM does
    if is_set(0x480, 55):
        found |= {0x48D, 0x48E, 0x48F, 0x490}
    if is_set(0x482, 63):
        found |= {0x48B}
        found |= {0x491} if is_set(0x48B, 45) else set()
    found |= {0x492} if is_set(0x482, 49) else set()
    found |= {0x493} if is_set(0x483, 63) else set()
    return found


@pytest.mark.parametrize("name", REAL_HOSTS)
def test_each_msr_that_exists_is_read_once_and_no_other(tmp_path: Path, name: str) -> None:
    """A scan asks each CPU once for each MSR that it enumerates, and for what KVM reads; never for another."""
    root, devices = live_copy(name, tmp_path / "host")
    host = read_host(str(root), devices=devices)

    values = values_of(devices.readings)
    expected = {
        cpu: sorted(enumerated({index: value for (index, of_cpu), value in values.items() if of_cpu == cpu}))
        for cpu in host.online
    }

    assert expected == {cpu: sorted(asked) for cpu, asked in devices.asked.items()}


@pytest.mark.parametrize("name", ["sapphirerapids", "skylake-sp-8160-2s", "yonah-t2600"])
def test_msrs_are_read_after_those_that_enumerate_them(tmp_path: Path, name: str) -> None:
    """An MSR that decides whether another exists is read before it."""
    root, devices = live_copy(name, tmp_path / "host")
    read_host(str(root), devices=devices)
    asked = devices.asked[0]
    pairs = (
        (0x480, 0x481), (0x480, 0x48D), (0x480, 0x48E), (0x480, 0x48F), (0x480, 0x490),
        (0x482, 0x48B), (0x48B, 0x491), (0x482, 0x492), (0x483, 0x493),
    )  # fmt: skip

    assert [] == [pair for pair in pairs if pair[1] in asked and asked.index(pair[0]) > asked.index(pair[1])]


@pytest.mark.parametrize("name", REAL_HOSTS)
def test_what_is_read_live_is_what_was_recorded(tmp_path: Path, name: str) -> None:
    """A machine that answers as a recording says reads as that recording, MSRs that fault left aside."""
    root, devices = live_copy(name, tmp_path / "host")
    host = read_host(str(root), devices=devices)

    assert values_of(devices.readings) == values_of(host.readings)


@pytest.mark.parametrize(
    ("cpuinfo", "readings"),
    [(PLAIN_CPU, {}), (PLAIN_CPU, {0x3A: {0: 0, 1: 0}, 0x480: {0: 0, 1: 0}}), (VMX_CPU, {0x480: {0: 0, 1: 0}})],
    ids=["no vmx flag", "every RDMSR gives 0", "vmx flag, but BASIC is 0"],
)
def test_a_cpu_without_vmx_is_asked_two_msrs(
    tmp_path: Path, cpuinfo: str, readings: dict[int, dict[int, Reading]]
) -> None:
    """Of a CPU without VMX only IA32_FEATURE_CONTROL and IA32_VMX_BASIC are read, to tell why it has none."""
    devices = RecordedDevices(readings)
    read_host(str(make_root(tmp_path, cpus=2, cpuinfo=cpuinfo)), devices=devices)

    assert {0: [0x3A, 0x480], 1: [0x3A, 0x480]} == devices.asked


def test_a_cpu_whose_flag_linux_cleared_is_read_in_full(tmp_path: Path) -> None:
    """Linux clears the vmx flag where firmware disabled VMX, but IA32_VMX_BASIC still shows that it is there."""
    source = read_host(str(HOSTS / "skylake-6700k")).readings
    devices = RecordedDevices({**source, 0x3A: {0: 1}})
    host = read_host(str(make_root(tmp_path, cpuinfo=PLAIN_CPU)), devices=devices)

    assert set(source) <= set(host.readings)
    assert Status.DISABLED_BY_FIRMWARE is take_inventory(host).verdict.status


def test_an_msr_that_may_exist_is_tried(tmp_path: Path) -> None:
    """Where the MSR that would tell could not be read, the MSRs that hang on it are tried all the same."""
    source = read_host(str(HOSTS / "sapphirerapids"), only=(0,)).readings
    devices = RecordedDevices({**source, 0x482: {0: Failed("EIO")}})
    read_host(str(make_root(tmp_path)), devices=devices)

    assert {0x48B, 0x48C, 0x491, 0x492} <= set(devices.asked[0])


def test_only_the_wanted_cpus_are_opened(tmp_path: Path) -> None:
    """A CPU that --cpus leaves out is not interrupted: its device is not even opened."""
    root, devices = live_copy("skylake-sp-8160-2s", tmp_path / "host")
    read_host(str(root), only=(3, 90), devices=devices)

    assert {3, 90} == set(devices.asked)


# Descriptors ------------------------------------------------------------------------------------------------------


def open_descriptors() -> int:
    """Return how many file descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("make", [nothing, a_socket, a_link_out, an_empty_file, a_directory])
def test_no_descriptor_is_left_open(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """However reading goes, the devices are closed after it."""
    root = make_root(tmp_path, cpus=8)
    for cpu in range(8):
        make(device_path(root, cpu))
    before = open_descriptors()
    read_host(str(root))

    assert before == open_descriptors()


class BrokenDevices(RecordedDevices):
    """Devices that raise what no device raises."""

    def pread(self, fd: int, index: int) -> bytes:
        """Raise."""
        raise RuntimeError(f"{fd} {index}")


def test_no_descriptor_is_left_open_by_a_bug(tmp_path: Path) -> None:
    """A device is closed even where its reader raises, and what it raises is not swallowed."""
    root = make_root(tmp_path)
    before = open_descriptors()
    with pytest.raises(RuntimeError):
        read_host(str(root), devices=BrokenDevices({}))

    assert before == open_descriptors()


# CPUs that go away ------------------------------------------------------------------------------------------------


class UnpluggedDevices(RecordedDevices):
    """Devices of a machine whose CPU 1 fails, either when opened or after some MSRs, and may go offline with that."""

    def __init__(self, root: Path, error: str, reads: int, online: str) -> None:
        one_cpu = read_host(str(HOSTS / "skylake-6700k")).readings
        super().__init__({index: dict.fromkeys(range(4), by_cpu[0]) for index, by_cpu in one_cpu.items()})
        self._root = root
        self._error = error
        self._reads = reads
        self._online = online

    def _unplug(self) -> None:
        (self._root / "sys/devices/system/cpu/online").write_text(self._online)

    def open(self, cpu: int) -> int:
        """Fail on CPU 1 where no read is to succeed."""
        if cpu == 1 and not self._reads:
            self._unplug()
            raise OSError(getattr(errno, self._error), os.strerror(getattr(errno, self._error)))
        return super().open(cpu)

    def pread(self, fd: int, index: int) -> bytes:
        """Fail on CPU 1 after the reads that are to succeed."""
        data = super().pread(fd, index)
        if self._cpus[fd] != 1 or len(self.asked[1]) <= self._reads:
            return data
        self._unplug()
        raise OSError(getattr(errno, self._error), self._error)


def unplug(root: Path, error: str, reads: int, online: str) -> tuple[Host, Inventory]:
    """Return a machine of 4 CPUs as read while its CPU 1 fails."""
    host = read_host(str(make_root(root, cpus=4)), devices=UnpluggedDevices(root, error, reads, online))
    return host, take_inventory(host)


@pytest.mark.parametrize(("error", "reads"), [("ENOENT", 0), ("ENXIO", 0), ("ENXIO", 1), ("ENXIO", 5)])
def test_a_cpu_that_goes_offline_while_read_is_offline(tmp_path: Path, error: str, reads: int) -> None:
    """A CPU that was listed online but went offline before or during its reads is offline: not failed, not excluded."""
    host, inventory = unplug(tmp_path, error, reads, online="0,2-3\n")

    assert ((0, 2, 3), (1,), ()) == (host.online, host.offline, host.excluded)
    assert ((0, 2, 3), ()) == (inventory.scanned, inventory.failed)
    assert dict.fromkeys((0, 2, 3), Cpu("GenuineIntel", flags=frozenset(("fpu", "msr", "vmx")))) == host.cpus
    assert all(1 not in by_cpu for by_cpu in host.readings.values())


@pytest.mark.parametrize(("error", "reads"), [("ENOENT", 0), ("ENXIO", 0), ("ENXIO", 5), ("EIO", 5), ("EACCES", 0)])
def test_a_cpu_that_fails_but_stays_online_is_failed(tmp_path: Path, error: str, reads: int) -> None:
    """A CPU that is still online after its reads failed is failed, and keeps the errno."""
    host, inventory = unplug(tmp_path, error, reads, online="0-3\n")

    assert ((0, 1, 2, 3), ()) == (host.online, host.offline)
    assert ((0, 2, 3), (1,)) == (inventory.scanned, inventory.failed)
    assert Failed(error) == host.readings[0x48A][1]


def test_another_error_on_an_offline_cpu_is_a_failure(tmp_path: Path) -> None:
    """Only what the kernel answers for an offline CPU, ENOENT and ENXIO, makes a CPU offline: EIO does not."""
    host, inventory = unplug(tmp_path, "EIO", 5, online="0,2-3\n")

    assert (0, 1, 2, 3) == host.online
    assert (1,) == inventory.failed


def test_where_the_device_does_not_open_every_msr_failed(tmp_path: Path) -> None:
    """The errno of open() stands for every MSR of the CPU."""
    host, _ = unplug(tmp_path, "EACCES", 0, online="0-3\n")

    assert dict.fromkeys(MSR_BY_INDEX, Failed("EACCES")) == {i: by[1] for i, by in host.readings.items() if 1 in by}


@pytest.mark.parametrize("sweep", [True, False], ids=["sweep", "plain"])
def test_a_sweep_reads_above_the_last_known_msr(tmp_path: Path, sweep: bool) -> None:
    """Only with --sweep are MSRs read that no table has, and what one holds is recorded and shown as unknown bits."""
    root = make_root(tmp_path / "root")
    device_path(root).write_bytes(bytes(0x480) + b"\x01" + bytes(0x1B) + b"\x80" + bytes(0x20))
    done = vmxd("record", "--root", root, *(["--sweep"] if sweep else []), tmp_path / "recording")
    text = (tmp_path / "recording/msr.txt").read_text()
    unknown = take_inventory(read_host(str(tmp_path / "recording"))).unknown

    assert (0, "") == (done.returncode, done.stderr)
    assert [f"{index:x}: 0=" in text for index in SWEEP] == [sweep] * len(SWEEP)
    assert (0x80 if sweep else None) == unknown.get(0x49C)


def test_an_unknown_msr_that_faults_is_absent() -> None:
    """No table has the MSRs of a sweep, so a fault says that the CPU has none, and no CPU counts as failed."""
    readings: dict[int, Reading] = {0x480: 1, 0x494: Failed("EIO")}
    inventory = take_inventory(host_of({0: readings, 1: readings}))

    assert ((0, 1), ()) == (inventory.scanned, inventory.failed)
    assert 0x494 not in inventory.msrs
