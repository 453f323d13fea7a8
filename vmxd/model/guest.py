"""What KVM gives to a VM: recorded from /dev/kvm, or expected from MSRs, kernel and parameters. Pure.

The formula is nested_vmx_setup_ctls_msrs() of arch/x86/kvm/vmx/nested.c, over the rows of tables.kvm. It takes plain
data, and has two users: a host's inventory, and the fleet, which has the same data from Prometheus.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from vmxd.model.decode import decode
from vmxd.model.facts import MsrState, Parameter
from vmxd.model.release import Kernel, parse_release
from vmxd.model.states import Presence
from vmxd.model.vmcs import PLACES, Bound, Config, Hardware, Place, Refusal, configure, hardware
from vmxd.tables import FEATURES, MSR_BY_INDEX
from vmxd.tables.kvm import (
    BITS,
    CR4_CET,
    CR4_UMIP,
    GUEST_BASIC,
    GUEST_CR0_FIXED0,
    GUEST_CR4_FIXED0,
    GUEST_MISC_TIMER_RATE,
    GUEST_MSRS,
    GUEST_VMCS_ENUM,
    GUEST_VMCS_ENUM_TSC_SCALING,
    KVM_PARAMETERS,
    MAY_BE_ZERO,
    NEVER,
    NEWEST,
    OTHER_PARAMETERS,
    UMIP_OFFERED,
    VMCS_ENUM_BY_CPU,
    VMCS_ENUM_TSC_SCALING,
    Default,
    KvmParameter,
    Release,
    Since,
)
from vmxd.tables.rows import AllOf, Layout, MayBeZero

PARAMETERS: Final = KVM_PARAMETERS | OTHER_PARAMETERS
_SHOWS_SHADOW_STACK: Final[Release] = (6, 6)
"""Since when /proc/cpuinfo has the flag user_shstk."""
IA32_VMX_MISC: Final = 0x485
_SLOW_TIMER: Final = 4
"""From this IA32_VMX_MISC[4:0] on, no TSC makes the preemption timer too fast for KVM."""


class Source(enum.Enum):
    """How it is known what a VM gets."""

    RECORDED = "recorded"
    """KVM said so."""
    EXPECTED = "expected"
    """It follows from MSRs, kernel and parameters."""
    UNKNOWN = "unknown"


class Why(enum.Enum):
    """Why hardware and guest do not share a feature, or it is not known of a guest."""

    EMULATED = "emulated"
    """KVM gives it whatever the CPU has."""
    HARDWARE = "hardware"
    """The CPU lacks it, or another feature that it takes (Reason.names)."""
    PARAMETER = "parameter"
    """Parameters of kvm_intel are off (Reason.names)."""
    KERNEL = "kernel"
    """A later Linux offers it (Reason.since)."""
    NOT_OFFERED = "not_offered"
    """No release that was read offers it."""
    NESTED = "nested"
    """nested=N: guests get no VMX at all."""
    NOT_LOADED = "not_loaded"
    """kvm_intel does not load here."""
    KERNEL_FLAGS = "kernel_flags"
    """The kernel itself does not use the CPU feature that it takes."""
    UNKNOWN_KERNEL = "unknown_kernel"
    """It depends on the kernel, which is not known, or takes from newer ones (Reason.since, if one release decides)."""
    UNKNOWN_PARAMETER = "unknown_parameter"
    UNKNOWN_HARDWARE = "unknown_hardware"
    """The MSRs that decide were not read."""
    NOT_TOLD = "not_told"
    """KVM was asked, and did not say."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: names are parameters or features, by kind; since: the release that began to offer it.

    refusals: why kvm_intel does not load (NOT_LOADED).
    """

    why: Why
    names: tuple[str, ...] = ()
    since: Since | None = None
    refusals: tuple[Refusal, ...] = ()


class Seen(NamedTuple):
    """What /proc/cpuinfo says: flags, None if not known, the kernel that says so, and facts.Cpu.signature."""

    flags: Collection[str] | None = None
    kernel: str | None = None
    signature: str | None = None


NOTHING_SEEN: Final = Seen()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is computed: the host's plain data.

    msrs: the CPU's capability MSRs. parameters: of kvm_intel as sysfs shows them, None if not recorded; wanted:
    parameters that somebody would set, which KVM may still turn off.
    """

    msrs: Hardware
    kernel: Kernel
    parameters: Mapping[str, Parameter] | None = None
    wanted: Mapping[str, Parameter] = field(default_factory=dict)
    seen: Seen = NOTHING_SEEN


class _State(NamedTuple):
    """One evaluation under way."""

    asked: Asked
    bound: Bound
    config: Config
    parameters: Mapping[str, Parameter | Default]


class Outcome(NamedTuple):
    """One evaluation: values of the guest's MSRs, none with nested=N; parameters after load; why KVM would not load."""

    msrs: Mapping[int, int]
    parameters: Mapping[str, Parameter | Default]
    refusals: tuple[Refusal, ...]


def evaluate(asked: Asked, bound: Bound) -> Outcome:
    """Compute what a guest gets, with all that is not known there, or none of it."""
    strict = asked.wanted.get("error_on_inconsistent_vmcs_config", True)
    config = configure(asked.msrs, bound, asked.seen.signature, strict=strict is not False)
    parameters = {name: value for name in PARAMETERS if (value := _parameter(name, asked, config, bound)) is not None}
    if not asked.wanted.keys() & {"allow_smaller_maxphyaddr"} and parameters.get("ept") is False:
        parameters["allow_smaller_maxphyaddr"] = True
    if not is_on(parameters["nested"]):
        return Outcome({}, parameters, config.refusals)
    return Outcome(nested_msrs(asked, config, parameters, bound), parameters, config.refusals)


def is_on(value: Parameter | Default | None) -> bool:
    """Whether a parameter is Y, or a number other than 0."""
    return value is True or (isinstance(value, int) and value != 0)


def _parameter(name: str, asked: Asked, config: Config, bound: Bound) -> Parameter | Default | None:
    """Return the value of a parameter after load; None if the kernel has no such parameter."""
    row = PARAMETERS[name]
    if name in asked.wanted:
        return _adjusted(row, asked.wanted[name], asked, config, bound)
    if asked.parameters is not None and name in asked.parameters:
        return asked.parameters[name]
    if (
        name == "sgx"
        and "nested" in (asked.parameters or {})
        and parse_release(asked.seen.kernel).low == asked.kernel.low
    ):
        return None  # this kernel was built without SGX for guests
    if not bound.began(row.since) or (row.until is not NEVER and bound.began(row.until)):
        return None
    return _adjusted(row, row.default, asked, config, bound)


def _adjusted(
    row: KvmParameter, value: Parameter | Default, asked: Asked, config: Config, bound: Bound
) -> Parameter | Default:
    """Turn a parameter off as vmx_hardware_setup() does where the CPU lacks what it takes."""
    if row.name == "enlightened_vmcs" and asked.seen.flags and "hypervisor" not in asked.seen.flags:
        return False
    if not isinstance(value, bool | int):
        return value
    if row.name == "enable_shadow_vmcs" and not is_on(_parameter("nested", asked, config, bound)):
        return value  # nobody looks
    has_all = all(any(map(config.has, need.split("|"))) for need in row.needs.split())
    if not has_all or not all(is_on(_parameter(name, asked, config, bound)) for name in row.after.split()):
        return False if isinstance(value, bool) else 0
    fast = row.name == "preemption_timer" and config.kept[IA32_VMX_MISC] & 0x1F < _SLOW_TIMER
    return Default.UNTOLD if fast and value else value


def nested_msrs(
    asked: Asked, config: Config, parameters: Mapping[str, Parameter | Default], bound: Bound
) -> dict[int, int]:
    """Compute the capability MSRs that KVM hands to guests of a CPU: index -> value."""
    state = _State(asked, bound, config, parameters)
    sanitized = bound.began(BITS["exit_load_perf_global_ctrl"].always)
    source = config.kept if sanitized else {index: asked.msrs.get(index, most=bound.most) for index in MSR_BY_INDEX}
    bits = dict.fromkeys(GUEST_MSRS, 0)
    for row, index, bit, needs, when in _GIVEN:
        of_cpu = source[index] >> bit & 1
        if not (bound.began(row.always) or (of_cpu and bound.began(row.cpu))):
            continue
        if all(map(config.has, needs)) and all(_counts_as_on(name, state) for name in when):
            bits[index] |= 1 << bit
    for index, msr in MSR_BY_INDEX.items():
        if msr.layout is Layout.CONTROLS and index in bits and msr.twin_of is None:
            bits[index] |= msr.default1 | msr.default1 << 32
            if msr.true is not None:
                bits[msr.true] = bits[index] & ~sum(
                    1 << PLACES[name].bit - 32 for name in MAY_BE_ZERO if PLACES[name].msr == index
                )
    bits[0x480] |= GUEST_BASIC
    bits[0x485] |= GUEST_MISC_TIMER_RATE
    bits[0x486] = GUEST_CR0_FIXED0
    bits[0x488] = GUEST_CR4_FIXED0
    bits[0x487] = asked.msrs.get(0x487, most=bound.most)
    umip = CR4_UMIP if config.has("desc_exiting") and bound.began(UMIP_OFFERED) else 0
    bits[0x489] = asked.msrs.get(0x489, most=bound.most) | umip
    scaling = config.has("tsc_scaling") if bound.began(VMCS_ENUM_BY_CPU) else bound.began(VMCS_ENUM_TSC_SCALING)
    bits[0x48A] = GUEST_VMCS_ENUM_TSC_SCALING if scaling else GUEST_VMCS_ENUM
    return bits


_GIVEN: Final = tuple(
    (row, *PLACES[row.name], tuple(row.needs.split()), tuple(row.when.split()))
    for row in BITS.values()
    if PLACES[row.name].msr in GUEST_MSRS and (row.cpu is not NEVER or row.always is not NEVER)
)


def _counts_as_on(name: str, state: _State) -> bool:
    value = state.parameters.get(name)
    if name == "cet":  # a kernel that has no such parameter offers CET if the CPU has it
        return (value is None or is_on(value)) and _kernel_has_cet(state)
    return state.bound.most if isinstance(value, Default) else is_on(value)


def _kernel_has_cet(state: _State) -> bool:
    """Whether KVM has SHSTK or IBT: the CPU has it, the kernel saves its state, guests' addresses are the host's."""
    flags, kernel, _ = state.asked.seen
    if is_on(state.parameters.get("allow_smaller_maxphyaddr")):
        return False
    if not state.asked.msrs.get(0x489, most=state.bound.most) & CR4_CET:
        return False
    if not flags:
        return True
    shown = parse_release(kernel).low < _SHOWS_SHADOW_STACK or "user_shstk" in flags
    return "xsaves" in flags and (shown or state.bound.most)


# The view ----------------------------------------------------------------------------------------------------------


def features_of(msrs: Mapping[int, int]) -> dict[str, bool]:
    """Decode the MSRs of a guest: whether it has each feature, by name; what no MSR says it has not.

    On a CPU without secondary controls KVM gives some all the same, which no guest can activate.
    """
    index, bit = PLACES["sec_controls"]
    if not msrs.get(index, 0) >> bit & 1:
        msrs = {index: value for index, value in msrs.items() if index != PLACES["ept"].msr}
    found = {name: bool(msrs.get(index, 0) >> bit & 1) for name, (index, bit) in PLACES.items()}
    for name, feature in FEATURES.items():
        if isinstance(feature.row, AllOf):
            found[name] = all(found[part] for part in feature.row.of)
        elif isinstance(feature.row, MayBeZero):
            found[name] = feature.row.of in MAY_BE_ZERO and bool(msrs)
    return {name: found[name] for name in FEATURES}


@dataclass(frozen=True)
class Expected:
    """What a guest is expected to get.

    msrs: index -> value, None if not known; empty with nested=N and where KVM does not load.
    unknown: index -> bits that are not known. features: by name, None if not known.
    parameters: of kvm_intel after load, None if not known. refusals: why kvm_intel would not load.
    """

    asked: Asked
    msrs: Mapping[int, int | None]
    least: Mapping[int, int]
    unknown: Mapping[int, int]
    features: Mapping[str, bool | None]
    parameters: Mapping[str, Parameter | None]
    refusals: tuple[Refusal, ...]

    @functools.cached_property
    def reasons(self) -> dict[str, Reason]:
        """Why hardware and guest do not share a feature, or it is not known, by feature."""
        return dict(_reasons(self))


def expect_guest(
    msrs: Mapping[int, MsrState],
    kernel: str | None,
    parameters: Mapping[str, Parameter] | None = None,
    wanted: Mapping[str, Parameter] | None = None,
    seen: Seen = NOTHING_SEEN,
) -> Expected:
    """Compute what a guest is expected to get on a CPU that has VMX.

    msrs: values by index, the most common ones of a host; those that are not there are not known.
    kernel: its release, None if not recorded.
    parameters: of kvm_intel as sysfs shows them after it has loaded, None if not recorded.
    wanted: parameters that somebody would give it, over those.
    """
    return expect(_freed(Asked(hardware(msrs), parse_release(kernel), parameters, wanted or {}, seen)))


def expect(asked: Asked) -> Expected:
    """Evaluate both bounds, and keep what they agree on."""
    if asked.kernel.too_old:
        unread = dict.fromkeys(GUEST_MSRS)
        return Expected(asked, unread, {}, {}, dict.fromkeys(FEATURES), {}, ())
    least = evaluate(asked, Bound(asked.kernel.low, most=False))
    most = evaluate(asked, Bound(asked.kernel.high, most=True))
    unknown = {index: least.msrs.get(index, 0) ^ most.msrs.get(index, 0) for index in {**least.msrs, **most.msrs}}
    low, high = features_of(least.msrs), features_of(most.msrs)
    refusals = tuple(refusal for refusal in least.refusals if refusal in most.refusals)
    loaded = asked.parameters is not None
    if refusals and not loaded:
        return Expected(asked, {}, {}, {}, dict.fromkeys(FEATURES, False), {}, refusals)
    return Expected(
        asked,
        msrs={index: None if unknown[index] else least.msrs[index] for index in unknown},
        least=least.msrs,
        unknown=unknown,
        features={name: low[name] if low[name] is high[name] else None for name in FEATURES},
        parameters={
            name: None if isinstance(value, Default) or value != most.parameters.get(name) else value
            for name, value in {**most.parameters, **least.parameters}.items()
        },
        refusals=() if loaded else refusals,
    )


def _freed(asked: Asked) -> Asked:
    """Forget recorded parameters that were off only because of one that is now wanted otherwise."""
    if asked.parameters is None or not asked.wanted:
        return asked
    changed = set(asked.wanted)
    kept = dict(asked.parameters)
    for row in PARAMETERS.values():
        if row.name in kept and not changed.isdisjoint(row.after.split()):
            changed.add(row.name)
            off = any(is_off(asked.parameters.get(name)) for name in row.after.split())
            if off or is_on(kept[row.name]):
                del kept[row.name]
    return replace(asked, parameters=kept)


def is_off(value: Parameter | None) -> bool:
    """Whether a parameter is N or 0."""
    return value is not None and not isinstance(value, str) and not value


# Reasons -----------------------------------------------------------------------------------------------------------


def _turning_points() -> dict[Release, Since]:
    """Collect the releases in which a guest began to get something."""
    began = [since for row in BITS.values() for since in (row.cpu, row.always)]
    began += [row.since for row in KVM_PARAMETERS.values()]
    return {since.by: since for since in sorted(began) if (0, 0) < since.by <= NEWEST}


_TURNING_POINTS: Final = _turning_points()
_ON: Final = (*KVM_PARAMETERS, "sgx")
_EVERY_BIT: Final = (
    *(place for name, place in PLACES.items() if name != "vmcs_32bit_addresses"),
    Place(0x489, CR4_CET.bit_length() - 1),
)


def _given_by(asked: Asked) -> frozenset[str]:
    return frozenset(name for name, value in expect(_freed(asked)).features.items() if value)


def _want(asked: Asked, *names: str) -> Asked:
    return replace(asked, wanted={**asked.wanted, **dict.fromkeys(names, True)})


def _at(asked: Asked, release: Release) -> Asked:
    return replace(asked, kernel=Kernel(asked.kernel.text, release, release))


def _reasons(view: Expected) -> Iterator[tuple[str, Reason]]:
    """Find each cause by taking it away: the formula itself says what would have helped."""
    asked = view.asked
    has = {name: _KNOWN.get(presence) for name, presence in decode(True, asked.msrs.known).features.items()}
    missing = {name for name, value in view.features.items() if value is False}
    unknown = _Unknown(view)
    for name, value in view.features.items():
        if value and has[name] is False:
            yield name, Reason(Why.EMULATED)
        elif value is None:
            yield name, unknown.why(name)
    if view.refusals:
        yield from ((name, Reason(Why.NOT_LOADED, refusals=view.refusals)) for name in missing)
        return
    if is_off(view.parameters.get("nested")):
        asked = _freed(_want(asked, "nested"))
        for name in sorted(missing & _given_by(asked)):
            yield name, Reason(Why.NESTED, ("nested",))
            missing.discard(name)
    yield from _why_missing(asked, missing, has)


_KNOWN: Final = {Presence.PRESENT: True, Presence.ABSENT: False}


def _why_missing(asked: Asked, missing: set[str], has: Mapping[str, bool | None]) -> Iterator[tuple[str, Reason]]:
    """Try parameters, newer kernels, a better CPU, in this order; each feature has the first that helps."""
    left = set(missing)
    off = tuple(name for name, value in expect(asked).parameters.items() if name in _ON and is_off(value))
    tries: list[tuple[Asked, Reason | None]] = [(_want(asked, name), Reason(Why.PARAMETER, (name,))) for name in off]
    if len(off) > 1:
        tries.append((_want(asked, *off), Reason(Why.PARAMETER)))
    if asked.seen.flags:
        tries.append((replace(asked, seen=NOTHING_SEEN), Reason(Why.KERNEL_FLAGS)))
    for release, since in _TURNING_POINTS.items():
        if release > asked.kernel.high:
            tries.append((_at(asked, release), Reason(Why.KERNEL, since=since)))
    better = replace(asked, msrs=asked.msrs.with_bits(_EVERY_BIT), seen=NOTHING_SEEN)
    tries.append((better, None))
    tries.append((_at(_want(better, *_ON), NEWEST), None))
    for attempt, reason in tries:
        if not left:
            return
        for name in sorted(left & _given_by(attempt)):
            yield name, _together(name, off) if reason == Reason(Why.PARAMETER) else reason or _lacking(name, has)
            left.discard(name)
    for name in sorted(left):
        yield name, Reason(Why.NOT_OFFERED)


def _together(name: str, off: Collection[str]) -> Reason:
    """Name the parameters that keep a feature off together."""
    takes = BITS[name].when.split() if name in BITS else ()
    return Reason(Why.PARAMETER, tuple(each for each in off if each in takes) or tuple(off))


def _lacking(name: str, has: Mapping[str, bool | None]) -> Reason:
    """Name the features of the CPU without which a guest does not get one."""
    if name in BITS and has[name]:
        row = BITS[name]
        needs = {need for parameter in row.when.split() for need in PARAMETERS[parameter].needs.split()}
        lacking = tuple(sorted(need for need in (*row.needs.split(), *needs) if has.get(need) is False))
        return Reason(Why.HARDWARE, lacking) if lacking else Reason(Why.KERNEL_FLAGS)
    return Reason(Why.HARDWARE, (name,))


class _Unknown:
    """Finds out whether the kernel, a parameter, its flags or the CPU leave features unknown; each try is made once."""

    def __init__(self, view: Expected) -> None:
        self._asked = view.asked
        self._unsure = tuple(
            row.name for row in KVM_PARAMETERS.values() if view.parameters.get(row.name, False) is None
        )
        self._points = [
            since for by, since in _TURNING_POINTS.items() if self._asked.kernel.low < by <= self._asked.kernel.high
        ]
        self._at = functools.cache(lambda release: expect(_at(self._asked, release)).features)
        self._sure = functools.cache(lambda: expect(_freed(_want(self._asked, *self._unsure))).features)
        self._bare = functools.cache(lambda: expect(replace(self._asked, seen=NOTHING_SEEN)).features)

    def why(self, name: str) -> Reason:
        """Name what leaves one feature unknown."""
        kernel = self._asked.kernel
        if not kernel.certain:
            first, last = (self._at(release)[name] for release in (kernel.low, kernel.high))
            if kernel.too_old or first is not last:
                later = (since for since in self._points if self._at(since.by)[name] is last)
                return Reason(Why.UNKNOWN_KERNEL, since=None if kernel.too_old else next(later, None))
        if self._unsure and self._sure()[name] is not None:
            return Reason(Why.UNKNOWN_PARAMETER, self._unsure)
        if self._asked.seen.flags and self._bare()[name] is not None:
            return Reason(Why.KERNEL_FLAGS)
        return Reason(Why.UNKNOWN_HARDWARE)
