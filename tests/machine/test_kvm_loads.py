"""kvm_intel, booted with ten sets of parameters: what it gives guests and keeps on, against what vmxd expects."""

from __future__ import annotations

from typing import Final

import pytest

from tests.machine.image import HERE
from tests.machine.models import KVM, MATRIX
from tests.machine.small import Results
from tests.machine.verification import Loads, Report
from vmxd.host.scan import scan
from vmxd.model.guest import Seen, expect_guest
from vmxd.tables.kvm import KVM_PARAMETERS

pytestmark = pytest.mark.parametrize("guest", [*MATRIX, *KVM], indirect=True, ids=str)

SETS: Final = {
    name: {each.partition("=")[0]: False for each in parameters}
    for name, *parameters in (line.split() for line in (HERE / "guest" / "loads.txt").read_text().splitlines())
}
"""Name of a set of kvm_intel's parameters -> those that it turns off."""


@pytest.mark.parametrize("name", SETS)
def test_kvm_gives_what_is_expected(guest: Results, name: str, request: pytest.FixtureRequest, report: Report) -> None:
    """Loaded with each set, kvm_intel gives the values, and has the parameters, that a recording made before tells."""
    inventory = scan(str(guest.directory / "recording")).inventory
    given = guest.kvm_msrs(name)
    cpu = inventory.host.cpus[0]
    msrs = {index: msr.most_common for index, msr in inventory.msrs.items()}

    seen = Seen(cpu.flags, inventory.host.kernel, cpu.signature)
    expected = expect_guest(msrs, inventory.host.kernel, None, SETS[name], seen)
    told = {index: value for index, value in expected.msrs.items() if value is not None}

    assert (given is None) == bool(expected.refusals)
    if given is not None:
        parameters = guest.kvm_parameters(name)
        of_features = {each: expected.parameters.get(each) for each in KVM_PARAMETERS.keys() & parameters.keys()}
        known = {each: value for each, value in of_features.items() if value is not None}
        assert given == told
        assert known == {each: parameters[each] for each in known}
    of = request.node.callspec.params["guest"]
    loads = report.loads.setdefault(str(of), Loads(str(of.emulator.model), of.suite))
    loads.sets += 1
    loads.refused += given is None
