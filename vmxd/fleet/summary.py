"""What a fleet is made of: its hosts by status, model, microcode and fingerprint. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from vmxd.fleet.model import Fleet, FleetHost

Counts = dict[str, int]


def count_by(fleet: Fleet, key: Callable[[FleetHost], str | None]) -> Counts:
    """Return how many hosts have each value of a key, the most frequent first; "unknown" where there is none."""
    return dict(Counter(key(host) or "unknown" for host in fleet.hosts).most_common())
