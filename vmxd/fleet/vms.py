"""Many VMs on a fleet: which host can start which, which keep a host from being drained, what a kernel changes. Pure.

The guest layer decides, and of a VM only VMX. A VM that takes what its host has (host-passthrough and the like) starts
anywhere; if it is known where it runs, it moves only to hosts that give guests as much.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from vmxd.fleet.answer import Answer, Table, source_document
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.words import few, guests_sentence, hosts_text, known_by_host
from vmxd.model.offer import WhatIf
from vmxd.model.starts import Needs
from vmxd.pasted.findings import Vm
from vmxd.pasted.vm import Exposes, exposes, needs
from vmxd.tables import FEATURES
from vmxd.views.guest_words import what_if_text
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.vms/1"
_MISSING_SHOWN: Final = 3


class FleetVm(NamedTuple):
    """A VM: its name, its CPU, and the host that it runs on, None if that is not known."""

    name: str
    cpu: Vm
    runs_on: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A VM on a fleet.

    hosts: those that can start it. lacks: hosts that cannot, each with the features that guests lack there, none if
    VMX may not be used there. unknown: hosts of which that is not known, each with the features of which it is not.
    gains, loses: with another kernel or parameters, hosts that then can start it and now cannot, and the reverse; of a
    VM that takes what its host has, the features that it would gain and lose.
    """

    vm: FleetVm
    hosts: tuple[str, ...]
    lacks: Mapping[str, tuple[str, ...]]
    unknown: Mapping[str, tuple[str, ...]]
    gains: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vms(Answer):
    """The answer: VMs in the order of their names; what_if: what hosts were asked to be for gains and losses."""

    fleet: Fleet
    vms: tuple[Placed, ...]
    what_if: WhatIf

    @property
    def kept(self) -> Mapping[str, tuple[str, ...]]:
        """The VMs that keep a host from being drained, by host: no other host is known to take them.

        Of a VM of which it is not known where it runs, the one host that can start it.
        """
        found: dict[str, list[str]] = {}
        for each in self.vms:
            others = [name for name in each.hosts if name != each.vm.runs_on]
            if each.vm.runs_on and not others:
                found.setdefault(each.vm.runs_on, []).append(each.vm.name)
            elif not each.vm.runs_on and len(each.hosts) == 1:
                found.setdefault(each.hosts[0], []).append(each.vm.name)
        return {name: tuple(found[name]) for name in sorted(found)}

    @property
    def holds(self) -> bool | None:
        """Whether every VM has another host to go to, and none loses by what was asked; None if that is not known."""
        stuck = [each for each in self.vms if len(set(each.hosts) - {each.vm.runs_on}) < 2 - bool(each.vm.runs_on)]
        if any(not each.unknown for each in stuck) or any(each.loses for each in self.vms):
            return False
        return None if stuck or self.fleet.warnings else True

    def document(self) -> Json:
        """Follow docs/schema/fleet-vms-1.json."""
        return {
            **source_document(self.fleet, SCHEMA),
            "known": dict(known_by_host(self.fleet.hosts)),
            "what_if": what_if_text(self.what_if) if self.what_if.asked else None,
            "vms": [
                {
                    "name": each.vm.name,
                    "cpu": _cpu(each.vm.cpu),
                    "vmx": exposes(each.vm.cpu).value,
                    "runs_on": each.vm.runs_on,
                    "hosts": list(each.hosts),
                    "lacks": {name: list(features) for name, features in each.lacks.items()},
                    "unknown": {name: list(features) for name, features in each.unknown.items()},
                    "gains": list(each.gains) if self.what_if.asked else None,
                    "loses": list(each.loses) if self.what_if.asked else None,
                }
                for each in self.vms
            ],
            "kept": {host: list(names) for host, names in self.kept.items()},
        }

    def csv(self) -> Table:
        """Give each VM a row on each host."""
        rows = []
        for each in self.vms:
            of_vm = (each.vm.name, _cpu(each.vm.cpu), exposes(each.vm.cpu).value, each.vm.runs_on or "")
            rows += [(*of_vm, host, "yes", "") for host in each.hosts]
            rows += [(*of_vm, host, "no", " ".join(features)) for host, features in each.lacks.items()]
            rows += [(*of_vm, host, "unknown", " ".join(features)) for host, features in each.unknown.items()]
        return Table(("vm", "cpu", "vmx", "runs_on", "host", "starts", "features"), tuple(rows))

    def sentences(self) -> Iterator[str]:
        """Count VMs by whether they have VMX, and by the hosts that can start them."""
        count = len(self.vms)
        by = {kind: sum(exposes(each.vm.cpu) is kind for each in self.vms) for kind in Exposes}
        text = f"{'1 VM' if count == 1 else f'{count:,} VMs'}: {by[Exposes.YES]:,} with VMX, {by[Exposes.NO]:,} without"
        if by[Exposes.AS_HOST]:
            text += f", {by[Exposes.AS_HOST]:,} with what the host has, so it depends on the host"
        everywhere = sum(len(each.hosts) == len(self.fleet.hosts) for each in self.vms)
        nowhere = sum(not each.hosts and not each.unknown for each in self.vms)
        yield f"{text}. On all of {hosts_text(len(self.fleet.hosts))} {everywhere:,} can start, on none {nowhere:,}."
        if known := guests_sentence(self.fleet.hosts):
            yield known

    def tables(self) -> Iterator[Table]:
        """Show VMs, those that are alike as one row; then what keeps hosts; then what would change."""
        total = len(self.fleet.hosts)
        rows: dict[tuple[str, ...], list[str]] = {}
        for each in self.vms:
            where = "all" if len(each.hosts) == total else f"{len(each.hosts):,}: {few(each.hosts)}".rstrip(": ")
            key = (_cpu(each.vm.cpu), exposes(each.vm.cpu).value, where, _short(each.lacks), _short(each.unknown))
            rows.setdefault(key, []).append(each.vm.name)
        yield Table(
            ("VMs", "CPU", "VMX", "start on", "not on", "not known"),
            tuple((few(names), *key) for key, names in rows.items()),
        )
        kept = tuple((host, few(names, 8)) for host, names in self.kept.items())
        yield Table(("host", "VMs"), kept, "VMs that no other host can take: they keep theirs from being drained")
        if self.what_if.asked:
            changed: dict[tuple[str, str], list[str]] = {}
            for each in self.vms:
                if each.gains or each.loses:
                    changed.setdefault((few(each.gains), few(each.loses)), []).append(each.vm.name)
            title = f"With {what_if_text(self.what_if)}: hosts that VMs gain and lose, or features of the host"
            none = (("none", "", ""),)
            yield Table(
                ("VMs", "gain", "lose"), tuple((few(names), *key) for key, names in changed.items()) or none, title
            )


def place(vms: Iterable[FleetVm], now: Fleet, then: Fleet | None, what_if: WhatIf) -> Vms:
    """Place VMs on a fleet as guests see it. then: the same with another kernel or parameters, None if not asked."""
    classes, later = _classes(now.hosts), {host.name: host for host in then.hosts} if then else {}
    hosts = {host.name: host for host in now.hosts}
    answers: dict[object, Placed] = {}
    found = []
    for vm in sorted(vms, key=lambda vm: (vm.name, vm.runs_on or "")):
        needed, as_host = _asked(vm, hosts), exposes(vm.cpu) is Exposes.AS_HOST
        key = (needed, exposes(vm.cpu), vm.runs_on if as_host else None)
        if key not in answers:
            placed = _place(vm, needed, classes)
            gains, loses = _features(vm, now.hosts, later) if as_host else _hosts(placed, needed, later)
            answers[key] = replace(placed, gains=gains, loses=loses)
        found.append(replace(answers[key], vm=vm))
    return Vms(now, tuple(found), what_if)


def _asked(vm: FleetVm, hosts: Mapping[str, FleetHost]) -> Needs:
    """Return what decides where a VM can go; if it takes what its host has, that is what guests get there."""
    host = hosts.get(vm.runs_on or "")
    if exposes(vm.cpu) is Exposes.AS_HOST and host is not None and host.kind is not None:
        has = tuple(name for name in FEATURES if host.has(name))
        return Needs("", bool(has), has)
    return needs("", vm.cpu)


def _classes(hosts: Sequence[FleetHost]) -> list[list[FleetHost]]:
    """Put hosts together of which the same is known, so that the cost follows setups."""
    found: dict[object, list[FleetHost]] = {}
    for host in hosts:
        found.setdefault((host.kind, host.is_forbidden, host.failed > 0), []).append(host)
    return list(found.values())


def _judge(needed: Needs, host: FleetHost) -> tuple[bool | None, tuple[str, ...]]:
    """Return whether a host can start a VM, and the features that speak against it, or of which it is not known."""
    if not needed.vmx:
        return True, ()
    if host.kind is None:
        return None, needed.asked
    missing = tuple(name for name in needed.asked if host.has(name) is False)
    if missing or host.is_forbidden:
        return False, missing
    unknown = (*(name for name in needed.asked if host.has(name) is None), *needed.unheard)
    return (None, unknown) if unknown else (True, ())


def _place(vm: FleetVm, needed: Needs, classes: Iterable[Sequence[FleetHost]]) -> Placed:
    takes: list[str] = []
    lacks: dict[str, tuple[str, ...]] = {}
    unknown: dict[str, tuple[str, ...]] = {}
    for alike in classes:
        answer, features = _judge(needed, alike[0])
        names = [host.name for host in alike]
        if answer:
            takes += names
        else:
            (lacks if answer is False else unknown).update(dict.fromkeys(names, features))
    return Placed(vm, tuple(sorted(takes)), dict(sorted(lacks.items())), dict(sorted(unknown.items())))


Change = tuple[tuple[str, ...], tuple[str, ...]]
"""What is gained and what is lost."""


def _features(vm: FleetVm, hosts: Sequence[FleetHost], later: Mapping[str, FleetHost]) -> Change:
    """Find the features that a VM with all that its host has would gain and lose; on any host, if not known which."""
    here = (host for host in hosts if host.name in later and vm.runs_on in (None, host.name))
    gains, loses = set[str](), set[str]()
    for before, after in {(host.kind, later[host.name].kind) for host in here}:
        if before and after:
            now, then = ({name for name, has in kind.features.items() if has} for kind in (before, after))
            gains |= then - now
            loses |= now - then
    return tuple(name for name in FEATURES if name in gains), tuple(name for name in FEATURES if name in loses)


def _hosts(placed: Placed, needed: Needs, later: Mapping[str, FleetHost]) -> Change:
    """Find the hosts that a VM would gain and lose."""
    answers = {name: _judge(needed, host)[0] for name, host in later.items()}
    gains = sorted(name for name, answer in answers.items() if answer and name in placed.lacks)
    loses = sorted(name for name, answer in answers.items() if answer is False and name in placed.hosts)
    return tuple(gains), tuple(loses)


def _cpu(cpu: Vm) -> str:
    """Name the CPU of a VM: its mode, or its model."""
    return cpu.mode or cpu.model or "QEMU's default"


def _short(hosts: Mapping[str, tuple[str, ...]]) -> str:
    """Name a few hosts, with what is missing on each; hosts of which the same is missing together."""
    by_features: dict[tuple[str, ...], list[str]] = {}
    for name, features in hosts.items():
        by_features.setdefault(features, []).append(name)
    return "; ".join(
        few(names) + (f" ({few(features, _MISSING_SHOWN)})" if features else " (VMX may not be used)")
        for features, names in by_features.items()
    )
