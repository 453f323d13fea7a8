"""What is understood of a pasted text, told: what each finding means, the next step, and how this host stands to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vmxd.model.inventory import Inventory
from vmxd.pasted.findings import (
    By,
    ControlsRefused,
    FeatureSet,
    Finding,
    Lacking,
    Message,
    MsrBits,
    MsrValues,
    Refused,
    SetRefused,
    UnknownNames,
    Vm,
    VmxFlags,
)
from vmxd.views.explain import Block
from vmxd.views.pasted_controls import controls_block, refused_blocks
from vmxd.views.pasted_lists import feature_set, flags
from vmxd.views.pasted_log import message_block
from vmxd.views.pasted_qemu import lacking, set_refused, unknown_names, without_kvm, without_needs
from vmxd.views.pasted_values import some_bits, value_blocks
from vmxd.views.pasted_vm import vm_block


def needs_host(findings: Iterable[Finding]) -> bool:
    """Whether a host must be read to tell of these."""
    return any(
        (isinstance(each, Lacking) and each.by is By.KVM)
        or isinstance(each, SetRefused | Refused | ControlsRefused | Message | Vm)
        for each in findings
    )


def pasted_blocks(findings: Sequence[Finding], inventory: Inventory | None) -> Iterator[Block]:
    """Yield what each finding says. inventory: of the host, None if needs_host() is false."""
    for finding in findings:
        if isinstance(finding, MsrValues):
            yield from value_blocks(finding)
        elif isinstance(finding, MsrBits):
            yield some_bits(finding)
        elif isinstance(finding, VmxFlags):
            yield from (("vmx flags", flags(line)) for line in finding.lines)
        elif isinstance(finding, FeatureSet):
            yield feature_set(finding)
        elif isinstance(finding, UnknownNames):
            yield from unknown_names(finding)
        elif isinstance(finding, Lacking) and finding.by is not By.KVM:
            yield without_kvm(finding) if finding.by is By.TCG else without_needs(finding)
        else:
            assert inventory is not None
            yield from _of_host(finding, inventory)


def _of_host(finding: Finding, inventory: Inventory) -> Iterator[Block]:
    if isinstance(finding, Lacking):
        yield from lacking(finding, inventory)
    elif isinstance(finding, SetRefused):
        yield from (set_refused(value, inventory) for value in finding.values)
    elif isinstance(finding, Refused):
        yield from refused_blocks(finding, inventory)
    elif isinstance(finding, ControlsRefused):
        yield controls_block(finding, inventory)
    elif isinstance(finding, Vm):
        yield vm_block(finding, inventory)
    elif isinstance(finding, Message):
        yield message_block(finding, inventory)
