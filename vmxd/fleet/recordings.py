"""A directory of recordings as a fleet: one host a directory, named by it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from vmxd.errors import RootError, VmxdError
from vmxd.fleet.model import UNDECIDED, UNREAD, Fleet, FleetHost, Kind, Parameters, parameters_of
from vmxd.host.files import Files
from vmxd.host.recording import is_recording, read_failure
from vmxd.host.recording_text import FAILURE_FILE, MSR_FILE
from vmxd.host.root import read_host
from vmxd.model.decode import decode
from vmxd.model.facts import Host, KvmMsrs, Missing, Spans
from vmxd.model.inventory import Inventory, take_inventory
from vmxd.tables import IA32_FEATURE_CONTROL
from vmxd.views.verdict_words import status_sentence

Progress = Callable[[int, int], None]
"""Told how many hosts are done, and of how many."""


def read_recordings(directory: str, progress: Progress) -> Fleet:
    """Read every recording in a directory; one that is damaged is a host of which nothing is known.

    Raises RootError where there is no such directory, or no recording in it.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(directory) if _is_host(entry))
        changed_at = os.stat(directory).st_mtime
    except OSError as error:
        raise RootError(
            f"{directory}: {error.strerror}",
            "give one that holds a recording for each host",
        ) from error
    if is_recording(Files(directory)):
        raise RootError(
            f"{directory} is one recording, not a directory of them",
            f"give the directory that it is in, or look at it alone: vmxd show --root {directory}",
        )
    if not any(_is_of_a_host(Files(os.path.join(directory, name))) for name in names):
        raise RootError(
            f"{directory} has no recordings", f"make one for each host: vmxd record {Path(directory, 'HOST')}"
        )
    reader = Reader()
    hosts = []
    for done, name in enumerate(names, 1):
        hosts.append(reader.read(name, str(Path(directory, name))))
        progress(done, len(names))
    return Fleet(tuple(hosts), directory, reader.read_at or changed_at)


def _is_host(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a host's: a directory that is not hidden, or a link to one, also where that is gone."""
    is_lost = entry.is_symlink() and not os.path.exists(entry.path)
    return not entry.name.startswith(".") and (entry.is_dir() or is_lost)


def _is_of_a_host(files: Files) -> bool:
    """Whether a directory is a recording, or says why there is none."""
    return is_recording(files) or files.has(FAILURE_FILE)


class Reader:
    """Reads recordings one by one; what equal facts mean is worked out once.

    read_at: when the MSRs of the latest of them were read, Unix time in seconds; 0 where none could be read.
    """

    def __init__(self) -> None:
        self.read_at = 0.0
        self._hosts: dict[object, FleetHost] = {}
        self._kinds: dict[object, Kind] = {}

    def read(self, name: str, root: str) -> FleetHost:
        """Read one recording as a host of that name."""
        try:
            if (reason := read_failure(Files(root))) is not None:
                return FleetHost(name, reason=f"it could not be recorded: {reason}")
            if not is_recording(Files(root)):
                return FleetHost(name, reason=f"{root} is no recording: it has no {MSR_FILE}")
            host = read_host(root)
        except VmxdError as error:
            return FleetHost(name, reason=str(error))
        return self.understand(name, host)

    def understand(self, name: str, host: Host) -> FleetHost:
        """Return a host as read as one of that name."""
        self.read_at = max(self.read_at, host.read_at)
        facts = _facts(host)
        if facts not in self._hosts:
            self._hosts[facts] = self._understood(take_inventory(host))
        return replace(self._hosts[facts], name=name, kernel=host.kernel, parameters=_parameters(host))

    def _understood(self, inventory: Inventory) -> FleetHost:
        identity, status = inventory.identity, inventory.verdict.status.value
        kind = _kind(inventory)
        key = (kind.fingerprint, *sorted(kind.features.items()), *sorted(kind.values.items()))
        return FleetHost(
            "",
            status=status,
            reason=status_sentence(status) if kind.features or status in UNDECIDED else UNREAD,
            vendor=identity.vendor,
            model_name=identity.model_name,
            signature=identity.signature,
            microcode=identity.microcode,
            hypervisor=identity.hypervisor,
            inconsistent=len(inventory.inconsistent),
            failed=len(inventory.failed),
            kind=self._kinds.setdefault(key, kind) if kind.features else None,
            nested=(_known(inventory.nested.values) or None) if inventory.nested and inventory.nested.decoded else None,
        )


def _facts(host: Host) -> object:
    """Return the cache key: what a FleetHost depends on beside its name, kernel and parameters."""
    kvm = host.kvm_msrs
    return (
        tuple(host.cpus.items()),
        host.online,
        host.excluded,
        tuple((index, Spans.of(by_cpu).spans) for index, by_cpu in host.readings.items()),
        (kvm.listed, tuple(kvm.readings.items())) if isinstance(kvm, KvmMsrs) else kvm,
    )


def _parameters(host: Host) -> Parameters | None:
    """Return the parameters that the metrics have: those that are numbers; None if they have none."""
    if isinstance(host.kvm_parameters, Missing):
        return None
    return (
        parameters_of({name: value for name, value in host.kvm_parameters.items() if not isinstance(value, str)})
        or None
    )


def _kind(inventory: Inventory) -> Kind:
    """Return what metrics have too: of values, and of bits that no row explains, those that most CPUs have."""
    capabilities = ((index, msr.most_common) for index, msr in inventory.msrs.items() if index != IA32_FEATURE_CONTROL)
    values = {index: value for index, value in capabilities if isinstance(value, int)}
    return Kind(
        inventory.identity.fingerprint,
        _known({name: each.value for name, each in inventory.features.items()}),
        values,
        {index: mask for index, mask in decode(bool(values) or None, values).unknown.items() if mask},
        tuple(feature.name for feature in inventory.differing),
    )


def _known(values: Mapping[str, bool | None]) -> dict[str, bool]:
    return {name: value for name, value in values.items() if value is not None}
