"""The Debian guest: systemd, udev, Prometheus and node_exporter under qemu TCG, vmxd as systemd/README.md installs it.

After that, as the Debian package does. What does not change from run to run is kept under the hash of the packages'
versions. Takes root: packages are installed in a directory, for another system to boot.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.helpers import debian_package
from tests.helpers.support import REPOSITORY, program
from tests.machine import packages
from tests.machine.console import Console
from tests.machine.emulator import COMMAND_LINE, Started
from tests.machine.run import CACHE, GuestError, Run
from tests.machine.small import Results, collect

HERE: Final = Path(__file__).parent
README: Final = REPOSITORY / "systemd" / "README.md"
SOURCES: Final = ("vmxd", "systemd", "pyproject.toml", "README.md", "LICENSE")

PACKAGES: Final = (
    "systemd-sysv", "udev", "dbus", "kmod", "linux-image-cloud-amd64", "initramfs-tools", "python3-venv", "curl",
    "prometheus", "prometheus-node-exporter", "python3-h11", "python3-jinja2",
    "python3-prometheus-client", "python3-psutil",
)  # fmt: skip
LEFT_OUT: Final = ("doc", "javascript", "locale", "man")
"""Directories of /usr/share: half of the whole."""
MEGABYTES: Final = 1024
DISK_SIZE: Final = "2G"
"""Of a sparse file."""

NOT_WANTED: Final = (
    "systemd-logind.service", "e2scrub_reap.service",
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
)  # fmt: skip
"""Takes its time, and has nothing to do with vmxd."""
ARGUMENTS: Final = " ".join(
    [COMMAND_LINE, "root=/dev/vda rw systemd.getty_auto=no", *(f"systemd.mask={unit}" for unit in NOT_WANTED)]
)

SERVICE: Final = """\
[Service]
ExecStart=/bin/sh /payload/run.sh
WorkingDirectory=/root
StandardInput=tty-force
StandardOutput=inherit
StandardError=inherit
TTYPath=/dev/ttyS0
"""

BLOCKS: Final = {
    "install-vmxd": "python3 -m venv ",
    "install-units": "install ",
    "socket": "systemctl stop ",
    "socket.conf": "[Service]\n    PrivateNetwork",
    "remove": "systemctl disable ",
}
"""Name of a file in the guest's /payload -> how the block of systemd/README.md begins that it is."""

_BUILDING: Final = threading.Lock()


def readme_block(start: str) -> str:
    """Return the only indented block of systemd/README.md that begins so."""
    blocks = re.findall(r"(?:^    .*\n)+", README.read_text(), re.MULTILINE)
    (block,) = [block for block in blocks if block.startswith(f"    {start}")]
    return re.sub("^    ", "", block, flags=re.MULTILINE)


def build(say: Callable[[str], None]) -> Path:
    """Return an archive of the guest's files without vmxd, making it where it is not in the cache."""
    with _BUILDING:
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
        dpkg_options = ["force-unsafe-io", *(f"path-exclude=/usr/share/{name}/*" for name in LEFT_OUT)]
        options = [f"--dpkgopt={option}" for option in dpkg_options]
        options += ["--variant=minbase", f"--include={','.join(PACKAGES)}", suite]
        recipe = "\0".join([*options, *packages.closure(PACKAGES)])
        archive = CACHE / f"debian-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.tar"
        if not archive.exists():
            say(f"building the Debian guest, {suite}, as {archive}")
            archive.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
                made = Path(scratch) / "root.tar"
                _run(program("mmdebstrap", "mmdebstrap"), *options, made)
                for old in archive.parent.glob("debian-*.tar"):  # of 700 MB each, one is enough
                    old.unlink()
                made.rename(archive)
        return archive


def install(archive: Path, script: str, directory: Path) -> None:
    """Write disk, vmlinuz and initrd.img: Debian, this tree in /root/vmxd, and vmxd in /opt by the words of README."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        root = Path(scratch)
        _run("tar", "-x", "-C", root, "-f", archive)
        for name in SOURCES:
            source, target = REPOSITORY / name, root / "root/vmxd" / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        shutil.copytree(HERE / "guest", root / "payload", ignore=shutil.ignore_patterns("init"))
        (root / "payload" / script).rename(root / "payload/run.sh")
        for name, start in BLOCKS.items():
            (root / "payload" / name).write_text(readme_block(start))

        # the guest has no network: what pip needs beside this tree is there beforehand
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
        wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
        _run(sys.executable, "-m", "pip", "wheel", "--quiet", "-w", root / "payload/wheels", *wanted)
        pip = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/payload/wheels"
        _run("chroot", root, "sh", "-c", f"cd /root/vmxd/systemd && {pip} sh -e /payload/install-vmxd")

        debian_package.build(directory / "package", DEB_BUILD_OPTIONS="nocheck")
        shutil.copy(debian_package.binary(directory / "package"), root / "payload/vmxd.deb")

        # started when it is their turn, not at each boot
        _run("chroot", root, "systemctl", "--quiet", "disable", "prometheus", "prometheus-node-exporter")
        (root / "etc/systemd/system/machine.service").write_text(SERVICE)
        wants = root / "etc/systemd/system/multi-user.target.wants/machine.service"
        wants.symlink_to("../machine.service")
        (root / "etc/hostname").write_text("debian\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(root / name, directory / name)
        _run(program("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-d", root, directory / "disk", DISK_SIZE)


def _run(*command: str | Path) -> None:
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode:
        raise GuestError(f"{command[0]} ended with {result.returncode}:\n{result.stdout}")


@dataclass(frozen=True, slots=True)
class DebianGuest:
    """A Debian with two CPUs and the script of guest/ that runs in it after each boot; seconds: on an idle machine."""

    name: str
    script: str
    seconds: float

    def __str__(self) -> str:
        return self.name

    def run(self, run: Run) -> Results:
        """Boot and run the script. Raises GuestError."""
        install(build(run.say), self.script, run.directory)
        run.say("installed")
        serial = run.directory / "serial.txt"
        serial.touch()
        started = self._start(run.directory)
        console = Console(serial, started.process, run, 3 * self.seconds, started.drain)
        try:
            return Results(collect(console, run), "", console.cpu_seconds)
        finally:
            started.stop()
            for name in ("disk", "vmlinuz", "initrd.img"):
                (run.directory / name).unlink()

    def _start(self, directory: Path) -> Started:
        command = [
            program("qemu-system-x86_64", "qemu-system-x86"), "-accel", "tcg,thread=multi", "-cpu", "Nehalem",
            "-smp", "2", "-m", str(MEGABYTES), "-nodefaults", "-display", "none",
            "-serial", f"file:{directory}/serial.txt",
            "-kernel", directory / "vmlinuz", "-initrd", directory / "initrd.img", "-append", ARGUMENTS,
            "-drive", f"file={directory}/disk,format=raw,if=virtio,cache=unsafe",
        ]  # fmt: skip
        return Started.by(command, directory / "emulator.log")
