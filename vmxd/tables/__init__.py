"""The manual as data: MSRs and their bits, features and their names, what KVM, QEMU and libvirt make of them."""

from vmxd.tables.features import FEATURES, Feature
from vmxd.tables.find import find_bit, find_features, find_uses
from vmxd.tables.msrs import CAPABILITY_RANGE, IA32_FEATURE_CONTROL, IA32_VMX_BASIC, MSR_BY_INDEX, msr_name

__all__ = [
    "CAPABILITY_RANGE",
    "FEATURES",
    "IA32_FEATURE_CONTROL",
    "IA32_VMX_BASIC",
    "MSR_BY_INDEX",
    "Feature",
    "find_bit",
    "find_features",
    "find_uses",
    "msr_name",
]
