"""Why hosts lack features, and what can bring them, as far as it is established. Pure.

For guests that is kernel and parameters of kvm_intel; for the hardware what hosts of one CPU model have elsewhere in
the fleet, and the table of real CPUs.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

from vmxd.fleet.model import Cpu, FleetHost
from vmxd.model.attribution import Attribution, Cause, attribute
from vmxd.model.guest import Why
from vmxd.model.platform import Platform, describe
from vmxd.tables import FEATURES

EITHER: Final = "configuration or microcode"
"""What brings a feature that hosts of one CPU model have elsewhere, if their microcode does not tell."""
_CACHED: Final = 1 << 14
_BY_KVM: Final = {Why.PARAMETER: "parameter", Why.NESTED: "parameter", Why.KERNEL: "kernel"}


class Identity(NamedTuple):
    """What tells CPUs of one model from those of another."""

    signature: str
    model_name: str


def identity(host: FleetHost) -> Identity | None:
    """Name a host's CPU model; None if it is not known."""
    return Identity(host.signature, host.model_name) if host.signature and host.model_name else None


def platform_of(host: FleetHost) -> Platform | None:
    """Describe a host's CPUs as a row of the table of real CPUs would; None if they are not known."""
    return _described(host.cpu)


def why(host: FleetHost, feature: str) -> Attribution | None:
    """Attribute a feature that a host's hardware lacks; None if its CPU is not known."""
    return None if host.status == "no_vmx" else _attributed(feature, host.cpu)


@lru_cache(maxsize=_CACHED)
def _described(cpu: Cpu) -> Platform | None:
    return describe(cpu.vendor, cpu.signature, cpu.model_name, cpu.microcode, hypervisor=cpu.hypervisor)


@lru_cache(maxsize=_CACHED)
def _attributed(feature: str, cpu: Cpu) -> Attribution | None:
    platform = _described(cpu)
    return None if platform is None else attribute(feature, platform)


def remedy(host: FleetHost, features: Collection[str], elsewhere: Collection[str | None]) -> str | None:
    """Say what can bring all of some features that a host lacks; None if nothing is known that can.

    elsewhere: microcode revisions of hosts with the same CPU model that have all of them.
    """
    found = {_remedy(host, feature, elsewhere) for feature in features}
    return None if None in found else " and ".join(sorted(filter(None, found)))


def _remedy(host: FleetHost, feature: str, elsewhere: Collection[str | None]) -> str | None:
    needed: tuple[str, ...] = (feature,)
    if host.offer is not None:
        reason = host.offer.reasons.get(feature)
        if reason is None or reason.why is not Why.HARDWARE:
            return _BY_KVM.get(reason.why) if reason else None
        needed = tuple(name for name in reason.names if name in FEATURES)
    if elsewhere:
        return _by_model(host.microcode, elsewhere)
    causes = {found.cause if (found := why(host, name)) else Cause.NOT_KNOWN for name in needed}
    if not needed or not all(cause.fixable for cause in causes):
        return None
    return " and ".join(sorted(cause.value for cause in causes))


def _by_model(microcode: str | None, elsewhere: Collection[str | None]) -> str:
    if microcode is not None and microcode in elsewhere:
        return Cause.CONFIGURATION.value
    here, *there = (_revision(each) for each in (microcode, *elsewhere))
    is_later = here is not None and all(each is not None and each > here for each in there)
    return Cause.MICROCODE.value if is_later else EITHER


def _revision(microcode: str | None) -> int | None:
    try:
        return int(microcode or "", 16)
    except ValueError:
        return None
