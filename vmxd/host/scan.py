"""One scan: read a host and take its inventory, timed. The only module between I/O and views that knows a clock."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from vmxd.host.root import read_host
from vmxd.model.inventory import Inventory, take_inventory
from vmxd.model.profiles import Profile


@dataclass(frozen=True, slots=True)
class Scan:
    """An inventory and how long it took to read and take, in seconds."""

    inventory: Inventory
    duration: float


def scan(
    root: str,
    only: Collection[int] | None = None,
    skip_isolated: bool = False,
    *,
    nested: bool = False,
    profiles: Iterable[Profile] = (),
) -> Scan:
    """Scan a host and hold it against profiles; the other arguments and errors are those of host.root.read_host."""
    start = time.perf_counter()
    inventory = take_inventory(read_host(root, only, skip_isolated, nested=nested), profiles)
    return Scan(inventory, time.perf_counter() - start)
