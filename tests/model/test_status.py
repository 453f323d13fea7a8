"""The verdict on a host: the statuses of its CPUs put into one, in a sentence that says where, why and what next."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.strategies import BASIC, FEATURE_CONTROL, any_readings, group_of
from vmxd.model.compare import Group
from vmxd.model.decode import Status
from vmxd.model.facts import Failed, Reading
from vmxd.model.status import judge
from vmxd.tables.errnos import ERRNOS
from vmxd.views.verdict_words import verdict_hint, verdict_sentence

EPERM, EIO, ENOENT = Failed("EPERM"), Failed("EIO"), Failed("ENOENT")

READINGS: dict[Status, dict[int, Reading]] = {
    Status.NO_VMX: {BASIC: 0},
    Status.DISABLED_BY_FIRMWARE: {BASIC: 1, FEATURE_CONTROL: 1},
    Status.SMX_ONLY: {BASIC: 1, FEATURE_CONTROL: 3},
    Status.UNLOCKED: {BASIC: 1, FEATURE_CONTROL: 4},
    Status.USABLE: {BASIC: 1, FEATURE_CONTROL: 5},
    Status.UNREADABLE: {BASIC: EIO},
    Status.UNKNOWN: {BASIC: 1},
}
"""Readings of a CPU of each status; known ones come first, the worst of them at the top."""

RANK = list(READINGS)


def host(*statuses: Status) -> list[Group]:
    """Return groups of two CPUs each, 0-1, 2-3 and so on, of these statuses."""
    return [group_of(READINGS[status], (2 * n, 2 * n + 1)) for n, status in enumerate(statuses)]


def test_every_status_is_tried() -> None:
    """There is a CPU here for each of the seven statuses."""
    assert set(Status) == set(READINGS)
    assert RANK == [judge(host(status)).status for status in RANK]


@pytest.mark.parametrize(("one", "other"), list(itertools.permutations(RANK, 2)))
def test_worst_known_status_counts(one: Status, other: Status) -> None:
    """A host is as badly off as the worst of its CPUs whose status is known, whichever of them comes first."""
    assert min(one, other, key=RANK.index) is judge(host(one, other)).status


@pytest.mark.parametrize("status", RANK)
def test_where(status: Status) -> None:
    """CPUs are named where not all of the host have its status, and only then."""
    everywhere = verdict_sentence(judge(host(status, status)))
    verdicts = [judge(host(other, status, status)) for other in RANK if RANK.index(other) > RANK.index(status)]

    assert "CPUs" not in everywhere
    for verdict in verdicts:
        assert verdict_sentence(verdict).count(" on CPUs 2-5") == 1
        assert everywhere == verdict_sentence(verdict).replace(" on CPUs 2-5", "")


def test_where_one_cpu() -> None:
    """One CPU of many that firmware left disabled is named."""
    groups = [
        group_of(READINGS[Status.USABLE], (0, 1, 3)),
        group_of(READINGS[Status.DISABLED_BY_FIRMWARE], (2,)),
    ]

    assert "firmware has locked VMX off on CPU 2 in IA32_FEATURE_CONTROL" == verdict_sentence(judge(groups))


@pytest.mark.parametrize(
    ("status", "usable"),
    [
        (Status.USABLE, True),
        (Status.NO_VMX, False),
        (Status.DISABLED_BY_FIRMWARE, False),
        (Status.SMX_ONLY, False),
        (Status.UNLOCKED, False),
        (Status.UNREADABLE, None),
        (Status.UNKNOWN, None),
    ],
)
def test_usable(status: Status, usable: bool | None) -> None:
    """VMX is usable, or not, or nobody knows: what could not be read is never called unusable."""
    assert usable is judge(host(status)).usable


def test_usable_where_known() -> None:
    """CPUs that could not be judged do not count against those that could."""
    assert judge(host(Status.USABLE, Status.UNREADABLE, Status.UNKNOWN)).usable is True
    assert judge(host(Status.UNREADABLE, Status.UNLOCKED)).usable is False
    assert judge(host(Status.UNREADABLE, Status.UNKNOWN)).usable is None


@pytest.mark.parametrize("status", RANK)
def test_hint(status: Status) -> None:
    """There is a next step unless all is well or there is nothing to do."""
    verdict = judge(host(status))

    assert (status in (Status.USABLE, Status.UNKNOWN)) == (verdict_hint(verdict) is None)


@pytest.mark.parametrize(
    ("failed", "says", "hint"),
    [
        (ENOENT, "there is no /dev/cpu/*/msr (ENOENT)", "modprobe msr"),
        (EPERM, "CAP_SYS_RAWIO", "run with CAP_SYS_RAWIO"),
        (EIO, "RDMSR faulted (#GP) (EIO)", "hypervisor"),
        (Failed("EBADF"), "failed with EBADF", "see the kernel log"),
    ],
)
def test_errno_is_explained(failed: Failed, says: str, hint: str) -> None:
    """What could not be read is told with the errno, its meaning and the next step, whichever MSR it was."""
    for groups in (
        [group_of({BASIC: failed})],
        [group_of({BASIC: 1, FEATURE_CONTROL: failed})],
    ):
        verdict = judge(groups)

        assert verdict.status in (Status.UNREADABLE, Status.UNKNOWN)
        assert says in verdict_sentence(verdict)
        assert hint in (verdict_hint(verdict) or "")


def test_no_vmx_or_hidden() -> None:
    """No flag and no MSR is no VMX; a flag with a BASIC of 0 is a hypervisor that hides it, which can be changed."""
    nothing = judge([group_of({}, vmx_flag=False)])
    hidden = judge([group_of({BASIC: 0}, vmx_flag=True)])

    assert (Status.NO_VMX, Status.NO_VMX) == (nothing.status, hidden.status)
    assert "hypervisor" not in verdict_sentence(nothing)
    assert None is verdict_hint(nothing)
    assert "hypervisor" in verdict_sentence(hidden)
    assert "expose VMX to this guest" == verdict_hint(hidden)


def test_perhaps_vmx() -> None:
    """Where flag and rights lack, there may be VMX: that is unreadable, not missing; a fault is a plain no."""
    with_flag = judge([group_of({BASIC: EPERM, FEATURE_CONTROL: EPERM}, vmx_flag=True)])
    denied = judge([group_of({BASIC: EPERM, FEATURE_CONTROL: EPERM}, vmx_flag=None)])
    absent = judge([group_of({BASIC: EIO, FEATURE_CONTROL: EIO}, vmx_flag=None)])

    assert (Status.UNREADABLE, Status.UNREADABLE) == (with_flag.status, denied.status)
    assert "the CPU has VMX" in verdict_sentence(with_flag)
    assert "the CPU may have VMX" in verdict_sentence(denied)
    assert ERRNOS["EPERM"].hint == verdict_hint(denied)
    assert (Status.NO_VMX, None) == (absent.status, verdict_hint(absent))


def test_no_cpu() -> None:
    """Of no CPU at all nothing is known."""
    verdict = judge([])

    assert (Status.UNKNOWN, None) == (verdict.status, verdict.usable)
    assert "no CPU was read" == verdict_sentence(verdict)


@given(st.lists(st.tuples(any_readings, st.sampled_from((True, False, None))), min_size=1, max_size=4), st.data())
def test_order_of_groups_does_not_matter(
    cpus: list[tuple[dict[int, Reading], bool | None]], data: st.DataObject
) -> None:
    """Whatever was read there is a verdict of one sentence, and the order of groups does not change its status."""
    groups = [group_of(readings, (number,), flag) for number, (readings, flag) in enumerate(cpus)]
    verdict = judge(groups)

    assert verdict.status in {group.decoded.status for group in groups}
    assert verdict.status is judge(data.draw(st.permutations(groups))).status
    assert "{" not in verdict_sentence(verdict)
    assert not verdict_sentence(verdict).endswith(".")
