"""deploy/debian: built twice, looked at by lintian, and installed, upgraded, removed and purged in a Debian."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import vmxd as package
from tests.helpers.debian_package import binary, build
from tests.helpers.support import LAKEFIELD, REPOSITORY, program

UNIT_KINDS: Final = {".service", ".socket", ".path", ".timer"}
CHANGING: Final = (
    "./proc/",
    "./sys/",
    "./dev/",
    "./tmp/",
    "./var/cache/",
    "./var/lib/apt/",
    "./var/lib/dpkg/",
    "./var/log/",
)
"""What any installation writes to."""


def run(*words: str | Path, **options: object) -> str:
    """Run a program that must not fail, and return what it printed."""
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)  # type: ignore[call-overload]
    assert 0 == result.returncode, result.stdout
    output: str = result.stdout
    return output


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Build the package with its tests, and return where it is and what the build said."""
    directory = tmp_path_factory.mktemp("built")
    return directory, build(directory)


@pytest.fixture(scope="module")
def deb(built: tuple[Path, str]) -> Path:
    """Return the package."""
    return binary(built[0])


def test_suite_with_debian(built: tuple[Path, str]) -> None:
    """The tests that the build runs pass with Debian's own Python, prometheus_client, psutil, h11 and OpenSSL."""
    found = re.search(r"^=+ (\d+) passed(?:, .*)? in .* =+$", built[1], re.MULTILINE)
    skipped = re.findall(r"^SKIPPED \[\d+\] .*?: (.*)$", built[1], re.MULTILINE)

    assert found, built[1]
    assert 500 < int(found[1])
    assert set(skipped) <= {"Debian 12's Python cannot set X25519"}


def test_reproducible(built: tuple[Path, str], tmp_path: Path) -> None:
    """Another build, in another directory, time zone and language, gives the same files."""
    build(tmp_path, DEB_BUILD_OPTIONS="nocheck", TZ="Pacific/Kiritimati", LC_ALL="C")
    kinds = (".deb", ".orig.tar.gz", ".debian.tar.xz", ".dsc")
    first, second = (
        {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in directory.iterdir()
            if path.name.endswith(kinds)
        }
        for directory in (built[0], tmp_path)
    )

    assert len(kinds) == len(first)
    assert first == second


def test_lintian(built: tuple[Path, str]) -> None:
    """Lintian has no error, no warning and nothing to point out, of the package and of its source."""
    (changes,) = built[0].glob("*.changes")
    options = ("--allow-root", "--display-info", "--fail-on=error,warning,info")

    assert "" == run(program("lintian", "lintian"), *options, changes)


def test_version(deb: Path) -> None:
    """The package has vmxd's version."""
    assert f"vmxd_{package.__version__}-1_all.deb" == deb.name


def test_dependencies(deb: Path) -> None:
    """What vmxd requires of Python and its libraries the package requires of Debian's, in the same versions."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {"python3": project["requires-python"].removeprefix(">=")}
    wanted |= {
        f"python3-{name.lower()}": version
        for name, _, version in (item.partition(">=") for item in project["dependencies"])
    }
    depends = run("dpkg-deb", "--field", deb, "Depends").strip().split(", ")

    assert {f"{name} (>= {version})" for name, version in wanted.items()} <= set(depends)


def test_files(deb: Path) -> None:
    """Units, udev rule and options are in the package as they are in systemd/."""
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {item.name: archive.extractfile(item).read() for item in archive if item.isfile()}  # type: ignore[union-attr]
    places = dict.fromkeys(UNIT_KINDS, "./lib/systemd/system") | {".rules": "./lib/udev/rules.d"}
    expected = {
        f"{places[path.suffix]}/{path.name}": path
        for path in (REPOSITORY / "systemd").iterdir()
        if path.suffix in places
    }
    expected["./etc/default/vmxd"] = REPOSITORY / "systemd/vmxd.default"

    assert {name: path.read_bytes() for name, path in expected.items()} == {name: files.get(name) for name in expected}


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory, deb: Path) -> Iterator[Path]:
    """Make a Debian in a directory, with what the package depends on, and put the package into its /root."""
    if os.geteuid() != 0:
        pytest.skip("installing a package in a directory takes root")
    root = tmp_path_factory.mktemp("debian")
    depends = re.findall(r"python3[\w-]*", run("dpkg-deb", "--field", deb, "Depends"))
    options = ["--quiet", "--variant=apt", "--dpkgopt=force-unsafe-io", f"--include={','.join(sorted(set(depends)))}"]
    run(program("mmdebstrap", "mmdebstrap"), *options, "bookworm", root)
    shutil.copy(deb, root / "root/vmxd.deb")
    yield root
    shutil.rmtree(root)


def apt(root: Path, *words: str) -> str:
    """Run apt-get in a Debian in a directory, which has all that it needs there."""
    return run(
        "chroot", root, "apt-get", "--yes", "--no-install-recommends", *words,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip


def files(root: Path) -> set[str]:
    """Return the names of all files of a Debian in a directory, apart from those that any installation writes."""
    names = run("find", ".", "-xdev", "-print", cwd=root).splitlines()
    return {name for name in names if not name.startswith(CHANGING)}


def test_life(debian: Path, deb: Path, tmp_path: Path) -> None:
    """A package is installed, upgraded over what the administrator wrote, removed, and purged without a trace."""
    make_older(deb, tmp_path / "older", debian / "root/older.deb")
    before = files(debian)
    enabled = debian / "etc/systemd/system/multi-user.target.wants/vmxd.service"
    options = debian / "etc/default/vmxd"

    apt(debian, "install", "/root/older.deb")
    assert [enabled] == list((debian / "etc/systemd/system").rglob("vmxd*"))
    assert "/lib/systemd/system/vmxd.service" == os.readlink(enabled)

    options.write_text("ARGS=--log.level=warn\n")
    apt(debian, "-o", "Dpkg::Options::=--force-confold", "install", "/root/vmxd.deb")
    assert "ARGS=--log.level=warn\n" == options.read_text()
    assert f"vmxd {package.__version__}\n" == run("chroot", debian, "vmxd", "--version")
    run_its_tests(debian)

    (debian / "run/vmxd/host").mkdir(parents=True)
    apt(debian, "remove", "vmxd")
    left = {
        name for name in files(debian) - before if name.startswith(("./etc/default/", "./lib/", "./run/", "./usr/"))
    }
    assert {"./etc/default/vmxd", "./etc/default/vmxd.dpkg-dist"} == left

    apt(debian, "purge", "vmxd")
    assert set() == files(debian) - before


def run_its_tests(debian: Path) -> None:
    """Run debian/tests as autopkgtest does: in a copy of the source, where /proc is mounted."""
    source = debian / "root/source"
    shutil.copytree(REPOSITORY / "deploy/debian/tests", source / "debian/tests")
    shutil.copytree(LAKEFIELD, source / "tests/hosts" / LAKEFIELD.name)
    (source / "scratch").mkdir()
    script = "cd /root/source && AUTOPKGTEST_TMP=/root/source/scratch debian/tests/installed"
    run("unshare", "--mount", "sh", "-c", f"mount --bind /proc proc && exec chroot . sh -c '{script}'", cwd=debian)
    shutil.rmtree(source)


def make_older(deb: Path, scratch: Path, target: Path) -> None:
    """Write a package with an older version and other options."""
    run("dpkg-deb", "--raw-extract", deb, scratch)
    control = scratch / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*", "Version: 0.0.1-1", control.read_text(), flags=re.MULTILINE))
    (scratch / "etc/default/vmxd").write_text("ARGS=\n")
    run("dpkg-deb", "--root-owner-group", "--build", scratch, target)
