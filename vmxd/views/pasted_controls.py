"""What it says that a hypervisor did not get controls, or that KVM refused a CPU."""

from __future__ import annotations

from collections.abc import Iterator

from vmxd.model.answers import consistent
from vmxd.model.inventory import Inventory
from vmxd.pasted.findings import ControlsRefused, Mismatch, Refused
from vmxd.tables.bits import set_bits
from vmxd.tables.features import FEATURES
from vmxd.tables.msrs import MSR_BY_INDEX
from vmxd.tables.rows import Flag, Layout, Msr
from vmxd.tables.vmcs_config import WORDS
from vmxd.views.explain import Block, Said, state_here
from vmxd.views.finding_words import sentence


def controls_block(found: ControlsRefused, inventory: Inventory) -> Block:
    """Say which controls an MSR did not give."""
    asked, got = ("expected", "saw") if found.program == "Xen" else ("asked for", "got")
    title = f"{found.msr.name} ({found.msr.index:#x}): {found.program} {asked} {found.asked:#x}, {got} {found.got:#x}"
    return title, _refused_controls(found, inventory)


def _refused_controls(found: ControlsRefused, inventory: Inventory) -> Iterator[Said]:
    refused = [bit for bit in range(64) if (found.asked & ~found.got) >> bit & 1]
    if not refused:
        yield "means", "every control that was asked for is there"
    for bit in refused:
        yield "refused", f"control {bit}: {control_name(found.msr, bit)}"
    if found.program == "Xen" and (more := found.got & ~found.asked):
        names = ", ".join(control_name(found.msr, bit) for bit in range(64) if more >> bit & 1)
        yield "too many", f"{names}: the CPU that came first lacks it"
    features = [
        each for each in FEATURES.values() if each.msr is found.msr and getattr(each.row, "bit", None) in refused
    ]
    for feature in features:
        yield from (
            (word, f"{feature.name}: {text}") for word, text in state_here(feature, inventory) if word == "here"
        )


def refused_blocks(found: Refused, inventory: Inventory) -> Iterator[Block]:
    """Say why KVM refused CPUs, and whether those of this host differ."""
    for cpu, mismatches in found.cpus.items():
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


def control_name(msr: Msr, bit: int) -> str:
    """Name a control of an MSR by its number in the VMCS field."""
    row = next((row for row in msr.rows if isinstance(row, Flag) and row.bit == bit), None)
    return row.name if row else "a bit without a name"
