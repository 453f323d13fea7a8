"""Any name will do: MSRs by the names that Linux, VirtualBox, FreeBSD and others have for them."""

from __future__ import annotations

import pytest

from vmxd.tables.find import find_msr
from vmxd.tables.msrs import MSRS
from vmxd.tables.rows import Msr


@pytest.mark.parametrize("form", ["{}", "MSR_{}", "{}_MSR", "msr_{}"])
@pytest.mark.parametrize("msr", MSRS, ids=lambda msr: msr.name)
def test_an_msr_by_the_forms_of_its_name(msr: Msr, form: str) -> None:
    """With MSR_ before it or _MSR after it, without IA32_ and without underscores, a name is the same."""
    name = form.format(msr.name)
    names = (
        name,
        name.lower(),
        name.replace("IA32_", ""),
        name.replace("_", ""),
        f"0x{msr.index:x}",
        f"{msr.index:x}h",
    )

    assert [msr] * len(names) == [find_msr(each) for each in names]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("MSR_IA32_FEAT_CTL", 0x3A),
        ("MSR_IA32_VMX_BASIC_INFO", 0x480),
        ("MSR_IA32_VMX_EPT_VPID_CAPS", 0x48C),
        ("MSR_IA32_VMX_EPT_CAPS", 0x48C),
        ("IA32_VMX_SECONDARY_PROCBASED_CTLS", 0x48B),
        ("MSR_IA32_VMX_TRUE_PIN", 0x48D),
        ("MSR_CORE2_FEATURE_CONTROL", 0x3A),
    ],
)
def test_an_msr_by_others_names(name: str, index: int) -> None:
    """Names of Linux, of VirtualBox old and new, of Cheat Engine and kvm-unit-tests."""
    found = find_msr(name)

    assert found is not None
    assert index == found.index


@pytest.mark.parametrize(
    "name", ["", "MSR", "MSR_", "IA32", "vmx", "VMX_MSR", "MSR_IA32_MISC_ENABLE", "0x10", "msr_msr"]
)
def test_what_is_no_msr_of_ours(name: str) -> None:
    """What stands around names alone is none, and neither is another MSR."""
    assert find_msr(name) is None
