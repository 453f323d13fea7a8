"""A baseline as a guest's CPU: QEMU's -cpu, libvirt's <cpu>, and the CPU models whose VMX features it has. Pure.

A guest gets what KVM gives it, by a property vmx-* of QEMU each, and the baseline is of that. What a model wants and
the baseline lacks is turned off; what the baseline has beyond the model is turned on where it needs no CPUID flag that
the model may lack. QEMU makes the rest of a guest's VMX MSRs (numbers, EPT memory types) from what KVM says, which
are constants of KVM (kvm_msr_entry_add_vmx in target/i386/kvm/kvm.c, nested_vmx_setup_misc_data in nested.c).
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from vmxd.errors import UsageError
from vmxd.fleet.answer import Answer
from vmxd.fleet.words import hosts_text, some
from vmxd.model.profiles import QEMU_PREFIX, cpu_model_profile
from vmxd.tables import FEATURES
from vmxd.tables.cpu_models import CPU_MODELS, CpuModel, features_of, find_cpu_model
from vmxd.tables.qemu_names import Version, knows
from vmxd.views.lines import Line, Tone

if TYPE_CHECKING:
    from vmxd.fleet.alike import Alike
    from vmxd.fleet.baseline import Baseline


@dataclass(frozen=True, slots=True)
class Property:
    """A property vmx-* of QEMU: the features that it sets, several where QEMU has one name for several bits.

    libvirt: libvirt's name of it, None where it has none.
    """

    name: str
    features: tuple[str, ...]
    libvirt: str | None


def _properties() -> Iterator[Property]:
    found: dict[str, list[str]] = {}
    for name, feature in FEATURES.items():
        if feature.row.qemu:
            found.setdefault(feature.row.qemu, []).append(name)
    for qemu, names in found.items():
        yield Property(qemu, tuple(names), FEATURES[names[0]].row.libvirt)


_NEEDS_CPUID: Final = """
    rdtscp rdrand_exiting invpcid encls_exiting rdseed_exiting xsaves usr_wait_pause exit_host_addr_space_size
    exit_clear_bndcfgs entry_ia32e_mode entry_load_bndcfgs exit_load_cet entry_load_cet
"""
NEEDS_CPUID: Final = frozenset(_NEEDS_CPUID.split())
"""What a guest gets only with a CPUID flag of the same name or, for exit and entry controls, LM, MPX, and SHSTK or IBT
(feature_dependencies in QEMU's target/i386/cpu.c, vmx_secondary_exec_control in KVM's vmx.c)."""

PROPERTIES: Final = tuple(_properties())
"""Every property, in the order of the SDM. What only libvirt has names for, QEMU can neither turn on nor off."""


@dataclass(frozen=True, slots=True)
class GuestCpu:
    """A CPU model, and how a baseline differs from it.

    model: its name as QEMU knows it. require: properties that the baseline has and the model does not.
    disable: those of the model that the baseline does not have.
    left_out: features of the baseline beyond the model that need a CPUID flag, which the model may lack.
    too_new: properties that the QEMU of the guests may not know, so they are neither turned on nor off.
    """

    model: str
    require: tuple[Property, ...]
    disable: tuple[Property, ...]
    left_out: tuple[str, ...]
    too_new: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A CPU model that some hosts cannot give: which features of it, on how many hosts, and the first of these by name.

    A feature that no host is known to lack has none: of some host it is not known.
    """

    model: str
    lacking: Mapping[str, tuple[int, tuple[str, ...]]]


_NAMED: Final = 10
"""Hosts of an obstacle that are named."""
_MODELS: Final = tuple(f"{model.name}-v{version}" for model in CPU_MODELS for version in range(1, model.versions + 1))


def satisfied_models(features: Collection[str]) -> dict[str, int]:
    """Return the CPU models, with version, whose VMX features are all there, and how many each has, most first."""
    have = frozenset(features)
    found = {name: len(wanted) for name in _MODELS if have.issuperset(wanted := _features(name))}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def next_model(features: Collection[str], groups: Collection[Alike], satisfied: Collection[str]) -> Obstacle | None:
    """Return the model that lacks fewest features, the first of QEMU's order; None if all are satisfied."""
    have = frozenset(features)
    others = [name for name in _MODELS if name not in satisfied]
    if not others:
        return None
    name = min(others, key=lambda each: len(_features(each) - have))
    wanted = sorted(_features(name) - have, key=list(FEATURES).index)
    return Obstacle(name, {each: _lacking(each, groups) for each in wanted})


def _lacking(feature: str, groups: Collection[Alike]) -> tuple[int, tuple[str, ...]]:
    without = [each for each in groups if feature in each.lacks]
    names = sorted(host.name for each in without for host in each.hosts[:_NAMED])
    return sum(len(each.hosts) for each in without), tuple(names[:_NAMED])


@functools.cache
def _features(name: str) -> frozenset[str]:
    return frozenset(features_of(*_parse(name)))


def _parse(name: str) -> tuple[CpuModel, int]:
    found = find_cpu_model(name)
    assert found is not None
    return found


def model_names(names: Iterable[str]) -> list[str]:
    """Return names of models with versions, in QEMU's order, shorter: Nehalem; Skylake-Server-v1 to -v3."""
    versions: dict[str, list[int]] = {}
    for name in names:
        model, version = _parse(name)
        versions.setdefault(model.name, []).append(version)
    return [name + _range(found, _parse(name)[0].versions) for name, found in versions.items()]


def _range(versions: list[int], last: int) -> str:
    if len(versions) == last:
        return ""
    return f"-v{versions[0]}" if len(versions) == 1 else f"-v{versions[0]} to -v{versions[-1]}"


def guest_cpu(features: Collection[str], model: str) -> GuestCpu:
    """Return what to ask of a CPU model for it to have a baseline's features. Raises UsageError: no such model."""
    name = cpu_model_profile(model).name.removeprefix(QEMU_PREFIX)
    have, wanted = frozenset(features), _features(name)
    beyond = [each for each in PROPERTIES if have.issuperset(each.features) and not wanted.issuperset(each.features)]
    return GuestCpu(
        model=name,
        require=tuple(each for each in beyond if NEEDS_CPUID.isdisjoint(each.features)),
        disable=tuple(
            each for each in PROPERTIES if wanted.intersection(each.features) and not have.issuperset(each.features)
        ),
        left_out=tuple(name for each in beyond for name in each.features if name in NEEDS_CPUID),
    )


def for_qemu(cpu: GuestCpu, version: Version) -> GuestCpu:
    """Return the same CPU without properties that an older QEMU may not know: none of its models has them either."""
    kept = [tuple(each for each in listed if knows(version, each.name)) for listed in (cpu.require, cpu.disable)]
    too_new = tuple(each.name for each in (*cpu.require, *cpu.disable) if not knows(version, each.name))
    return replace(cpu, require=kept[0], disable=kept[1], too_new=too_new)


def to_qemu(cpu: GuestCpu) -> str:
    """Return the arguments of qemu-system-x86_64, one line."""
    options = ["vmx=on"]
    options += [f"{each.name}=on" for each in cpu.require]
    options += [f"{each.name}=off" for each in cpu.disable]
    return f"-cpu {','.join((cpu.model, *options))}\n"


def to_libvirt(cpu: GuestCpu) -> str:
    """Return the element <cpu> of a domain (formatdomain.html#cpu-model-and-topology)."""
    cpu = _as_libvirt_has_it(cpu)
    policies = [("require", "vmx")]
    policies += [("require", each.libvirt) for each in cpu.require if each.libvirt]
    policies += [("disable", each.libvirt) for each in cpu.disable if each.libvirt]
    lines = [f"  <feature policy='{policy}' name='{name}'/>\n" for policy, name in policies]
    model = f"  <model fallback='forbid'>{libvirt_model(cpu.model)}</model>\n"
    return f"<cpu mode='custom' match='exact'>\n{model}{''.join(lines)}</cpu>\n"


def _as_libvirt_has_it(cpu: GuestCpu) -> GuestCpu:
    """Return the same CPU on top of the last version of its model that libvirt has."""
    nearest = in_libvirt(cpu.model)
    added = _features(cpu.model) - _features(nearest)
    on_top = [each for each in PROPERTIES if added.intersection(each.features)]
    return replace(
        cpu,
        model=nearest,
        require=(*cpu.require, *(each for each in on_top if each not in cpu.disable and each.name not in cpu.too_new)),
        disable=tuple(each for each in cpu.disable if each not in on_top),
    )


def in_libvirt(name: str) -> str:
    """Return the last version of a model that libvirt has, up to the one that is named."""
    model, version = _parse(name)
    return f"{model.name}-v{min(version, model.in_libvirt)}"


@dataclass(frozen=True, slots=True)
class GuestAnswer(Answer):
    """A baseline as the CPU of a guest, in the form of QEMU or libvirt."""

    baseline: Baseline
    cpu: GuestCpu
    form: str
    left_out: Collection[str]
    complete: bool
    known: str = ""
    """How it is known what guests get."""

    @property
    def holds(self) -> bool | None:
        """Whether there is a baseline; None if no host is wholly read, or hosts may be missing."""
        if self.baseline.hosts and not self.baseline.features:
            return False
        return True if self.baseline.hosts and self.complete else None

    def lines(self, width: int | None, names: int | None) -> Iterator[Line]:
        """Print it as it is to be pasted, whatever the terminal."""
        del width, names
        text = to_qemu(self.cpu) if self.form == "qemu" else to_libvirt(self.cpu)
        for line in text.splitlines():
            yield ((line, Tone.PLAIN),)

    def notes(self) -> Iterator[str]:
        """Say what was not asked for, and why."""
        cpu, baseline = self.cpu, self.baseline
        if self.known:
            yield self.known
        if cpu.too_new:
            yield f"left out, since that QEMU may not know them: {', '.join(cpu.too_new)}; it may lack {cpu.model} too"
        if cpu.left_out:
            yield f"not asked for, since they need CPUID flags too: {', '.join(cpu.left_out)}"
        if dark := [name for each in cpu.disable for name in each.features if name in baseline.open]:
            yield f"turned off, since of no host they are known: {', '.join(dark)}"
        if baseline.doubtful:
            yield f"not asked for, since some host may lack them: {', '.join(baseline.doubtful)}"
        if self.form == "libvirt" and (nearest := in_libvirt(cpu.model)) != cpu.model:
            yield f"libvirt has no {cpu.model}: this is {nearest} with its VMX features, without what else it adds"
        if baseline.unknown:
            count = hosts_text(len(baseline.unknown))
            yield f"nothing, or too little, is known of {count}: {some(list(baseline.unknown), 3)}"
        yield from self.left_out


def choose_model(baseline: Baseline, form: str) -> UsageError:
    """Say which CPU models a baseline allows, to those who named none."""
    satisfied = satisfied_models(baseline.certain)
    best = [name for name, count in satisfied.items() if count == max(satisfied.values())]
    return UsageError(
        f"--format {form} needs --model, the CPU model of the guests",
        f"one whose other features every host has too; it has all that {names} wants of VMX"
        if (names := " or ".join(model_names(best)))
        else "no model's VMX features are on all hosts: choose one to take features away from",
    )


def libvirt_model(name: str) -> str:
    """Return libvirt's name of a model: without a version where that is the first, an alias where there is one.

    A version that libvirt does not have becomes the last that it has.
    """
    model, version = _parse(in_libvirt(name))
    aliases = (alias for alias, number in model.aliases.items() if number == version)
    return model.name if version == 1 else next(aliases, f"{model.name}-v{version}")
