"""Several CPUs: which are read, one that goes offline while vmxd runs and comes back, and one that differs."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Final

import pytest

from tests.helpers.support import vmxd
from tests.machine.emulator import Bochs
from tests.machine.small import Results, Samples, SmallGuest
from vmxd.tables import MSR_BY_INDEX

HASWELL: Final = "corei7_haswell_4770"
SMP: Final = SmallGuest("smp", Bochs(HASWELL, cpus=3, arguments="isolcpus=2"), "smp.sh", seconds=750)
DIFFERS: Final = SmallGuest("differs", Bochs(HASWELL, cpus=3, feature_control=(1, 5)), "differs.sh", seconds=200)

smp = pytest.mark.parametrize("guest", [SMP], indirect=True, ids=str)
differs = pytest.mark.parametrize("guest", [DIFFERS], indirect=True, ids=str)

READ_MSR: Final = re.compile(r"\[(\d+)\].* read_msr: ([0-9a-f]+), value")
"""A line of the kernel's trace: the CPU that executed RDMSR, and the MSR."""


def reads(guest: Results, step: str) -> Counter[tuple[int, int]]:
    """Return how often the kernel read each of our MSRs on each CPU while a step ran: (CPU, index) -> count."""
    pairs = ((int(cpu), int(index, 16)) for cpu, index in READ_MSR.findall(guest.text(f"{step}.trace")))
    return Counter((cpu, index) for cpu, index in pairs if index in MSR_BY_INDEX)


def cpus(samples: Samples) -> dict[str, float]:
    """Return vmx_cpus by state."""
    return {dict(labels)["state"]: value for (name, labels), value in samples.items() if name == "vmx_cpus"}


def value(samples: Samples, name: str) -> float:
    """Return the value of a metric without labels."""
    return samples[name, frozenset()]


@smp
def test_each_msr_is_read_once(guest: Results) -> None:
    """The kernel's trace has every MSR that exists once for each CPU, and none that does not exist."""
    (group,) = guest.shown("chosen")["groups"]
    exists = {index for index, msr in MSR_BY_INDEX.items() if group["msrs"][msr.name]["state"] == "value"}

    assert dict.fromkeys(((cpu, index) for cpu in range(3) for index in exists), 1) == reads(guest, "all")


@smp
@pytest.mark.parametrize(("step", "expected"), [("chosen", {1, 2}), ("isolated", {0, 1})])
def test_excluded_cpu_is_not_touched(guest: Results, step: str, expected: set[int]) -> None:
    """A CPU that --cpus or --skip-isolated leaves out reads none of the MSRs: the kernel's trace says so."""
    assert 0 == guest.outcome(step)[0]
    assert expected == {cpu for cpu, _ in reads(guest, step)}


@smp
def test_excluded_cpu_is_counted(guest: Results) -> None:
    """What was left alone is excluded, neither failed nor offline."""
    assert {"online": 3, "scanned": 2, "failed": 0, "excluded": 1} == cpus(guest.samples("isolated"))


@smp
def test_cpu_goes_offline_within_a_scan(guest: Results) -> None:
    """A CPU that goes offline before its device is opened (ENOENT), or after (ENXIO), is offline, not failed."""
    before, after = map(json.loads, guest.text("race.out").splitlines())

    assert (0, "") == guest.outcome("race")
    assert {"online": [0, 1], "read": [0, 1], "failures": ["open: No such file or directory"]} == before
    assert {"online": [0, 1], "read": [0, 1], "failures": ["read: ENXIO"]} == after


@smp
def test_errno_of_an_offline_cpu(guest: Results) -> None:
    """An offline CPU has no node; a node made by hand, and a device that was open before, say ENXIO."""
    said = {step: guest.outcome(step)[1] for step in ("gone", "made", "held")}

    assert "No such file or directory" in said["gone"]
    assert "can't open '/tmp/node': No such device or address" in said["made"]
    assert "No such device or address" in said["held"]


@smp
def test_node_without_cpu(guest: Results) -> None:
    """Where a node and the list of CPUs outlive the CPU, its reads have failed, with ENXIO, and the others count."""
    shown = guest.shown("untidy")

    assert ("usable", "0-1", "2") == (shown["status"], shown["cpus"]["scanned"], shown["cpus"]["failed"])
    assert {"ENXIO"} == {state.get("errno") for state in shown["groups"][-1]["msrs"].values()}


@smp
def test_live_server_follows(guest: Results) -> None:
    """A server on the live host scans again when a CPU goes, and when it comes back, and ends well on SIGTERM."""
    steps = ("live-before", "live-offline", "live-online")

    assert [3, 2, 3] == [cpus(guest.samples(step))["scanned"] for step in steps]
    assert [0, 0, 0] == [value(guest.samples(step), "vmxd_recording_stale") for step in steps]
    assert [1, 1, 1] == [value(guest.samples(step), "vmxd_scan_success") for step in steps]
    assert "0" == guest.text("live.rc").strip()


@smp
def test_recording_goes_stale(guest: Results) -> None:
    """A server of a recording says that it is stale when a CPU goes, asks for another, takes it, and is stale again."""
    steps = ("recording-before", "recording-offline", "recording-anew", "recording-online")
    samples = [guest.samples(step) for step in steps]

    assert [0, 1, 0, 1] == [value(each, "vmxd_recording_stale") for each in samples]
    assert [3, 3, 2, 2] == [cpus(each)["scanned"] for each in samples]
    assert (0, "") == guest.outcome("asked") == guest.outcome("record")


@smp
def test_recording_knows_the_offline_cpu(guest: Results) -> None:
    """The recording made meanwhile has two CPUs, and says that a third is present."""
    shown = json.loads(vmxd("show", "--json", "--root", guest.directory / "recording").stdout)

    assert ("0-1", "2", "0-1") == tuple(shown["cpus"][key] for key in ("online", "offline", "scanned"))


@differs
def test_firmware_differs(guest: Results) -> None:
    """Where firmware has locked VMX off on one CPU, Linux drops the flag there, and rdmsr still reads the MSRs."""
    read = guest.rdmsr()

    assert [False, True, True] == ["vmx" in cpu["flags"].split() for cpu in guest.cpuinfo()]
    assert [False, True, True] == ["vmx flags" in cpu for cpu in guest.cpuinfo()]
    assert [1, 5, 5] == [read[cpu][0x3A] for cpu in range(3)]
    assert None is not read[0][0x480] == read[1][0x480]


@differs
def test_differing_cpu_is_named(guest: Results) -> None:
    """vmxd names the CPU and the MSR, keeps its features, and says that VMX is disabled there."""
    shown = guest.shown("show")

    assert {"cpus": "0", "msrs": ["IA32_FEATURE_CONTROL"], "features": []} == shown["inconsistent"]
    assert ("disabled_by_firmware", False) == (shown["status"], shown["usable"])
    assert "firmware has locked VMX off on CPU 0 in IA32_FEATURE_CONTROL" == shown["reason"]
    assert "0-2" == shown["features"]["ept"]["cpus"]["present"]
    assert "consistent  no: CPU 0 differs in IA32_FEATURE_CONTROL (vmx_outside_smx)" in guest.text("text.out")
