"""What the CPU of a VM is, and what of it this host gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from vmxd.model.inventory import Inventory
from vmxd.model.offer import offer
from vmxd.pasted.findings import VMX, Vm
from vmxd.pasted.vm import Exposes, exposes, wants
from vmxd.tables.cpu_models import features_of, find_cpu_model
from vmxd.tables.versions import QEMU
from vmxd.views.explain import Block, Said
from vmxd.views.pasted_lists import names_of
from vmxd.views.pasted_qemu import given, how
from vmxd.views.words import not_in_tables


def vm_block(found: Vm, inventory: Inventory) -> Block:
    """Say what the CPU of a VM is, and what of it this host gives."""
    return f"a VM with CPU {found.mode or found.model or 'of no named model'}", _wants(found, inventory)


def _wants(found: Vm, inventory: Inventory) -> Iterator[Said]:
    has = exposes(found)
    on_top = [each.feature.name for each in found.require if each.feature]
    off = [each.feature.name for each in found.disable if each.feature]
    model = find_cpu_model(found.model) if found.model else None
    of_model = features_of(*model) if model else ()
    if VMX in {each.text for each in found.disable}:
        yield "vmx", "off: the VM gets no VMX, so its features of VMX do not count"
        return
    yield "vmx", _EXPOSES[has]
    if found.mode:
        yield "model", f"{found.mode}: what it has depends on the host: all that KVM gives to guests there"
    elif model:
        yield (
            "model",
            f"{model[0].name}-v{model[1]} of QEMU {QEMU} wants {len(of_model)} features: {', '.join(of_model)}",
        )
    elif found.model:
        yield "model", f"{found.model}: no CPU model with VMX that vmxd knows"
    if on_top:
        yield "on top", ", ".join(name for name in on_top if name not in of_model) or "nothing that the model lacks"
    if off:
        yield "without", ", ".join(off)
    yield from names_of("if there", found.optional)
    everything = (*found.require, *found.disable, *found.optional)
    strange = [each.text for each in everything if not each.feature and each.text != VMX]
    if newer := [text for text in strange if text.startswith("vmx-")]:
        yield "not known", not_in_tables(newer)
    if rest := [text for text in strange if text not in newer]:
        yield "not VMX", f"{', '.join(rest)}: QEMU's and libvirt's matter, and not judged here"
    if has is Exposes.YES:
        yield from _fits(wants(found), inventory)


_EXPOSES: Final = {
    Exposes.YES: "on",
    Exposes.NO: "not asked for: the VM gets no VMX",
    Exposes.AS_HOST: "on if KVM gives VMX to guests where it starts",
}


def _fits(wanted: Iterable[str], inventory: Inventory) -> Iterator[Said]:
    """Say what of these KVM does not give to guests here, and why."""
    gives = offer(inventory)
    names = list(wanted)
    missing = [name for name in names if gives.features.get(name) is False]
    unknown = [name for name in names if gives.features.get(name) is None]
    for name in missing:
        yield "missing", f"{name}: {given(name, gives, inventory)}"
    if unknown:
        yield "not known", f"whether guests get {', '.join(unknown)} here ({how(gives, inventory)})"
    if not missing and not unknown:
        yield "here", f"KVM gives guests all of it ({how(gives, inventory)})"
