"""Have a host scanned and rendered in a process of its own, which hands back what it found and ends.

The process that faces the network holds neither the tables nor the libraries for that, and answers while MSRs are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
from collections.abc import Sequence
from typing import Final

from vmxd.errors import VmxdError
from vmxd.server.live import Failure
from vmxd.server.rendered import Refusal, Rendered, load

log = logging.getLogger(__name__)

_PIPES: Final = 5
"""Pipes that starting a process takes, /dev/null included."""
_KILL_SECONDS: Final = 2.0
"""How long a process that was killed may take to end; the kernel may hold it in a read."""


class ScanError(VmxdError):
    """Raised when a scan could not be made."""

    def __init__(self, reason: Failure, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


async def scan(command: Sequence[str], seconds: float) -> Rendered:
    """Run a command that scans and dumps a Rendered or Refusal to stdout. Raises ScanError.

    seconds: how long it may take before it is killed.
    """
    try:
        _try_files()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for the server
        )
    except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started to wait for it
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        hint = f"this user must be able to run {command[0]}, with a process and a few files to spare"
        raise ScanError(Failure.START, f"a scan cannot be started: {reason}", hint) from error
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate()
    except TimeoutError as error:
        message = f"the scan was not done within {seconds:g} s and was killed"
        raise ScanError(
            Failure.TIMEOUT, message, "look what holds up reading the host, or raise --scan-timeout"
        ) from error
    finally:
        await _end(process)
    said = errors.decode(errors="replace").strip()
    if process.returncode != 0:
        code = process.returncode or 0
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}: {said.rpartition(chr(10))[2]}"
        log.debug("the scan wrote to stderr: %s", said)
        hint = "this user must be able to read Python and vmxd; if it can, see whether vmxd show works"
        raise ScanError(Failure.ENDED, f"the scan ended {how}", hint)
    result = load(output)
    if isinstance(result, Refusal):
        raise ScanError(Failure.REFUSED, result.message, result.hint)
    return result


def _try_files() -> None:
    """Raise OSError if there are no files for a process: Python 3.11 loses those it has if it runs out half way."""
    files: list[int] = []
    try:
        for _ in range(_PIPES):
            files += os.pipe()
    finally:
        for file in files:
            os.close(file)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a process unless it has ended."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_SECONDS):
                await process.wait()
