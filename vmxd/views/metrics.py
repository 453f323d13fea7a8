"""An Inventory as Prometheus metrics: vmx_*, which are about the hardware.

One series a feature; series for single CPUs only where CPUs differ, so that the count follows variety and not size.
Families are built anew for every scan: a label value that is gone leaves no series behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from vmxd.model.attribution import unlike
from vmxd.model.decode import Status
from vmxd.model.facts import Missing
from vmxd.model.inventory import Inventory
from vmxd.model.kvm import NestedStatus
from vmxd.model.offer import WORST_FIRST, taken
from vmxd.model.states import Presence
from vmxd.tables import FEATURES, msr_name

CPU_SERIES_MAX: Final = 64
"""CPUs that vmx_cpu_inconsistent names at most, the worst for KVM first; vmx_inconsistent_cpus counts them all."""

_CAPABILITIES: Final = "VMX capability MSRs 0x480 to 0x493, SDM Vol. 3D Appendix A"
_CONTROL: Final = "IA32_FEATURE_CONTROL (0x3a), SDM Vol. 3C Enabling and Entering VMX Operation"
_CPUS: Final = "/sys/devices/system/cpu and /dev/cpu/N/msr"
_PARAMETERS: Final = "/sys/module/kvm_intel/parameters"
_KVM: Final = "KVM_GET_MSR_FEATURE_INDEX_LIST and KVM_GET_MSRS on /dev/kvm"

FIELD_METRICS: Final = (
    ("vmcs_region_size", "vmx_vmcs_region_bytes", "Bytes to allocate for a VMCS.", "IA32_VMX_BASIC[44:32]"),
    ("vmcs_revision_id", "vmx_vmcs_revision", "VMCS revision identifier.", "IA32_VMX_BASIC[30:0]"),
    ("preemption_timer_rate", "vmx_preemption_timer_tsc_shift",
     "n: the VMX-preemption timer counts down once in 2^n TSC cycles.", "IA32_VMX_MISC[4:0]"),
    ("cr3_target_count", "vmx_cr3_targets", "Number of CR3-target values.", "IA32_VMX_MISC[24:16]"),
    ("msr_list_max", "vmx_msr_list_max",
     "Recommended maximum number of MSRs in a load or store list.", "IA32_VMX_MISC[27:25]"),
    ("vmcs_max_index", "vmx_vmcs_field_index_max", "Highest index of any VMCS field.", "IA32_VMX_VMCS_ENUM[9:1]"),
    ("hlat_max_prefix_size", "vmx_hlat_prefix_max", "Maximum HLAT prefix size.", "IA32_VMX_EPT_VPID_CAP[53:48]"),
)  # fmt: skip
"""Field name, metric name, meaning, source."""


@dataclass(frozen=True, slots=True, eq=False)
class HostCollector(Collector):
    """The vmx_* metrics of one inventory; features: those that have series of their own."""

    inventory: Inventory
    features: Collection[str] = frozenset(FEATURES)

    def collect(self) -> Iterator[Metric]:
        """Yield the families that have samples: one that says nothing is left out, HELP and all."""
        parts = (
            self._features,
            self._status,
            self._cpus,
            self._msrs,
            self._findings,
            self._identity,
            self._fields,
            self._kvm,
            self._nested,
            self._profiles,
        )
        return (family for part in parts for family in part() if family.samples)

    def _features(self) -> Iterator[Metric]:
        feature = gauge(
            "vmx_feature",
            "1 if software can use the VMX feature on every CPU, 0 if not on some; no series where no value is known.",
            _CAPABILITIES,
            ("feature",),
        )
        for name, cpus in self.inventory.features.items():
            if cpus.value is not None and name in self.features:
                feature.add_metric((name,), cpus.value)
        yield feature

        disagreeing = gauge(
            "vmx_feature_cpus",
            "Number of logical CPUs where a feature is present, absent or could not be read, if CPUs disagree on it.",
            _CAPABILITIES,
            ("feature", "state"),
        )
        for cpus in self.inventory.disagreeing:
            if cpus.name not in self.features:
                continue
            for presence in (Presence.PRESENT, Presence.ABSENT, Presence.FAILED):
                disagreeing.add_metric((cpus.name, presence.value), len(cpus.presence.get(presence, ())))
        yield disagreeing

    def _status(self) -> Iterator[Metric]:
        verdict = self.inventory.verdict
        if verdict.usable is not None:
            documentation = "1 if VMXON may be executed on every CPU that could be judged, 0 if not; none: no series."
            yield gauge("vmx_usable", documentation, _CONTROL, value=verdict.usable)

        status = gauge("vmx_status", "1 for the status that holds, 0 for the others.", _CONTROL, ("status",))
        for each in Status:
            status.add_metric((each.value,), each is verdict.status)
        yield status

        control = gauge("vmx_feature_control", "1 if a bit is set on every CPU, 0 if not on some.", _CONTROL, ("bit",))
        for name, is_set in self.inventory.feature_control.items():
            control.add_metric((name,), is_set)
        yield control

    def _cpus(self) -> Iterator[Metric]:
        cpus = gauge(
            "vmx_cpus",
            "Number of logical CPUs: online; scanned: read without a failure; failed: an MSR could not be read; "
            "excluded: left alone by --cpus or --skip-isolated.",
            _CPUS,
            ("state",),
        )
        cpus.add_metric(("online",), len(self.inventory.host.online))
        cpus.add_metric(("scanned",), len(self.inventory.scanned))
        cpus.add_metric(("failed",), len(self.inventory.failed))
        cpus.add_metric(("excluded",), len(self.inventory.host.excluded))
        yield cpus

    def _msrs(self) -> Iterator[Metric]:
        inventory = self.inventory
        documentation = "Number of distinct values that an MSR has over the CPUs; 1 is consistent."
        variants = gauge("vmx_msr_variants", documentation, _CAPABILITIES, ("msr",))
        values = info("vmx_msr", "Most common raw value of an MSR, 64 bits in hex.", _CAPABILITIES, ("msr",))
        for index, msr in inventory.msrs.items():
            variants.add_metric((msr_name(index),), len(msr.values))
            if isinstance(msr.most_common, int):
                values.add_metric((msr_name(index),), {"value": f"{msr.most_common:#018x}"})
        yield variants

        if inventory.comparable:
            documentation = "Number of logical CPUs that differ from the host's most common MSR values."
            yield gauge("vmx_inconsistent_cpus", documentation, _CAPABILITIES, value=len(inventory.inconsistent))

        documentation = (
            f"1 for each CPU and MSR that differs from the most common value, with what KVM does with it: refused, "
            f"unnoticed, irrelevant, or depends; {CPU_SERIES_MAX} CPUs at most, the worst first."
        )
        differing = gauge("vmx_cpu_inconsistent", documentation, _CAPABILITIES, ("cpu", "msr", "kvm"))
        verdicts = taken(inventory)
        worst = {
            cpu: min((verdicts[cpu, index] for index in of), key=WORST_FIRST.index)
            for cpu, of in inventory.inconsistent.items()
        }
        for cpu in sorted(sorted(worst, key=lambda cpu: WORST_FIRST.index(worst[cpu]))[:CPU_SERIES_MAX]):
            for index in inventory.inconsistent[cpu]:
                differing.add_metric((str(cpu), msr_name(index), verdicts[cpu, index].value), 1)
        yield differing
        yield values

    def _findings(self) -> Iterator[Metric]:
        documentation = (
            "Number of bits of an MSR, set on some CPU, that have no name and that no CPU of vmxd's table of real CPUs "
            "sets; only MSRs that have such bits."
        )
        unknown = gauge("vmx_unknown_bits", documentation, _CAPABILITIES, ("msr",))
        for index, mask in self.inventory.unknown.items():
            if mask:
                unknown.add_metric((msr_name(index),), mask.bit_count())
        yield unknown

        unlike_its_kind = gauge(
            "vmx_platform_differs",
            "1 for each feature that this host has and no CPU like it (present), or lacks and all CPUs like it have "
            "(absent), by vmxd's table of real CPUs; none: no series.",
            _CAPABILITIES,
            ("feature", "state"),
        )
        for each in unlike(self.inventory):
            if each.feature in self.features:
                state = Presence.PRESENT if each.has else Presence.ABSENT
                unlike_its_kind.add_metric((each.feature, state.value), 1)
        yield unlike_its_kind

        documentation = "Number of logical CPUs whose values break a rule that healthy CPUs obey; only broken rules."
        violations = gauge("vmx_sanity_violations", documentation, _CAPABILITIES, ("rule",))
        for violation in self.inventory.violations:
            violations.add_metric((violation.rule.name,), len(violation.cpus))
        yield violations

    def _profiles(self) -> Iterator[Metric]:
        missing = gauge(
            "vmx_profile_missing_features",
            "Number of features of a profile that are not on every CPU, 0 if the host fits; no series where one of "
            "them is not known on some CPU.",
            _CAPABILITIES,
            ("profile",),
        )
        for fit in self.inventory.profiles:
            if fit.missing is not None:
                missing.add_metric((fit.profile.name,), fit.missing)
        yield missing

    def _identity(self) -> Iterator[Metric]:
        identity = self.inventory.identity
        host = info(
            "vmx_host",
            "The host's CPUs; fingerprint: hash of the capability MSRs, equal where capabilities are equal.",
            "/proc/cpuinfo and VMX capability MSRs",
        )
        labels = {
            "vendor": identity.vendor,
            "model_name": identity.model_name,
            "signature": identity.signature,
            "microcode": identity.microcode,
            "hypervisor": "true" if identity.hypervisor else "false",
            "fingerprint": identity.fingerprint,
        }
        host.add_metric((), {name: value or "" for name, value in labels.items()})
        yield host

        kernel = info("vmx_kernel", "Release of the kernel that ran.", "/proc/sys/kernel/osrelease", ("release",))
        if self.inventory.host.kernel is not None:
            kernel.add_metric((self.inventory.host.kernel,), {})
        yield kernel

    def _fields(self) -> Iterator[Metric]:
        for field, name, documentation, source in FIELD_METRICS:
            if field in self.inventory.fields:
                yield gauge(name, documentation, source, value=self.inventory.fields[field])

    def _kvm(self) -> Iterator[Metric]:
        documentation = "Value of a parameter of kvm_intel, Y as 1 and N as 0; no series for other text."
        values = gauge("vmx_kvm_parameter", documentation, _PARAMETERS, ("parameter",))
        parameters = self.inventory.host.kvm_parameters
        for name, value in sorted(parameters.items()) if not isinstance(parameters, Missing) else ():
            if not isinstance(value, str):
                values.add_metric((name,), value)
        yield values

        documentation = "1 for each feature that every CPU has and KVM leaves off, and the parameter to change."
        unused = gauge("vmx_kvm_unused_feature", documentation, _PARAMETERS, ("feature", "parameter"))
        for each in self.inventory.kvm_unused:
            unused.add_metric((each.feature, each.parameter), 1)
        yield unused

    def _nested(self) -> Iterator[Metric]:
        nested = self.inventory.nested
        if nested is None:
            return
        documentation = "1 for what holds of VMX for guests, 0 for the others; failed: KVM could not be asked."
        status = gauge("vmx_nested_status", documentation, _KVM, ("status",))
        for each in NestedStatus:
            status.add_metric((each.value,), each is nested.status)
        yield status

        documentation = "1 if KVM offers the VMX feature to guests, 0 if not; no series where that is not known."
        feature = gauge("vmx_nested_feature", documentation, _KVM, ("feature",))
        for name, value in nested.values.items():
            if value is not None and name in self.features:
                feature.add_metric((name,), value)
        yield feature


def to_text(*collectors: Collector) -> bytes:
    """Write the Prometheus text format 0.0.4 of collectors, in their order."""
    return bytes(generate_text(_together(collectors)))


def to_openmetrics(*collectors: Collector) -> bytes:
    """Write the OpenMetrics 1.0 text format of collectors, in their order, "# EOF" included."""
    return bytes(generate_openmetrics(_together(collectors)))  # type: ignore[no-untyped-call]


def _together(collectors: tuple[Collector, ...]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return registry


def gauge(
    name: str, documentation: str, source: str, labels: tuple[str, ...] | None = None, value: float | None = None
) -> GaugeMetricFamily:
    """Make a gauge whose HELP names its source."""
    return GaugeMetricFamily(name, f"{documentation} Source: {source}.", value=value, labels=labels)


def info(name: str, documentation: str, source: str, labels: tuple[str, ...] = ()) -> InfoMetricFamily:
    """Make an info metric whose HELP names its source."""
    return InfoMetricFamily(name, f"{documentation} Source: {source}.", labels=labels)
