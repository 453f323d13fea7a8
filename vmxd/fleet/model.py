"""A fleet as every source of it gives it and every question takes it: plain facts, hosts by kind. Pure.

Cost follows kinds, not hosts: hosts with equal capability MSRs share one Kind, which is decoded once; with equal kernel
and parameters too, they share one Setup, from which it follows what KVM gives to a VM there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vmxd.model.answers import View
from vmxd.model.offer import Offer
from vmxd.views.verdict_words import failed_sentence

NOT_USABLE: Final = frozenset(("no_vmx", "disabled_by_firmware", "unlocked", "smx_only"))
"""Statuses that say for certain that software cannot use VMX."""

UNDECIDED: Final = frozenset((None, "unreadable", "unknown"))
"""Statuses whose sentence says why no feature is known, if none is."""
UNREAD: Final = "no capability MSR of it has a value"
"""Why no feature is known of a host with another status."""

Parameters = tuple[tuple[str, str], ...]
"""Parameters of kvm_intel by name, sorted, each a number; Y is 1 and N is 0."""


def parameters_of(values: Mapping[str, float]) -> Parameters:
    """Return the parameters that have these numbers."""
    return tuple((name, number_text(values[name])) for name in sorted(values))


def number_text(value: float) -> str:
    """Write a number as sysfs does, where it is whole."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:g}"


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What is known of hosts whose capability MSRs are equal.

    fingerprint: that of vmx_host_info; None for hosts without VMX, and where no CPU could be read without a failure.
    features: as vmx_feature, True where every CPU whose value is known has it, False where one has it not. One that
    is known on no CPU is not in it.
    values: by MSR index, the most common value, of the capability MSRs (not IA32_FEATURE_CONTROL).
    unknown: by MSR index, the mask of its set bits that no row explains.
    differing: features that some CPUs have and others have not.
    """

    fingerprint: str | None
    features: Mapping[str, bool]
    values: Mapping[int, int] = field(default_factory=dict)
    unknown: Mapping[int, int] = field(default_factory=dict)
    differing: tuple[str, ...] = ()


class Cpu(NamedTuple):
    """What tells a host's CPUs from others, as far as that decides why they lack a feature. None: not known."""

    vendor: str | None
    signature: str | None
    model_name: str | None
    microcode: str | None
    hypervisor: bool


class Setup(NamedTuple):
    """What decides what KVM gives to a VM: equal setups, equal VMs. None: not known."""

    kind: Kind | None
    kernel: str | None
    parameters: Parameters | None


@dataclass(frozen=True, slots=True)
class FleetHost:
    """One host of a fleet.

    name: its instance label, or the directory of its recording. labels: those of its target that hosts can be grouped
    by; of a recording, none.
    status: as vmx_status; None where nothing is known, and then reason says why in one sentence.
    vendor to kernel: None where not known. inconsistent: how many CPUs differ from the most common values.
    failed: how many CPUs have MSRs that could not be read.
    kind: its features and values; None where nothing is known.
    nested: what KVM offers to guests, of the features that were asked for, by name; one of which that is not known is
    not in it. None where that was not asked for, or KVM could not be asked.
    parameters: of kvm_intel, those that are numbers; None where not known, or not asked for.
    offer: what a VM gets there, where kind is about that (guests.py); None where it is about the hardware.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    status: str | None = None
    reason: str | None = None
    vendor: str | None = None
    model_name: str | None = None
    signature: str | None = None
    microcode: str | None = None
    kernel: str | None = None
    hypervisor: bool = False
    inconsistent: int = 0
    failed: int = 0
    kind: Kind | None = None
    nested: Mapping[str, bool] | None = field(default=None, hash=False)
    parameters: Parameters | None = None
    offer: Offer | None = field(default=None, hash=False, compare=False)

    @property
    def failure(self) -> str:
        """Say what could not be read."""
        return failed_sentence(self.failed)

    @property
    def fingerprint(self) -> str | None:
        """That of its kind."""
        return self.kind.fingerprint if self.kind else None

    @property
    def differing(self) -> tuple[str, ...]:
        """The features that some CPUs have and others have not."""
        return self.kind.differing if self.kind else ()

    @property
    def cpu(self) -> Cpu:
        """What tells its CPUs from others."""
        return Cpu(self.vendor, self.signature, self.model_name, self.microcode, self.hypervisor)

    @property
    def evidence(self) -> tuple[Kind | None, bool]:
        """What decides has(): hosts of equal evidence have equal answers."""
        return self.kind, bool(self.failed)

    @property
    def setup(self) -> Setup:
        """What decides what KVM gives to a VM."""
        return Setup(self.kind, self.kernel, self.parameters)

    @property
    def usable(self) -> bool | None:
        """Whether software may use VMX; None if not known."""
        return False if self.status in NOT_USABLE else True if self.status == "usable" else None

    @property
    def is_forbidden(self) -> bool:
        """Whether there is VMX that firmware does not allow, or not to everybody."""
        return self.usable is False and self.status != "no_vmx"

    def has(self, feature: str) -> bool | None:
        """Whether every CPU has a feature; None if that is not known, on some CPU that failed for instance."""
        value = self.kind.features.get(feature) if self.kind else None
        return None if value and self.failed else value


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts, sorted by name.

    source: what they were read from, for people. taken_at: Unix time in seconds.
    warnings: why hosts may be missing, one sentence each; the source answered in part only.
    view: whose features its hosts have: the hardware's, or a VM's.
    """

    hosts: tuple[FleetHost, ...]
    source: str
    taken_at: float
    warnings: tuple[str, ...] = ()
    view: View = View.HARDWARE

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of its hosts, in the order of their first host."""
        return tuple(dict.fromkeys(host.kind for host in self.hosts if host.kind))
