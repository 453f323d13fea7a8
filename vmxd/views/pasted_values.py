"""What pasted values of MSRs say, bit by bit; nothing is concluded from those that no CPU can have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vmxd.model.decode import decode
from vmxd.model.states import State
from vmxd.pasted.findings import MsrBits, MsrValue, MsrValues
from vmxd.pasted.plausible import broken_by, is_cut
from vmxd.tables.bits import set_bits
from vmxd.tables.msrs import IA32_FEATURE_CONTROL
from vmxd.views.explain import Block, Said, value_bits
from vmxd.views.verdict_words import status_hint, status_sentence
from vmxd.views.words import on_cpus


def value_blocks(found: MsrValues) -> Iterator[Block]:
    """Say what each value of each MSR means."""
    cut = any(is_cut(each.msr, each.value) and broken_by(each.msr, each.value) for each in found.values)
    seen: dict[int, list[MsrValue]] = {}
    for each in found.values:
        seen.setdefault(each.msr.index, []).append(each)
    for values in seen.values():
        for each in values:
            where = on_cpus(each.cpus)
            title = f"{each.msr.name} ({each.msr.index:#x}) = {each.value:#018x}{where}"
            yield title, _value(each, differ=len(values) > 1 and bool(each.cpus), cut=cut)
    if found.too_long:
        yield "too long", [("beware", f"of more than 64 bits, so no value: {', '.join(found.too_long)}")]
    if found.strange:
        yield "not known", [("is", f"no MSR that vmxd knows: {', '.join(found.strange)}")]


def _value(found: MsrValue, *, differ: bool, cut: bool) -> Iterator[Said]:
    msr, value = found.msr, found.value
    if differ:
        yield "beware", "the CPUs differ: each value is told apart"
    if broken := broken_by(msr, value):
        half = "; its upper half is missing" if is_cut(msr, value) else ""
        yield "beware", f"no CPU has this value{half}: {'; '.join(broken)} (SDM Vol. 3D {msr.sdm})"
        yield "", "nothing is concluded from it"
        return
    if cut and msr.index != IA32_FEATURE_CONTROL:
        yield "beware", "other values of this text have lost their upper half: nothing is concluded from this one"
        return
    if msr.index == IA32_FEATURE_CONTROL:
        status = decode(None, {IA32_FEATURE_CONTROL: value}).status
        yield "verdict", status_sentence(status.value)
        if hint := status_hint(status):
            yield "next", hint
    yield from value_bits(msr, value)


def some_bits(found: MsrBits) -> Block:
    """Say what some bits of an MSR are; of IA32_FEATURE_CONTROL, the verdict if those that decide are among them."""
    return f"{found.msr.name}[{found.high}:{found.low}] = {found.value:#x}{on_cpus(found.cpus)}", _some_bits(found)


def _some_bits(found: MsrBits) -> Iterator[Said]:
    value = found.value << found.low
    if found.msr.index == IA32_FEATURE_CONTROL and found.low == 0:
        status = decode(None, {IA32_FEATURE_CONTROL: value}).status
        if found.high >= _VMX_OUTSIDE or not value & 1:
            yield "verdict", status_sentence(status.value)
            if hint := status_hint(status):
                yield "next", hint
    for word, bits in ((State.ON.value, value), (State.OFF.value, ~value)):
        mask = (2 << found.high) - (1 << found.low)
        names = [each.name for each in reversed(list(set_bits(found.msr, bits & mask)))]
        if names:
            yield word, ", ".join(names)
    yield "beware", "the other bits are not in the text"


_VMX_OUTSIDE: Final = 2
"""The bit of IA32_FEATURE_CONTROL that enables VMX outside SMX."""
