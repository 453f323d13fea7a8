"""What is understood of a pasted text: one class a kind of finding. Pure data."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.tables.features import Feature
from vmxd.tables.find import find_features
from vmxd.tables.rows import Msr

VMX: Final = "vmx"
"""CPUID.1:ECX[5], as libvirt and QEMU call it."""


@dataclass(frozen=True, slots=True)
class MsrValue:
    """An MSR's 64-bit value. cpus: of which CPUs the text says so, () if it does not say."""

    msr: Msr
    value: int
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MsrValues:
    """MSRs with their values, in the order they came in.

    strange: names of MSRs that the tables do not have. too_long: MSRs whose value has more than 64 bits.
    """

    values: tuple[MsrValue, ...]
    strange: tuple[str, ...] = ()
    too_long: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MsrBits:
    """Some bits of an MSR, as rdmsr -f prints them: value of the bits high to low; of the others nothing is known."""

    msr: Msr
    high: int
    low: int
    value: int
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """A feature as somebody else named it; None if it is no VMX feature that the tables have."""

    text: str
    feature: Feature | None


class By(enum.Enum):
    """Who found features missing."""

    KVM = "kvm"
    """libvirt or QEMU, with KVM: what KVM gives here is the matter."""
    TCG = "tcg"
    """QEMU without KVM: no host lacks anything."""
    ITSELF = "itself"
    """QEMU: -cpu asks for a feature without another that it takes."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """Features that libvirt or QEMU found missing, and those that libvirt found too many."""

    missing: tuple[Named, ...]
    extra: tuple[Named, ...] = ()
    by: By = By.KVM


@dataclass(frozen=True, slots=True)
class UnknownNames:
    """Names that a QEMU or libvirt does not know: of features, and of CPU models."""

    features: tuple[Named, ...]
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetRefused:
    """A value of a capability MSR that QEMU wanted a guest to have, and KVM refused."""

    values: tuple[MsrValue, ...]


@dataclass(frozen=True, slots=True)
class VmxFlags:
    """The distinct "vmx flags" lines of /proc/cpuinfo."""

    lines: tuple[tuple[Named, ...], ...]


class Of(enum.Enum):
    """Whose list of features it is."""

    CPU = "cpu"
    GUESTS = "guests"
    """What KVM gives to guests of a host, as libvirt or KubeVirt say."""
    VMCS = "vmcs"
    """The controls that are on for one guest."""


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features that a program lists of a machine, by the program's name."""

    program: str
    of: Of
    present: tuple[Named, ...]
    absent: tuple[Named, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlsRefused:
    """Controls that a hypervisor asked an MSR for, and what it got of them: masks of the VMCS field's bits.

    program: ACRN; or Xen, on a CPU that has other controls than the one that came first.
    """

    msr: Msr
    asked: int
    got: int
    program: str = "ACRN"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """32 bits of vmcs_config at an offset in bytes: of the CPU that KVM took as reference, and of this one."""

    offset: int
    reference: int
    value: int


@dataclass(frozen=True, slots=True)
class Refused:
    """CPUs that kvm_intel refuses since they differ, each with what does; nothing where the kernel is silent."""

    cpus: Mapping[int, tuple[Mismatch, ...]]


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a kernel or hypervisor, told once: kind is its key in kernel_log.MESSAGES.

    cpus: those that it names. details: what else it says that differs, as text.
    """

    kind: str
    cpus: tuple[int, ...] = ()
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vm:
    """The CPU of a VM.

    mode: libvirt's host-passthrough, host-model or maximum, "" for a named model. model: its name, "" if none.
    require, disable: features by policy (require and force; disable and forbid). optional: wanted if they are there.
    """

    mode: str
    model: str
    require: tuple[Named, ...]
    disable: tuple[Named, ...] = ()
    optional: tuple[Named, ...] = ()


Finding = (
    MsrValues
    | MsrBits
    | Lacking
    | UnknownNames
    | SetRefused
    | VmxFlags
    | FeatureSet
    | ControlsRefused
    | Refused
    | Message
    | Vm
)


def named(name: str) -> Named:
    """Look a name up as somebody else's: a name of several features is none."""
    found = find_features(name)
    return Named(name, found[0] if len(found) == 1 else None)


def distinct(names: Iterable[str]) -> tuple[Named, ...]:
    """Look names up, each once, in their order."""
    return tuple(named(name) for name in dict.fromkeys(names))
