"""Debian's libvirt and QEMU: what virsh prints is read, and virsh define takes what vmxd writes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.server import until
from tests.helpers.support import HOSTS, is_root, program, vmxd

DOMAIN: Final = """<domain type='qemu'><name>taken</name><memory>65536</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type></os>{cpu}</domain>"""

Virsh = Callable[..., str]


@pytest.fixture
def virsh(public_path: Path) -> Iterator[Virsh]:
    """Run a libvirtd of a user's own; return a function that runs virsh there and returns what it prints."""
    needed = {"libvirt-clients": "virsh", "libvirt-daemon": "libvirtd", "qemu-system-x86": "qemu-system-x86_64"}
    for package, name in needed.items():
        program(name, package)
    public_path.chmod(0o777)
    user = ["runuser", "-u", "nobody", "--"] if is_root() else []
    user += ["env", f"HOME={public_path}", f"XDG_RUNTIME_DIR={public_path}"]  # runuser sets HOME

    def run(*arguments: str | Path) -> str:
        command = [*user, "virsh", "-c", "qemu:///session", *map(str, arguments)]
        done = subprocess.run(command, cwd=public_path, capture_output=True, text=True, check=False, timeout=120)
        assert 0 == done.returncode, done.stderr + (public_path / "log").read_text()
        return done.stdout

    with (public_path / "log").open("wb") as log:
        daemon = subprocess.Popen([*user, "libvirtd"], cwd=public_path, stdout=log, stderr=log)
    try:
        until((public_path / "libvirt" / "libvirt-sock").exists)
        until(lambda: virsh_answers(user))
        yield run
    finally:
        daemon.terminate()
        daemon.wait(60)


def virsh_answers(user: list[str]) -> bool:
    """Whether libvirtd is ready."""
    command = [*user, "virsh", "-c", "qemu:///session", "list"]
    return 0 == subprocess.run(command, capture_output=True, check=False, timeout=120).returncode


def test_virsh(virsh: Virsh, public_path: Path) -> None:
    """A baseline becomes a VM; its XML, domcapabilities and libvirt's own baseline are read."""
    shutil.copytree(HOSTS / "haswell-ep-2s", public_path / "hosts" / "a")
    form = ("--format", "libvirt", "--model", "Haswell", "--qemu", "7.2")
    cpu = vmxd("fleet", "baseline", "--recordings", public_path / "hosts", *form)
    (public_path / "vm.xml").write_text(DOMAIN.format(cpu=cpu.stdout))
    virsh("define", public_path / "vm.xml")
    dumped = virsh("dumpxml", "taken")
    (public_path / "capabilities.xml").write_text(virsh("domcapabilities", "--virttype", "qemu"))
    own = virsh("hypervisor-cpu-baseline", "--virttype", "qemu", public_path / "capabilities.xml")

    assert 0 == cpu.returncode
    assert cpu.stdout.count("vmx-") == dumped.count("vmx-")
    taken = vmxd("check", "--vm", "-", "--root", HOSTS / "haswell-ep-2s", "--kernel", "6.12", input=dumped)
    assert (0, "OK: ") == (taken.returncode, taken.stdout[:4]), taken.stdout
    for text in (own, (public_path / "capabilities.xml").read_text()):
        explained = vmxd("explain", "-", "--root", HOSTS / "haswell-ep-2s", input=text)
        assert (0, "") == (explained.returncode, explained.stderr), text
