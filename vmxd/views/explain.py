"""What ``vmxd explain`` prints, in 80 columns at most: features on a host, and what people paste."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from vmxd.model.answers import View, consistent, has_feature
from vmxd.model.decode import control_state
from vmxd.model.facts import Missing
from vmxd.model.inventory import Inventory
from vmxd.model.platform import attribute, first_seen, platform_of
from vmxd.model.states import State
from vmxd.pasted.recognise import Lacking, Mismatch, MsrValue, MsrValues, Named, Pasted, Refused, VmxFlags
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.bits import set_bits
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.cpu_models import CPU_MODELS, features_of
from vmxd.tables.kvm import KVM_PARAMETERS
from vmxd.tables.needs import NEEDS
from vmxd.tables.rows import AllOf, Control, Field, Flag, Layout, MayBeZero, Msr
from vmxd.tables.vmcs_config import WORDS
from vmxd.views.lines import Line, Tone, beside
from vmxd.views.platforms import attribution_text, seen_text
from vmxd.views.words import (
    condition,
    describe_cpus,
    details,
    left_off,
    msr_states,
    offered,
    sentence,
    state_text,
    summary_lines,
    told,
    unknown_bits_text,
)

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


def pasted_lines(pasted: Pasted, inventory: Inventory | None, width: int = WIDTH) -> list[Line]:
    """Lay out what a pasted text says. inventory: of the host, None if needs_host() is false."""
    if isinstance(pasted, MsrValues):
        return _laid_out(map(_msr_value, pasted.values), width)
    if isinstance(pasted, VmxFlags):
        return _laid_out((("vmx flags", _flags(line)) for line in pasted.lines), width)
    assert inventory is not None
    blocks = _lacking(pasted, inventory) if isinstance(pasted, Lacking) else _refused(pasted, inventory)
    return _laid_out([*blocks, _host(inventory)], width)


def needs_host(pasted: Pasted) -> bool:
    """Tell whether a host must be read to explain this."""
    return isinstance(pasted, Lacking | Refused)


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
    yield "is", feature.row.sdm
    yield from _place(feature)
    yield from _called(feature)
    yield from (("beware", text) for text in CAVEATS.get(feature.name, ()))
    if needs := NEEDS.get(feature.name):
        yield "needs", ", ".join(needs)
    if needing := list(needed_by(feature)):
        yield "needed by", ", ".join(needing)
    yield from (("seen", text) for text in _seen(feature))
    yield from _state(feature, inventory)


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
    if model := first_model(feature):
        yield f"the first CPU model of QEMU that wants it is {model}"


def first_model(feature: Feature) -> str | None:
    """Find the first of QEMU's CPU models, in QEMU's order, that wants a feature in some version; kvm32 is none."""
    return _first_models().get(feature.name)


@functools.cache
def _first_models() -> dict[str, str]:
    found: dict[str, str] = {}
    for model in CPU_MODELS:
        for version in range(1, model.versions + 1) if not model.name.startswith("kvm") else ():
            for name in features_of(model, version):
                found.setdefault(name, f"{model.name}-v{version}")
    return found


def _state(feature: Feature, inventory: Inventory) -> Iterator[Said]:
    """Yield the state on a host, layer by layer: CPUs, KVM if that leaves it off, guests if KVM was asked."""
    layers = inventory.layers(feature.name)
    yield "here", "; ".join([layers.hardware.state.value, *details(inventory, layers.hardware)])
    yield from (("", sentence(reason)) for reason in has_feature(inventory, feature.name).reasons)
    if layers.hardware.state is State.OFF and (platform := platform_of(inventory)):
        yield "why", attribution_text(attribute(feature.name, platform), platform)
    if layers.kvm:
        yield "kvm", left_off(layers.kvm)
    if inventory.nested is not None:
        answer = has_feature(inventory, feature.name, View.NESTED)
        yield "guests", "; ".join(map(told, answer.reasons)) or offered(True)


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
        yield from _bits(msr, value)
    if not values:
        yield "holds", ", ".join(_positions(msr))


def _positions(msr: Msr) -> Iterator[str]:
    for row in msr.rows:
        if isinstance(row, Field):
            yield f"{row.name}[{row.high}:{row.low}]"
        elif isinstance(row, Flag):
            yield f"{row.name}[{msr.feature_bit(row)}]"


# What is pasted ---------------------------------------------------------------------------------------------------


def _msr_value(pasted: MsrValue) -> Block:
    msr, value = pasted.msr, pasted.value
    return f"{msr.name} ({msr.index:#x}) = {value:#018x}", _rows(msr, value)


def _rows(msr: Msr, value: int) -> Iterator[Said]:
    yield "exists if", condition(msr)
    yield from _bits(msr, value)


def _bits(msr: Msr, value: int) -> Iterator[Said]:
    """Yield the state of each row; the names of rows that share one state are together."""
    by_state: dict[str, list[str]] = {}
    for row in msr.rows:
        if isinstance(row, Field):
            yield "number", f"{row.name} = {row.get(value)}"
        elif isinstance(row, Flag):
            by_state.setdefault(_row_state(msr, row, value), []).append(f"{row.name}[{msr.feature_bit(row)}]")
    for state, names in by_state.items():
        yield state, ", ".join(names)
        if msr.true is not None and state == State.FORCED.value:
            yield "", f"unless {msr_name(msr.true)} says that they may be 0"
    if unknown := [bits.low for bits in set_bits(msr, value) if bits.is_unknown]:
        yield "unknown", unknown_bits_text(msr.index, unknown[::-1])


def _row_state(msr: Msr, row: Flag, value: int) -> str:
    if msr.layout is Layout.PLAIN:
        return str((State.ON if value >> row.bit & 1 else State.OFF).value)
    if msr.twin_of is not None:
        state = control_state(row, msr, Missing.NOT_RECORDED, value)
    else:
        state = control_state(row, msr, value, Missing.ABSENT if msr.true is None else Missing.NOT_RECORDED)
    return str((state or State.FORCED).value)  # not known only for want of the TRUE MSR


def _flags(line: Sequence[Named]) -> Iterator[Said]:
    known = [named.feature for named in line if named.feature]
    by_msr: dict[str, list[str]] = {}
    for feature in known:
        by_msr.setdefault(feature.msr.name if feature.msr else "", []).append(feature.name)
    yield "names", f"{len(known)} of {len(FEATURES)} features"
    for name, names in by_msr.items():
        yield "", f"{name or 'of several bits'}: {', '.join(names)}"
    if strange := [named.text for named in line if not named.feature]:
        yield "not known", f"{', '.join(strange)}: no flag of Linux 6.12"
    present = {feature.name for feature in known}
    lacking = [feature for feature in FEATURES.values() if feature.cpuinfo_flag and feature.name not in present]
    hidden = sum(not feature.cpuinfo_flag for feature in FEATURES.values())
    yield "not there", ", ".join(feature.name for feature in lacking) or "nothing that Linux 6.12 would show"
    yield "beware", f"the line is silent on {hidden} more features, among them every VM-exit and VM-entry control"
    yield "", "it says what may be 1, never what must be, and nothing of the TRUE MSRs"
    yield "", "it is of one CPU, from when that CPU was brought up; later microcode does not show"
    if "eptp_switching" not in present:
        yield "", f"eptp_switching: {CAVEATS['eptp_switching'][0]}"
    yield "", "names depend on the kernel: an older one shows fewer"


def _lacking(pasted: Lacking, inventory: Inventory) -> Iterator[Block]:
    for named in (*pasted.missing, *pasted.extra):
        title = f"{named.text}: {'missing' if named in pasted.missing else 'not asked for'}"
        feature = named.feature
        if feature is None:
            vmx = named.text.startswith("vmx-")
            text = "no VMX feature that vmxd knows" if vmx else "not a VMX feature; look at /proc/cpuinfo's flags"
            yield title, [("is", text)]
            continue
        place = f", {feature.location}" if feature.location else ""
        beware = [("beware", text) for text in CAVEATS.get(feature.name, ())]
        yield title, [("is", f"{feature.name}: {feature.row.sdm}{place}"), *beware, *_state(feature, inventory)]


def _refused(pasted: Refused, inventory: Inventory) -> Iterator[Block]:
    for cpu, mismatches in pasted.cpus.items():
        silent = [("beware", "this kernel does not say what differs; later ones print offsets")]
        title = f"kvm_intel refuses CPU {cpu}: its VMCS config differs from the reference CPU's"
        yield title, [] if mismatches else silent
        yield from (_mismatch(each, cpu) for each in mismatches)
    answer = consistent(inventory)
    reasons = [("here", sentence(reason)) for reason in answer.reasons]
    yield "MSRs of this host", reasons or [("here", "the MSRs of all CPUs agree")]


def _mismatch(mismatch: Mismatch, cpu: int) -> Block:
    word = WORDS.get(mismatch.offset)
    title = f"offset {mismatch.offset}: {f'vmcs_config.{word.field}' if word else 'no field of vmcs_config'}"
    return title, _differences(mismatch, cpu)


def _differences(mismatch: Mismatch, cpu: int) -> Iterator[Said]:
    word = WORDS.get(mismatch.offset)
    if word is None:
        yield "beware", "vmxd knows the layout that Linux has since 6.12 on x86-64; this kernel has another"
        return
    msr = MSR_BY_INDEX[word.msr]
    halves = {True: "what KVM uses of", False: "what KVM offers guests of"}
    scope = "" if word.field in ("basic", "misc") else f"{halves[word.used]} "
    yield "from", f"{scope}{msr.name} ({msr.index:#x}), bits {word.shift + 31}:{word.shift}"
    if msr.layout is Layout.CONTROLS:
        yield "", "1 in bits 63:32: it may be 1" if word.shift else "1 in bits 31:0: it must be 1"
    values = [value << word.shift for value in (mismatch.value, mismatch.reference)]
    for bits in reversed(list(set_bits(msr, values[0] ^ values[1]))):
        here, there = ((value >> bits.low) & ((2 << (bits.high - bits.low)) - 1) for value in values)
        name = "a bit without a name" if bits.is_unknown else bits.name
        yield (
            f"bit{'s' * (bits.high != bits.low)} {bits.position}",
            f"{name}: {here} on CPU {cpu}, {there} on the reference",
        )
