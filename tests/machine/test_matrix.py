"""Every CPU model of Bochs that has VMX: what vmxd reads, derives and records there, against rdmsr and the kernel."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

import pytest

from tests.helpers.linux_header import parse_header
from tests.helpers.support import vmxd
from tests.machine.models import MATRIX
from tests.machine.small import Results, without_self
from tests.machine.verification import Report, Row
from vmxd.commands.record import wanted_text
from vmxd.host.root import read_host
from vmxd.model.platform import is_wanted, platform_of
from vmxd.tables import MSR_BY_INDEX

pytestmark = pytest.mark.parametrize("guest", MATRIX, indirect=True, ids=str)

NEVER_SHOWN: Final = {"eptp_switching"}
"""Linux 5.6 to 7.3 takes the high half of IA32_VMX_VMFUNC, where the bits are not (kernel/cpu/feat_ctl.c)."""


OLD_FLAGS: Final = {
    "tpr_shadow": "vtpr", "vnmi": "vnmi", "flexpriority": "flexpriority", "ept": "ept", "vpid": "vnmi",
    "ept_ad": "ept_ad",
}  # fmt: skip
"""Flag in the line "flags" -> feature it stands for. "vpid" follows vnmi: Linux 5.6 to 7.3 looks for VPID's bit in the
word of the pin-based controls (kernel/cpu/feat_ctl.c)."""


@cache
def shown(guest: Results) -> Any:  # noqa: ANN401 (JSON)
    """Return what vmxd says here of the recording that it made inside: a CPU there takes half a minute to say so."""
    recording = guest.directory / "recording"
    done = vmxd("show", "--json", "--root", recording)
    platform = platform_of(read_host(str(recording)))
    wanted = f"vmxd: note: {wanted_text(platform)}\n" if platform is not None and is_wanted(platform) else ""
    assert (0, wanted) == guest.outcome("record")
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


def values(guest: Results) -> dict[int, int | None]:
    """Return what vmxd read on the only CPU: MSR index -> value, None where it says that there is no such MSR."""
    (group,) = shown(guest)["groups"]
    by_name = {msr.name: index for index, msr in MSR_BY_INDEX.items()}
    assert {"value", "absent"} >= {state["state"] for state in group["msrs"].values()}
    return {
        by_name[name]: int(state["value"], 16) if state["state"] == "value" else None
        for name, state in group["msrs"].items()
    }


def derived_flags(guest: Results) -> list[str]:
    """Return the flags that vmxd derives, those that the guest's kernel has a name for; its own header says which."""
    (group,) = shown(guest)["groups"]
    known = {macro.shown for macro in parse_header(guest.header)}
    return [flag for flag in group["cpuinfo_flags"] if flag in known]


def test_values_are_those_of_rdmsr(guest: Results) -> None:
    """Every value that vmxd reads is the one that msr-tools' rdmsr reads; where it says absent, RDMSR faults."""
    read = guest.rdmsr()[0]

    assert {index: read[index] for index in MSR_BY_INDEX} == values(guest)


def test_no_other_msr_is_there(guest: Results) -> None:
    """In the range of the capability MSRs there is none that vmxd does not read."""
    assert set() == {index for index, value in guest.rdmsr()[0].items() if value is not None} - MSR_BY_INDEX.keys()


def test_flags_are_the_kernels(guest: Results) -> None:
    """The flags that vmxd derives are the kernel's line "vmx flags", in its order, but for one never shown."""
    assert guest.cpuinfo()[0]["vmx flags"].split() == [flag for flag in derived_flags(guest) if flag not in NEVER_SHOWN]


def test_old_flags_are_the_kernels(guest: Results) -> None:
    """The older flags that Linux puts among those of CPUID follow from vmxd's features, "vpid" from the wrong one."""
    features = shown(guest)["features"]
    flags = guest.cpuinfo()[0]["flags"].split()

    assert {flag: flag in flags for flag in OLD_FLAGS} == {
        flag: features[name]["value"] is True for flag, name in OLD_FLAGS.items()
    }


def test_status(guest: Results) -> None:
    """VMX may be used, no read failed, and no rule of healthy CPUs is broken."""
    document = shown(guest)

    assert ("usable", "0", "") == (document["status"], document["cpus"]["scanned"], document["cpus"]["failed"])
    assert {} == document["sanity_violations"]


def test_recording_replays(guest: Results) -> None:
    """The recording, read elsewhere, gives the metrics that were given inside."""
    replayed = vmxd("metrics", "--root", guest.directory / "recording")

    assert (0, "") == guest.outcome("metrics")
    assert without_self(guest.text("metrics.out")) == without_self(replayed.stdout)


def test_row(guest: Results, request: pytest.FixtureRequest, report: Report) -> None:
    """vmxd knows of every feature whether it is on; the table above has their number."""
    document = shown(guest)
    on = [name for name, feature in document["features"].items() if feature["value"]]
    assert None not in {feature["value"] for feature in document["features"].values()}

    report.rows.append(
        Row(
            model=str(request.node.callspec.params["guest"].emulator.model),
            features=len(on),
            unknown=sum(int(mask, 16).bit_count() for mask in document["unknown_bits"].values()),
            kernel_flags=len(guest.cpuinfo()[0]["vmx flags"].split()),
            never_shown=tuple(sorted(NEVER_SHOWN.intersection(derived_flags(guest)))),
            msrs=sum(value is not None for value in values(guest).values()),
            seconds=guest.cpu_seconds,
        )
    )
