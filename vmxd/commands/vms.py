"""The VM that a question is about: a file, standard input, or QEMU's -cpu as it is typed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from vmxd.commands.input import read_file, standard_input
from vmxd.commands.output import say
from vmxd.errors import UsageError
from vmxd.model.starts import Needs
from vmxd.pasted.findings import Vm
from vmxd.pasted.formats import glean
from vmxd.pasted.vm import Exposes, exposes, needs
from vmxd.tables.cpu_models import find_cpu_model
from vmxd.tables.versions import QEMU

HINT: Final = "--vm takes a file, - for standard input, or '-cpu MODEL,vmx=on'"
NOT_JUDGED: Final = "vmxd judges what a VM takes of VMX; the rest of its CPU is QEMU's and libvirt's matter"


def vm_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a VM."""
    parser.add_argument(
        "--vm",
        dest="vms",
        action="append",
        default=[],
        metavar="FILE",
        help="a VM: a file with libvirt's domain XML or <cpu>, a QEMU command line or KubeVirt's YAML; - for standard "
        "input, or '-cpu MODEL,vmx=on'; may be given more than once",
    )


def chosen_vms(texts: Sequence[str]) -> list[Needs]:
    """Return what each VM takes, and say what is not judged of it. Raises UsageError."""
    if not texts:
        return []
    found = [named for text in texts for named in _read(text)]
    say([NOT_JUDGED, *notes_on(found)])
    return [needs(name, vm) for name, vm in found]


def notes_on(vms: Iterable[tuple[str, Vm]]) -> Iterator[str]:
    """Say which VMs depend on the host, get no VMX, or have a model that is not known."""
    for name, vm in vms:
        if exposes(vm) is Exposes.NO:
            yield f"{name} gets no VMX: it does not ask for it, so it starts wherever the rest of its CPU allows it"
        elif vm.mode and not vm.model:
            yield f"{name} is {vm.mode}: what it gets depends on the host, all that KVM gives to guests there"
        if exposes(vm) is Exposes.YES and vm.model and not find_cpu_model(vm.model):
            yield f"{name}: QEMU {QEMU} has no CPU model {vm.model} with VMX; what it asks for by name is judged alone"


def read_vms(text: str) -> tuple[Vm, ...]:
    """Return the CPU of each VM in a text, none if there is none. Raises UsageError for a text that is too long."""
    return tuple(each for each in glean(text) if isinstance(each, Vm))


def _read(text: str) -> Iterator[tuple[str, Vm]]:
    """Yield the VMs that one --vm names. Raises UsageError."""
    if text == "-":
        name, found = "standard input", read_vms(standard_input())
    elif os.path.exists(text) or "/" in text:
        name, found = os.path.basename(text), read_vms(read_file(text, HINT)[0])
    else:
        found = read_vms(text if text.startswith("-") else f"-cpu {text}")
        name = f"-cpu {text.removeprefix('-cpu').partition(',')[0].strip()}"
        if not _is_model(found):
            raise UsageError(f"{text!r} is no file, and no -cpu of QEMU", HINT)
    if not found:
        raise UsageError(f"{name} has no VM that vmxd can read", f"{HINT}; virsh dumpxml NAME | vmxd check --vm -")
    for number, vm in enumerate(found, 1):
        yield (f"{name} {number}" if len(found) > 1 else name), vm


def _is_model(found: Sequence[Vm]) -> bool:
    """Whether what was typed names a CPU: a mode, a model with VMX, or anything with features."""
    return any(vm.mode or vm.require or vm.disable or find_cpu_model(vm.model) for vm in found)
