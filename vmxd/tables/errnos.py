"""What an error of /dev/cpu/N/msr (arch/x86/kernel/msr.c, Linux 6.12) or /dev/kvm means and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Errno:
    """One errno of a call on a device: what it says about the host, and the next step."""

    name: str
    meaning: str
    hint: str


ERRNOS: Final[dict[str, Errno]] = {
    row.name: row
    for row in (
        Errno(
            "ENOENT",
            "there is no /dev/cpu/*/msr",
            "load the msr module: modprobe msr (where this is a container, on its host)",
        ),
        Errno(
            "EACCES",
            "/dev/cpu/*/msr may not be opened by this user",
            "run as root, or read what vmxd-record.service wrote: --root /run/vmxd/host",
        ),
        Errno(
            "EPERM",
            "CAP_SYS_RAWIO is missing, or a device cgroup forbids it",
            "run with CAP_SYS_RAWIO in the initial user namespace; a unit takes DeviceAllow=char-cpu/msr r as well",
        ),
        Errno("ENXIO", "the CPU is offline, or its msr device is gone", "look at /sys/devices/system/cpu/online"),
        Errno(
            "EIO",
            "RDMSR faulted (#GP)",
            "in a guest, its hypervisor filters the MSR; else look at firmware and microcode",
        ),
        Errno("EXDEV", "a link leads out of the root", "a root's device is a node in it, or use --root /"),
        Errno("ENODATA", "reading gave fewer than 8 bytes", "this is not the kernel's msr device; check --root"),
    )
}
"""By name. ENODATA is not the kernel's: vmxd reports a short read by it."""


def explain(name: str) -> Errno:
    """Return what is known of an errno; one that msr.c never returns is named as it is."""
    return ERRNOS.get(name) or Errno(name, f"reading /dev/cpu/*/msr failed with {name}", "see the kernel log")


KVM_ERRNOS: Final[dict[str, Errno]] = {
    row.name: row
    for row in (
        Errno("ENOENT", "there is no /dev/kvm", "load the module: modprobe kvm_intel"),
        Errno("ENODEV", "no module is behind /dev/kvm", "load the module: modprobe kvm_intel"),
        Errno("EACCES", "/dev/kvm may not be opened by this user", "run as root or in the group kvm"),
        Errno("EPERM", "a device cgroup forbids /dev/kvm", "allow the device: DeviceAllow=/dev/kvm r"),
        Errno("ENOTTY", "/dev/kvm is not KVM's device", "check --root"),
        Errno("ENOTSUP", "this KVM has no KVM_CAP_GET_MSR_FEATURES", "Linux 4.17 and later have it"),
    )
}
"""By name, of /dev/kvm. ENOTSUP is not the kernel's (host/kvm.py)."""


def explain_kvm(name: str) -> Errno:
    """Return what is known of an errno of /dev/kvm; one that is not expected is named as it is."""
    return KVM_ERRNOS.get(name) or Errno(name, f"asking /dev/kvm failed with {name}", "see the kernel log")
