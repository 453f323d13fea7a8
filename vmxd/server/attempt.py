"""A scan that has begun in a child, and what its host was like just before: what changes later is newer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vmxd.errors import VmxdError
from vmxd.host.changes import Witness, recording_stamp
from vmxd.host.files import Files
from vmxd.server.child import Child


@dataclass(frozen=True, slots=True)
class Attempt:
    """stamp: that of the recording, None where there is none. witness: None where the marks could not be read."""

    child: Child
    stamp: tuple[int, int] | None
    witness: Witness | None


def begin(root: str, scan: Callable[[], Iterable[object]]) -> Attempt:
    """Look at a host, then have it scanned."""
    files = Files(root)
    stamp = recording_stamp(files)
    try:
        witness = Witness.of(files)
    except VmxdError:
        witness = None
    return Attempt(Child(scan), stamp, witness)
