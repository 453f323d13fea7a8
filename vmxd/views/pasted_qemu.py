"""What errors of libvirt and QEMU say, and how this host stands to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vmxd.model.facts import Missing
from vmxd.model.guest import Source
from vmxd.model.inventory import Inventory
from vmxd.model.offer import Offer, offer, parameters_that_take
from vmxd.pasted.findings import VMX, Lacking, MsrValue, UnknownNames
from vmxd.tables.bits import Bits, set_bits
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.cpu_models import find_cpu_model
from vmxd.tables.features import FEATURES, Feature
from vmxd.tables.needs import NEEDS
from vmxd.tables.rows import Flag, Layout, Msr
from vmxd.tables.versions import LIBVIRT, QEMU
from vmxd.views.explain import Block, Said, state_here
from vmxd.views.guest_words import reason_text, source_text
from vmxd.views.pasted_controls import control_name
from vmxd.views.verdict_words import status_sentence, verdict_hint
from vmxd.views.words import not_in_tables

_LOW: Final = 0xFFFF_FFFF
_PERF: Final = frozenset(("exit_load_perf_global_ctrl", "entry_load_perf_global_ctrl"))


def how(gives: Offer, inventory: Inventory) -> str:
    """Say how it is known what a VM gets here."""
    return (
        source_text(gives)
        if inventory.msrs or gives.source is Source.RECORDED
        else "the MSRs of this host are not known"
    )


def without_kvm(found: Lacking) -> Block:
    """Say that QEMU runs without KVM."""
    names = ", ".join(each.feature.name if each.feature else each.text for each in found.missing)
    return "QEMU runs without KVM", [
        ("means", f"the line says TCG: QEMU's emulator has no VMX, so no host lacks anything: {names}"),
        ("next", "run QEMU with -accel kvm; without /dev/kvm, vmxd check --usable says what keeps KVM away"),
    ]


def without_needs(found: Lacking) -> Block:
    """Say what QEMU leaves out since -cpu does not ask for what it takes."""
    return "QEMU leaves features out", _without_needs(found)


def _without_needs(found: Lacking) -> Iterator[Said]:
    yield "means", "-cpu asks for them without a feature that they take, so no host lacks anything"
    for each in found.missing:
        name = each.feature.name if each.feature else each.text
        takes = [FEATURES[need].row.qemu or need for need in NEEDS.get(name, ())] or [VMX]
        yield "left out", f"{each.text} ({name}) takes {', '.join(takes)}"
    yield "next", "ask for those too, or leave these out"


def lacking(found: Lacking, inventory: Inventory) -> Iterator[Block]:
    """Say of each missing feature what it is, and whether guests get it here."""
    gives = offer(inventory)
    others = [each.text for each in (*found.missing, *found.extra) if each.feature is None and each.text != VMX]
    for each in (*found.missing, *found.extra):
        title = f"{each.text}: {'missing' if each in found.missing else 'not asked for'}"
        if each.feature:
            yield title, _missing(each.feature, gives, inventory)
        elif each.text == VMX:
            yield title, vmx_itself(inventory)
    if vmx := [text for text in others if text.startswith("vmx-")]:
        yield "not known", [("is", not_in_tables(vmx))]
    if rest := [text for text in others if text not in vmx]:
        yield "not VMX", [("is", f"{', '.join(rest)}: not of VMX; look at the line flags of /proc/cpuinfo")]


def _missing(feature: Feature, gives: Offer, inventory: Inventory) -> Iterator[Said]:
    place = f", {feature.location}" if feature.location else ""
    yield "is", f"{feature.name}: {feature.row.sdm}{place}"
    yield from (("beware", text) for text in CAVEATS.get(feature.name, ()))
    if feature.name in _PERF:
        yield (
            "beware",
            "KVM gives the pair to guests since Linux 5.5, and only with a virtual PMU; without, it is harmless",
        )
    yield "guests", given(feature.name, gives, inventory)
    if gives.features.get(feature.name):
        yield "so", _elsewhere(feature.name, inventory)
    yield from ((word or "", text) for word, text in state_here(feature, inventory) if word != "guests")


def _elsewhere(name: str, inventory: Inventory) -> str:
    """Say what can be the cause of an error about a feature that guests are given here."""
    settings = "".join(f"{parameter}=N, " for parameter in parameters_that_take(inventory, name))
    of = f"{settings.removesuffix(', ')} of kvm_intel; " if settings else ""
    return f"the error can be of: {of}QEMU without KVM (-accel kvm); another host or kernel"


def given(name: str, gives: Offer, inventory: Inventory) -> str:
    """Say whether KVM gives a feature to guests here, why not, and how that is known."""
    value = gives.features.get(name)
    reason = gives.reasons.get(name)
    why = f": {reason_text(reason, gives.kernel)}" if reason and (value is not True) else ""
    words = {True: "KVM gives it to guests here", False: "KVM does not give it to guests here", None: "not known"}
    return f"{words[value]}{why} ({how(gives, inventory)})"


def vmx_itself(inventory: Inventory) -> Iterator[Said]:
    """Say what it means that VMX itself is missing or asked for."""
    yield "is", "VMX itself: CPUID.1:ECX[5], the flag vmx of /proc/cpuinfo"
    yield (
        "means",
        "the CPU has no VMX; firmware or an outer hypervisor hides it; or kvm_intel's parameter nested is N",
    )
    yield "here", status_sentence(inventory.verdict.status.value)
    if hint := verdict_hint(inventory.verdict):
        yield "next", hint
    parameters = inventory.host.kvm_parameters
    if isinstance(parameters, Missing):
        yield "guests", "kvm_intel's parameter nested is not known: cat /sys/module/kvm_intel/parameters/nested"
    else:
        nested = parameters.get("nested")
        given = "guests get VMX" if nested else "guests get no VMX: load kvm_intel with nested=1"
        yield "guests", f"kvm_intel's parameter nested is {'Y' if nested else 'N'}: {given}"


def set_refused(found: MsrValue, inventory: Inventory) -> Block:
    """Say which bits of a value KVM does not offer here."""
    return f"KVM refused {found.msr.name} = {found.value:#018x} for a guest", _beyond(found, inventory)


def _beyond(found: MsrValue, inventory: Inventory) -> Iterator[Said]:
    msr, value = found.msr, found.value
    yield "means", "QEMU asked KVM to give the guest this value, and KVM takes no more than it offers itself"
    gives = offer(inventory)
    offered = _offered(msr.index, gives)
    asked = dict(_asked(msr, value))
    if offered is None:
        yield "asks for", ", ".join(bits.name for bits in asked.values()) or "nothing"
        yield "guests", f"which of these KVM does not offer here is not known ({how(gives, inventory)})"
        return
    certain, doubt = offered
    beyond = [bits for bit, bits in asked.items() if not (certain | doubt) >> bit & 1]
    unsure = [bits.name for bit, bits in asked.items() if doubt >> bit & 1]
    names = [_bit_name(bits) for bits in beyond]
    if msr.layout is Layout.CONTROLS:
        low = _LOW & certain & ~value
        names += [f"{control_name(msr, bit)} may be 0" for bit in range(32) if low >> bit & 1]
    if names or not unsure:
        yield "beyond", ", ".join(names) or "nothing: this host's KVM offers all of it, so another kernel refused it"
    if unsure:
        yield "not known", f"whether KVM offers {', '.join(unsure)} here"
    yield "guests", f"KVM offers {certain:#018x}{' at least' * bool(doubt)} here ({how(gives, inventory)})"
    if properties := list(
        dict.fromkeys(bits.row.qemu for bits in beyond if isinstance(bits.row, Flag) and bits.row.qemu)
    ):
        yield "next", f"-cpu ...,{','.join(f'{name}=off' for name in properties)}, or a kernel that offers them"


def _offered(index: int, gives: Offer) -> tuple[int, int] | None:
    """Return the bits of an MSR that KVM offers for certain, and those that it may; None if nothing is known of it."""
    if gives.source is Source.RECORDED:
        value = gives.msrs.get(index)
        return None if value is None else (value, 0)
    if gives.source is Source.UNKNOWN or gives.expected is None or index not in gives.expected.unknown:
        return None
    return gives.expected.least.get(index, 0) & ~gives.expected.unknown[index], gives.expected.unknown[index]


def _bit_name(bits: Bits) -> str:
    return f"bit {bits.position}" if bits.is_unknown else bits.name


def _asked(msr: Msr, value: int) -> Iterator[tuple[int, Bits]]:
    """Yield the position and meaning of each bit that a guest would get: of controls, those that may be 1."""
    controls = msr.layout is Layout.CONTROLS
    for bits in reversed(list(set_bits(msr, value))):
        if not controls or (bits.low >= 32 and (isinstance(bits.row, Flag) or bits.is_unknown)):
            yield bits.low, bits


def unknown_names(found: UnknownNames) -> Iterator[Block]:
    """Say that a program is older than a name."""
    if found.features:
        names = ", ".join(
            f"{each.text} ({each.feature.name})" if each.feature else each.text for each in found.features
        )
        yield (
            "a QEMU or libvirt does not know a name",
            [
                ("is", names),
                ("means", "the program is older than the name: it says nothing about this host"),
                ("next", f"leave it out, or update; QEMU {QEMU} and libvirt {LIBVIRT} know every name that vmxd has"),
            ],
        )
    for name in found.models:
        model = find_cpu_model(name)
        last = (
            f"QEMU {QEMU} has {model[0].name} up to -v{model[0].versions}, libvirt {LIBVIRT} to -v{model[0].in_libvirt}"
            if model
            else f"no model with VMX of QEMU {QEMU} is called so"
        )
        yield f"a QEMU or libvirt does not know the CPU model {name}", [("is", last)]
