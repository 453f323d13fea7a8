"""The small guest: Debian's kernel and Python, no init system, and vmxd of this tree; built without root.

The part that does not change from run to run is kept under the hash of what went into it.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.helpers.linux_header import HEADER
from tests.helpers.support import REPOSITORY
from tests.machine import packages
from tests.machine.run import CACHE

HERE: Final = Path(__file__).parent
KERNEL_FLAVOUR: Final = "cloud-amd64"
WANTED: Final = (
    "busybox-static", "python3", "python3-prometheus-client", "python3-psutil", "python3-h11", "python3-jinja2",
    "msr-tools",
    "util-linux",  # setpriv
)  # fmt: skip
PROGRAMS: Final = ("python3*", "rdmsr", "setpriv", "busybox")
LEFT_OUT: Final = (
    "./usr/share/*", "./etc/*", "./var/*", "*/perl*", "*/gconv", "*/audit", "*/ossl-modules", "*/engines-3",
    "./lib/udev", "./lib/systemd", "*/python3*/test", "*/python3*/idlelib", "*/python3*/lib2to3", "*/python3*/tkinter",
    "*/python3*/turtledemo", "*/python3*/ensurepip", "*/python3*/pydoc_data", "*/python3*/distutils", "*/psutil/tests",
    "*/libsqlite3*", "*/libdb-*", "*/libncurses*", "*/libreadline*", "*/libnsl*", "*/libtirpc*",
    "*/libzstd*", "*/libgcrypt*", "*/libmvec*", "*/libkrb5*", "*/libgssapi*", "*/libk5*", "*/libsystemd*",
    "*/libpcre2*", "*/libmount*", "*/libblkid*", "*/libsmartcols*",
)  # fmt: skip
MODULES: Final = (
    "arch/x86/kernel/msr.ko", "virt/lib/irqbypass.ko", "arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-intel.ko"
)  # fmt: skip
"""Under lib/modules/RELEASE/kernel, in the order in which they load."""

_BUILDING: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Image:
    """A guest as files.

    kernel, its release and modules; initramfs, not compressed; header: the kernel's own list of VMX features.
    """

    kernel: Path
    initramfs: Path
    header: Path
    release: str
    modules: Path


def build(say: Callable[[str], None], suite: str = "") -> Image:
    """Return the guest without vmxd, building it where it is not in the cache.

    suite: whose kernel boots, this host's Debian release by default.
    """
    with _BUILDING:
        image = _own(say)
        return image if not suite else _with_kernel_of(suite, image, say)


def _own(say: Callable[[str], None]) -> Image:
    kernel = packages.kernel_package(KERNEL_FLAVOUR)
    release = kernel.removeprefix("linux-image-")
    headers = f"linux-headers-{release.removesuffix(KERNEL_FLAVOUR)}common"
    parts = [packages.candidate(kernel), packages.candidate(headers), *packages.closure(WANTED)]
    recipe = [*parts, Path(__file__).read_text(), (HERE / "guest" / "init").read_text()]
    directory = CACHE / hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:16]
    if not directory.exists():
        say(f"building the small guest, {kernel}, in {directory}")
        directory.parent.mkdir(parents=True, exist_ok=True)
        packages.download(parts)
        scratch = Path(tempfile.mkdtemp(dir=directory.parent))
        try:
            _build(scratch, release, *parts)
            scratch.rename(directory)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Image(
        directory / "vmlinuz", directory / "initramfs", directory / "vmxfeatures.h", release, directory / "modules"
    )


def _with_kernel_of(suite: str, image: Image, say: Callable[[str], None]) -> Image:
    """Return the guest with the kernel of another suite in place of its own; the header stays."""
    kernel = packages.kernel_package(KERNEL_FLAVOUR, suite)
    parts = packages.kernel_parts(kernel, suite)
    recipe = [*parts, Path(__file__).read_text()]
    directory = CACHE / hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:16]
    release = kernel.removeprefix("linux-image-")
    if not directory.exists():
        say(f"unpacking {kernel} of {suite} in {directory}")
        packages.download(parts, suite)
        scratch = Path(tempfile.mkdtemp(dir=directory.parent))
        try:
            _unpack_kernel(scratch, release, parts)
            scratch.rename(directory)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return replace(image, kernel=directory / "vmlinuz", release=release, modules=directory / "modules")


def _unpack_kernel(directory: Path, release: str, parts: Sequence[str]) -> None:
    """Write vmlinuz and modules, which newer packages compress, and keep in several."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        tree = Path(scratch)
        (tree / "usr/lib").mkdir(parents=True)
        (tree / "lib").symlink_to("usr/lib")
        for part in parts:
            packages.unpack(part, tree, leave_out=("*/drivers/*", "*/net/*", "*/fs/*", "./usr/share/*"))
        (vmlinuz,) = tree.rglob("vmlinuz*")
        vmlinuz.rename(directory / "vmlinuz")
        (directory / "modules").mkdir()
        for name in MODULES:
            (found,) = (tree / "usr/lib/modules" / release / "kernel").glob(f"{name}*")
            data = found.read_bytes()
            plain = lzma.decompress(data) if found.suffix == ".xz" else data
            (directory / "modules" / Path(name).name).write_bytes(plain)


def _build(directory: Path, release: str, kernel: str, headers: str, *guest: str) -> None:
    root = directory / "root"
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for name in ("proc", "sys", "dev", "tmp", "run", "etc", "root", "payload", "lib/modules"):
        (root / name).mkdir()
    for package in guest:
        packages.unpack(package, root, leave_out=LEFT_OUT)
    for name in ("usr/bin", "usr/sbin"):
        for path in (root / name).iterdir():
            if not any(path.match(pattern) for pattern in PROGRAMS):
                path.unlink()

    busybox = root / "usr/bin/busybox"
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if not os.path.lexists(root / "usr/bin" / applet):
            (root / "usr/bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    shutil.copy(HERE / "guest" / "init", root / "init")
    (root / "init").chmod(0o755)
    (root / "usr/bin/vmxd").write_text('#!/bin/sh\nexec python3 -m vmxd "$@"\n')
    (root / "usr/bin/vmxd").chmod(0o755)

    _unpack_kernel(directory, release, [kernel])
    packages.unpack(headers, directory, (f"./usr/src/*/{HEADER}",))
    (found,) = (directory / "usr/src").glob(f"*/{HEADER}")
    found.rename(directory / "vmxfeatures.h")

    _compile(root, root, "usr/lib")
    _archive(root, directory / "initramfs")
    shutil.rmtree(directory / "usr")


def _compile(root: Path, tree: Path, name: str) -> None:
    """Byte-compile modules with the guest's own Python: an emulated CPU is to run vmxd, not the compiler."""
    libraries = root / "usr/lib/x86_64-linux-gnu"
    subprocess.run(
        [libraries / "ld-linux-x86-64.so.2", "--library-path", libraries, root / "usr/bin/python3", "-m", "compileall",
         "-q", "--invalidation-mode", "unchecked-hash", "-s", tree, "-p", "/", tree / name],
        env={"PYTHONHOME": str(root / "usr")}, stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def _archive(tree: Path, target: Path) -> None:
    """Append a tree to an initramfs; the kernel unpacks one archive after the other."""
    names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    command = ["cpio", "--null", "--create", "--format=newc", "--quiet", "--owner=0:0"]
    with target.open("ab") as file:
        subprocess.run(command, cwd=tree, input="\0".join(names).encode(), stdout=file, check=True)
        file.write(bytes(-file.tell() % 512))


def with_payload(image: Image, script: str, directory: Path) -> Path:
    """Write an initramfs with vmxd as it is in this tree, and guest/``script`` as what the guest is to run."""
    tree = directory / "payload"
    modules = tree / "usr/lib/python3/dist-packages/vmxd"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(image.modules, tree / "usr/lib/modules")
    shutil.copytree(REPOSITORY / "vmxd", modules, ignore=ignore)
    _compile(image.initramfs.with_name("root"), tree, "usr")
    shutil.copytree(HERE / "guest", tree / "payload", ignore=shutil.ignore_patterns("init"))
    (tree / "payload" / script).rename(tree / "payload" / "run.sh")
    target = directory / "initramfs"
    shutil.copyfile(image.initramfs, target)
    _archive(tree, target)
    shutil.rmtree(tree)
    return target
