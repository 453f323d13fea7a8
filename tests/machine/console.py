"""Follow an emulator through the file that its serial port writes, up to a line, within a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.machine.run import TIME_SCALE, GuestError, Run

_LOOK_SECONDS = 0.2
_LAST_LINES = 15


@dataclass(slots=True)
class Console:
    """The lines of a serial port, as they come.

    process: the emulator. run: what it runs for. limit: seconds that it may take, times TIME_SCALE.
    tend: called at each look, for what the emulator needs done.
    """

    path: Path
    process: subprocess.Popen[bytes]
    run: Run
    limit: float
    tend: Callable[[], None] = lambda: None
    cpu_seconds: float = 0.0

    def lines(self, last: str) -> Iterator[str]:
        """Yield lines, without their ends, up to the one that is ``last``. Raises GuestError where it does not come."""
        deadline = time.monotonic() + self.limit * TIME_SCALE
        rest = ""
        with self.path.open(encoding="utf-8", errors="replace", newline="") as file:
            while True:
                ended = self.process.poll() is not None
                self._measure()
                self.tend()
                *lines, rest = (rest + file.read().replace("\r", "")).split("\n")
                for line in lines:
                    yield line
                    if line == last:
                        return
                if ended:
                    raise GuestError(self._story("the emulator ended too early"))
                if self.run.stop.is_set():
                    raise GuestError(self._story("stopped"))
                if time.monotonic() > deadline:
                    raise GuestError(self._story(f"no end after {self.limit * TIME_SCALE:.0f} s"))
                self.run.stop.wait(_LOOK_SECONDS)

    def _measure(self) -> None:
        """Keep the emulator's CPU time: unlike the wall time, it is the same on a busy machine."""
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return
        self.cpu_seconds = max(self.cpu_seconds, times.user + times.system)

    def _story(self, what: str) -> str:
        tail = "\n".join(self.path.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        return f"{what}; the last lines of {self.path}:\n{tail}\nall logs: {self.run.directory}"


def kill(process: subprocess.Popen[bytes]) -> None:
    """End an emulator that has done its work, or will not."""
    process.kill()
    process.wait()
