"""Targets of Prometheus as hosts: which of them are one host seen twice, and what each is called. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from vmxd.fleet.model import FleetHost

REPLICA_LABELS: Final = ("replica", "prometheus_replica", "__replica__", "rule_replica", "receive_replica")
"""Labels that tell apart the Prometheus servers of a pair, which see the same hosts."""


def name_hosts(hosts: Iterable[FleetHost]) -> tuple[FleetHost, ...]:
    """Return hosts once each and by name, from what their targets' labels (FleetHost.labels) say.

    A host's name is its instance label; where several hosts have that one, with the labels in braces that tell them
    apart. Two replicas that see a host see one host; so do two jobs, unless they say different things of it.
    """
    by_instance: dict[str, list[FleetHost]] = {}
    for host in hosts:
        by_instance.setdefault(host.labels.get("instance", ""), []).append(host)
    named = (each for instance, found in by_instance.items() for each in _named(instance, found))
    return tuple(sorted(named, key=lambda host: host.name))


def _named(instance: str, found: Sequence[FleetHost]) -> list[FleetHost]:
    once = [_best(same) for same in _grouped(found, REPLICA_LABELS)]
    merged = []
    for same in _grouped(once, ("job", *REPLICA_LABELS)):
        known = [replace(host, labels={}) for host in same if host.status]
        merged += same if any(host != known[0] for host in known) else [_best(same)]
    if len(merged) == 1:
        return [replace(merged[0], name=instance or _braces(merged[0].labels))]
    keys = sorted({key for host in merged for key in host.labels})
    telling = [key for key in keys if len({host.labels.get(key) for host in merged}) > 1]
    return [
        replace(host, name=instance + _braces({key: host.labels.get(key, "") for key in telling})) for host in merged
    ]


def _grouped(hosts: Sequence[FleetHost], ignored: Sequence[str]) -> list[list[FleetHost]]:
    groups: dict[frozenset[tuple[str, str]], list[FleetHost]] = {}
    for host in hosts:
        key = frozenset((name, value) for name, value in host.labels.items() if name not in ignored)
        groups.setdefault(key, []).append(host)
    return list(groups.values())


def _best(hosts: Sequence[FleetHost]) -> FleetHost:
    """Return one of which something is known, if there is one."""
    return next((host for host in hosts if host.status), hosts[0])


def _braces(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
