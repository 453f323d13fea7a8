"""The features that KVM can give to guests, so that -cpu and libvirt's <cpu> ask for no other.

They follow from tables/kvm.py. A kernel, its options and the guest's CPUID take away from them; newer kernels add to
them. Import this only where it is asked for.
"""

from __future__ import annotations

from typing import Final

from vmxd.tables import FEATURES
from vmxd.tables.kvm import BITS, MAY_BE_ZERO, Release
from vmxd.tables.rows import AllOf, MayBeZero

RELEASE: Final[Release] = (6, 12)
"""The Linux whose features are taken: what a pool of hosts can be expected to have."""


def offered(release: Release) -> frozenset[str]:
    """Find the features that KVM of a release can give to some guest, by name."""
    bits = {row.name for row in BITS.values() if min(row.cpu.by, row.always.by) <= release}
    rows = {name: feature.row for name, feature in FEATURES.items()}
    of_several = {name for name, row in rows.items() if isinstance(row, AllOf) and bits.issuperset(row.of)}
    clearable = {name for name, row in rows.items() if isinstance(row, MayBeZero) and row.of in MAY_BE_ZERO}
    return frozenset(bits | of_several | clearable)


OFFERED: Final = offered(RELEASE)

_NEEDS_CPUID: Final = """
    rdtscp rdrand_exiting invpcid encls_exiting rdseed_exiting xsaves usr_wait_pause exit_host_addr_space_size
    exit_clear_bndcfgs entry_ia32e_mode entry_load_bndcfgs
"""
NEEDS_CPUID: Final = frozenset(_NEEDS_CPUID.split())
"""Those of OFFERED that a guest gets only with a CPUID flag of the same name or, for the last four, LM and MPX
(feature_dependencies in QEMU's target/i386/cpu.c, vmx_secondary_exec_control in KVM's vmx.c)."""
