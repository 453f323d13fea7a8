"""vmxd as a user starts it: what it prints, what it writes, how it exits, and that it never shows a traceback."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

import vmxd as package
from tests.helpers.server import serving
from tests.helpers.support import LAKEFIELD, refused, vmxd
from vmxd.host.recording_text import MSR_FILE
from vmxd.tables import FEATURES

HOST_FLAGS = ("--root", "--cpus", "--skip-isolated")
PROFILE_FLAGS = ("--profile-dir", "--profile")
FLAGS = {
    "serve": (
        *HOST_FLAGS,
        *PROFILE_FLAGS,
        "--web.listen-address",
        "--web.telemetry-path",
        "--web.config.file",
        "--web.systemd-socket",
        "--rescan-request",
    ),
    "record": (*HOST_FLAGS, "DIR"),
    "show": (*HOST_FLAGS, *PROFILE_FLAGS, "--only", "--long", "--json", "NAME"),
    "explain": (*HOST_FLAGS, "NAME", "--json", "missing features"),
    "diff": ("A", "B", "--collector.nested", "--json"),
    "metrics": (*HOST_FLAGS, *PROFILE_FLAGS, "--output", "-o"),
    "check": (
        *HOST_FLAGS,
        *PROFILE_FLAGS,
        "--require",
        "--cpu-model",
        "--vm",
        "--consistent",
        "--usable",
        "--view",
        "--json",
        "--list-profiles",
        "--list-cpu-models",
    ),
    "features": ("--json", "FEATURE"),
}
DAMAGED = "cannot be read: it is a Xeon\n"


# Help, version, usage ----------------------------------------------------------------------------------------------


def test_help_lists_the_commands() -> None:
    """``vmxd --help`` names every command and the exit codes."""
    done = vmxd("--help")

    assert (0, "") == (done.returncode, done.stderr)
    assert [] == [command for command in FLAGS if f"\n  {command} " not in done.stdout]
    assert all(f"\n  {code}  " in done.stdout for code in (0, 1, 2, 3))


@pytest.mark.parametrize("command", FLAGS)
def test_help_of_a_command_lists_its_flags(command: str) -> None:
    """``vmxd COMMAND --help`` names every flag and argument of the command."""
    done = vmxd(command, "--help")

    assert (0, "") == (done.returncode, done.stderr)
    assert [] == [flag for flag in (*FLAGS[command], "--help") if flag not in done.stdout]


def test_help_says_what_is_the_default() -> None:
    """The help of serve names the defaults: the machine itself, port 10480, /metrics."""
    text = " ".join(vmxd("serve", "--help").stdout.split())

    assert [] == [
        default for default in ("(default: /)", "(default: :10480)", "(default: /metrics)") if default not in text
    ]


def test_version_is_that_of_the_package() -> None:
    """``vmxd --version`` prints name and version."""
    done = vmxd("--version")

    assert (0, f"vmxd {package.__version__}\n", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("cpus", ["x", "3-1", "0-", "0-99999999", "1,,2", "-1"])
def test_a_bad_list_of_cpus_is_refused(cpus: str) -> None:
    """A --cpus that is no list of CPUs is one sentence that names the flag and one hint."""
    sentence, _ = refused(vmxd("show", "--root", LAKEFIELD, f"--cpus={cpus}"))

    assert "--cpus" in sentence


def test_cpus_that_are_not_online_are_refused() -> None:
    """Where --cpus leaves no CPU, the hint lists those that are online."""
    expected = (f"CPUs 5-9 of {str(LAKEFIELD)!r} are not online", "online are 0-4")

    assert expected == refused(vmxd("show", "--root", LAKEFIELD, "--cpus", "5-9"))


# Roots that are no host -------------------------------------------------------------------------------------------


def a_missing_root(path: Path) -> None:
    """Leave the root out."""
    path.unlink(missing_ok=True)


def a_file(path: Path) -> None:
    """Make a file."""
    path.write_text("no host\n")


def an_empty_directory(path: Path) -> None:
    """Make an empty directory."""
    path.mkdir()


def damaged(name: str) -> Callable[[Path], None]:
    """Return what makes a recording of which one file is damaged."""

    def make(path: Path) -> None:
        shutil.copytree(LAKEFIELD, path)
        (path / name).write_text(DAMAGED)

    return make


def a_dangling_recording(path: Path) -> None:
    """Make a recording whose msr.txt is a link to nowhere."""
    shutil.copytree(LAKEFIELD, path)
    (path / MSR_FILE).unlink()
    (path / MSR_FILE).symlink_to("nowhere")


def a_directory_for_a_file(path: Path) -> None:
    """Make a recording with a directory in the place of cpuinfo."""
    shutil.copytree(LAKEFIELD, path)
    (path / "proc/cpuinfo").unlink()
    (path / "proc/cpuinfo").mkdir()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (a_missing_root, "is not a directory"),
        (a_file, "is not a directory"),
        (an_empty_directory, "root has no CPU in sys/devices/system/cpu/online or proc/cpuinfo"),
        (damaged(MSR_FILE), "root/msr.txt:1: the first line is not"),
        (damaged("sys/devices/system/cpu/online"), "root/sys/devices/system/cpu/online:1: "),
        (a_dangling_recording, "root/msr.txt"),
        (a_directory_for_a_file, "cannot read "),
    ],
    ids=["missing", "file", "empty", "msr.txt", "online", "dangling", "directory"],
)
def test_a_root_that_is_no_host_is_refused(tmp_path: Path, make: Callable[[Path], None], named: str) -> None:
    """Whatever is wrong with --root is one sentence that names the file, and one hint."""
    make(tmp_path / "root")
    sentence, _ = refused(vmxd("show", "--root", tmp_path / "root"))

    assert str(tmp_path / "root") in sentence
    assert named in sentence


@pytest.mark.parametrize("command", ["show", "metrics", "record", "serve"])
def test_every_command_refuses_a_damaged_recording(tmp_path: Path, command: str) -> None:
    """All commands that read a host refuse a damaged one alike, and record writes nothing."""
    damaged(MSR_FILE)(tmp_path / "root")
    more = {"record": [str(tmp_path / "new")], "serve": ["--web.listen-address=127.0.0.1:0"]}
    sentence, _ = refused(vmxd(command, "--root", tmp_path / "root", *more.get(command, [])))

    assert f"{tmp_path}/root/msr.txt:1: the first line is not '# vmxd msr recording 1'" == sentence
    assert ["root"] == os.listdir(tmp_path)


@pytest.mark.parametrize("command", [["show"], ["show", "--json"], ["metrics"]], ids=" ".join)
def test_a_root_may_have_any_name(tmp_path: Path, command: list[str]) -> None:
    """A path that is no UTF-8 is a path like any other, also where the terminal's encoding is strict."""
    root = shutil.copytree(LAKEFIELD, tmp_path / os.fsdecode(b'caf\xe9 "x"\\'))
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    arguments = [sys.executable, "-m", "vmxd", *command, "--root", str(root)]
    done = subprocess.run(arguments, capture_output=True, check=False, timeout=60, env=environment)

    assert (0, b"") == (done.returncode, done.stderr)
    assert b"bus_lock_detection" in done.stdout


# show, metrics, record ---------------------------------------------------------------------------------------------


def test_show_prints_every_feature() -> None:
    """``vmxd show`` has a line for each feature."""
    done = vmxd("show", "--root", LAKEFIELD)
    found = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")}

    assert (0, "") == (done.returncode, done.stderr)
    assert set() == FEATURES.keys() - found


def test_show_prints_json() -> None:
    """``vmxd show --json`` prints one JSON document with every feature."""
    done = vmxd("show", "--json", "--root", LAKEFIELD)

    assert (0, "") == (done.returncode, done.stderr)
    assert list(FEATURES) == list(json.loads(done.stdout)["features"])


def test_show_of_some_cpus_is_about_those() -> None:
    """With --cpus a command speaks of the chosen CPUs: Lakefield's E cores alone are consistent."""
    done = vmxd("show", "--root", LAKEFIELD, "--cpus", "0-3")

    assert "consistent  yes" in done.stdout.splitlines()
    assert "cpus        5 online (0-4), 4 scanned (0-3), 1 excluded (4)" in done.stdout.splitlines()


def test_show_leaves_isolated_cpus_out(tmp_path: Path) -> None:
    """With --skip-isolated the CPUs of isolcpus are left alone."""
    root = shutil.copytree(LAKEFIELD, tmp_path / "root")
    (root / "sys/devices/system/cpu/isolated").write_text("1,4\n")
    done = vmxd("show", "--root", root, "--skip-isolated")

    assert "cpus        5 online (0-4), 3 scanned (0,2-3), 2 excluded (1,4)" in done.stdout.splitlines()


def test_a_chosen_cpu_that_is_not_online_is_noted() -> None:
    """A CPU that --cpus names in vain is named in the output; the others are shown all the same."""
    done = vmxd("show", "--root", LAKEFIELD, "--cpus", "4,7")

    assert (0, "") == (done.returncode, done.stderr)
    assert "note        --cpus names 7, not online" in done.stdout.splitlines()


@pytest.mark.parametrize("command", [["show"], ["show", "--json"], ["metrics"]], ids=" ".join)
def test_this_machine_is_the_default_root(command: list[str]) -> None:
    """Without --root a command is about this machine, with or without VMX and privilege."""
    done = vmxd(*command)

    assert (0, "") == (done.returncode, done.stderr)
    assert "bus_lock_detection" in done.stdout


def test_metrics_are_an_exposition() -> None:
    """``vmxd metrics`` prints what Prometheus parses, every feature in it once."""
    done = vmxd("metrics", "--root", LAKEFIELD)
    families = {family.name: family for family in text_string_to_metric_families(done.stdout)}
    features = [sample.labels["feature"] for sample in families["vmx_feature"].samples]

    assert (0, "") == (done.returncode, done.stderr)
    assert FEATURES.keys() - {"eptp_switching"} == set(features)  # IA32_VMX_VMFUNC was not recorded
    assert len(set(features)) == len(features)


def test_record_writes_what_show_reads(tmp_path: Path) -> None:
    """What ``vmxd record`` writes shows as the host that it is of."""
    done = vmxd("record", "--root", LAKEFIELD, tmp_path / "new")
    original = json.loads(vmxd("show", "--json", "--root", LAKEFIELD).stdout)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert original == json.loads(vmxd("show", "--json", "--root", tmp_path / "new").stdout)


def test_record_refuses_a_directory_of_something_else(tmp_path: Path) -> None:
    """``vmxd record`` replaces no directory but a recording."""
    (tmp_path / "letter.txt").write_text("mine\n")
    expected = (
        f"{tmp_path} has 'letter.txt', which is of no recording",
        "name a new directory; vmxd replaces recordings only",
    )

    assert expected == refused(vmxd("record", "--root", LAKEFIELD, tmp_path))
    assert ["letter.txt"] == os.listdir(tmp_path)


def test_record_refuses_a_name_too_long(tmp_path: Path) -> None:
    """A name that no file system takes is refused like any other place that cannot be written."""
    sentence, _ = refused(vmxd("record", "--root", LAKEFIELD, tmp_path / ("x" * 300)))

    assert sentence.endswith("File name too long")


# features ----------------------------------------------------------------------------------------------------------


def test_features_lists_them_all() -> None:
    """``vmxd features`` has one line for each feature, in the order of the SDM."""
    done = vmxd("features")

    assert (0, "") == (done.returncode, done.stderr)
    assert list(FEATURES) == [line.split()[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "name",
    ["bus_lock_detection", "VMX_FEATURE_BUS_LOCK_DETECTION", "VMM bus-lock detection", "0x48b[62]", "0x48B[30]",
     "IA32_VMX_PROCBASED_CTLS2[62]", "  Bus_Lock_Detection "],
)  # fmt: skip
def test_a_feature_is_found_by_any_of_its_names(name: str) -> None:
    """A feature is found by vmxd's name, the kernel's, the SDM's words, or either bit of its MSR, in any case."""
    expected = (
        "bus_lock_detection  IA32_VMX_PROCBASED_CTLS2[62]  VMM bus-lock detection, VMX_FEATURE_BUS_LOCK_DETECTION, "
        "SECONDARY_EXEC_BUS_LOCK_DETECTION\n"
    )

    assert expected == vmxd("features", name).stdout


def test_features_are_listed_as_they_were_asked_for() -> None:
    """Several names give several lines, in the order in which they were given, each with all its names."""
    expected = """\
vpid   IA32_VMX_PROCBASED_CTLS2[37]  Enable VPID, vpid (cpuinfo), VMX_FEATURE_VPID, SECONDARY_EXEC_ENABLE_VPID, vmx-vpid
apicv  derived                       APIC virtualization with posted interrupts, apicv (cpuinfo), VMX_FEATURE_APICV
"""

    assert expected == vmxd("features", "vmx-vpid", "apicv").stdout


def test_an_ambiguous_name_lists_what_it_may_mean() -> None:
    """A name that several features have is refused, with vmxd's names of them to choose from."""
    expected = ("'Load IA32_PAT' names several features", "say which: exit_load_pat, entry_load_pat")

    assert expected == refused(vmxd("features", "Load IA32_PAT"))


def test_an_unknown_name_gets_suggestions() -> None:
    """A name that is nearly right is refused, with the names that are close, by vmxd's name."""
    sentence, hint = refused(vmxd("features", "ept", "VMX_FEATURE_EPTP_SWITCHNG"))

    assert "no feature is called 'VMX_FEATURE_EPTP_SWITCHNG'" == sentence
    assert hint.startswith("close are: ")
    assert "eptp_switching" in hint


@pytest.mark.parametrize("name", ["kubernetes", "", "0x48b[99]", "0x10[3]", "\N{SNOWMAN}"])
def test_a_name_like_no_other_is_refused(name: str) -> None:
    """A name that is close to none is refused with a hint where to look, not with guesses."""
    expected = (f"no feature is called {name!r}", "vmxd features lists them all")

    assert expected == refused(vmxd("features", name))


def test_features_as_json() -> None:
    """``vmxd features --json`` prints one document: all MSRs, and the features that were asked for."""
    document = json.loads(vmxd("features", "--json", "vmx-ept", "vmx-vpid").stdout)

    assert "vmxd.features/1" == document["schema"]
    assert ["ept", "vpid"] == [feature["name"] for feature in document["features"]]
    assert 21 == len(document["msrs"])
    sources = "".join(f"{name} {version}\n" for name, version in document["sources"].items())
    assert sources == vmxd("features", "--sources").stdout


# serve -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_serve_ends_on_a_signal(number: signal.Signals) -> None:
    """Ctrl-C, or SIGTERM from systemd, ends the server with exit code 0, open connections or not."""
    with serving(LAKEFIELD) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/healthz")
        answer = connection.getresponse().read()
        server.process.send_signal(number)
        code = server.process.wait(10)
        connection.close()
        log = server.log

    assert (b"ok\n", 0) == (answer, code)
    assert "error" not in log.casefold()


def test_serve_says_what_it_serves_and_where(tmp_path: Path) -> None:
    """The log has the host with its verdict and the URL, one line each; options are taken as other exporters do."""
    (tmp_path / "web.yml").write_text("{}\n")
    options = ("--web.config.file", str(tmp_path / "web.yml"), "--web.telemetry-path", "/m")
    with serving(LAKEFIELD, *options, "--web.disable-exporter-metrics") as server:
        lines, port = server.log.splitlines(), server.port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/m") as answer:
            families = {line.split()[2] for line in answer.read().decode().splitlines() if line.startswith("# TYPE")}

    verdict = f"recording {LAKEFIELD}: whether VMX may be used is not known: IA32_FEATURE_CONTROL was not recorded"

    assert 1 == sum(verdict in line for line in lines)
    assert 1 == sum(f"listening on http://127.0.0.1:{port}/" in line for line in lines)
    assert {"vmxd_scan_success", "vmxd_scan_failures_total", "vmx_feature"} < families
    assert set() == {name for name in families if name.startswith(("process_", "vmxd_http_"))}


@pytest.mark.parametrize(
    "address", ["10480", "localhost", ":http", ":65536", "::1:10480", "[::1]", "http://[::1]:10480", ""]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """An address that is not [HOST]:PORT is refused with three examples of one."""
    expected = (
        f"{address!r} is no address to listen on",
        "write [HOST]:PORT, as in :10480, 127.0.0.1:10480 or [::1]:10480, or unix:PATH",
    )

    assert expected == refused(vmxd("serve", "--root", LAKEFIELD, f"--web.listen-address={address}"))


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "192.0.2.1"], ids=lambda host: host[:16])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    """A host name that can be none, or an address that is not this machine's, is one sentence and one hint."""
    sentence, hint = refused(vmxd("serve", "--root", LAKEFIELD, f"--web.listen-address={host}:0"))

    assert sentence.startswith(f"cannot listen on {host}:0: ")
    assert "choose another with --web.listen-address" == hint


def test_sockets_of_systemd_must_have_been_handed_over() -> None:
    """--web.systemd-socket, where systemd has started nothing, is refused and not taken for the default address."""
    expected = (
        "systemd has handed over no socket",
        "systemctl start vmxd.socket does; without it, leave --web.systemd-socket out",
    )

    assert expected == refused(vmxd("serve", "--root", LAKEFIELD, "--web.systemd-socket"))


def test_a_port_in_use_is_refused() -> None:
    """A port that another program listens on is named."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        address = f"127.0.0.1:{port}"
        done = vmxd("serve", "--root", LAKEFIELD, f"--web.listen-address={address}")

    hint = f"look who has it, ss -ltnp 'sport = :{port}', or choose another with --web.listen-address"
    expected = (f"cannot listen on {address}: Address already in use", hint)

    assert expected == refused(done)


@pytest.mark.parametrize("path", ["metrics", "", "/", "/healthz", "/a b", "/metrics?x", "/\N{SNOWMAN}"], ids=ascii)
def test_a_telemetry_path_that_cannot_be_is_refused(path: str) -> None:
    """A telemetry path that nobody could ask for, or that is another page's, is quoted and refused."""
    done = vmxd("serve", "--root", LAKEFIELD, f"--web.telemetry-path={path}", "--web.listen-address=127.0.0.1:0")
    sentence, hint = refused(done)

    assert f"the metrics cannot be at {path!r}" == sentence
    assert hint.startswith("--web.telemetry-path ")


# Faults of vmxd ---------------------------------------------------------------------------------------------------

# No more file can be opened once the command line is imported: so the module of the command is not found.
_WITHOUT_FILES: Final = """
import resource, sys
import vmxd.cli
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
sys.exit(vmxd.cli.main(["features"]))
"""


@pytest.mark.parametrize("debug", [True, False], ids=["debug", "plain"])
def test_a_fault_of_vmxd_is_no_answer(debug: bool) -> None:
    """What nobody foresaw ends with exit code 3, never the 1 of an answer; a traceback is for who asks."""
    environment = {**os.environ, "VMXD_DEBUG": "1" if debug else ""}
    command = [sys.executable, "-c", _WITHOUT_FILES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    lines = done.stderr.splitlines()

    assert (3, "") == (done.returncode, done.stdout)
    assert debug == ("Traceback (most recent call last):" in lines)
    assert lines[-2].startswith("vmxd: a fault of vmxd: OSError: [Errno 24] ")
    assert "hint: please report it, with the command and what VMXD_DEBUG=1 shows" == lines[-1]
