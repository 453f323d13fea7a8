"""CPUs without VMX, emulated by qemu TCG: RDMSR of any MSR answers 0 there, which is no value."""

from __future__ import annotations

from typing import Final

import pytest

from tests.helpers.support import vmxd
from tests.machine.emulator import Qemu
from tests.machine.small import Results, SmallGuest, without_self
from vmxd.tables import FEATURES

NO_VMX: Final = SmallGuest("no_vmx", Qemu("max", cpus=2), "no_vmx.sh", seconds=30)

pytestmark = pytest.mark.parametrize("guest", [NO_VMX], indirect=True, ids=str)


def test_every_msr_answers_zero(guest: Results) -> None:
    """rdmsr reads 0 from every MSR on every CPU, and the kernel sees no VMX."""
    assert {0} == {value for by_index in guest.rdmsr().values() for value in by_index.values()}
    assert [False, False] == ["vmx" in cpu["flags"].split() for cpu in guest.cpuinfo()]


def test_status(guest: Results) -> None:
    """The status is no_vmx, on both CPUs, and nothing has failed."""
    shown = guest.shown("show")

    assert ("no_vmx", False) == (shown["status"], shown["usable"])
    assert ("0-1", "") == (shown["cpus"]["scanned"], shown["cpus"]["failed"])
    assert "no_vmx: there is no VMX: /proc/cpuinfo shows no vmx flag" in guest.text("text.out")


def test_no_feature_is_invented(guest: Results) -> None:
    """Every feature is 0, those included that a 0 in an MSR would turn on (a control that may be 0)."""
    samples = guest.samples("metrics")

    assert [0.0] * len(FEATURES) == [value for (name, _), value in samples.items() if name == "vmx_feature"]


def test_recording_replays(guest: Results) -> None:
    """The recording, read elsewhere, gives the metrics that were given inside."""
    replayed = vmxd("metrics", "--root", guest.directory / "recording")

    assert (0, "") == guest.outcome("record")
    assert without_self(guest.text("metrics.out")) == without_self(replayed.stdout)
