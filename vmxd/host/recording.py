"""Recordings: a host as a directory of text, which every command takes as a root."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from vmxd.errors import RootError
from vmxd.host import changes, cpus
from vmxd.host.files import Files, printable
from vmxd.host.kvm_text import KVM_FILE, parse_kvm_text
from vmxd.host.recording_text import FAILURE_FILE, MSR_FILE, parse_failure_text, parse_msr_text
from vmxd.model.facts import Failed, KvmMsrs, Missing, Spans

KERNEL: Final = "proc/sys/kernel/osrelease"
HOST_NAME: Final = "proc/sys/kernel/hostname"
_NO_NAME: Final = ("", "(none)")
"""What Linux calls a host that nobody has named (CONFIG_DEFAULT_HOSTNAME)."""
COPIED: Final = (
    cpus.ONLINE,
    cpus.PRESENT,
    "sys/devices/system/cpu/possible",
    cpus.ISOLATED,
    *cpus.CORE_TYPES.values(),
    KERNEL,
    HOST_NAME,
    *changes.MARKS,
)
"""Files that a recording has as they are, if the host has them. No serial number, no address."""

MSR_TEXT_MAX: Final = 4 << 20
"""Bytes: 21 MSRs with a value of their own on each of 8,192 CPUs."""


REASON_MAX: Final = 300
"""Characters of the reason why a host could not be recorded."""


def is_recording(files: Files) -> bool:
    """Whether a root is a recording: whether it has an msr.txt, be it a link to nowhere."""
    return files.has(MSR_FILE)


def read_failure(files: Files) -> str | None:
    """Read why a host could not be recorded, None if it was not tried or was recorded. Raises MalformedFileError."""
    if files.has(MSR_FILE) or (text := files.read_text(FAILURE_FILE)) is None:
        return None
    return printable(parse_failure_text(text, files.path(FAILURE_FILE)), REASON_MAX)


def read_name(files: Files) -> str | None:
    """Read the host name, None if there is none. Raises RootError."""
    name = files.read_line(HOST_NAME)
    return None if name in _NO_NAME else name


def is_of_this_boot(files: Files) -> bool:
    """Whether a recording was made on this machine since it has booted. Raises RootError."""
    boot = files.read_line(changes.BOOT_ID)
    return bool(boot) and boot == Files("/").read_line(changes.BOOT_ID)


def read_recording(files: Files, online: Collection[int]) -> dict[int, Spans]:
    """Read msr.txt: MSR index -> CPU -> value or errno. Raises MalformedFileError, RootError."""
    text = files.read_text(MSR_FILE, MSR_TEXT_MAX)
    if text is None:
        raise RootError(f"{files.path(MSR_FILE)} cannot be followed", "it is a link to nowhere")
    return parse_msr_text(text, files.path(MSR_FILE), online)


def read_recorded_kvm(files: Files) -> KvmMsrs | Failed | Missing:
    """Read kvm.txt: the answer of KVM for guests, if it was asked. Raises MalformedFileError, RootError."""
    text = files.read_text(KVM_FILE)
    return Missing.NOT_RECORDED if text is None else parse_kvm_text(text, files.path(KVM_FILE))
