"""What was read from a host: plain facts, no judgement. host/ makes them; everything else takes them."""

from __future__ import annotations

import enum
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vmxd.cpulist import Range


@dataclass(frozen=True, slots=True)
class Failed:
    """A read that failed: the errno's name (tables.errnos says what it means)."""

    errno: str


Reading = int | Failed
"""One MSR on one CPU: its 64-bit value, or why there is none. Without a reading, it was not recorded there."""


class Span(NamedTuple):
    """Consecutive CPUs that gave the same reading."""

    first: int
    last: int
    reading: Reading


class Spans(Mapping[int, Reading]):
    """CPU -> reading of one MSR, ascending, kept by range: thousands of CPUs that agree cost as much as one.

    spans: ascending, without overlap, adjacent ones with different readings.
    """

    __slots__ = ("spans",)

    def __init__(self, spans: Iterable[Span]) -> None:
        """Take spans in any order. Raises ValueError, naming a CPU, if two overlap."""
        kept: list[Span] = []
        for span in sorted(spans, key=lambda span: span.first):
            before = kept[-1] if kept else None
            if before and span.first <= before.last:
                raise ValueError(f"CPU {span.first} has a value already")
            if before and before.last + 1 == span.first and before.reading == span.reading:
                kept[-1] = Span(before.first, span.last, span.reading)
            else:
                kept.append(span)
        self.spans = tuple(kept)

    @classmethod
    def of(cls, by_cpu: Mapping[int, Reading]) -> Spans:
        """Keep readings by range."""
        return by_cpu if isinstance(by_cpu, Spans) else cls(Span(cpu, cpu, by_cpu[cpu]) for cpu in by_cpu)

    def only(self, ranges: Iterable[Range]) -> Spans:
        """Select the readings of the CPUs in ranges, which are ascending and without overlap."""
        kept = []
        at = 0
        for first, last in ranges:
            while at < len(self.spans) and self.spans[at].last < first:
                at += 1
            while at < len(self.spans) and self.spans[at].first <= last:
                span = self.spans[at]
                kept.append(Span(max(first, span.first), min(last, span.last), span.reading))
                if span.last > last:
                    break
                at += 1
        return Spans(kept)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The CPUs that have a reading."""
        return tuple((span.first, span.last) for span in self.spans)

    def __getitem__(self, cpu: int) -> Reading:
        at = bisect(self.spans, cpu, key=lambda span: span.first) - 1
        if at < 0 or self.spans[at].last < cpu:
            raise KeyError(cpu)
        return self.spans[at].reading

    def __iter__(self) -> Iterator[int]:
        return (cpu for span in self.spans for cpu in range(span.first, span.last + 1))

    def __len__(self) -> int:
        return sum(span.last - span.first + 1 for span in self.spans)


class Missing(enum.Enum):
    """Why an MSR has no value although nothing failed."""

    ABSENT = "absent"
    """The CPU enumerates that it does not exist."""
    NOT_RECORDED = "not_recorded"


MsrState = int | Failed | Missing
"""One MSR on one CPU as understood: value, failed, absent or not recorded."""


_FEAT_CTL_VENDORS: Final = frozenset(("GenuineIntel", "CentaurHauls", "Shanghai"))


@dataclass(frozen=True, slots=True)
class Cpu:
    """What /proc/cpuinfo says of one logical CPU; None where it has no such line."""

    vendor: str | None = None
    family: int | None = None
    model: int | None = None
    stepping: int | None = None
    model_name: str | None = None
    microcode: str | None = None
    flags: frozenset[str] = frozenset()
    """The words of the line "flags", one object for all CPUs with that line; empty if there is none."""
    package: int | None = None
    """The socket: "physical id", which is sysfs' physical_package_id."""
    phys_bits: int | None = None
    virt_bits: int | None = None
    """Widths of physical and linear addresses, from the line "address sizes"."""

    @property
    def vmx(self) -> bool:
        """Whether Linux lists the flag "vmx"."""
        return "vmx" in self.flags

    @property
    def hypervisor(self) -> bool:
        """Whether CPUID says that this CPU is a guest's."""
        return "hypervisor" in self.flags

    @property
    def vmx_flag(self) -> bool | None:
        """What the flag "vmx" says of CPUID.1:ECX[5]: True, False, or None where its absence says nothing.

        On CPUs of the makers that have VMX, Linux clears the flag where IA32_FEATURE_CONTROL forbids VMX
        (kernel/cpu/feat_ctl.c). In a guest it is what the hypervisor gave.
        """
        if self.vmx:
            return True
        return None if self.vendor in _FEAT_CTL_VENDORS and not self.hypervisor else False

    @property
    def feature_control(self) -> bool | None:
        """Whether the CPU has IA32_FEATURE_CONTROL: False of makers whose CPUs never have, else None."""
        return None if self.vendor is None or self.vendor in _FEAT_CTL_VENDORS else False

    @property
    def signature(self) -> str | None:
        """family-model-stepping in hex, as Linux names microcode files: 06-55-04."""
        if self.family is None or self.model is None or self.stepping is None:
            return None
        return f"{self.family:02x}-{self.model:02x}-{self.stepping:02x}"


Parameter = bool | int | str
"""A parameter of a kernel module: Y and N, a number, or other text."""


@dataclass(frozen=True, slots=True)
class KvmMsrs:
    """What KVM says of its feature MSRs, those that it can give to guests (Linux Documentation/virt/kvm/api.rst).

    listed: every index of KVM_GET_MSR_FEATURE_INDEX_LIST, ascending.
    readings: index -> what KVM_GET_MSRS answered, for the VMX capability MSRs among them.
    """

    listed: tuple[int, ...]
    readings: Mapping[int, Reading]


class Source(enum.Enum):
    """Where the MSR values come from."""

    LIVE = "live"
    RECORDING = "recording"


@dataclass(frozen=True, slots=True)
class Host:
    """One host as read.

    root: the directory it was read from.
    read_at: Unix time in seconds when its MSRs were read.
    cpus: identity by CPU number, online CPUs only.
    online, present, isolated: CPU numbers, ascending, from sys/devices/system/cpu.
    excluded: online CPUs that were left alone (--cpus, --skip-isolated).
    readings: MSR index -> CPU number -> reading.
    core_types: on a hybrid part, CPU number -> the kernel's name of its kind of core: core, atom or lowpower.
    kernel: release of the running kernel, None where not recorded.
    name: host name, None where not recorded.
    same_boot: whether this is a recording of the machine that reads it, made since that has booted.
    kvm_parameters: those of the module kvm_intel by name; absent where it is not loaded.
    kvm_msrs: what KVM gives to guests, why it could not be asked, or that it was not.
    notes: what the reader found odd, one sentence each.
    """

    root: str
    source: Source
    read_at: float
    cpus: Mapping[int, Cpu]
    online: tuple[int, ...]
    present: tuple[int, ...]
    isolated: tuple[int, ...]
    excluded: tuple[int, ...]
    readings: Mapping[int, Mapping[int, Reading]]
    core_types: Mapping[int, str] = field(default_factory=dict)
    kernel: str | None = None
    name: str | None = None
    same_boot: bool = False
    kvm_parameters: Mapping[str, Parameter] | Missing = Missing.NOT_RECORDED
    kvm_msrs: KvmMsrs | Failed | Missing = Missing.NOT_RECORDED
    notes: tuple[str, ...] = ()

    @property
    def offline(self) -> tuple[int, ...]:
        """CPUs that are present but not online."""
        online = set(self.online)
        return tuple(cpu for cpu in self.present if cpu not in online)
