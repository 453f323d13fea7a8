"""What a host can do: decode, compare and checks put together, once per scan. Pure; every view takes an Inventory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.model.checks import RULES, Rule, broken_rules
from vmxd.model.compare import Group, MsrValues, compare_msrs, cpus_of, group_cpus, inconsistent_cpus
from vmxd.model.decode import Decoded, feature_here, fields_of, firmware_here
from vmxd.model.facts import Failed, Host, Missing, MsrState
from vmxd.model.kvm import NestedView, UnusedFeature, judge_parameters, nested_view
from vmxd.model.profiles import Fit, Profile, fit
from vmxd.model.states import CpuStates, Presence, by_cpus
from vmxd.model.status import Verdict, judge
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX
from vmxd.tables.rows import Flag

_SVM_VENDORS: Final = ("AuthenticAMD", "HygonGenuine")


@dataclass(frozen=True, slots=True)
class Layers:
    """One feature in each layer.

    hardware: over the CPUs. kvm: the parameter with which KVM leaves it off although every CPU has it, else None.
    guest: whether KVM offers it to guests; None if that is not known, or was not asked.
    """

    hardware: CpuStates
    kvm: str | None
    guest: bool | None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a host is; None where not recorded. Where CPUs differ, each distinct value, joined by commas.

    signature: family-model-stepping in hex, 06-55-04. fingerprint: 12 hex digits of a hash over the known capability
    MSRs (not IA32_FEATURE_CONTROL), whatever the number of CPUs; None where no CPU could be read without a failure.
    """

    vendor: str | None
    model_name: str | None
    signature: str | None
    microcode: str | None
    hypervisor: bool
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that CPUs break."""

    rule: Rule
    cpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that is known of one host.

    verdict: may VMX be used, and why.
    groups: scanned CPUs by equal readings, the group of the lowest CPU first.
    scanned, failed: CPUs of which something is known and no read failed; CPUs on which one did.
    msrs: by index, those with a value on some CPU. inconsistent: CPUs that differ from the most common values, with the
    MSRs.
    features: all of them, by name. fields: numbers, those of the most common values.
    firmware: the bits of IA32_FEATURE_CONTROL, by name; empty if no CPU's value is known. A bit of some models is there
    only if it is set on some CPU.
    unknown: by MSR index, the mask of bits that no row explains and that are set on some CPU.
    kvm_unused: features that every CPU has and KVM leaves off. kvm_doubted: parameters that may leave off some.
    nested: what KVM offers to guests; None: not asked.
    profiles: how those that were asked for fit the hardware.
    """

    host: Host
    identity: Identity
    verdict: Verdict
    groups: tuple[Group, ...]
    scanned: tuple[int, ...]
    failed: tuple[int, ...]
    msrs: Mapping[int, MsrValues]
    inconsistent: Mapping[int, tuple[int, ...]]
    features: Mapping[str, CpuStates]
    fields: Mapping[str, int]
    firmware: Mapping[str, CpuStates]
    unknown: Mapping[int, int]
    violations: tuple[Violation, ...]
    kvm_unused: tuple[UnusedFeature, ...]
    kvm_doubted: tuple[str, ...]
    nested: NestedView | None
    profiles: tuple[Fit, ...]

    @property
    def comparable(self) -> tuple[int, ...]:
        """The CPUs that can be compared: those of which anything is known."""
        return cpus_of(group for group in self.groups if group.decoded.readable)

    @property
    def failures(self) -> Counter[str]:
        """How many reads of an MSR that exists, or may, failed, over all CPUs, by errno's name."""
        counts: Counter[str] = Counter()
        for group in self.groups:
            for state in group.decoded.failed.values():
                counts[state.errno] += len(group.cpus)
        return counts

    @property
    def differing(self) -> tuple[CpuStates, ...]:
        """The features that some CPUs have and others have not."""
        both = {Presence.PRESENT, Presence.ABSENT}
        return tuple(each for each in self.features.values() if len(each.cpus) > 1 and both <= each.presence.keys())

    @property
    def disagreeing(self) -> tuple[CpuStates, ...]:
        """The features on which CPUs disagree: present here, absent there, or failed on a CPU that could be read."""
        readable = [group.decoded.features for group in self.groups if group.decoded.readable]
        unrecorded = {Presence.NOT_RECORDED}
        return tuple(
            feature
            for name, feature in self.features.items()
            if len(feature.cpus) > 1 and len({each[name] for each in readable} - unrecorded) > 1
        )

    @property
    def feature_control(self) -> dict[str, bool]:
        """The bits of IA32_FEATURE_CONTROL: true if set on every CPU."""
        return {name: bit.value for name, bit in self.firmware.items() if bit.value is not None}

    def msr_states(self, index: int) -> dict[MsrState, tuple[int, ...]]:
        """Map each state of an MSR to its CPUs: values and absence, then failures and what was not recorded."""
        states = by_cpus((group.decoded.msrs.get(index, Missing.NOT_RECORDED), group.cpus) for group in self.groups)
        last = {state: isinstance(state, Failed) or state is Missing.NOT_RECORDED for state in states}
        return {state: states[state] for state in sorted(states, key=last.__getitem__)}

    def layers(self, name: str) -> Layers:
        """Collect what is known of a feature, layer by layer."""
        parameter = next((each.parameter for each in self.kvm_unused if each.feature == name), None)
        return Layers(self.features[name], parameter, None if self.nested is None else self.nested.values[name])


def take_inventory(host: Host, profiles: Iterable[Profile] = ()) -> Inventory:
    """Decode, compare and check what was read from a host, and hold it against profiles."""
    groups = group_cpus(host)
    msrs = compare_msrs(groups)
    features = {
        name: CpuStates(name, by_cpus((feature_here(feature, group.decoded), group.cpus) for group in groups))
        for name, feature in FEATURES.items()
    }
    kvm_unused, kvm_doubted = judge_parameters(
        host.kvm_parameters,
        has=lambda name: features[name].value,
        signatures={cpu.signature for cpu in host.cpus.values()},
    )
    everywhere = {name: feature.everywhere for name, feature in features.items()}
    return Inventory(
        host=host,
        identity=_identity(host, groups),
        verdict=judge(
            groups,
            in_guest=any(cpu.hypervisor for cpu in host.cpus.values()),
            is_svm=any(cpu.vendor in _SVM_VENDORS for cpu in host.cpus.values()),
        ),
        groups=groups,
        scanned=cpus_of(group for group in groups if group.decoded.readable and not group.decoded.failed),
        failed=cpus_of(group for group in groups if group.decoded.failed),
        msrs=msrs,
        inconsistent=inconsistent_cpus(msrs.values()),
        features=features,
        fields=_fields(msrs),
        firmware=_firmware(groups),
        unknown=_unknown(groups),
        violations=_violations(groups),
        kvm_unused=kvm_unused,
        kvm_doubted=kvm_doubted,
        nested=nested_view(host.kvm_msrs),
        profiles=tuple(fit(profile, everywhere) for profile in profiles),
    )


def _identity(host: Host, groups: Sequence[Group]) -> Identity:
    cpus = dict.fromkeys(host.cpus[number] for number in sorted(host.cpus))  # distinct ones, in order
    return Identity(
        vendor=_joined(cpu.vendor for cpu in cpus),
        model_name=_joined(cpu.model_name for cpu in cpus),
        signature=_joined(cpu.signature for cpu in cpus),
        microcode=_joined(cpu.microcode for cpu in cpus),
        hypervisor=any(cpu.hypervisor for cpu in cpus),
        fingerprint=_fingerprint(groups),
    )


def _joined(values: Iterable[str | None]) -> str | None:
    return ",".join(dict.fromkeys(value for value in values if value)) or None


def _fingerprint(groups: Sequence[Group]) -> str | None:
    """Hash the distinct sets of known capability values of the CPUs on which no read of one failed."""
    complete = (group.decoded for group in groups if not group.decoded.failed.keys() - {IA32_FEATURE_CONTROL})
    texts = {_values_text(decoded) for decoded in complete}
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:12] if any(texts) else None


def _values_text(decoded: Decoded) -> str:
    values = ((index, decoded.msrs[index]) for index in MSR_BY_INDEX if index != IA32_FEATURE_CONTROL)
    return " ".join(f"{index:x}={value:#x}" for index, value in values if isinstance(value, int))


def _fields(msrs: Mapping[int, MsrValues]) -> dict[str, int]:
    fields: dict[str, int] = {}
    for index, msr in msrs.items():
        value = msr.most_common
        if isinstance(value, int) and index in MSR_BY_INDEX:
            fields |= fields_of(MSR_BY_INDEX[index], value)
    return fields


def _firmware(groups: Sequence[Group]) -> dict[str, CpuStates]:
    values = [state for group in groups if isinstance(state := group.decoded.msrs[IA32_FEATURE_CONTROL], int)]
    flags = [row for row in MSR_BY_INDEX[IA32_FEATURE_CONTROL].rows if values and isinstance(row, Flag)]
    return {
        row.name: CpuStates(row.name, by_cpus((firmware_here(row, group.decoded), group.cpus) for group in groups))
        for row in flags
        if not row.models or any(value >> row.bit & 1 for value in values)
    }


def _unknown(groups: Sequence[Group]) -> dict[int, int]:
    unknown: dict[int, int] = {}
    for group in groups:
        for index, mask in group.decoded.unknown.items():
            unknown[index] = unknown.get(index, 0) | mask
    return dict(sorted(unknown.items()))


def _violations(groups: Sequence[Group]) -> tuple[Violation, ...]:
    broken: dict[Rule, list[int]] = {}
    for group in groups:
        for rule in broken_rules(group):
            broken.setdefault(rule, []).extend(group.cpus)
    return tuple(Violation(rule, tuple(sorted(broken[rule]))) for rule in RULES if rule in broken)
