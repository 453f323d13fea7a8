"""Where output goes: files that are replaced in one step, pipes that close, disks that are full, any encoding."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.support import HOSTS, LAKEFIELD, as_root, refused, unprivileged_vmxd, vmxd, vmxd_with_little_space
from tests.helpers.swapping import swapping
from vmxd.commands.output import replace_file
from vmxd.errors import RootError


@pytest.mark.parametrize("command", [["show"], ["show", "--json"], ["metrics"], ["features"]], ids=" ".join)
def test_a_terminal_may_have_any_encoding(tmp_path: Path, command: list[str]) -> None:
    """A model name beyond ASCII does not end a command, even where only ASCII can be printed."""
    root = shutil.copytree(LAKEFIELD, tmp_path / "root")
    cpuinfo = (root / "proc/cpuinfo").read_text().replace("Intel(R) Core(TM)", "Intel\N{REGISTERED SIGN} Core")
    (root / "proc/cpuinfo").write_text(cpuinfo)
    options = () if command == ["features"] else ("--root", root)
    done = vmxd(*command, *options, env={**os.environ, "PYTHONIOENCODING": "ascii"})

    assert (0, "") == (done.returncode, done.stderr)


# Files -------------------------------------------------------------------------------------------------------------


def test_metrics_into_a_file_replaces_it_in_one_step(tmp_path: Path) -> None:
    """The file is a new one under the old name: who has the old one open keeps it whole; nothing else is left."""
    target, kept = tmp_path / "vmxd.prom", tmp_path / "kept"
    target.write_text("old\n")
    kept.hardlink_to(target)
    done = vmxd("metrics", "--root", LAKEFIELD, "-o", target)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert 'vmx_feature{feature="ept"} 1' in target.read_text()
    assert "old\n" == kept.read_text()
    assert ["kept", "vmxd.prom"] == sorted(os.listdir(tmp_path))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_metrics_into_a_file_can_be_read_by_others(tmp_path: Path, umask: int) -> None:
    """The file has mode 0644 under any umask, for node_exporter is another user."""
    vmxd("metrics", "--root", LAKEFIELD, "--output", tmp_path / "vmxd.prom", umask=umask)

    assert 0o644 == (tmp_path / "vmxd.prom").stat().st_mode & 0o7777


def test_metrics_into_a_file_of_the_working_directory(tmp_path: Path) -> None:
    """A file without a directory is one in the working directory."""
    done = vmxd("metrics", "--root", LAKEFIELD, "-o", "vmxd.prom", cwd=tmp_path)

    assert (0, "") == (done.returncode, done.stderr)
    assert ["vmxd.prom"] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("missing/vmxd.prom", "No such file or directory"),
        ("directory", "Is a directory"),
        ("file/vmxd.prom", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
    ids=["missing", "directory", "file", "long"],
)
def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path, target: str, reason: str) -> None:
    """Where the file cannot be put, the error says why, and nothing is left behind."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    expected = (f"cannot write {tmp_path}/{target}: {reason}", "choose a file that you may write to")

    assert expected == refused(vmxd("metrics", "--root", LAKEFIELD, "-o", tmp_path / target))
    assert ["directory", "file"] == sorted(os.listdir(tmp_path))


def test_a_directory_that_may_not_be_written_is_refused(public_path: Path) -> None:
    """Who may not write to the directory gets an error, and the old file stays."""
    root = shutil.copytree(LAKEFIELD, public_path / "root")
    (public_path / "out").mkdir()
    target = public_path / "out/vmxd.prom"
    target.write_text("old\n")
    (public_path / "out").chmod(0o555)
    expected = (f"cannot write {target}: Permission denied", "choose a file that you may write to")

    assert expected == refused(unprivileged_vmxd("metrics", "--root", root, "-o", target))
    assert "old\n" == target.read_text()


@pytest.mark.parametrize("name", ["lakefield-i5-l16g7", "made-all-unreadable"], ids=["long", "short"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    """Where the metrics cannot be written to their end, however few they are, the old file stays, and no other."""
    target = tmp_path / "vmxd.prom"
    target.write_text("old\n")
    sentence, _ = refused(vmxd_with_little_space("metrics", "--root", HOSTS / name, "-o", target))

    assert f"cannot write {target}: File too large" == sentence
    assert "old\n" == target.read_text()
    assert ["vmxd.prom"] == os.listdir(tmp_path)


def test_a_device_is_written_to(tmp_path: Path) -> None:
    """What is no ordinary file, as /dev/null or here a FIFO, is written to and not replaced: root would lose it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "vmxd", "metrics", "--root", str(LAKEFIELD), "-o", str(fifo)]
    with subprocess.Popen(command) as process:
        text = fifo.read_text()

    assert 0 == process.returncode
    assert 'vmx_feature{feature="ept"} 1' in text
    assert text.endswith("\n")
    assert fifo.is_fifo()
    assert ["fifo"] == os.listdir(tmp_path)


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    """A FIFO without a reader is an error, and not a command that never ends."""
    os.mkfifo(tmp_path / "fifo")
    expected = (f"cannot write {tmp_path}/fifo: nobody reads this pipe", "start its reader first")

    assert expected == refused(vmxd("metrics", "--root", LAKEFIELD, "-o", tmp_path / "fifo"))


@pytest.mark.parametrize("target", ["-", "/dev/stdout", "/proc/self/fd/1"])
def test_a_name_of_standard_output_is_it(tmp_path: Path, target: str) -> None:
    """A dash, like the names of the device, is standard output, and no file in the working directory."""
    done = vmxd("metrics", "--root", LAKEFIELD, "-o", target, cwd=tmp_path)

    assert (0, "") == (done.returncode, done.stderr)
    assert 'vmx_feature{feature="ept"} 1' in done.stdout
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("target", ["real/vmxd.prom", "chain"])
def test_a_link_is_followed(tmp_path: Path, target: str) -> None:
    """A link of this user's stays one, and the file that it leads to is replaced."""
    (tmp_path / "real").mkdir()
    (tmp_path / "chain").symlink_to("real/vmxd.prom")
    (tmp_path / "link").symlink_to(target)
    done = vmxd("metrics", "--root", LAKEFIELD, "-o", tmp_path / "link")

    assert (0, "") == (done.returncode, done.stderr)
    assert (tmp_path / "link").is_symlink()
    assert ["vmxd.prom"] == os.listdir(tmp_path / "real")


@pytest.mark.parametrize("target", ["secret", "fifo", "new", "link"])
@as_root
def test_a_link_of_another_user_is_not_followed(public_path: Path, target: str) -> None:
    """Root does not write where another user's link leads, be there a file, a pipe, nothing, or a loop."""
    (public_path / "secret").write_text("root's\n")
    (public_path / "secret").chmod(0o600)
    os.mkfifo(public_path / "fifo")
    (public_path / "link").symlink_to(target)
    os.chown(public_path / "link", *pwd.getpwnam("nobody")[2:4], follow_symlinks=False)
    before = sorted(os.listdir(public_path))
    sentence, _ = refused(vmxd("metrics", "--root", LAKEFIELD, "-o", public_path / "link"))

    assert f"cannot write {public_path}/link: it is another user's link" == sentence
    assert ("root's\n", 0o600) == (
        (public_path / "secret").read_text(),
        (public_path / "secret").stat().st_mode & 0o777,
    )
    assert before == sorted(os.listdir(public_path))


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    """Links that lead nowhere end in a sentence."""
    (tmp_path / "link").symlink_to("link")
    sentence, _ = refused(vmxd("metrics", "--root", LAKEFIELD, "-o", tmp_path / "link"))

    assert f"cannot write {tmp_path}/link: Too many levels of symbolic links" == sentence


@pytest.mark.parametrize("target", ["file", "device"])
@as_root
def test_who_owns_the_directory_of_a_file_has_root_write_nowhere_else(public_path: Path, target: str) -> None:
    """Whoever swaps FILE of metrics -o, or a pipe there, for a link to one of root's gets nothing written to that."""
    user, secret, pipe = public_path / "user", public_path / "secret", public_path / "pipe"
    user.mkdir()
    secret.write_text("root's\n")
    secret.chmod(0o600)
    os.mkfifo(pipe, 0o600)  # what can only be written to, as a device
    (user / "link").symlink_to(secret if target == "file" else pipe)
    if target == "file":
        (user / "vmx.prom").touch()
    else:
        os.mkfifo(user / "vmx.prom")
    reader, own = (os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in (pipe, user / "vmx.prom"))
    shutil.chown(user, *pwd.getpwnam("nobody")[2:4])
    for path in user.iterdir():
        os.chown(path, *pwd.getpwnam("nobody")[2:4], follow_symlinks=False)
    with swapping(user, "vmx.prom", "link"):
        for _ in range(2000):
            with contextlib.suppress(RootError):
                replace_file(str(user / "vmx.prom"), b"text\n")

    assert ("root's\n", 0o600) == (secret.read_text(), secret.stat().st_mode & 0o777)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    os.close(reader)
    os.close(own)


# Standard output ---------------------------------------------------------------------------------------------------


PRINTING = [
    arguments.split()
    for arguments in (
        "--help",
        "--version",
        "show --help",
        "features",
        "features --json",
        "show",
        "show --json",
        "metrics",
    )
]


def onto(stdout: int, arguments: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run a command with a descriptor as its stdout, and with Python's own buffering of it."""
    root = ("--root", str(LAKEFIELD)) if arguments[0] in ("show", "metrics") else ()
    command = [sys.executable, "-m", "vmxd", *arguments, *root]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False, timeout=60, env=environment)


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_closed_pipe_is_no_error(arguments: list[str]) -> None:
    """Where nobody reads on, as after ``| head -1``, vmxd ends quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = onto(writer, arguments)
    finally:
        os.close(writer)

    assert (0, b"") == (done.returncode, done.stderr)


def test_a_pipe_that_closes_early_is_no_error() -> None:
    """A reader that takes the first line only gets that line, and vmxd ends quietly."""
    script = '"$0" -m vmxd features --json | head -n 1'
    done = subprocess.run(["sh", "-c", script, sys.executable], capture_output=True, check=False, timeout=60)

    assert (b"{\n", b"") == (done.stdout, done.stderr)


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_full_disk_is_one_sentence(arguments: list[str]) -> None:
    """Output that cannot be written is an error like any other: one sentence, one hint, exit code 2."""
    with Path("/dev/full").open("wb") as full:
        done = onto(full.fileno(), arguments)
    lines = done.stderr.decode().splitlines()

    assert ["vmxd: ", "hint: "] == [line[:6] for line in lines]
    assert "No space left on device" in lines[0]
    assert 2 == done.returncode


@pytest.mark.parametrize("command", ["record", "metrics"])
def test_a_command_that_prints_nothing_needs_no_stdout(tmp_path: Path, command: str) -> None:
    """A command that writes files works where stdout is closed."""
    more = [str(tmp_path / "new")] if command == "record" else ["-o", str(tmp_path / "new")]
    script = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "vmxd", command, "--root", str(LAKEFIELD)]
    done = subprocess.run([*script, *more], stderr=subprocess.PIPE, check=False, timeout=60)

    assert (0, b"") == (done.returncode, done.stderr)
    assert ["new"] == os.listdir(tmp_path)
