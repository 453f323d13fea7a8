"""Whether VMX may be used, in words: the status of a host, what shows it, and the next step."""

from __future__ import annotations

from typing import Final

from vmxd import cpulist
from vmxd.model.decode import Status
from vmxd.model.status import Verdict
from vmxd.tables.errnos import explain
from vmxd.views.words import errno_text

_STATUS: Final = {
    "usable": "VMX may be used{where}",
    "disabled_by_firmware": "firmware has locked VMX off{where} in IA32_FEATURE_CONTROL",
    "smx_only": "firmware allows VMX{where} inside SMX (Intel TXT) only",
    "unlocked": "IA32_FEATURE_CONTROL is not locked{where}, so VMXON faults",
    "no_vmx": "there is no VMX{where}",
    "unreadable": "the CPU {has} VMX, but its MSRs cannot be read{where}",
    "unknown": "whether VMX may be used is not known{where}",
}
_STATUS_HINTS: Final = {
    Status.DISABLED_BY_FIRMWARE: "enable VT-x in the firmware setup, then power-cycle",
    Status.SMX_ONLY: "enable VMX outside SMX in the firmware setup, or boot with tboot",
    Status.UNLOCKED: "firmware should lock it, or Linux as it boots (CONFIG_IA32_FEAT_CTL); after a suspend, Linux "
    "before 5.7.7 did not on the boot CPU",
    Status.UNREADABLE: "vmxd show there says why: mostly modprobe msr, or too few rights",
}


def status_sentence(status: str) -> str:
    """Word a status, as in vmx_status; one that this vmxd does not know is its own word."""
    cause = ": IA32_FEATURE_CONTROL was not recorded or could not be read" if status == "unknown" else ""
    return _STATUS.get(status, status).format(where="", has="has or may have") + cause


def status_hint(status: Status) -> str | None:
    """Name the next step for a status, None if nothing needs doing."""
    return _STATUS_HINTS.get(status)


def verdict_sentence(verdict: Verdict) -> str:  # noqa: PLR0911 (one a status)
    """Word the status of a host, with the CPUs that have it if not all do, and what shows it."""
    if not verdict.cpus:
        return "no CPU was read"
    where = "" if verdict.everywhere else f" on {cpulist.describe(verdict.cpus)}"
    text = _STATUS[verdict.status.value].format(where=where, has="has" if verdict.vmx_flag else "may have")
    match verdict.status:
        case Status.NO_VMX if verdict.vmx_flag:
            return f"IA32_VMX_BASIC reads 0{where}: a hypervisor shows the vmx flag but hides VMX"
        case Status.NO_VMX:
            return f"{text}: /proc/cpuinfo shows no vmx flag"
        case Status.UNREADABLE:
            return f"{text}: {errno_text(explain(verdict.failed or ''))}"
        case Status.UNKNOWN if verdict.failed:
            return f"{text}: IA32_FEATURE_CONTROL cannot be read: {errno_text(explain(verdict.failed))}"
        case Status.UNKNOWN:
            return f"{text}: IA32_FEATURE_CONTROL was not recorded"
    return text


def verdict_hint(verdict: Verdict) -> str | None:
    """Name the next step, None if nothing needs doing."""
    if not verdict.cpus:
        return "see --cpus and --skip-isolated"
    if verdict.failed:
        return explain(verdict.failed).hint
    if verdict.status is not Status.NO_VMX:
        return _STATUS_HINTS.get(verdict.status)
    if verdict.vmx_flag:
        return "expose VMX to this guest"
    if verdict.is_svm:
        return "AMD's virtualization is SVM, which vmxd does not read"
    return "this is a guest: its hypervisor would have to offer it nested VMX" if verdict.in_guest else None


def failed_sentence(count: int) -> str:
    """Say on how many CPUs an MSR could not be read."""
    return f"an MSR could not be read on {count:,} CPU{'s' * (count != 1)}"
