"""The newest Linux, QEMU, libvirt and Pythons of Debian's suites, whatever release runs here; nothing is installed.

apt has a root of its own under build/newest, where downloads stay; its lists are fetched anew once a day.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.helpers.support import REPOSITORY, missing_tool

CACHE: Final = REPOSITORY / "build" / "newest"
_SUITES: Final = ("sid", "trixie-backports")
_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DAY: Final = 24 * 60 * 60
_LINUX: Final = (
    "arch/x86/include/asm/vmx.h",
    "arch/x86/include/asm/vmxfeatures.h",
    "arch/x86/include/asm/msr-index.h",
    "arch/x86/kernel/cpu/feat_ctl.c",
    "arch/x86/kvm/vmx",
)
"""What is unpacked of Linux' source."""


def linux() -> tuple[str, Path]:
    """Return the newest Linux: its version, and a directory with the files that the tables are from."""
    package, version = _candidate("linux-source", r"linux-source-[0-9.]+")
    return version, _unpacked(f"{package}={version}", _unpack_linux)


def libvirt() -> tuple[str, Path]:
    """Return the newest libvirt: its version, and the directory of its CPU map."""
    package, version = _candidate("libvirt-common")
    root = _unpacked(f"{package}={version}", _unpack)
    return version, root / "usr" / "share" / "libvirt" / "cpu_map"


def qemu() -> tuple[str, list[str]]:
    """Return the newest QEMU: its version, and the command that runs it with the libraries of its own release."""
    package, version = _candidate("qemu-system-x86")
    root = _unpacked_with_all(package, version)
    loader = next(root.glob("**/ld-linux-x86-64.so.2")).resolve()
    libraries = dict.fromkeys(str(path.parent) for path in root.glob("usr/lib/x86_64-linux-gnu/**/*.so*"))
    return version, [str(loader), "--library-path", ":".join(libraries), str(root / "usr/bin/qemu-system-x86_64")]


def pythons() -> list[str]:
    """Return the Pythons of Debian's suites, the newest last: python3.13, python3.14."""
    found = re.findall(r"^(python3\.(\d+)) - ", _apt("apt-cache", "search", r"^python3\.[0-9]+$"), re.MULTILINE)
    return [name for name, _ in sorted(found, key=lambda each: int(each[1]))]


def python(name: str) -> Path:
    """Return a root directory that has one of the Pythons, and all that it takes."""
    root = _unpacked_with_all(*_candidate(name))
    for link in ("bin", "lib", "lib64"):
        if not (root / link).exists():
            (root / link).symlink_to(f"usr/{link}")
    return root


def upstream(version: str) -> str:
    """Return a Debian version's upstream part: 11.1.3 of 1:11.1.3+ds-1~bpo13+1."""
    match = re.match(r"(?:\d+:)?([\d.]+\d)", version)
    assert match, version
    return match[1]


def _candidate(package: str, depends: str = "") -> tuple[str, str]:
    """Return the newest of a package, or of the one that it depends on: name and version."""
    shown = _apt("apt-cache", "show", "--no-all-versions", package)
    if depends:
        match = re.search(rf"^Depends: (?:.*, )?({depends})\b", shown, re.MULTILINE)
        assert match, f"{package} depends on no {depends}"
        return _candidate(match[1])
    match = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
    assert match, f"no package {package}"
    return package, match[1]


def _unpacked(package: str, unpack: Callable[[Path, Path], None]) -> Path:
    root = CACHE / package.replace(":", "%3a")
    if not (root / ".whole").exists():
        root.mkdir(parents=True, exist_ok=True)
        (archive,) = _download([package])
        unpack(archive, root)
        archive.unlink()
        (root / ".whole").touch()
    return root


def _unpacked_with_all(package: str, version: str) -> Path:
    """Return a directory with a package and all that it depends on."""
    root = CACHE / f"{package}={version.replace(':', '%3a')}"
    if not (root / ".whole").exists():
        simulated = _apt("apt-get", "-s", "install", "--no-install-recommends", package)
        names = [f"{name}={found}" for name, found in re.findall(r"^Inst (\S+) \((\S+) ", simulated, re.MULTILINE)]
        for archive in _download(names):
            subprocess.run(["dpkg-deb", "-x", archive, root], check=True)
        (root / ".whole").touch()
    return root


def _unpack(archive: Path, root: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", archive, root], check=True)


def _unpack_linux(archive: Path, root: Path) -> None:
    """Unpack a few files of the tarball that the package holds, which is large."""
    _unpack(archive, root)
    (tarball,) = root.glob("usr/src/*.tar.xz")
    members = [f"*/{member}" for member in _LINUX]
    subprocess.run(["tar", "-xJf", tarball, "-C", root, "--strip-components=1", "--wildcards", *members], check=True)
    tarball.unlink()


def _download(packages: Sequence[str]) -> list[Path]:
    directory = CACHE / "debs"
    directory.mkdir(parents=True, exist_ok=True)
    _apt("apt-get", "-q", "download", *packages, cwd=directory)
    return [
        next(directory.glob(f"{name}_{version.replace(':', '%3a')}_*.deb"))
        for name, _, version in (package.partition("=") for package in packages)
    ]


def _apt(program: str, *arguments: str, cwd: Path | None = None) -> str:
    """Run apt in a root of its own; skip the test if there is no apt, or no network."""
    if shutil.which(program) is None or not _KEYRING.exists():
        missing_tool("apt with Debian's keys", "apt debian-archive-keyring")
    lists = _root()
    result = subprocess.run(
        [program, *_options(lists), *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{program} {' '.join(arguments)}: {result.stderr}"
    return result.stdout


def _options(root: Path) -> list[str]:
    options = {
        "Dir": root, "Dir::State::Status": root / "status", "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root", "Acquire::Languages": "none",
    }  # fmt: skip
    return [argument for name, value in options.items() for argument in ("-o", f"{name}={value}")]


def _root() -> Path:
    """Return the root of apt's own, its lists a day old at most."""
    root = CACHE / "apt"
    stamp = root / ".updated"
    if stamp.exists() and time.time() - stamp.stat().st_mtime < _DAY:
        return root
    for directory in (
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "etc/apt/sources.list.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
    ):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    (root / "etc/apt/preferences").write_text("Package: *\nPin: release *\nPin-Priority: 500\n")
    (root / "etc/apt/sources.list").write_text(
        "".join(f"deb [signed-by={_KEYRING}] http://deb.debian.org/debian {suite} main\n" for suite in _SUITES)
    )
    result = subprocess.run(["apt-get", *_options(root), "-q", "update"], capture_output=True, text=True, check=False)
    if result.returncode:
        missing_tool(f"Debian's package lists ({result.stderr.strip()[:200]})", "with a network", "run this")
    stamp.touch()
    return root
