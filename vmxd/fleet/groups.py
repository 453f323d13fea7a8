"""Which hosts of a fleet a question is about: all or the usable ones, as one group or by a label. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vmxd.errors import UsageError
from vmxd.fleet.model import FleetHost

FACTS: Final = ("vendor", "model_name", "signature", "microcode", "kernel")
"""What hosts can be grouped by where they have no such label: the labels of vmx_host_info, and the kernel."""

NOT_USABLE: Final = frozenset(("no_vmx", "disabled_by_firmware", "unlocked", "smx_only"))
"""Statuses that say for certain that software cannot use VMX."""

Groups = dict[str | None, tuple[FleetHost, ...]]
"""Hosts by a label's value, sorted by it; None, the last: those without the label."""


def split_usable(hosts: Iterable[FleetHost]) -> tuple[tuple[FleetHost, ...], tuple[FleetHost, ...]]:
    """Return the hosts on which VMX may be usable, and those on which it is known not to be."""
    hosts = tuple(hosts)
    others = tuple(host for host in hosts if host.status in NOT_USABLE)
    return tuple(host for host in hosts if host.status not in NOT_USABLE), others


def group_by(hosts: Iterable[FleetHost], label: str) -> Groups:
    """Return hosts by a label of theirs or, where none has it, by one of FACTS. Raises UsageError."""
    hosts = tuple(hosts)
    labels = {name for host in hosts for name in host.labels}
    if label not in labels and label not in FACTS:
        names = ", ".join((*sorted(labels), *FACTS))
        raise UsageError(f"no host has the label {label!r}", f"there are {names}")
    found: dict[str | None, list[FleetHost]] = {}
    for host in hosts:
        value = host.labels.get(label) if label in labels else getattr(host, label)
        found.setdefault(value or None, []).append(host)
    return {value: tuple(found[value]) for value in sorted(found, key=lambda value: (value is None, value or ""))}
