"""What tests need to reach the real things: recordings, programs from Debian, and vmxd as users start it."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from vmxd import cli

REPOSITORY: Final = Path(__file__).resolve().parents[2]
HOSTS: Final = REPOSITORY / "tests" / "hosts"
LAKEFIELD: Final = HOSTS / "lakefield-i5-l16g7"

ALL_HOSTS: Final = sorted(path.name for path in HOSTS.iterdir() if path.is_dir())
REAL_HOSTS: Final = [name for name in ALL_HOSTS if not name.startswith("made-")]
TYPICAL_HOSTS: Final = (
    "lakefield-i5-l16g7",  # hybrid: one CPU differs in a feature
    "yonah-t2600",  # the oldest: no secondary controls, no TRUE MSRs
    "made-nested",  # KVM was asked
    "made-future",  # bits that no table has
    "made-eio-one-cpu",  # a failed read on one CPU
    "made-all-unreadable",
    "made-amd",
)
"""Hosts that have every kind of thing to say between them: for views, which need not be tried on each recording."""
MADE_HOSTS: Final = [name for name in ALL_HOSTS if name.startswith("made-")]

VMX_CPU: Final = "processor\t: {}\nvendor_id\t: GenuineIntel\nflags\t\t: fpu msr vmx\n\n"

# Nobody may not read Python's own files where root installed it: so what commands import later is imported first.
_AS_NOBODY: Final = """
import os, pwd, sys
import shutil, tempfile, vmxd.cli, vmxd.views.json
import vmxd.server.self_metrics, vmxd.views.finding_words, vmxd.commands.profiles, vmxd.host.record, vmxd.host.scan
vmxd.cli.build_parser().parse_args()  # argparse and importlib, too, import when they run
vmxd.commands.profiles.builtin_profiles()
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setgid(nobody.pw_gid)
os.setuid(nobody.pw_uid)
sys.exit(vmxd.cli.main(sys.argv[1:]))
"""

# No file may grow beyond 100 bytes: write() fails with EFBIG where a full disk gives ENOSPC.
_WITH_LITTLE_SPACE: Final = """
import resource, sys
import vmxd.cli
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.exit(vmxd.cli.main())
"""


def missing_tool(what: str, package: str, installer: str = "apt-get install") -> None:
    """Skip the test, naming the command that installs what it lacks; in CI, where nothing may be skipped, fail it."""
    reason = f"{what} is missing; {installer} {package} (make does that where it is root)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str, package: str, installer: str = "apt-get install") -> str:
    """Return the path of a program, or skip the test saying how to install it."""
    path = shutil.which(name)
    if path is None:
        missing_tool(name, package, installer)
        raise AssertionError
    return path


def deploy_program(name: str) -> str:
    """Return the path of a program of the extra "deploy", which is beside this Python, or skip the test."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        missing_tool(name, "'.[deploy]'", "pip install --editable")
    return str(path)


def deploy_module(name: str) -> Any:  # noqa: ANN401 (any module)
    """Return a module of the extra "deploy", or skip the test."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        missing_tool(name, "'.[deploy]'", "pip install --editable")
        raise


def vmxd(
    *arguments: str | os.PathLike[str],
    input: str | None = None,  # noqa: A002 (as in subprocess.run)
    **options: object,
) -> subprocess.CompletedProcess[str]:
    """Run a command of vmxd within this process, with stdin, stdout and stderr of its own, and return what it printed.

    A command that serves, or gets options of subprocess.run, is a program of its own, at ten times the cost.
    """
    given = [os.fspath(argument) for argument in arguments]
    if options or "serve" in given:
        return vmxd_program(*given, input=input, **options)
    handler = signal.getsignal(signal.SIGTERM)
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write((input or "").encode())
        stdin.seek(0)
        try:
            with _standard_files(stdin.fileno(), stdout.fileno(), stderr.fileno()):
                code = cli.main(given)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        finally:
            signal.signal(signal.SIGTERM, handler)
        outputs = []
        for file in (stdout, stderr):
            file.seek(0)
            outputs.append(file.read().decode())
    return subprocess.CompletedProcess(["vmxd", *given], code, *outputs)


@contextlib.contextmanager
def _standard_files(*files: int) -> Iterator[None]:
    """Put files in the place of the descriptors 0 to 2, and of what Python has for them, until the block ends."""
    before, streams = [os.dup(number) for number in range(len(files))], (sys.stdin, sys.stdout, sys.stderr)
    for number, file in enumerate(files):
        os.dup2(file, number)
    try:
        with (
            open(0, closefd=False) as sys.stdin,
            open(1, "w", closefd=False) as sys.stdout,
            open(2, "w", errors="backslashreplace", closefd=False) as sys.stderr,
        ):
            yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, file in enumerate(before):
            os.dup2(file, number)
            os.close(file)


def vmxd_program(*arguments: str | os.PathLike[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run vmxd as a program of its own and return what it printed, as text."""
    command = [sys.executable, "-m", "vmxd", *(os.fspath(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


def vmxd_with_little_space(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run vmxd where a file cannot have more than 100 bytes."""
    command = [sys.executable, "-c", _WITH_LITTLE_SPACE, *(os.fspath(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def is_root() -> bool:
    """Return whether these tests run as root."""
    return os.geteuid() == 0


as_root = pytest.mark.skipif(not is_root(), reason="takes root: another user, or another root directory")
"""For a test that takes two users, or a root directory of its own."""


def unprivileged_vmxd(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run vmxd without any privilege: as nobody where the tests run as root, else as who they are."""
    if not is_root():
        return vmxd_program(*arguments)
    command = [sys.executable, "-c", _AS_NOBODY, *(os.fspath(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def make_root(root: Path, cpus: int = 1, cpuinfo: str = VMX_CPU) -> Path:
    """Make the root of a machine: some online CPUs, without devices."""
    system = root / "sys/devices/system/cpu"
    system.mkdir(parents=True)
    numbers = "0\n" if cpus == 1 else f"0-{cpus - 1}\n"
    for name in ("online", "present"):
        (system / name).write_text(numbers)
    (root / "proc").mkdir()
    (root / "dev").mkdir()
    (root / "proc/cpuinfo").write_text("".join(cpuinfo.format(cpu) for cpu in range(cpus)))
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Return what a directory holds: the files below it by relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def recorded(root: Path) -> dict[str, bytes]:
    """Return the files of a test host that belong to the recording."""
    return {name: data for name, data in tree(root).items() if name not in ("about.txt", "metrics.prom")}


def refused(done: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """Return the sentence and the hint of a command that must have ended with both, and nothing else."""
    assert (2, "") == (done.returncode, done.stdout)
    sentence, hint = done.stderr.splitlines()
    assert ("vmxd: ", "hint: ") == (sentence[:6], hint[:6])
    return sentence[6:], hint[6:]
