"""vmxd/host/parameters.py: the module parameters of kvm_intel, and whether it is loaded at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.support import HOSTS
from vmxd.errors import RootError
from vmxd.host.files import Files
from vmxd.host.parameters import DIRECTORY, MODULES, read_parameters
from vmxd.host.record import write_recording
from vmxd.host.root import read_host
from vmxd.model.facts import Missing, Parameter

NESTED = HOSTS / "made-nested"


def with_parameter(root: Path, name: str, text: str) -> Path:
    """Write one parameter of a root, as sysfs would show it, and return its path."""
    path = root / DIRECTORY / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Y\n", True),
        ("N\n", False),
        ("0\n", 0),
        ("4294967295\n", 4294967295),
        ("-1\n", -1),
        ("EPT disabled\n", "EPT disabled"),
        ("\n", ""),
        ("1e9\n", "1e9"),
        ("\x1b[2J\n", "\ufffd[2J"),
    ],
)
def test_a_parameter_is_what_its_text_says(tmp_path: Path, text: str, expected: Parameter) -> None:
    """Y and N are booleans and not the numbers 1 and 0; text stays text, and moves no cursor."""
    with_parameter(tmp_path, "what", text)
    found = read_parameters(Files(str(tmp_path)))

    assert {"what": expected} == found
    assert isinstance(found, dict)
    assert type(expected) is type(found["what"])


def test_a_module_that_is_not_loaded_is_absent(tmp_path: Path) -> None:
    """Absent is said only where sys/module is there to say so."""
    files = Files(str(tmp_path))
    assert read_parameters(files) is Missing.NOT_RECORDED

    (tmp_path / MODULES / "kvm_amd/parameters").mkdir(parents=True)
    assert read_parameters(files) is Missing.ABSENT


def test_a_module_without_parameters_is_loaded(tmp_path: Path) -> None:
    """An empty directory is a module without parameters."""
    (tmp_path / DIRECTORY).mkdir(parents=True)

    assert {} == read_parameters(Files(str(tmp_path)))


def test_files_that_are_no_parameter_are_left_alone(tmp_path: Path) -> None:
    """Only a name that a module parameter can have becomes a label."""
    with_parameter(tmp_path, "ept", "Y\n")
    with_parameter(tmp_path, 'a"b', "Y\n")

    assert {"ept": True} == read_parameters(Files(str(tmp_path)))


def test_a_parameter_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """What is there and cannot be read is an error, not an absent parameter."""
    (tmp_path / DIRECTORY / "ept").mkdir(parents=True)

    with pytest.raises(RootError, match="parameters/ept: Is a directory"):
        read_parameters(Files(str(tmp_path)))


@pytest.mark.parametrize("state", ["loaded", "absent", "not recorded"])
def test_a_recording_tells_the_three_states(tmp_path: Path, state: str) -> None:
    """Loaded, not loaded and not recorded come back from a recording, and from a recording of it."""
    root = tmp_path / "root"
    write_recording(Files(str(NESTED)), read_host(str(NESTED)), str(root))
    if state != "loaded":
        (module := root / MODULES / "kvm_intel").rename(tmp_path / "module")
        if state == "not recorded":
            module.parent.rmdir()
    host = read_host(str(root))
    write_recording(Files(str(root)), host, str(tmp_path / "again"))

    missing = {"absent": Missing.ABSENT, "not recorded": Missing.NOT_RECORDED}
    assert missing.get(state, read_host(str(NESTED)).kvm_parameters) == host.kvm_parameters
    assert host.kvm_parameters == read_host(str(tmp_path / "again")).kvm_parameters
