"""kvm_intel, booted: what it gives guests with ten sets of parameters, against what vmxd expects of the recording."""

from __future__ import annotations

from typing import Final

import pytest

from tests.machine.image import HERE
from tests.machine.models import KVM, MATRIX
from tests.machine.small import Results
from vmxd.host.scan import scan
from vmxd.model.guest import Seen, expect_guest

pytestmark = pytest.mark.parametrize("guest", [*MATRIX, *KVM], indirect=True, ids=str)

SETS: Final = {
    name: {each.partition("=")[0]: False for each in parameters}
    for name, *parameters in (line.split() for line in (HERE / "guest" / "loads.txt").read_text().splitlines())
}
"""Name of a set of kvm_intel's parameters -> those that it turns off."""


@pytest.mark.parametrize("name", SETS)
def test_kvm_gives_what_is_expected(guest: Results, name: str) -> None:
    """With each set of parameters, kvm_intel gives the values that vmxd expects of the recording made before."""
    inventory = scan(str(guest.directory / "recording")).inventory
    given = guest.kvm_msrs(name)
    cpu = inventory.host.cpus[0]
    msrs = {index: msr.most_common for index, msr in inventory.msrs.items()}

    seen = Seen(cpu.flags, inventory.host.kernel, cpu.signature)
    expected = expect_guest(msrs, inventory.host.kernel, None, SETS[name], seen)

    assert (given is None) == bool(expected.refusals)
    assert given is None or given == {index: value for index, value in expected.msrs.items() if value is not None}
