"""The units of systemd/: what systemd itself says of them, and that they agree with each other and with vmxd."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.support import REPOSITORY, program
from vmxd.cli import build_parser

DIRECTORY: Final = REPOSITORY / "systemd"
UNITS: Final = sorted(
    path.name for path in DIRECTORY.iterdir() if path.suffix in {".service", ".socket", ".path", ".timer"}
)
SERVICES: Final = [name for name in UNITS if name.endswith(".service")]
UDEV_RULES: Final = "60-vmxd.rules"

Settings = dict[str, list[str]]


def settings(unit: str) -> Settings:
    """Return a unit's settings, each with its values in their order; comments and sections are left out."""
    found: Settings = {}
    for line in (DIRECTORY / unit).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of the units with a program that exists in place of /usr/bin/vmxd, which systemd looks for."""
    directory = tmp_path_factory.mktemp("units")
    for name in UNITS:
        text = (DIRECTORY / name).read_text()
        (directory / name).write_text(text.replace("=/usr/bin/vmxd ", "=/bin/true "))
    return directory


def analyze(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze where the units of a directory come before those of this machine."""
    return subprocess.run(
        [program("systemd-analyze", "systemd"), "--no-pager", *arguments],
        cwd=directory,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{directory}:", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("unit", UNITS)
def test_verify(installed: Path, unit: str) -> None:
    """Systemd has nothing to say on the unit."""
    result = analyze(installed, "verify", "--man=no", f"./{unit}")

    assert (0, "") == (result.returncode, result.stdout + result.stderr)


def test_verify_finds_mistakes(installed: Path, tmp_path: Path) -> None:
    """The same call does speak up about a unit with a setting that does not exist."""
    text = (installed / "vmxd.service").read_text()
    (tmp_path / "vmxd.service").write_text(text.replace("ProtectClock=", "ProtectClocks="))

    result = analyze(tmp_path, "verify", "--man=no", "./vmxd.service")

    assert "ProtectClocks" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("unit", "limit"), [("vmxd-record.service", 1.6), ("vmxd.service", 1.1), ("vmxd-textfile.service", 0.6)]
)
def test_exposure(installed: Path, unit: str, limit: float) -> None:
    """The exposure that systemd computes for the service is at most the one promised."""
    result = analyze(installed, "security", "--offline=true", f"--threshold={limit * 10:.0f}", f"./{unit}")
    level = re.search(rf"Overall exposure level for {unit}: ([0-9.]+)", result.stdout)

    assert level, result.stderr
    assert limit >= float(level[1])
    assert 0 == result.returncode


@pytest.mark.parametrize("unit", SERVICES)
def test_capabilities(installed: Path, unit: str) -> None:
    """The recorder has CAP_SYS_RAWIO, no service has another capability, in its file and as systemd reads it."""
    expected = ["CAP_SYS_RAWIO"] if unit == "vmxd-record.service" else []
    result = analyze(installed, "security", "--offline=true", "--json=short", f"./{unit}")
    left = [
        capability
        for check in json.loads(result.stdout)
        if check["name"].startswith("CapabilityBoundingSet=~") and not check["set"]
        for capability in re.findall(r"CAP_\w+", check["name"])
    ]

    assert [" ".join(expected)] == settings(unit)["CapabilityBoundingSet"]
    assert expected == left
    assert ["yes"] == settings(unit)["NoNewPrivileges"]


@pytest.mark.parametrize("unit", SERVICES)
def test_devices(unit: str) -> None:
    """The recorder may read MSR devices and may do no more; the others have no device."""
    found = settings(unit)
    expected = (["char-cpu/msr r"], None) if unit == "vmxd-record.service" else (None, ["yes"])

    assert expected == (found.get("DeviceAllow"), found.get("PrivateDevices"))
    assert ["closed"] == found["DevicePolicy"]


@pytest.mark.parametrize("unit", SERVICES)
def test_network(unit: str) -> None:
    """Only the server has a network, and no privilege of any kind beside it."""
    found = settings(unit)

    if unit == "vmxd.service":
        assert ["AF_INET AF_INET6 AF_UNIX"] == found["RestrictAddressFamilies"]
        assert (["yes"], ["yes"]) == (found["DynamicUser"], found["PrivateUsers"])
    else:
        assert (["yes"], ["none"]) == (found["PrivateNetwork"], found["RestrictAddressFamilies"])


@pytest.mark.parametrize("unit", SERVICES)
def test_command_line(unit: str) -> None:
    """The command that the unit runs is one that vmxd accepts."""
    words = [shlex.split(line) for line in settings(unit)["ExecStart"]]
    arguments = [word for word in words[0][1:] if not word.startswith("$")]

    assert ["/usr/bin/vmxd"] == [command[0] for command in words]
    assert callable(build_parser().parse_args(arguments).run)


def test_recording_can_run_again() -> None:
    """Starting the recorder a second time records a second time, and systemd does not count the starts."""
    found = settings("vmxd-record.service")

    assert (["oneshot"], None, ["0"]) == (
        found["Type"], found.get("RemainAfterExit"), found["StartLimitIntervalSec"]
    )  # fmt: skip


def test_recording_is_readable() -> None:
    """What the recorder writes stays when it ends, and users that it does not know may read it."""
    found = settings("vmxd-record.service")

    assert (["yes"], ["0755"], ["0022"]) == (
        found["RuntimeDirectoryPreserve"], found["RuntimeDirectoryMode"], found["UMask"]
    )  # fmt: skip


def test_recording_is_what_is_served() -> None:
    """The server and the textfile writer read what the recorder writes, in the directory that it may write."""
    written = settings("vmxd-record.service")["ExecStart"][0].split()[-1]

    assert [f"/run/{name}" for name in settings("vmxd-record.service")["RuntimeDirectory"]] == [
        os.path.dirname(written)
    ]
    for unit in ("vmxd.service", "vmxd-textfile.service"):
        assert f" --root {written} " in settings(unit)["ExecStart"][0]
        assert "vmxd-record.service" in settings(unit)["Wants"][0].split()
        assert "vmxd-record.service" in settings(unit)["After"][0].split()
        assert "Requires" not in settings(unit)


def test_rescan_request() -> None:
    """The file that the server touches is the one that the path unit looks at, in a directory of the server's own."""
    words = settings("vmxd.service")["ExecStart"][0].split()
    request = words[words.index("--rescan-request") + 1]

    assert [request] == settings("vmxd-record.path")["PathModified"]
    assert [f"/run/{name}" for name in settings("vmxd.service")["RuntimeDirectory"]] == [os.path.dirname(request)]
    assert "vmxd-record.path" in settings("vmxd.service")["Wants"][0].split()


def test_reload() -> None:
    """A reload records anew, for which the server has no right, then has it read that, without /bin/kill."""
    commands = ["+/usr/bin/systemctl start vmxd-record.service", "/bin/sh -c 'kill -HUP $MAINPID'"]

    assert commands == settings("vmxd.service")["ExecReload"]


def test_textfile_directory() -> None:
    """The directory that the textfile writer writes to is the only one that is bound writable."""
    output = settings("vmxd-textfile.service")["ExecStart"][0].split()[-1]

    assert [os.path.dirname(output)] == settings("vmxd-textfile.service")["BindPaths"]
    assert output.endswith(".prom")


def test_default_file() -> None:
    """/etc/default/vmxd sets the variables that commands use, and each has an empty value without it."""
    used = {name for unit in SERVICES for line in settings(unit)["ExecStart"] for name in re.findall(r"\$(\w+)", line)}
    fallback = {value for unit in SERVICES for value in settings(unit).get("Environment", [])}

    assert used == set(settings("vmxd.default"))
    assert {f"{name}=" for name in used} == fallback
    assert all(value == [""] for value in settings("vmxd.default").values())


@pytest.mark.parametrize(("unit", "variable"), [("vmxd.service", "ARGS"), ("vmxd-record.service", "RECORD_ARGS")])
def test_default_file_examples(unit: str, variable: str) -> None:
    """Every option that /etc/default/vmxd names above a variable is one that the command using the variable accepts."""
    text = (DIRECTORY / "vmxd.default").read_text()
    paragraph = next(part for part in text.split("\n\n") if f"\n{variable}=" in part)
    examples = re.findall(r"^#   (--\S+)", paragraph, re.MULTILINE)
    words = settings(unit)["ExecStart"][0].split()

    assert examples
    for example in examples:
        build_parser().parse_args([example if word == f"${variable}" else word for word in words[1:]])


def test_udev_rule() -> None:
    """Where there is a recording, both ways of hot-plug restart the timer that joins them, and udev does not wait."""
    lines = [line for line in (DIRECTORY / UDEV_RULES).read_text().splitlines() if line and not line.startswith("#")]
    parts = [re.fullmatch(r'([A-Z]+)(==|\+=)"([^"]*)"', part) for line in lines for part in line.split(", ")]

    assert 1 == len(lines)
    assert [
        ("SUBSYSTEM", "==", "cpu"),
        ("ACTION", "==", "online|offline"),
        ("TEST", "==", settings("vmxd-record.service")["ExecStart"][0].split()[-1]),
        ("RUN", "+=", "/usr/bin/systemctl --no-block restart vmxd-record.timer"),
    ] == [part.groups() if part else None for part in parts]


def test_udev_verify() -> None:
    """Udev has nothing to say on the rule, where there is one that can be asked (since 254)."""
    udevadm = shutil.which("udevadm", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if udevadm and int(run(udevadm, "--version").stdout.split()[0]) >= 254:
        result = run(udevadm, "verify", "--no-summary", UDEV_RULES)

        assert (0, "") == (result.returncode, result.stdout + result.stderr)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program in the directory of the units and return what it printed."""
    return subprocess.run(command, cwd=DIRECTORY, capture_output=True, text=True, check=False, timeout=60)


def test_readme_names_every_file() -> None:
    """README.md says of every file in the directory what it is, and of none that is not there."""
    named = re.findall(r"^\| `([^`]+)` \|", (DIRECTORY / "README.md").read_text(), re.MULTILINE)

    assert {path.name for path in DIRECTORY.iterdir() if path.name != "README.md"} == set(named)
