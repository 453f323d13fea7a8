"""A host is a root directory: / is the live machine, a recording is any other (vmxd record writes one)."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from typing import Final

from vmxd import cpulist
from vmxd.errors import RootError, UsageError, VmxdError
from vmxd.host import cpus, recording
from vmxd.host.files import Files, printable, stamp
from vmxd.host.kvm import read_kvm_msrs
from vmxd.host.msr import MsrDevices, read_msrs
from vmxd.host.parameters import read_parameters
from vmxd.host.recording_text import MSR_FILE
from vmxd.model.facts import Failed, Host, KvmMsrs, Missing, Source, Spans

SERVICE_RECORDING: Final = "/run/vmxd/host"
"""What vmxd-record.service writes and vmxd.service serves."""
_ATTEMPTS = 10
_GONE = frozenset((Failed("ENOENT"), Failed("ENXIO")))


def read_host(
    root: str,
    only: Collection[int] | None = None,
    skip_isolated: bool = False,
    devices: MsrDevices | None = None,
    *,
    nested: bool = False,
) -> Host:
    """Read one host.

    root: / or a directory of the same form; with an msr.txt in it, a recording, which is read whole or not at all:
    if another takes its place meanwhile, that one is read.
    only: CPUs to read, all online ones by default; skip_isolated: leave out those of the kernel's isolcpus.
    devices: source of the MSRs, by default dev/cpu/N/msr under the root.
    nested: ask KVM what it gives to guests; a recording says so whenever it was recorded.

    Raises RootError, MalformedFileError, UsageError.
    """
    for _ in range(_ATTEMPTS):
        before = stamp(root)
        try:
            host = _read_host(root, only, skip_isolated, devices, nested=nested)
        except VmxdError:
            if stamp(root) == before:
                raise
        else:
            if host.source is Source.LIVE or stamp(root) == before:
                return host
    raise RootError(f"{root} is replaced faster than it can be read", "try again")


def _read_host(
    root: str,
    only: Collection[int] | None,
    skip_isolated: bool,
    devices: MsrDevices | None,
    *,
    nested: bool,
) -> Host:
    files = Files(root)
    if not os.path.isdir(root):
        raise _no_root(root)
    online = _read_online(files)
    isolated = files.read_cpulist(cpus.ISOLATED) or ()
    chosen = frozenset(online if only is None else only).difference(isolated if skip_isolated else ())
    wanted = tuple(cpu for cpu in online if cpu in chosen)
    notes = _notes_on_selection(online, only)
    if not wanted:
        raise _no_cpu(root, online, only)

    cpuinfo = cpus.read_cpuinfo(files)
    kvm_msrs: KvmMsrs | Failed | Missing = Missing.NOT_RECORDED
    if recording.is_recording(files):
        source = Source.RECORDING
        readings = _keep(recording.read_recording(files, online), wanted)
        read_at = files.mtime(MSR_FILE)
        recorded = cpulist.merge(each for by_cpu in readings.values() for each in by_cpu.ranges)
        wanted = tuple(cpu for first, last in recorded for cpu in range(first, last + 1)) or wanted
        kvm_msrs = recording.read_recorded_kvm(files)
    elif devices is None and not (files.has("dev") or files.has("proc/self")):
        raise RootError(
            f"{root} has no {MSR_FILE}, as a recording has, and no dev, as a machine has",
            "copy a recording whole, or make a new one: vmxd record DIR",
        )
    else:
        source = Source.LIVE
        read_at = time.time()
        found = read_msrs(devices or MsrDevices(files), wanted, cpuinfo)
        readings = {index: Spans.of(by_cpu) for index, by_cpu in found.items()}
        if gone := _gone(files, readings):
            online = tuple(cpu for cpu in online if cpu not in gone)
            wanted = tuple(cpu for cpu in wanted if cpu not in gone)
            readings = _keep(readings, wanted)
        notes += _notes_on_count(root, online)
        if nested:
            kvm_msrs = read_kvm_msrs(files)

    scanned = set(wanted)
    return Host(
        root=printable(root),
        source=source,
        read_at=read_at,
        cpus={cpu: cpuinfo[cpu] for cpu in online if cpu in cpuinfo},
        online=online,
        present=files.read_cpulist(cpus.PRESENT) or online,
        isolated=isolated,
        excluded=tuple(cpu for cpu in online if cpu not in scanned),
        readings=readings,
        core_types=cpus.read_core_types(files),
        kernel=files.read_line(recording.KERNEL) or None,
        name=recording.read_name(files),
        same_boot=source is Source.RECORDING and recording.is_of_this_boot(files),
        kvm_parameters=read_parameters(files),
        kvm_msrs=kvm_msrs,
        notes=notes,
    )


def _read_online(files: Files) -> tuple[int, ...]:
    try:
        return cpus.read_online(files)
    except RootError as error:
        if (reason := recording.read_failure(files)) is not None:
            raise RootError(
                f"{files.root} could not be recorded: {reason}", "try again: vmxd fleet collect, or vmxd record there"
            ) from error
        names = files.list_directory(".") or ()
        if any(files.has(f"{name}/{MSR_FILE}") for name in names):
            raise RootError(
                f"{files.root} is a directory of recordings, not one of them",
                f"name one of them, or ask all: vmxd fleet summary --recordings {files.root}",
            ) from error
        raise


def _no_cpu(root: str, online: Collection[int], only: Collection[int] | None) -> UsageError:
    hint = f"online are {cpulist.format_cpus(online)}"
    if not only or not frozenset(only).isdisjoint(online):
        return UsageError("no online CPU is left to read", f"{hint}; see --cpus and --skip-isolated")
    return UsageError(f"{cpulist.describe(only)} of {root!r} {'is' if len(only) == 1 else 'are'} not online", hint)


def _no_root(root: str) -> RootError:
    try:
        os.stat(root)
    except PermissionError as error:
        return RootError(
            f"cannot read {root}: {error.strerror}", "run as a user who may enter the directories above it"
        )
    except OSError:
        if os.path.normpath(root) == SERVICE_RECORDING:
            return RootError(f"there is no recording {root} yet", "systemctl start vmxd-record.service makes it")
    return RootError(f"{root!r} is not a directory", "--root takes / or a directory that vmxd record wrote")


def _notes_on_selection(online: tuple[int, ...], only: Collection[int] | None) -> tuple[str, ...]:
    missing = cpulist.format_cpus(set(only or ()).difference(online))
    return (f"--cpus names {missing}, not online",) if missing else ()


def _notes_on_count(root: str, online: tuple[int, ...]) -> tuple[str, ...]:
    """Compare the CPUs that sysfs lists with what psutil counts; only the live machine can be asked."""
    if os.path.realpath(root) != "/":
        return ()
    count: int | None
    try:
        import psutil  # noqa: PLC0415 (costs 25 ms, and only a live scan needs it)
    except ModuleNotFoundError:  # vmxd.pyz holds nothing that is compiled
        counter, count = "sysconf", os.sysconf("SC_NPROCESSORS_ONLN")  # what psutil asks on Linux
    else:
        counter, count = "psutil", psutil.cpu_count(logical=True)
    if count is None or count == len(online):
        return ()
    return (f"sysfs lists {len(online)} online CPUs, {counter} counts {count}: a container may hide some",)


def _keep(readings: Mapping[int, Spans], wanted: Collection[int]) -> dict[int, Spans]:
    """Keep the readings of the wanted CPUs; an MSR that has none is gone."""
    ranges = cpulist.to_ranges(wanted)
    selected = {index: by_cpu.only(ranges) for index, by_cpu in readings.items()}
    return {index: by_cpu for index, by_cpu in selected.items() if by_cpu.spans}


def _gone(files: Files, readings: Mapping[int, Spans]) -> set[int]:
    """Find the CPUs that went offline while they were read: they are offline, not failed."""
    suspects = {cpu for by_cpu in readings.values() for cpu in by_cpu if by_cpu[cpu] in _GONE}
    return suspects.difference(cpus.read_online(files)) if suspects else suspects
