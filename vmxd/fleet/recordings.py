"""A directory of recordings as a fleet: one host a directory, named by it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from vmxd.errors import RootError, VmxdError
from vmxd.fleet.model import Fleet, FleetHost, Kind
from vmxd.inventory import Inventory
from vmxd.scan import scan
from vmxd.tables import IA32_FEATURE_CONTROL

Progress = Callable[[int, int], None]
"""Told how many hosts are done, and of how many."""


def read_recordings(directory: str, progress: Progress, *, nested: bool = False) -> Fleet:
    """Read every recording in a directory; one that is damaged is a host of which nothing is known.

    nested: also what KVM offers to guests, where it was recorded.

    Raises RootError where there is no such directory, or no recording in it.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
    except OSError as error:
        raise RootError(
            f"{directory}: {error.strerror}",
            "give one that holds a recording for each host",
        ) from error
    if not names:
        raise RootError(f"{directory} has no recordings", "make one on each host: vmxd record DIR")
    kinds: dict[object, Kind] = {}
    hosts = []
    for done, name in enumerate(names, 1):
        hosts.append(read_recording(name, str(Path(directory, name)), kinds, nested=nested))
        progress(done, len(names))
    read_at = max(os.stat(Path(directory, name)).st_mtime for name in names)
    return Fleet(tuple(hosts), directory, read_at)


def read_recording(name: str, root: str, kinds: dict[object, Kind], *, nested: bool = False) -> FleetHost:
    """Read one recording. kinds: those of other hosts, by all that makes them equal."""
    try:
        inventory = scan(root, nested=nested).inventory
    except VmxdError as error:
        return FleetHost(name, reason=str(error))
    identity = inventory.identity
    kind = _kind(inventory)
    key = (kind.fingerprint, *sorted(kind.features.items()), *sorted(kind.values.items()))
    return FleetHost(
        name,
        status=inventory.verdict.status.value,
        reason=inventory.verdict.reason,
        vendor=identity.vendor,
        model_name=identity.model_name,
        signature=identity.signature,
        microcode=identity.microcode,
        kernel=inventory.host.kernel,
        hypervisor=identity.hypervisor,
        inconsistent=len(inventory.inconsistent),
        failed=len(inventory.failed),
        kind=kinds.setdefault(key, kind) if kind.features else None,
        nested=_known(inventory.nested.values) if inventory.nested and inventory.nested.decoded else None,
    )


def _kind(inventory: Inventory) -> Kind:
    capabilities = ((index, msr.most_common) for index, msr in inventory.msrs.items() if index != IA32_FEATURE_CONTROL)
    return Kind(
        inventory.identity.fingerprint,
        _known({name: each.value for name, each in inventory.features.items()}),
        {index: value for index, value in capabilities if isinstance(value, int)},
        {index: mask for index, mask in inventory.unknown.items() if mask},
        tuple(feature.name for feature in inventory.differing),
    )


def _known(values: Mapping[str, bool | None]) -> dict[str, bool]:
    return {name: value for name, value in values.items() if value is not None}
