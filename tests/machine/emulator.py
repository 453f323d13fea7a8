"""The emulators, from Debian's packages: Bochs, whose Intel CPUs have VMX MSRs, and qemu TCG, whose CPUs have no VMX.

What Bochs 2.7 needs to be told was found by trying; each setting has its reason beside it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import termios
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.helpers.support import missing_tool, program
from tests.machine.console import kill

MEGABYTES: Final = 384
INSTRUCTIONS_PER_SECOND: Final = 50_000_000
"""Bochs counts time in instructions; this many are one second of the guest's."""

COMMAND_LINE: Final = (
    "console=ttyS0,115200 quiet loglevel=3 panic=-1 audit=0 mitigations=off nowatchdog rcupdate.rcu_expedited=1 "
    "random.trust_cpu=on cryptomgr.notests"  # the kernel's crypto tests take 15 seconds
)
BOCHS_COMMAND_LINE: Final = (
    f"{COMMAND_LINE} nokaslr mce=off no_timer_check "
    "idle=halt "  # 4 CPUs hang in MWAIT
    f"tsc_early_khz={INSTRUCTIONS_PER_SECOND // 1000}"  # else, from Skylake on, the guest's clock is 50 times too slow
)

BIOS: Final = Path("/usr/share/bochs/BIOS-bochs-latest")
VGA_BIOS: Final = Path("/usr/share/bochs/VGABIOS-lgpl-latest")
ISOLINUX: Final = Path("/usr/lib/ISOLINUX/isolinux.bin")
LDLINUX: Final = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
PACKAGES: Final = {BIOS: "bochsbios", VGA_BIOS: "vgabios", ISOLINUX: "isolinux", LDLINUX: "syslinux-common"}

_SCREEN: Final = re.compile(rb'Bochs connected to screen "([^"]+)"')

# Linux reads these before it can handle a fault: IA32_MISC_ENABLE (verify_cpu.S), IA32_MPERF, IA32_APERF.
# Columns: address, type (0 = plain), reset value, reserved bits, ignored bits, each as high and low half.
EXTRA_MSRS: Final = """\
0x1a0 0 00000000 00000001 00000000 00000000 00000000 00000000
0x0e7 0 00000000 00000000 00000000 00000000 00000000 00000000
0x0e8 0 00000000 00000000 00000000 00000000 00000000 00000000
"""


@dataclass(slots=True)
class Started:
    """An emulator that runs. What it says goes to a file."""

    process: subprocess.Popen[bytes]
    log: Path
    _screen: int | None = None

    @classmethod
    def by(cls, command: Sequence[object], log: Path) -> Started:
        """Start one; it ends with us."""
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                env=os.environ | {"TERM": "xterm", "LINES": "40", "COLUMNS": "120"},
            )
        return cls(process, log)

    def drain(self) -> None:
        """Throw away what Bochs has drawn: it opens a terminal of its own and waits for who looks at it."""
        if self._screen is None and (match := _SCREEN.search(self.log.read_bytes())):
            self._screen = os.open(match[1], os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        if self._screen is not None:
            with contextlib.suppress(termios.error):  # Bochs has ended
                termios.tcflush(self._screen, termios.TCIFLUSH)

    def stop(self) -> None:
        """End the emulator, which has done its work, or will not."""
        kill(self.process)
        if self._screen is not None:
            os.close(self._screen)
            self._screen = None


@dataclass(frozen=True, slots=True)
class Bochs:
    """Bochs with one of its CPU models.

    feature_control: what the BIOS puts into IA32_FEATURE_CONTROL on the boot CPU, and on the others.
    """

    model: str
    cpus: int = 1
    feature_control: tuple[int, int] = (5, 5)
    arguments: str = ""

    def start(self, kernel: Path, initramfs: Path, serial: Path) -> Started:
        """Boot; the serial port writes to a file beside which Bochs keeps its own."""
        for path, package in PACKAGES.items():
            if not path.exists():
                missing_tool(str(path), package)
        directory = serial.parent
        (directory / "msrs").write_text(EXTRA_MSRS)
        (directory / "commands").write_text("c\n")  # Debian's is the build with the debugger, which waits to be told
        bios = directory / "bios"
        bios.write_bytes(patch_bios(BIOS.read_bytes(), *self.feature_control))
        disc = self._disc(kernel, initramfs, directory)
        configuration = f"""\
            display_library: term
            romimage: file={bios}
            vgaromimage: file={VGA_BIOS}
            memory: guest={MEGABYTES}, host={MEGABYTES}
            cpu: model={self.model}, count=1:{self.cpus}:1, ips={INSTRUCTIONS_PER_SECOND}, quantum=1, \
reset_on_triple_fault=0, ignore_bad_msrs=0, msrs={directory}/msrs
            clock: sync=none, time0=utc
            ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
            ata0-master: type=cdrom, path={disc}, status=inserted
            boot: cdrom
            com1: enabled=1, mode=file, dev={serial}
            log: {directory}/bochs.log
            panic: action=fatal
            error: action=report
            info: action=ignore
            debug: action=ignore
            sound: driver=dummy
            speaker: enabled=0
            """
        (directory / "bochsrc").write_text(textwrap.dedent(configuration))
        command = [program("bochs", "bochs"), "-f", directory / "bochsrc", "-rc", directory / "commands"]
        return Started.by(command, directory / "emulator.log")

    def _disc(self, kernel: Path, initramfs: Path, directory: Path) -> Path:
        """Make a CD that boots: Bochs loads no kernel by itself."""
        tree = directory / "disc"
        tree.mkdir()
        for path in (ISOLINUX, LDLINUX):
            shutil.copy(path, tree)
        shutil.copy(kernel, tree / "vmlinuz")
        initramfs.rename(tree / "initramfs")
        (tree / "isolinux.cfg").write_text(
            "DEFAULT linux\nLABEL linux\n KERNEL vmlinuz\n INITRD initramfs\n"
            f" APPEND {BOCHS_COMMAND_LINE} {self.arguments}\n"
        )
        image = directory / "disc.iso"
        subprocess.run(
            [program("xorriso", "xorriso"), "-as", "mkisofs", "-quiet", "-o", image, "-b", "isolinux.bin",
             "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "-J", "-R", tree],
            stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        shutil.rmtree(tree)
        return image


@dataclass(frozen=True, slots=True)
class Qemu:
    """qemu TCG with one of its CPU models: no VMX, whatever the model, and RDMSR of any MSR gives 0."""

    model: str
    cpus: int = 1
    arguments: str = ""

    def start(self, kernel: Path, initramfs: Path, serial: Path) -> Started:
        """Boot; the serial port writes to a file."""
        command = [
            program("qemu-system-x86_64", "qemu-system-x86"), "-accel", "tcg", "-cpu", self.model,
            "-smp", str(self.cpus), "-m", str(MEGABYTES), "-display", "none", "-monitor", "none",
            "-no-reboot", "-serial", f"file:{serial}",
            "-kernel", kernel, "-initrd", initramfs, "-append", f"{COMMAND_LINE} {self.arguments}",
        ]  # fmt: skip
        return Started.by(command, serial.with_name("emulator.log"))


Emulator = Bochs | Qemu


def patch_bios(rom: bytes, boot_cpu: int, other_cpus: int) -> bytes:
    """Return a Bochs BIOS that puts these values into IA32_FEATURE_CONTROL, where it would put 5.

    It does rdmsr 0x3a, or eax 5, wrmsr once for the boot CPU, in 32-bit code, and once for the others, in 16-bit code.
    """
    others = b"\x66\xb9\x3a\0\0\0\x0f\x32\x66\x83\xc8\x05\x0f\x30"
    boot = b"\xb9\x3a\0\0\0\x0f\x32\x83\xc8\x05\x0f\x30"
    assert (1, 1) == (rom.count(others), rom.count(boot)), "another BIOS: where does it write IA32_FEATURE_CONTROL?"
    for code, value in ((others, other_cpus), (boot, boot_cpu)):
        rom = rom.replace(code, code.replace(b"\xc8\x05", bytes([0xC8, value])))
    return rom
