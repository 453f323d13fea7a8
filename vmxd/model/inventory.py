"""What a host can do: decode, compare and checks put together, once per scan. Pure; every view takes an Inventory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmxd.model.checks import RULES, Rule, broken_rules
from vmxd.model.compare import Group, MsrValues, compare_msrs, cpus_of, group_readings, inconsistent_cpus
from vmxd.model.decode import Decoded, Presence, decode, fields_of
from vmxd.model.facts import Host
from vmxd.model.kvm import NestedView, UnusedFeature, judge_parameters, nested_view
from vmxd.model.profiles import Fit, Profile, fit
from vmxd.model.status import Verdict, judge
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX
from vmxd.tables.rows import Flag


@dataclass(frozen=True, slots=True)
class FeatureCpus:
    """One feature over the scanned CPUs: which CPUs stand where, ascending; a presence that no CPU has is left out."""

    name: str
    cpus: Mapping[Presence, tuple[int, ...]]

    @property
    def value(self) -> bool | None:
        """True: every CPU whose value is known has it. False: at least one has it not. None: known on no CPU."""
        if Presence.ABSENT in self.cpus:
            return False
        return True if Presence.PRESENT in self.cpus else None

    @property
    def everywhere(self) -> bool | None:
        """As value, but None also where some CPUs have it and of others it is not known."""
        return self.value if self.value is False or self.cpus.keys() == {Presence.PRESENT} else None

    def count(self, presence: Presence) -> int:
        """Return how many CPUs stand there."""
        return len(self.cpus.get(presence, ()))


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
    feature_control: bits of IA32_FEATURE_CONTROL, true where set on every CPU; empty where known on none. A bit of some
    models is there only if it is set on some CPU.
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
    features: Mapping[str, FeatureCpus]
    fields: Mapping[str, int]
    feature_control: Mapping[str, bool]
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
    def differing(self) -> tuple[FeatureCpus, ...]:
        """The features that some CPUs have and others have not."""
        both = {Presence.PRESENT, Presence.ABSENT}
        return tuple(feature for feature in self.features.values() if both <= feature.cpus.keys())

    @property
    def disagreeing(self) -> tuple[FeatureCpus, ...]:
        """The features on which CPUs disagree: present here, absent there, or failed where the CPU could be read."""
        readable = [group.decoded.features for group in self.groups if group.decoded.readable]
        unrecorded = {Presence.NOT_RECORDED}
        return tuple(
            feature
            for name, feature in self.features.items()
            if len({each[name] for each in readable} - unrecorded) > 1
        )


def take_inventory(host: Host, profiles: Iterable[Profile] = ()) -> Inventory:
    """Decode, compare and check what was read from a host, and hold it against profiles."""
    groups = tuple(Group(cpus, flag, readings, decode(flag, readings)) for cpus, flag, readings in group_readings(host))
    msrs = compare_msrs(groups)
    verdict = judge(groups, in_guest=any(cpu.hypervisor for cpu in host.cpus.values()))
    features = {name: _feature(name, groups) for name in FEATURES}
    kvm_unused, kvm_doubted = judge_parameters(
        host.kvm_parameters,
        has=lambda name: features[name].value,
        signatures={cpu.signature for cpu in host.cpus.values()},
    )
    everywhere = {name: feature.everywhere for name, feature in features.items()}
    return Inventory(
        host=host,
        identity=_identity(host, groups),
        verdict=verdict,
        groups=groups,
        scanned=cpus_of(group for group in groups if group.decoded.readable and not group.decoded.failed),
        failed=cpus_of(group for group in groups if group.decoded.failed),
        msrs=msrs,
        inconsistent=inconsistent_cpus(msrs.values()),
        features=features,
        fields=_fields(msrs),
        feature_control=_feature_control(groups),
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


def _feature(name: str, groups: Sequence[Group]) -> FeatureCpus:
    cpus: dict[Presence, list[int]] = {}
    for group in groups:
        cpus.setdefault(group.decoded.features[name], []).extend(group.cpus)
    return FeatureCpus(name, {presence: tuple(sorted(numbers)) for presence, numbers in cpus.items()})


def _fields(msrs: Mapping[int, MsrValues]) -> dict[str, int]:
    fields: dict[str, int] = {}
    for index, msr in msrs.items():
        value = msr.most_common
        if isinstance(value, int) and index in MSR_BY_INDEX:
            fields |= fields_of(MSR_BY_INDEX[index], value)
    return fields


def _feature_control(groups: Sequence[Group]) -> dict[str, bool]:
    values = [state for group in groups if isinstance(state := group.decoded.msrs[IA32_FEATURE_CONTROL], int)]
    flags = [row for row in MSR_BY_INDEX[IA32_FEATURE_CONTROL].rows if isinstance(row, Flag)]
    flags = [row for row in flags if not row.models or any(value >> row.bit & 1 for value in values)]
    return {row.name: all(value >> row.bit & 1 for value in values) for row in flags} if values else {}


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
