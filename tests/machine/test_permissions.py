"""Who may read MSRs, on a CPU that has VMX: every way to be refused has its status, its sentence and its exit code."""

from __future__ import annotations

from typing import Final

import pytest

from tests.machine.emulator import Bochs
from tests.machine.small import Results, SmallGuest

PERMISSIONS: Final = SmallGuest("permissions", Bochs("corei7_sandy_bridge_2600k"), "permissions.sh", seconds=220)

pytestmark = pytest.mark.parametrize("guest", [PERMISSIONS], indirect=True, ids=str)

REFUSALS: Final = [
    ("no-module", "there is no /dev/cpu/*/msr (ENOENT)", "modprobe msr"),
    ("nobody", "/dev/cpu/*/msr may not be opened by this user (EACCES)", "run as root"),
    ("no-capability", "CAP_SYS_RAWIO is missing, or a device cgroup forbids it (EPERM)", "CAP_SYS_RAWIO"),
    ("mode-0644", "CAP_SYS_RAWIO is missing, or a device cgroup forbids it (EPERM)", "CAP_SYS_RAWIO"),
]
"""Step, what was refused and how Linux said so, and what the hint names."""


@pytest.mark.parametrize(("step", "sentence", "hint"), REFUSALS, ids=[step for step, _, _ in REFUSALS])
def test_refused(guest: Results, step: str, sentence: str, hint: str) -> None:
    """No module (ENOENT), nobody's rights (EACCES), no CAP_SYS_RAWIO (EPERM): VMX is there, but unreadable."""
    shown = guest.shown(step)

    assert ("unreadable", None) == (shown["status"], shown["usable"])
    assert f"the CPU has VMX, but its MSRs cannot be read: {sentence}" == shown["reason"]
    assert hint in shown["hint"]
    assert {None} == {feature["value"] for feature in shown["features"].values()}


@pytest.mark.parametrize("step", ["root", "capability"])
def test_allowed(guest: Results, step: str) -> None:
    """Root reads; so does nobody, with CAP_SYS_RAWIO alone and a device that it may open."""
    shown = guest.shown(step)

    assert ("usable", "0", "") == (shown["status"], shown["cpus"]["scanned"], shown["cpus"]["failed"])


def test_text_says_it_too(guest: Results) -> None:
    """The text for people has the same sentence, and the hint under it."""
    assert (0, "") == guest.outcome("mode-0644-text")
    assert "status      unreadable: the CPU has VMX, but its MSRs cannot be read: CAP_SYS_RAWIO" in (
        guest.text("mode-0644-text.out")
    )


def test_refusal_can_be_recorded(guest: Results) -> None:
    """A recording without an answer is one: it carries the errno."""
    assert (0, "") == guest.outcome("no-module-record")
    assert "480: 0=ENOENT\n" in guest.text("no-module-recording/msr.txt")


def test_refusal_replaces_no_answer(guest: Results) -> None:
    """A recording with values is not replaced by one without: one sentence, one hint, exit code 2."""
    assert (2, KEPT) == guest.outcome("keep")


KEPT: Final = (
    "vmxd: no MSR could be read, so the older recording in /tmp/recording was kept\n"
    "hint: vmxd show says why none could be\n"
)
