"""What ``vmxd explain`` prints of features and MSRs on a host, in 80 columns at most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from vmxd.model.answers import View, has_feature
from vmxd.model.attribution import attribute
from vmxd.model.decode import control_state
from vmxd.model.facts import Missing
from vmxd.model.inventory import Inventory
from vmxd.model.platform import platform_of
from vmxd.model.seen import first_seen
from vmxd.model.states import State
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.bits import is_register, set_bits
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.cpu_models import first_model
from vmxd.tables.kvm import KVM_PARAMETERS
from vmxd.tables.needs import NEEDS
from vmxd.tables.purpose import PURPOSE
from vmxd.tables.rows import AllOf, Control, Field, Flag, Layout, MayBeZero, Msr
from vmxd.views.finding_words import sentence, told, unknown_bits_text, unnamed_bit_text
from vmxd.views.guest_words import reason_text, source_text, use_text
from vmxd.views.lines import Line, Tone, beside
from vmxd.views.platform_words import attribution_text, seen_text
from vmxd.views.summary import summary_lines
from vmxd.views.words import condition, describe_cpus, details, left_off, msr_states, offered, state_text

WIDTH: Final = 80
"""Columns that lines have at most; a narrower terminal has fewer."""
_LABEL: Final = 13

Said = tuple[str, str]
"""A label and a text; a label that stands above already is not repeated."""
Block = tuple[str, Iterable[Said]]
"""A title and what is said below it."""


def name_lines(subjects: Sequence[Feature | Msr], inventory: Inventory, width: int = WIDTH) -> list[Line]:
    """Lay out what each feature and MSR is and its state on the host; the host itself at the end."""
    blocks = [
        (each.name, _feature(each, inventory))
        if isinstance(each, Feature)
        else (f"{each.name} ({each.index:#x})", _msr(each, inventory))
        for each in subjects
    ]
    return _laid_out([*blocks, _host(inventory)], width)


def block_lines(blocks: Iterable[Block], inventory: Inventory | None, width: int = WIDTH) -> list[Line]:
    """Lay out blocks, the host at the end if there is one."""
    return _laid_out(blocks if inventory is None else [*blocks, _host(inventory)], width)


def _laid_out(blocks: Iterable[Block], width: int) -> list[Line]:
    lines: list[Line] = []
    for title, said in blocks:
        lines += [(), ((title, Tone.TITLE),)]
        last = ""
        for word, text in said:
            label = "" if word == last else word
            last = word or last
            if len(label) > _LABEL - 4:
                lines.append(((f"  {label}", Tone.PLAIN),))
                label = ""
            lines += beside([(f"  {label:<{_LABEL - 2}}", Tone.PLAIN)], (text, Tone.PLAIN), _LABEL, width)
    return lines[1:]


def _host(inventory: Inventory) -> Block:
    return "here", [line for line in summary_lines(inventory) if line[0] in ("host", "cpu", "status")]


# Features ---------------------------------------------------------------------------------------------------------


def _feature(feature: Feature, inventory: Inventory) -> Iterator[Said]:
    """Yield the state on the host, then what the feature is for, then what it is."""
    yield from state_here(feature, inventory)
    if purpose := PURPOSE.get(feature.name):
        yield "for", purpose
    yield "is", feature.row.sdm
    yield from _place(feature)
    yield from _called(feature)
    yield from (("beware", text) for text in CAVEATS.get(feature.name, ()))
    if needs := NEEDS.get(feature.name):
        yield "needs", ", ".join(needs)
    if needing := list(needed_by(feature)):
        yield "needed by", ", ".join(needing)
    yield from (("seen", text) for text in _seen(feature))


def _place(feature: Feature) -> Iterator[Said]:
    row, msr = feature.row, feature.msr
    if isinstance(row, AllOf):
        yield "takes", ", ".join(f"{name} ({FEATURES[name].location})" for name in row.of)
    elif isinstance(row, MayBeZero):
        yield "means", f"{row.of}, {FEATURES[row.of].location}, is a control that may be 0"
    else:
        assert msr is not None
        yield "bit", f"{feature.location}, {msr.index:#x}[{msr.feature_bit(row)}]"
        if isinstance(row, Control):
            yield "", f"control {row.bit}: bit {row.bit + 32} says that it may be 1, bit {row.bit} that it must be"
        yield "sdm", f"Vol. 3D {msr.sdm}"
        yield "exists if", condition(msr)
        if msr.true is not None:
            true = MSR_BY_INDEX[msr.true]
            yield "", f"{true.name} ({true.index:#x}) refines it where {condition(true)}"


def _called(feature: Feature) -> Iterator[Said]:
    row = feature.row
    shown = f'"{feature.cpuinfo_flag}" in' if feature.cpuinfo_flag else "not shown in"
    cpuinfo = f"{shown} /proc/cpuinfo"
    yield "linux", f"{feature.linux_name}, {cpuinfo}" if feature.linux_name else f"no VMX_FEATURE_*, {cpuinfo}"
    if feature.macro:
        yield "", f"{feature.macro} in asm/vmx.h"
    yield "qemu", row.qemu or "no name"
    yield "libvirt", row.libvirt or "no name"


def needed_by(feature: Feature) -> Iterator[str]:
    """Yield what does not work without a feature: others, MSRs, parameters of kvm_intel."""
    for other in FEATURES.values():
        of = other.row.of if isinstance(other.row, AllOf) else NEEDS.get(other.name, ())
        if feature.name in of:
            yield other.name
    for msr in MSR_BY_INDEX.values():
        if any(f"{msr_name(bit.msr)}[{bit.bit}]" == feature.location for bit in msr.exists_if):
            yield msr.name
    for parameter in KVM_PARAMETERS.values():
        if feature.name in parameter.needs.replace("|", " ").split():
            yield f"kvm_intel.{parameter.name}"


def _seen(feature: Feature) -> Iterator[str]:
    """Yield since when the feature is there: a hint."""
    yield seen_text(first_seen(feature.name))
    if model := first_model(feature.name):
        yield f"the first CPU model of QEMU that wants it is {model}"


def state_here(feature: Feature, inventory: Inventory) -> Iterator[Said]:
    """Yield the state on a host, layer by layer: CPUs, KVM if that leaves it off, guests."""
    layers = inventory.layers(feature.name)
    yield "here", "; ".join([layers.hardware.state.value, *details(inventory, layers.hardware)])
    yield from (("", sentence(reason)) for reason in has_feature(inventory, feature.name).reasons)
    if layers.hardware.state is State.OFF and (platform := platform_of(inventory.host)):
        yield "why", attribution_text(attribute(feature.name, platform), platform)
    if layers.kvm:
        yield "kvm", left_off(layers.kvm)
    elif use := use_text(feature.name, inventory.host.kernel):
        yield "kvm", use
    answer = has_feature(inventory, feature.name, View.GUEST)
    yield "guests", "; ".join(map(told, answer.reasons)) or offered(True)
    if answer.offer and answer.offer.expected:
        reason = answer.offer.reasons.get(feature.name)
        if answer.holds and reason:
            yield "guests", reason_text(reason, answer.offer.kernel)
        yield "guests", source_text(answer.offer)


# MSRs -------------------------------------------------------------------------------------------------------------

TITLES: Final = {
    "A.1": "Basic VMX information",
    "A.3.1": "Pin-based VM-execution controls",
    "A.3.2": "Primary processor-based VM-execution controls",
    "A.3.3": "Secondary processor-based VM-execution controls",
    "A.3.4": "Tertiary processor-based VM-execution controls",
    "A.4.1": "Primary VM-exit controls",
    "A.4.2": "Secondary VM-exit controls",
    "A.5": "VM-entry controls",
    "A.6": "Miscellaneous data",
    "A.7": "VMX-fixed bits in CR0",
    "A.8": "VMX-fixed bits in CR4",
    "A.9": "VMCS enumeration",
    "A.10": "VPID and EPT capabilities",
    "A.11": "VM functions",
}
"""What an MSR is about, by its section of SDM Vol. 3D."""
LAYOUTS: Final = {
    Layout.PLAIN: "each bit or range of bits stands for itself",
    Layout.CONTROLS: "a control is two bits: 1 in bits 63:32 says that it may be 1, 1 in bits 31:0 that it must be",
    Layout.CONTROLS64: "1 says that a control may be 1; none must be",
}


def _msr(msr: Msr, inventory: Inventory) -> Iterator[Said]:
    """Yield what an MSR is, and its value on a host, bit by bit; its bits where there is no value."""
    yield "is", TITLES.get(msr.sdm, "Whether firmware allows VMX, and what else it allows")
    yield "sdm", f"Vol. 3D {msr.sdm}" if msr.sdm in TITLES else f'Vol. 3C, "{msr.sdm}"'
    yield "exists if", condition(msr) if msr.index != IA32_FEATURE_CONTROL else "there is VMX, SMX, SGX or LMCE"
    yield "layout", LAYOUTS[msr.layout]
    if msr.true is not None:
        yield "", f"{msr_name(msr.true)} ({msr.true:#x}) has the last word on what must be 1"
    if msr.twin_of is not None:
        yield "", f"it has the last word on what {msr_name(msr.twin_of)} ({msr.twin_of:#x}) says must be 1"
    for text, cpus in msr_states(inventory, msr.index):
        yield "here", f"{text} on {cpus}" if cpus else text
    states = inventory.msr_states(msr.index)
    values = {state: cpus for state, cpus in states.items() if isinstance(state, int)}
    for value, at in values.items():
        if len(values) > 1:
            yield f"on {describe_cpus(inventory.host, at)}", state_text(value)
        yield from value_bits(msr, value)
    if not values:
        yield "holds", ", ".join(_positions(msr))


def _positions(msr: Msr) -> Iterator[str]:
    for row in msr.rows:
        if isinstance(row, Field):
            yield f"{row.name}[{row.high}:{row.low}]"
        elif isinstance(row, Flag):
            yield f"{row.name}[{msr.feature_bit(row)}]"


def value_bits(msr: Msr, value: int) -> Iterator[Said]:
    """Yield the state of each row; the names of rows that share one state are together."""
    by_state: dict[str, list[str]] = {}
    if is_register(msr):
        yield "bits", ", ".join(bits.name.partition(".")[2] for bits in reversed(list(set_bits(msr, value)))) or "none"
    for row in msr.rows:
        if isinstance(row, Field):
            yield "number", f"{row.name} = {row.get(value)}"
        elif isinstance(row, Flag) and (not row.models or value >> row.bit & 1):
            by_state.setdefault(_row_state(msr, row, value), []).append(f"{row.name}[{msr.feature_bit(row)}]")
    for state, names in by_state.items():
        yield state, ", ".join(names)
        if msr.true is not None and state == State.FORCED.value:
            yield "", f"unless {msr_name(msr.true)} says that they may be 0"
    if unknown := [bits.low for bits in set_bits(msr, value) if bits.is_unknown]:
        yield "unknown", unknown_bits_text(msr.index, unknown[::-1])
    for bit, row in msr.unnamed.items():
        if value >> bit & 1:
            yield "unnamed", unnamed_bit_text(msr.index, bit, row)


def _row_state(msr: Msr, row: Flag, value: int) -> str:
    if msr.layout is Layout.PLAIN:
        return str((State.ON if value >> row.bit & 1 else State.OFF).value)
    if msr.twin_of is not None:
        state = control_state(row, msr, Missing.NOT_RECORDED, value)
    else:
        state = control_state(row, msr, value, Missing.ABSENT if msr.true is None else Missing.NOT_RECORDED)
    return str((state or State.FORCED).value)  # not known only for want of the TRUE MSR
