"""Debian packages as files: what apt would install into an empty system, downloaded and unpacked, nothing installed."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from tests.helpers.support import program
from tests.machine.run import CACHE

DEBS: Final = CACHE / "debs"

_INSTALL: Final = re.compile(r"^Inst (\S+) \((\S+) .*\[(\S+)\]\)", re.MULTILINE)
_DEPENDS: Final = re.compile(r"^ +Depends: (linux-(?:image|binary|modules)-[0-9]\S*)$", re.MULTILINE)
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_CONFIGURATION: Final = """\
Dir::State::Lists "{directory}/lists";
Dir::State::Status "/dev/null";
Dir::Cache "{directory}/cache";
Dir::Etc::SourceList "{directory}/sources.list";
Dir::Etc::SourceParts "/dev/null";
APT::Sandbox::User "root";
"""


def closure(names: Iterable[str]) -> list[str]:
    """Return ``names`` and all they depend on, as name=version, for an empty system of this host's Debian release."""
    with tempfile.NamedTemporaryFile() as status:
        command = [
            program("apt-get", "apt"),
            "-o",
            f"Dir::State::Status={status.name}",
            "--no-install-recommends",
            "-s",
            "install",
        ]
        text = _output([*command, *names])
    return sorted(f"{name}={version}" for name, version, _ in _INSTALL.findall(text))


def kernel_package(flavour: str, suite: str = "") -> str:
    """Return the name of the kernel that a linux-image-FLAVOUR of a suite stands for, this release's by default."""
    (name,) = _depends(f"linux-image-{flavour}", suite)
    return name


def kernel_parts(name: str, suite: str = "") -> list[str]:
    """Return the packages that hold a kernel and its modules, as name=version: since Linux 6.19 they are several."""
    return [candidate(each, suite) for each in (name, *_depends(name, suite))]


def _depends(name: str, suite: str) -> list[str]:
    return _DEPENDS.findall(_output(["apt-cache", "depends", name], suite=suite))


def candidate(name: str, suite: str = "") -> str:
    """Return a package as name=version, in the version that apt would take."""
    text = _output(["apt-cache", "show", "--no-all-versions", name], suite=suite)
    match = re.search(r"^Version: (\S+)$", text, re.MULTILINE)
    assert match, f"no package {name}"
    return f"{name}={match[1]}"


def download(packages: Iterable[str], suite: str = "") -> None:
    """Fetch packages, given as name=version, those that are not here yet, with one call of apt."""
    if missing := [package for package in packages if not _archives(package)]:
        DEBS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=DEBS) as scratch:
            _output(["apt-get", "-o", "APT::Sandbox::User=root", "-q", "download", *missing], scratch, suite)
            for path in Path(scratch).iterdir():
                path.rename(DEBS / path.name)


@functools.cache
def _configuration(suite: str) -> Path:
    """Return a configuration of apt that knows one suite of Debian, whatever this host's is, with fresh lists."""
    directory = CACHE / "apt" / suite
    for name in ("lists/partial", "cache/archives/partial"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    (directory / "sources.list").write_text(
        f"deb [arch=amd64 signed-by={_KEYRING}] http://deb.debian.org/debian {suite} main\n"
    )
    configuration = directory / "apt.conf"
    configuration.write_text(_CONFIGURATION.format(directory=directory))
    subprocess.run(
        [program("apt-get", "apt"), "-q", "update"],
        env=os.environ | {"APT_CONFIG": str(configuration)}, capture_output=True, check=True,
    )  # fmt: skip
    return configuration


def unpack(package: str, directory: Path, members: Sequence[str] = (), leave_out: Collection[str] = ()) -> None:
    """Unpack a package that was downloaded: the members that match a pattern of tar, all by default.

    leave_out: patterns of what is not wanted.
    """
    (archive,) = _archives(package)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as source:
        subprocess.run(
            ["tar", "-x", "-C", directory, "--no-same-owner", "--keep-directory-symlink", "--wildcards",
             *(f"--exclude={pattern}" for pattern in leave_out), *members],
            stdin=source.stdout, check=True,
        )  # fmt: skip
    assert source.returncode == 0, f"{archive} is damaged"


def _archives(package: str) -> list[Path]:
    """Return the .deb file of a package, given as name=version, if it is here."""
    name, _, version = package.partition("=")
    return list(DEBS.glob(f"{name}_{version.replace(':', '%3a')}_*.deb"))


def _output(command: Sequence[str], cwd: str | None = None, suite: str = "") -> str:
    environment = os.environ | ({"APT_CONFIG": str(_configuration(suite))} if suite else {})
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}"
    return result.stdout
