"""vmxd/model/platform.py: which CPUs have a feature, and what a host's CPUs are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.strategies import VMX_CPU, host_of
from vmxd.model.facts import Cpu
from vmxd.model.platform import Platform, platform_of, platforms
from vmxd.model.seen import easiest, first_seen, kinds_of, unread


def test_kinds_and_the_first() -> None:
    """Kinds come oldest first, with those that tell; the first CPU with EPT is a Westmere, none was seen with HLAT."""
    kinds = kinds_of(lambda each: each.has("pml"), platforms())
    years = [kind.family.year for kind in kinds if kind.family]
    first = first_seen("ept")

    assert sorted(years) == years
    assert first
    assert first.family
    assert "Westmere" == first.family.name
    assert first_seen("hlat") is None
    assert easiest(kinds) in [each for kind in kinds for each in kind.having]
    assert easiest(()) is None


def test_what_was_not_read_is_said() -> None:
    """IA32_VMX_PROCBASED_CTLS3 exists on every CPU since Tiger Lake, and no dump has it."""
    (msr,) = unread(["ipi_virt"], platforms())

    assert (0x492, "Tiger Lake") == (msr.index, unread(["ipi_virt"], platforms())[msr][0].family.name)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("brand", "microcode", "flags", "found"),
    [
        ("Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz", "0x2006b06", "vmx pae smx", ("xeon", 0x2006B06, True, False)),
        ("unknown", "2006B06", "vmx pae", ("", 0x2006B06, False, False)),
        ("Common KVM processor", "0x1", "vmx hypervisor", ("other", 1, None, True)),
        ("Genuine Intel(R) CPU 0000%@", "N/A", "vmx", ("processor", None, None, False)),
    ],
)
def test_a_host_as_a_row(brand: str, microcode: str, flags: str, found: tuple[object, ...]) -> None:
    """Brand, microcode and flags are read as /proc/cpuinfo has them, also odd ones; CPUs that differ are no row."""
    cpu = replace(VMX_CPU, family=6, model=85, stepping=4, model_name=brand, microcode=microcode)
    cpu = replace(cpu, flags=frozenset(flags.split()))

    platform = row_of(cpu, cpu)
    stale = row_of(cpu, replace(cpu, microcode="0x7"))

    assert platform
    assert stale
    assert found == (platform.product, platform.microcode, platform.smx, platform.hypervisor)
    assert stale.microcode is None
    assert row_of(cpu, replace(cpu, stepping=5)) is None


def row_of(*cpus: Cpu) -> Platform | None:
    """Describe a host that has these CPUs and whose MSRs were not read."""
    return platform_of(host_of({at: {} for at in range(len(cpus))}, dict(enumerate(cpus))))
