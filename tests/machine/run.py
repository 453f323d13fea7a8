"""What a guest is to the tests: something that boots, runs to its end in a directory of its own, and leaves results."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from tests.helpers.support import REPOSITORY

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vmxd-machine"
"""Guests that were built, each under a name that is the hash of what went into it."""

RUNS: Final = REPOSITORY / ".machine"
"""What the last run of each guest left: its log, its console, its results."""

TIME_SCALE: Final = float(os.environ.get("VMXD_MACHINE_TIME_SCALE", "1"))
"""Factor for every time limit, for a machine that is busy with other things."""


class GuestError(Exception):
    """Raised when a guest did not come to its end: it hung, or the emulator gave up; the message ends with the logs."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one guest.

    directory: an empty directory for its logs and results. say: print a line of progress.
    stop: set when the tests end early; the run is to kill what it has started and to raise.
    """

    directory: Path
    say: Callable[[str], None]
    stop: threading.Event = field(default_factory=threading.Event)


class Guest(Protocol):
    """A guest that tests ask for by ``@pytest.mark.parametrize("guest", [GUEST], indirect=True, ids=str)``.

    str() of it is its name, part of the test ids. seconds: about how long it runs on an idle machine, to start the
    longest first.
    """

    @property
    def seconds(self) -> float:
        """Seconds on an idle machine."""
        ...

    def run(self, run: Run) -> Any:  # noqa: ANN401 (each guest has results of its own kind)
        """Boot, run to the end, and return what the fixture ``guest`` is to be. Raises GuestError."""
        ...
