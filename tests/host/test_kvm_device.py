"""vmxd/host/kvm.py against this machine's /dev/kvm, and against what stands in a root in its place."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.support import make_root, unprivileged_vmxd
from vmxd.host.files import Files
from vmxd.host.kvm import list_feature_msrs, read_kvm_msrs
from vmxd.host.kvm_text import KVM_FILE, format_kvm_text
from vmxd.host.root import read_host
from vmxd.model.facts import Failed, KvmMsrs, Missing
from vmxd.tables import CAPABILITY_RANGE
from vmxd.tables.errnos import KVM_ERRNOS, explain_kvm

IA32_BIOS_SIGN_ID = 0x8B


@pytest.fixture
def kvm() -> Iterator[int]:
    """Return a file descriptor of this machine's /dev/kvm."""
    try:
        fd = os.open("/dev/kvm", os.O_RDONLY)
    except OSError as error:
        pytest.skip(f"/dev/kvm cannot be opened here: {error.strerror}")
    yield fd
    os.close(fd)


# This machine -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kvm")
def test_this_machines_kvm_answers() -> None:
    """KVM lists IA32_BIOS_SIGN_ID, as it does on x86 everywhere, and gives a value for each VMX MSR that it lists."""
    answer = read_kvm_msrs(Files("/"))

    assert isinstance(answer, KvmMsrs)
    assert IA32_BIOS_SIGN_ID in answer.listed
    assert {index for index in answer.listed if index in CAPABILITY_RANGE} == answer.readings.keys()
    assert [] == [reading for reading in answer.readings.values() if not isinstance(reading, int)]


def test_a_list_that_does_not_fit_is_asked_for_again(kvm: int) -> None:
    """With room for one index, KVM says E2BIG until there is room for all."""
    assert len(list_feature_msrs(kvm)) > 1
    assert list_feature_msrs(kvm) == list_feature_msrs(kvm, room=1)


@pytest.mark.usefixtures("kvm")
def test_kvm_is_asked_only_where_that_is_wanted(tmp_path: Path) -> None:
    """A live scan opens /dev/kvm only if told to."""
    node = make_device_directory(tmp_path) / "kvm"
    try:
        os.mknod(node, stat.S_IFCHR | 0o600, os.stat("/dev/kvm").st_rdev)
    except PermissionError:
        pytest.skip("making a device node takes CAP_MKNOD")

    assert read_host(str(tmp_path)).kvm_msrs is Missing.NOT_RECORDED
    assert read_kvm_msrs(Files("/")) == read_host(str(tmp_path), nested=True).kvm_msrs


# What is no /dev/kvm ----------------------------------------------------------------------------------------------


def make_device_directory(tmp_path: Path) -> Path:
    """Make a root of one CPU, and return the directory of its devices."""
    return make_root(tmp_path) / "dev"


def nothing(_: Path) -> None:
    """Leave the device out: KVM is not loaded."""


def a_file(path: Path) -> None:
    """Make a file, which knows no ioctl of KVM's."""
    path.touch()


def another_device(path: Path) -> None:
    """Make the node of a device that is not KVM's: it is not even opened."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device node takes CAP_MKNOD")


@pytest.mark.parametrize(("make", "name"), [(nothing, "ENOENT"), (a_file, "ENOTTY"), (another_device, "ENXIO")])
def test_what_is_no_kvm_fails_with_its_errno(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    """The errno is kept: of open() where there is nothing, of ioctl() where there is something else."""
    make(make_device_directory(tmp_path) / "kvm")

    assert Failed(name) == read_host(str(tmp_path), nested=True).kvm_msrs


def test_a_device_of_another_group_is_said_to_be(public_path: Path) -> None:
    """Who may not open /dev/kvm is told so, and of whom to be."""
    device = make_device_directory(public_path) / "kvm"
    device.touch(mode=0o000)
    shown = unprivileged_vmxd("show", "--collector.nested", "--root", public_path)

    assert (
        "guests      what KVM offers to guests is not known: /dev/kvm may not be opened by this user (EACCES)"
        in shown.stdout
    )
    assert KVM_ERRNOS["EACCES"].hint in shown.stdout


def test_errnos_are_those_of_the_system() -> None:
    """The table of KVM's errnos has no name that the C library does not have; others are explained by their name."""
    assert set() == set(KVM_ERRNOS) - set(errno.errorcode.values())
    assert "EIO" in explain_kvm("EIO").meaning


# Recordings -------------------------------------------------------------------------------------------------------


def test_a_recording_says_what_kvm_said_whatever_is_asked(tmp_path: Path) -> None:
    """Of a recording, kvm.txt is read with and without the flag, and the machine's own KVM never asked."""
    root = make_root(tmp_path)
    (root / "msr.txt").write_text("# vmxd msr recording 1\n")
    assert read_host(str(root), nested=True).kvm_msrs is Missing.NOT_RECORDED

    (root / KVM_FILE).write_text(format_kvm_text(KvmMsrs((0x10B,), {})))
    assert KvmMsrs((0x10B,), {}) == read_host(str(root)).kvm_msrs == read_host(str(root), nested=True).kvm_msrs
