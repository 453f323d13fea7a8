"""vmxd's units on Debian, installed by the words of systemd/README.md: systemd, udev, Prometheus, node_exporter."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from tests.machine.debian import README, DebianGuest
from tests.machine.small import Results

DEBIAN: Final = DebianGuest("debian", "systemd.sh", seconds=300)

pytestmark = pytest.mark.parametrize("guest", [DEBIAN], indirect=True, ids=str)

CAPABILITY_SETS: Final = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
CAP_SYS_RAWIO: Final = 1 << 17
"""include/uapi/linux/capability.h."""
DYNAMIC_USERS: Final = range(61184, 65520)
"""systemd.exec(5), DynamicUser=."""


def fields(guest: Results, name: str, separator: str = ":") -> dict[str, str]:
    """Return what a step printed as lines of name and value; it must have succeeded."""
    assert (0, "") == guest.outcome(name)
    pairs = [line.partition(separator) for line in guest.text(f"{name}.out").splitlines()]
    return {key: value.strip() for key, _, value in pairs}


def lines(guest: Results, name: str) -> list[str]:
    """Return the lines that a step printed; it must have succeeded."""
    assert (0, "") == guest.outcome(name)
    return guest.text(f"{name}.out").splitlines()


def sample(guest: Results, name: str, metric: str, **labels: str) -> float:
    """Return one sample of a step that printed metrics; it must have succeeded."""
    assert (0, "") == guest.outcome(name)
    return guest.samples(name)[metric, frozenset(labels.items())]


def answer(guest: Results, name: str) -> list[dict[str, Any]]:
    """Return the vector that Prometheus answered to a query."""
    assert (0, "") == guest.outcome(name)
    reply = json.loads(guest.text(f"{name}.out"))
    assert ("success", "vector") == (reply["status"], reply["data"]["resultType"])
    vector: list[dict[str, Any]] = reply["data"]["result"]
    return vector


def test_readme_installs(guest: Results) -> None:
    """The commands of systemd/README.md, run as they stand there, end with a server that answers."""
    assert 0 == guest.outcome("install_units")[0], guest.outcome("install_units")[1]
    assert 1.0 == sample(guest, "at_once", "vmx_status", status="no_vmx")


def test_boot(guest: Results) -> None:
    """The next boot brings the server up again, and no unit of the whole system fails."""
    assert ["running"] == lines(guest, "running")
    assert [] == lines(guest, "failed_units")
    assert 1.0 == sample(guest, "metrics", "vmx_status", status="no_vmx")


def test_order(guest: Results) -> None:
    """At boot the msr module is loaded before the recorder starts, and the recorder ends before the server starts."""
    units = ("modprobe@msr.service", "vmxd-record.service", "vmxd.service")
    module, recorder, server = (fields(guest, f"times_{unit}", "=") for unit in units)
    moments = [
        int(moment)
        for moment in (
            module["ExecMainStartTimestampMonotonic"], module["ExecMainExitTimestampMonotonic"],
            recorder["ExecMainStartTimestampMonotonic"], recorder["ExecMainExitTimestampMonotonic"],
            server["ExecMainStartTimestampMonotonic"],
        )
    ]  # fmt: skip

    assert 0 < moments[0]
    assert sorted(moments) == moments


def test_warnings(guest: Results) -> None:
    """The journal of the boot has one warning of vmxd and about its units: that this CPU has no VMX."""
    (warning,) = lines(guest, "warnings")

    assert "level=warn" in warning
    assert "VMX" in warning


def test_recorder_capability(guest: Results) -> None:
    """While it runs the recorder has CAP_SYS_RAWIO and can get no other capability, though it is root."""
    status = fields(guest, "recorder")
    held = {name: int(status[name], 16) for name in CAPABILITY_SETS}

    assert dict.fromkeys(("CapPrm", "CapEff", "CapBnd"), CAP_SYS_RAWIO) | {"CapInh": 0, "CapAmb": 0} == held
    assert ("vmxd", ["0"] * 4) == (status["Name"], status["Uid"].split())
    assert ("1", "2") == (status["NoNewPrivs"], status["Seccomp"])


def test_recorder_sandbox(guest: Results) -> None:
    """In the recorder's place MSRs of every CPU can be read, none can be written, and there is no network."""
    *values, _, _, loopback = guest.text("probe.out").splitlines()

    assert [f" {0:016x}"] * 2 == values
    assert "lo:" == loopback.split()[0]
    assert "cannot create /dev/cpu/0/msr: Operation not permitted" in guest.text("probe.err")


def test_server_privilege(guest: Results) -> None:
    """The server has no capability, can get none, and runs as a user that exists only while it runs."""
    status = fields(guest, "server")

    assert dict.fromkeys(CAPABILITY_SETS, 0) == {name: int(status[name], 16) for name in CAPABILITY_SETS}
    assert ("vmxd", 1) == (status["Name"], len(set(status["Uid"].split())))
    assert int(status["Uid"].split()[0]) in DYNAMIC_USERS
    assert ("1", "2") == (status["NoNewPrivs"], status["Seccomp"])


def test_server_devices(guest: Results) -> None:
    """What the server sees of /dev has no MSR device: not even root could read one there, as it can outside."""
    assert "cpu" not in lines(guest, "server_devices")
    assert "null" in lines(guest, "server_devices")
    assert 1 == guest.outcome("server_msr")[0]
    assert "No such file or directory" in guest.outcome("server_msr")[1]
    assert (0, "") == guest.outcome("host_msr")


def test_files(guest: Results) -> None:
    """Anyone may read the recording and only root may write it; only the server may write where it asks."""
    found = [line.split() for line in lines(guest, "files")]
    recording = {(mode, owner) for path, mode, owner in found if path.startswith("/run/vmxd/")}
    asking = [(mode, int(owner) in DYNAMIC_USERS) for path, mode, owner in found if path == "/run/vmxd-serve"]

    assert {("755", "0"), ("644", "0")} == recording
    assert [("700", True)] == asking


@pytest.mark.parametrize("unit", ["vmxd-record.service", "vmxd.service", "vmxd-textfile.service"])
def test_exposure(guest: Results, unit: str) -> None:
    """The exposure that systemd computes for each running service is the one that systemd/README.md gives."""
    last = lines(guest, f"security_{unit}")[-1]
    promised = re.search(rf"^\| `{re.escape(unit)}` .* \| ([0-9.]+) \|$", README.read_text(), re.MULTILINE)

    assert promised
    assert f"Overall exposure level for {unit}: {promised[1]} " in last


def test_reload(guest: Results) -> None:
    """``systemctl reload`` reads the MSRs again, and the same server serves what it then read."""
    assert (0, "") == guest.outcome("reload")
    before, after = (
        {name: sample(guest, step, name) for name in ("vmxd_scan_timestamp_seconds", "process_start_time_seconds")}
        for step in ("reload_before", "reload_after")
    )

    assert before["vmxd_scan_timestamp_seconds"] < after["vmxd_scan_timestamp_seconds"]
    assert before["process_start_time_seconds"] == after["process_start_time_seconds"]


def test_prometheus(guest: Results) -> None:
    """Debian's Prometheus scrapes the server, and answers a query with the status that it serves."""
    (target,) = answer(guest, "prometheus_up")
    (status,) = answer(guest, "prometheus_status")

    assert ("vmxd", "1") == (target["metric"]["job"], target["value"][1])
    assert ("no_vmx", "1") == (status["metric"]["status"], status["value"][1])


@pytest.mark.parametrize(("step", "cpus"), [("offline_by_udev", 1.0), ("online_by_server", 2.0)])
def test_hot_plug(guest: Results, step: str, cpus: float) -> None:
    """After a CPU has gone offline or come online there is a new recording, of the CPUs that are there."""
    assert cpus == sample(guest, step, "vmx_cpus", state="online")
    assert cpus == sample(guest, step, "vmx_cpus", state="scanned")
    assert 0.0 == sample(guest, step, "vmxd_recording_stale")


def test_hot_plug_by_udev(guest: Results) -> None:
    """Without vmxd-record.path it is the udev rule that starts vmxd-record.timer, and this the recorder."""
    assert any("vmxd-record.timer" in line for line in lines(guest, "offline_timer"))


def test_hot_plug_by_server(guest: Results) -> None:
    """Without udev it is the server that notices, and vmxd-record.path that hears it."""
    assert any("/run/vmxd-serve/rescan" in line for line in lines(guest, "online_asked"))
    assert {"ActiveState": "active", "SubState": "waiting", "Result": "success"} == fields(guest, "record_path", "=")


def test_watchdog(guest: Results) -> None:
    """A server that hangs is ended by systemd's watchdog, and the next one answers."""
    assert any("Watchdog timeout" in line for line in lines(guest, "hung_journal"))
    assert ["1"] == lines(guest, "hung_restarts")
    assert 1.0 == sample(guest, "hung", "vmxd_scan_success")


def test_killed(guest: Results) -> None:
    """A server that is killed is started again, and vmxd-record.path with it."""
    assert ["2"] == lines(guest, "killed_restarts")
    assert ["active"] == lines(guest, "killed_path")
    assert sample(guest, "hung", "process_start_time_seconds") < sample(guest, "killed", "process_start_time_seconds")


def test_socket_activation(guest: Results) -> None:
    """With vmxd.socket the first request starts the server, and is answered."""
    assert (0, "") == (guest.outcome("socket")[0], guest.text("socket.out"))
    assert "inactive\n" == guest.text("socket_before.out")
    assert 1.0 == sample(guest, "socket_first", "vmxd_scan_success")
    assert ["active"] == lines(guest, "socket_after")


def test_socket_waits(guest: Results) -> None:
    """With vmxd.socket a request to a server that has just been killed waits for the next one, and is answered."""
    first, second = (sample(guest, step, "process_start_time_seconds") for step in ("socket_first", "socket_killed"))

    assert first < second


def test_socket_needs_no_network(guest: Results) -> None:
    """With vmxd.socket the server answers without a network of its own, as systemd/README.md sets it."""
    hosts, servers = lines(guest, "socket_network")

    assert (0, "") == guest.outcome("socket_restart")
    assert hosts != servers
    assert 1.0 == sample(guest, "socket_alone", "vmxd_scan_success")


def test_stopped(guest: Results) -> None:
    """Once the server is stopped no unit is left, and of its files the recording alone."""
    left = guest.text("stopped.out").splitlines()

    assert left[0] == "/run/vmxd"
    assert all(path == "/run/vmxd" or path.startswith("/run/vmxd/host") for path in left)
    assert [] == lines(guest, "stopped_units")


def test_textfile(guest: Results) -> None:
    """The timer has the metrics written, and Debian's node_exporter serves them without an error."""
    assert 0 == guest.outcome("textfile_enable")[0]
    assert 1.0 == sample(guest, "textfile", "vmx_status", status="no_vmx")
    assert 1.0 == sample(guest, "node_exporter", "vmx_status", status="no_vmx")
    assert 0.0 == sample(guest, "node_exporter", "node_textfile_scrape_error")


def test_removed(guest: Results) -> None:
    """The commands of systemd/README.md that take all of it away leave no file and no unit."""
    assert 0 == guest.outcome("remove")[0], guest.outcome("remove")[1]
    assert [] == lines(guest, "removed")
    assert [] == lines(guest, "removed_units")
    assert [] == lines(guest, "failed_at_end")


def test_package(guest: Results) -> None:
    """The Debian package, installed, records and serves at once, and enables the server alone."""
    assert 0 == guest.outcome("package")[0], guest.outcome("package")[1]
    assert 1.0 == sample(guest, "package_metrics", "vmx_status", status="no_vmx")
    assert ["active", "active"] == lines(guest, "package_active")
    assert ["enabled", "disabled", "disabled"] == guest.text("package_enabled.out").split()
    assert {"Result": "success", "FragmentPath": "/lib/systemd/system/vmxd-record.service"} == fields(
        guest, "package_recorded", "="
    )


def test_package_upgrade(guest: Results) -> None:
    """An upgrade of it starts the server anew with a new recording, and leaves socket and timer as they were."""
    assert 0 == guest.outcome("package_again")[0], guest.outcome("package_again")[1]
    for name in ("process_start_time_seconds", "vmxd_scan_timestamp_seconds"):
        assert sample(guest, "package_before", name) < sample(guest, "package_after", name)
    assert ["active"] * 3 == lines(guest, "package_still")


def test_package_purge(guest: Results) -> None:
    """Purging it stops every unit, and leaves no file and no unit, whatever was enabled."""
    assert 0 == guest.outcome("package_purge")[0], guest.outcome("package_purge")[1]
    assert [] == lines(guest, "purged")
    assert [] == lines(guest, "purged_units")
