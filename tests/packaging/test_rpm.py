"""deploy/rpm: built by rpmbuild with stand-ins for Fedora's macros, and looked at by rpmlint."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest

import vmxd as package
from tests.helpers.support import REPOSITORY, missing_tool, program

SPEC: Final = REPOSITORY / "deploy" / "rpm" / "vmxd.spec"
HERE: Final = REPOSITORY / "tests" / "packaging" / "rpm"
HATCHLING: Final = "/usr/lib/python3/dist-packages/hatchling"


def run(*words: str | Path) -> str:
    """Run a program of Debian's that must not fail, and return what it printed; rpm and rpmlint write to their HOME."""
    with tempfile.TemporaryDirectory() as home:
        result = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd=REPOSITORY,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": home},
        )  # fmt: skip
    assert 0 == result.returncode, result.stdout
    return result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package and its source package from this tree, and return the directory that rpmbuild wrote to."""
    directory = tmp_path_factory.mktemp("rpm")
    rpmbuild = program("rpmbuild", "rpm")
    if not os.path.exists(HATCHLING):
        missing_tool(HATCHLING, "python3-hatchling")
    run("/usr/bin/python3", "-m", "hatchling", "build", "--target", "sdist", "--directory", directory / "SOURCES")
    for path in directory.glob("SOURCES/*"):
        path.chmod(0o644)
    run(rpmbuild, "--load", HERE / "macros", "--define", f"_topdir {directory}", "--nodeps", "-ba", SPEC)
    return directory


@pytest.fixture(scope="module")
def rpm(built: Path) -> Path:
    """Return the package."""
    (path,) = built.glob("RPMS/*/*.rpm")
    return path


def test_rpmlint(built: Path) -> None:
    """Rpmlint has no error and no warning, of the spec and of both packages."""
    report = run(program("rpmlint", "rpmlint"), "--config", HERE / "rpmlint.toml", SPEC, *built.glob("*RPMS/**/*.rpm"))

    assert "2 packages and 1 specfiles checked; 0 errors, 0 warnings" in report, report


def test_version(rpm: Path) -> None:
    """The package has vmxd's version."""
    assert f"vmxd-{package.__version__}-1.noarch.rpm" == rpm.name


def test_files(rpm: Path) -> None:
    """Every unit, the udev rule, man page and completions are in the package, and the options are configuration."""
    names = run("rpm", "--query", "--list", "--package", rpm).splitlines()
    units = {
        path.name
        for path in (REPOSITORY / "systemd").iterdir()
        if path.suffix[1:] in {"path", "service", "socket", "timer"}
    }
    shared = {
        str(path.relative_to(REPOSITORY / "deploy/share"))
        for path in (REPOSITORY / "deploy/share").rglob("*")
        if path.is_file()
    }
    expected = {f"/usr/lib/systemd/system/{name}" for name in units} | {
        "/usr/lib/udev/rules.d/60-vmxd.rules",
        "/usr/bin/vmxd",
    }

    assert expected <= set(names)
    assert shared == {re.sub(r"^/usr/share/|\.gz$", "", name) for name in names} & shared
    assert "/etc/default/vmxd\n" == run("rpm", "--query", "--configfiles", "--package", rpm)


def test_modules(rpm: Path) -> None:
    """Every module and every table of vmxd is in the package."""
    names = run("rpm", "--query", "--list", "--package", rpm).splitlines()
    theirs = {name.rpartition("/dist-packages/")[2] for name in names}
    ours = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "vmxd").rglob("*") if path.is_file()}

    assert {name for name in ours if "__pycache__" not in name} <= theirs
