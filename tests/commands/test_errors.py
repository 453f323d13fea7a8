"""Errors as a user meets them: what is wrong in one sentence, the next step in one hint, exit code 2."""

from __future__ import annotations

import array
import fcntl
import json
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.shell.commands import commands_of
from tests.helpers.support import LAKEFIELD, is_root, make_root, program, refused, unprivileged_vmxd, vmxd
from vmxd.cli import build_parser
from vmxd.errors import UsageError
from vmxd.host.root import SERVICE_RECORDING

LAKEFIELD_SERVE: Final = ("serve", "--root", str(LAKEFIELD))
UNPRIVILEGED_PORTS: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
GUEST: Final = "processor\t: {}\nvendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor\n\n"


# Usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence", "hint"),
    [
        ("", "vmxd needs COMMAND", "see vmxd --help"),
        ("shwo", "vmxd has no command 'shwo'", "did you mean show? see vmxd --help"),
        ("frobnicate", "vmxd has no command 'frobnicate'", "see vmxd --help"),
        ("show --jsno", "vmxd show has no option --jsno", "did you mean --json? see vmxd show --help"),
        ("show --rot=/", "vmxd show has no option --rot", "did you mean --root? see vmxd show --help"),
        ("metrics --out x", "vmxd metrics has no option --out", "did you mean --output? see vmxd metrics --help"),
        ("features --root /", "vmxd features has no option --root", "see vmxd features --help"),
        ("record a b", "vmxd record takes no argument 'b'", "see vmxd record --help"),
        ("metrics /", "vmxd metrics takes no argument '/'",
         "a recording is named by --root, as in --root /; see vmxd metrics --help"),
        ("record", "vmxd record needs DIR", "see vmxd record --help"),
        ("check --view nestd", "--view takes hardware, guest or nested, not 'nestd'",
         "did you mean nested? see vmxd check --help"),
        ("serve --log.level=wran", "--log.level takes debug, info, warn or error, not 'wran'",
         "did you mean warn? see vmxd serve --help"),
        ("record --root", "--root: expected one argument", "see vmxd record --help"),
    ],
)  # fmt: skip
def test_wrong_usage_suggests_what_was_meant(arguments: str, sentence: str, hint: str) -> None:
    """A command, option or choice that there is not is named, with the nearest that there is."""
    assert (sentence, hint) == refused(vmxd(*arguments.split()))


WORDS: Final = sorted(
    {word for command in commands_of(build_parser()) for word in command.words[1:]}
    | {
        flag
        for command in commands_of(build_parser())
        for action in command.arguments
        for flag in action.option_strings
    }
)


@given(
    st.lists(st.sampled_from(WORDS) | st.text(max_size=8) | st.sampled_from(["--", "-", "%", "--root=%s"]), max_size=6)
)
def test_any_command_line_is_taken_or_refused(arguments: list[str]) -> None:
    """Whatever the arguments are, they are taken, or refused by one sentence with a hint."""
    if {"-h", "--help", "--version"}.intersection(arguments):
        return
    try:
        build_parser().parse_args(arguments)
    except UsageError as error:
        refusal = error
    else:
        return
    assert str(refusal)
    assert refusal.hint


# The host ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(Path(SERVICE_RECORDING).exists(), reason=f"{SERVICE_RECORDING} is there")
@pytest.mark.parametrize(
    "command", [("show",), ("serve", "--web.listen-address=127.0.0.1:0")], ids=lambda each: each[0]
)
def test_no_recording_yet_names_the_unit(command: tuple[str, ...]) -> None:
    """Where the service's recording is not there yet, the hint is the unit that makes it."""
    expected = (
        "there is no recording /run/vmxd/host yet",
        "systemctl start vmxd-record.service makes it",
    )

    assert expected == refused(vmxd(*command, "--root", SERVICE_RECORDING))


@pytest.mark.skipif(not is_root(), reason="only root can make a directory that another may not enter")
def test_a_root_behind_a_closed_directory_is_not_said_to_be_missing(public_path: Path) -> None:
    """A root that this user may not get to is there for all that is known."""
    closed = public_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "host").mkdir()
    sentence, hint = refused(unprivileged_vmxd("show", "--root", closed / "host"))

    assert f"cannot read {closed}/host: Permission denied" == sentence
    assert "run as a user who may enter the directories above it" == hint


def test_a_guest_without_vmx_is_told_who_decides(tmp_path: Path) -> None:
    """That a guest has no VMX is its hypervisor's doing."""
    document = json.loads(vmxd("show", "--json", "--root", make_root(tmp_path / "guest", cpuinfo=GUEST)).stdout)

    assert "no_vmx" == document["status"]
    assert "this is a guest: its hypervisor would have to offer it nested VMX" == document["hint"]


# Where to listen --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(int(UNPRIVILEGED_PORTS.read_text()) < 1024, reason="any user may listen on any port here")
def test_a_privileged_port_names_the_ways_out() -> None:
    """Without CAP_NET_BIND_SERVICE a port below 1024 is refused: another port, or systemd's socket."""
    without = [program("setpriv", "util-linux"), "--bounding-set=-net_bind_service", "--"] if is_root() else []
    command = [*without, sys.executable, "-m", "vmxd", *LAKEFIELD_SERVE, "--web.listen-address=127.0.0.1:1023"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    sentence, hint = refused(done)

    assert "cannot listen on 127.0.0.1:1023: Permission denied" == sentence
    assert hint.endswith("from 1024 on, or have systemd listen: vmxd.socket and --web.systemd-socket")


def test_a_name_that_no_resolver_knows_is_said_to_be_that() -> None:
    """What the resolver answers is given in its words."""
    sentence, _ = refused(vmxd(*LAKEFIELD_SERVE, "--web.listen-address=no-such-host.invalid:0"))

    assert "resolution" in sentence or "not known" in sentence or "No address" in sentence


def test_a_path_that_is_taken_or_has_no_directory_says_what_to_do(tmp_path: Path) -> None:
    """A unix socket takes no file's place, and makes no directory."""
    (tmp_path / "file").touch()
    taken = refused(vmxd(*LAKEFIELD_SERVE, f"--web.listen-address=unix:{tmp_path}/file"))
    nowhere = refused(vmxd(*LAKEFIELD_SERVE, f"--web.listen-address=unix:{tmp_path}/none/socket"))

    assert "look what is there, or choose another with --web.listen-address" == taken[1]
    assert "make its directory, or choose another with --web.listen-address" == nowhere[1]


def test_a_server_on_a_path_is_not_pushed_aside(tmp_path: Path) -> None:
    """A path on which another server listens is in use."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "socket"))
        other.listen()
        sentence, _ = refused(vmxd(*LAKEFIELD_SERVE, f"--web.listen-address=unix:{tmp_path}/socket"))

    assert sentence.endswith("Address already in use")


# Where the words go -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [("frobnicate", 2), ("check --usable --root HOST", 2), ("check --require ept --cpus 4,7 --root HOST", 0)],
)
def test_an_error_that_cannot_be_printed_keeps_its_exit_code(redirection: str, arguments: str, code: int) -> None:
    """Where standard error is full or closed, the exit code is that of the answer, and stdout has nothing of it."""
    words = arguments.replace("HOST", str(LAKEFIELD)).split()
    script = ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "vmxd", *words]
    done = subprocess.run(script, stdout=subprocess.PIPE, check=False, timeout=60)

    assert code == done.returncode
    assert b"hint:" not in done.stdout
    assert b"note:" not in done.stdout


@pytest.mark.parametrize("arguments", ["features", "metrics -o /dev/full"])
def test_a_full_disk_asks_for_room(arguments: str) -> None:
    """Where there is no space the hint is to make some, not to choose another file."""
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "vmxd", *arguments.split()]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)

    assert (2, "hint: make room there, and try again") == (done.returncode, done.stderr.splitlines()[1])


def test_ctrl_c_ends_quietly() -> None:
    """A command that is interrupted while it waits ends with 130, as a shell expects, and without a word."""
    command = ["env", "--default-signal=INT", sys.executable, "-m", "vmxd", "explain", "-"]  # CI may ignore it
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        process.stdin.write(b"ept")
        process.stdin.flush()
        unread = array.array("i", [1])
        while unread[0]:
            fcntl.ioctl(process.stdin, termios.FIONREAD, unread)
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=30)

    assert (130, (b"", b"")) == (process.returncode, output)
