"""Record many hosts by ssh: vmxd runs there from memory, a recording comes back, and nothing stays there.

What a host sends is checked before it is written: it is unpacked by names and sizes (host/archive.py) into a directory
of its own, read as any recording, and recorded from there, so only what vmxd understands reaches the destination.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.errors import RootError, VmxdError
from vmxd.fleet.answer import Answer, Table
from vmxd.fleet.script import build_script
from vmxd.fleet.ssh_targets import Target
from vmxd.fleet.words import few, hosts_text
from vmxd.host.archive import ARCHIVE_MAX, unpack
from vmxd.host.files import Files, printable
from vmxd.host.record import has_answered, write_failure, write_recording
from vmxd.host.recording import REASON_MAX, is_recording
from vmxd.host.root import read_host

_SSH: Final = ("BatchMode=yes", "ControlMaster=no", "ClearAllForwardings=yes", "LogLevel=ERROR")
"""No password is asked for; no master stays behind, which would hold standard error open."""
_CONNECTION: Final = re.compile(r"ssh: connect to host \S+ port \d+: (.+)")
_SAID_MAX: Final = 1 << 14
_LOST: Final = 255
"""Exit code of ssh if the connection failed, or if a signal ended the program there."""
_NOTHING_SAID: Final = "it ended without a word: the connection is lost, or a signal ended what ran there"


@dataclass(frozen=True, slots=True)
class How:
    """How each host is reached.

    sudo: whether to become root by sudo; python: the program there; ssh_options: as after ssh -o.
    connect_seconds: until the connection is made; seconds: until all is answered.
    arguments: options of vmxd record.
    """

    sudo: bool
    python: str
    ssh_options: tuple[str, ...]
    connect_seconds: int
    seconds: float
    arguments: tuple[str, ...]

    def command(self, target: Target) -> list[str]:
        """Return the ssh command for a host. ssh takes the first value of an option: the user's come first."""
        options = (*self.ssh_options, *_SSH, f"ConnectTimeout={self.connect_seconds}")
        python = [target.python or self.python, "-I", "-"]
        words = ["ssh", "-T", "-a", "-x", *(word for option in options for word in ("-o", option)), *target.options]
        return [*words, "--", target.destination, *(("sudo", "-n") if self.sudo else ()), *python]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One host: why it could not be recorded, None if it was; whether a recording is there; whether MSRs were read."""

    name: str
    reason: str | None
    has_recording: bool
    answered: bool = False


@dataclass(frozen=True, slots=True)
class Collected(Answer):
    """What became of each host. directory: where the recordings are."""

    directory: str
    outcomes: tuple[Outcome, ...]

    @property
    def holds(self) -> bool | None:
        """Whether every host was recorded."""
        return not any(outcome.reason for outcome in self.outcomes)

    def sentences(self) -> Iterable[str]:
        """Count hosts."""
        recorded = [outcome for outcome in self.outcomes if outcome.reason is None]
        yield f"{len(recorded):,} of {hosts_text(len(self.outcomes))} recorded in {self.directory}."
        if unread := [outcome.name for outcome in recorded if not outcome.answered]:
            yield f"On {few(unread)} no MSR could be read; vmxd show --root {self.directory}/{unread[0]} says why."

    def tables(self) -> Iterator[Table]:
        """Give hosts that failed by reason, and say of which an older recording is there."""
        reasons: dict[tuple[str, str], list[str]] = {}
        for outcome in self.outcomes:
            if outcome.reason:
                older = "yes" if outcome.has_recording else "no"
                reasons.setdefault((outcome.reason, older), []).append(outcome.name)
        rows = ((str(len(names)), *key, ", ".join(names)) for key, names in reasons.items())
        yield Table(("hosts", "why not", "older recording kept", "which"), tuple(rows))


async def collect(
    directory: str, targets: Sequence[Target], how: How, jobs: int, progress: Callable[[int, int], None]
) -> Collected:
    """Record hosts into a directory of their own each, so many at a time.

    progress: told how many hosts are done, and how many of these failed. Raises VmxdError if ssh cannot be started, or
    the directory not be written to.
    """
    _make_directory(directory)
    script = build_script(("record", *how.arguments, "-"))
    turns = asyncio.Semaphore(jobs)
    done: list[Outcome] = []

    async def record(target: Target) -> Outcome:
        destination = os.path.join(directory, target.name)
        async with turns:
            try:
                answer = await _ask(how.command(target), script, how)
                outcome = await asyncio.to_thread(_write, target.name, destination, answer)
            except _HostError as error:
                outcome = await asyncio.to_thread(_write_failure, target.name, destination, str(error))
        done.append(outcome)
        progress(len(done), sum(each.reason is not None for each in done))
        return outcome

    tasks = [asyncio.create_task(record(target)) for target in targets]
    try:
        return Collected(directory, tuple(await asyncio.gather(*tasks)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _make_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise RootError(
            f"cannot write to {path}: {error.strerror}", "name a directory that you may write to"
        ) from error


class _HostError(Exception):
    """Raised when a host did not send a recording; says why in one line."""


async def _ask(command: Sequence[str], script: bytes, how: How) -> bytes:
    """Return what a command prints that gets the script. Raises _HostError, VmxdError if it cannot be started."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for vmxd, which ends them all
        )
    except OSError as error:
        raise VmxdError(
            f"ssh cannot be started: {os.strerror(error.errno or 0)}", "install OpenSSH's client"
        ) from error
    output = asyncio.ensure_future(_read(process.stdout))
    errors = asyncio.ensure_future(_tail(process.stderr))
    talk = (output, errors, asyncio.ensure_future(_feed(process.stdin, script)))
    try:
        async with asyncio.timeout(how.seconds):
            await asyncio.gather(*talk)
            code = await process.wait()
    except TimeoutError as error:
        raise _HostError(f"no answer within {how.seconds:g} s") from error
    finally:
        for each in talk:
            each.cancel()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if code:
        raise _HostError(_why(code, errors.result().decode(errors="replace")))
    return output.result()


async def _read(pipe: asyncio.StreamReader | None) -> bytes:
    """Read to the end. Raises _HostError after more than a recording can have."""
    assert pipe
    data = bytearray()
    while more := await pipe.read(1 << 16):
        data += more
        if len(data) > ARCHIVE_MAX:
            raise _HostError(f"it sent more than the {ARCHIVE_MAX >> 20} MiB that a recording can have")
    return bytes(data)


async def _tail(pipe: asyncio.StreamReader | None) -> bytes:
    """Read to the end; return the last bytes."""
    assert pipe
    data = b""
    while more := await pipe.read(1 << 16):
        data = (data + more)[-_SAID_MAX:]
    return data


async def _feed(pipe: asyncio.StreamWriter | None, data: bytes) -> None:
    """Write all and shut down writing; a reader that is gone says why on standard error."""
    assert pipe
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(data)
        await pipe.drain()
    pipe.close()


def _why(code: int, said: str) -> str:
    """Say why a command failed: the line in which vmxd says it, else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("vmxd: note:")]
    ours = [line.removeprefix("vmxd: ") for line in lines if line.startswith("vmxd: ")]
    line = ours[0] if ours else lines[-1] if lines else ""
    if match := _CONNECTION.fullmatch(line):
        line = f"ssh: {match[1]}"
    elif code == _LOST:
        line = f"ssh: {line.removeprefix('ssh: ') or _NOTHING_SAID}"
    return line or f"it ended with exit code {code} and said nothing"


def _write(name: str, destination: str, answer: bytes) -> Outcome:
    """Check and write what a host sent. Raises _HostError."""
    with tempfile.TemporaryDirectory(prefix="vmxd.") as scratch:
        try:
            files, directories = unpack(answer)
            for path in directories:
                os.makedirs(os.path.join(scratch, path))
            for path, data in files.items():
                os.makedirs(os.path.dirname(os.path.join(scratch, path)), exist_ok=True)
                with open(os.path.join(scratch, path), "xb") as file:
                    file.write(data)
            host = read_host(scratch)
            write_recording(Files(scratch), host, destination)
        except (VmxdError, OSError) as error:
            raise _HostError(str(error).replace(f"{scratch}/", "its ")) from error
    return Outcome(name, None, has_recording=True, answered=has_answered(host))


def _write_failure(name: str, destination: str, reason: str) -> Outcome:
    """Record why a host could not be recorded, unless there is an older recording, or something else."""
    reason = printable(reason, REASON_MAX)
    with contextlib.suppress(VmxdError):
        write_failure(reason, destination)
    return Outcome(name, reason, has_recording=is_recording(Files(destination)))
