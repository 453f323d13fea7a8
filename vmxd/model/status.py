"""May VMX be used on this host, and if not, why: the statuses of its CPUs put into one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vmxd import cpulist
from vmxd.model.compare import Group, cpus_of
from vmxd.model.decode import Status
from vmxd.model.facts import Failed
from vmxd.tables import IA32_FEATURE_CONTROL, IA32_VMX_BASIC
from vmxd.tables.errnos import explain

_UNDECIDED: Final = (Status.UNREADABLE, Status.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status of a host: the worst of the CPUs whose status is known.

    reason: one sentence. hint: the next step, None where nothing needs doing.
    """

    status: Status
    reason: str
    hint: str | None = None

    @property
    def usable(self) -> bool | None:
        """Whether software may execute VMXON on every CPU that could be judged; None where none could."""
        return None if self.status in _UNDECIDED else self.status is Status.USABLE


def judge(groups: Sequence[Group], *, in_guest: bool = False) -> Verdict:
    """Return the verdict on a host's groups; in_guest: the host is itself a guest of a hypervisor."""
    if not groups:
        return Verdict(Status.UNKNOWN, "no CPU was read", "see --cpus and --skip-isolated")
    seen = {group.decoded.status for group in groups}
    decided = [status for status in Status if status in seen and status not in _UNDECIDED]
    status = decided[0] if decided else Status.UNREADABLE if Status.UNREADABLE in seen else Status.UNKNOWN
    concerned = [group for group in groups if group.decoded.status is status]
    everywhere = len(concerned) == len(groups)
    where = "" if everywhere else f" on {cpulist.describe(cpus_of(concerned))}"
    reason, hint = _SENTENCES[status] if status in _SENTENCES else _SENTENCES_BY_CAUSE[status](concerned)
    if in_guest and status is Status.NO_VMX and hint is None:
        hint = "this is a guest: its hypervisor would have to offer it nested VMX"
    return Verdict(status, reason.format(where=where), hint)


def _no_vmx(groups: Sequence[Group]) -> tuple[str, str | None]:
    if any(group.vmx_flag for group in groups):
        return (
            "IA32_VMX_BASIC reads 0{where}: a hypervisor shows the vmx flag but hides VMX",
            "expose VMX to this guest",
        )
    return "there is no VMX{where}: /proc/cpuinfo shows no vmx flag", None


def _unreadable(groups: Sequence[Group]) -> tuple[str, str | None]:
    errno = explain(_failure(groups, IA32_VMX_BASIC))
    has = "has VMX" if any(group.vmx_flag for group in groups) else "may have VMX"
    return f"the CPU {has}, but its MSRs cannot be read{{where}}: {errno.meaning} ({errno.name})", errno.hint


def _unknown(groups: Sequence[Group]) -> tuple[str, str | None]:
    if control := _failure(groups, IA32_FEATURE_CONTROL):
        errno = explain(control)
        return f"IA32_FEATURE_CONTROL cannot be read{{where}}: {errno.meaning} ({errno.name})", errno.hint
    return "whether VMX may be used is not known{where}: IA32_FEATURE_CONTROL was not recorded", None


_SENTENCES: Final = {
    Status.USABLE: ("VMX may be used{where}", None),
    Status.DISABLED_BY_FIRMWARE: (
        "firmware has locked VMX off{where} in IA32_FEATURE_CONTROL",
        "enable VT-x in the firmware setup, then power-cycle",
    ),
    Status.SMX_ONLY: (
        "firmware allows VMX{where} inside SMX (Intel TXT) only",
        "enable VMX outside SMX in the firmware setup, or boot with tboot",
    ),
    Status.UNLOCKED: (
        "IA32_FEATURE_CONTROL is not locked{where}, so VMXON faults",
        "boot a kernel with CONFIG_IA32_FEAT_CTL, which locks it",
    ),
}
_SENTENCES_BY_CAUSE: Final = {Status.NO_VMX: _no_vmx, Status.UNREADABLE: _unreadable, Status.UNKNOWN: _unknown}


def _failure(groups: Sequence[Group], index: int) -> str:
    """Return the errno with which an MSR failed on some of these CPUs, "" if on none."""
    failures = (state.errno for group in groups if isinstance(state := group.decoded.msrs[index], Failed))
    return next(failures, "")
