"""May VMX be used on this host: the statuses of its CPUs put into one. Pure; views/verdict_words.py words it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.model.compare import Group, cpus_of
from vmxd.model.decode import Status
from vmxd.model.facts import Failed, MsrState
from vmxd.tables import IA32_FEATURE_CONTROL, IA32_VMX_BASIC

UNDECIDED: Final = (Status.UNREADABLE, Status.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status of a host: the worst of the CPUs whose status is known.

    cpus: those that have this status; none if no CPU was read. everywhere: whether these are all that were scanned.
    failed: the errno with which the MSR that decides could not be read; None if it was read, or not recorded.
    vmx_flag: whether /proc/cpuinfo has the flag vmx on one of them.
    in_guest: whether the host is itself a guest. is_svm: whether its maker's virtualization is AMD's SVM.
    """

    status: Status
    cpus: tuple[int, ...] = ()
    everywhere: bool = True
    failed: str | None = None
    vmx_flag: bool = False
    in_guest: bool = False
    is_svm: bool = False

    @property
    def usable(self) -> bool | None:
        """Whether software may execute VMXON on every CPU that could be judged; None if none could."""
        return None if self.status in UNDECIDED else self.status is Status.USABLE


def judge(groups: Sequence[Group], *, in_guest: bool = False, is_svm: bool = False) -> Verdict:
    """Put the statuses of groups into one; in_guest, is_svm: as of Verdict."""
    seen = {group.decoded.status for group in groups}
    decided = [status for status in Status if status in seen and status not in UNDECIDED]
    status = decided[0] if decided else Status.UNREADABLE if Status.UNREADABLE in seen else Status.UNKNOWN
    concerned = [group for group in groups if group.decoded.status is status]
    decisive = IA32_VMX_BASIC if status is Status.UNREADABLE else IA32_FEATURE_CONTROL
    failures = (_errno(group.decoded.msrs[decisive]) for group in concerned if status in UNDECIDED)
    return Verdict(
        status,
        cpus_of(concerned),
        everywhere=len(concerned) == len(groups),
        failed=next(filter(None, failures), None),
        vmx_flag=any(group.vmx_flag for group in concerned),
        in_guest=in_guest,
        is_svm=is_svm,
    )


def _errno(state: MsrState) -> str | None:
    return state.errno if isinstance(state, Failed) else None
