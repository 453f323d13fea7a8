"""Signs, read without any privilege, that a host's MSR values may have changed since they were read.

Linux reads them once per CPU at bring-up and never again (arch/x86/kernel/cpu/feat_ctl.c, 6.12), but a late microcode
load, a resume, CPU hot-plug and a reboot can change them; kvm_intel loaded anew changes what KVM makes of them. Each
leaves a mark in a small file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from vmxd.host import cpus
from vmxd.host.files import Files, Stamp, stamp
from vmxd.host.parameters import read_parameters
from vmxd.host.recording_text import MSR_FILE
from vmxd.model.facts import Missing

BOOT_ID: Final = "proc/sys/kernel/random/boot_id"
MICROCODE: Final = "sys/devices/system/cpu/cpu0/microcode/version"
RESUMES: Final = "sys/power/suspend_stats/success"
MARKS: Final = (BOOT_ID, cpus.ONLINE, MICROCODE, RESUMES)
"""The files; a recording has a copy of each, as it was when the MSRs were read."""


@dataclass(frozen=True, slots=True)
class Witness:
    """The content of each of MARKS, then the parameters of kvm_intel; None if a host or recording has none."""

    marks: tuple[str | None, ...]

    @classmethod
    def of(cls, files: Files) -> Witness:
        """Read the marks of a host or recording. Raises RootError."""
        texts = (files.read_text(name) for name in MARKS)
        parameters = read_parameters(files)
        kvm = None if parameters is Missing.NOT_RECORDED else repr(parameters)
        return cls((*(None if text is None else text.strip() for text in texts), kvm))

    def differs(self, now: Witness) -> bool | None:
        """Whether something has changed since; None if nothing tells.

        Without a boot_id, as in a recording that was not made by vmxd, the marks may be another machine's.
        """
        pairs = [
            (then, later)
            for then, later in zip(self.marks, now.marks, strict=True)
            if then is not None and later is not None
        ]
        if self.marks[0] is None or not pairs:
            return None
        return any(then != later for then, later in pairs)


def recording_stamp(files: Files) -> Stamp | None:
    """Take the stamp of a recording, None if there is none."""
    return stamp(files.path(MSR_FILE))
