"""The CPU models of Bochs 2.7 that have VMX and run a 64-bit kernel."""

from __future__ import annotations

from typing import Final

from tests.machine.emulator import Bochs
from tests.machine.small import SmallGuest

MODELS: Final = {
    "penryn": "core2_penryn_t9600",
    "lynnfield": "corei5_lynnfield_750",
    "arrandale": "corei5_arrandale_m520",
    "sandy_bridge": "corei7_sandy_bridge_2600k",
    "ivy_bridge": "corei7_ivy_bridge_3770k",
    "haswell": "corei7_haswell_4770",
    "broadwell": "broadwell_ult",
    "skylake_x": "corei7_skylake_x",
    "cannon_lake": "corei3_cnl",
    "ice_lake": "corei7_icelake_u",
    "tiger_lake": "tigerlake",
}
"""Name of the guest -> name of the CPU in Bochs."""

MATRIX: Final = [SmallGuest(name, Bochs(model), "matrix.sh", seconds=120) for name, model in MODELS.items()]

KVM: Final = [
    SmallGuest("ivy_bridge-6.12", Bochs(MODELS["ivy_bridge"]), "kvm.sh", seconds=120, suite="trixie"),
    SmallGuest("skylake_x-6.12", Bochs(MODELS["skylake_x"]), "kvm.sh", seconds=120, suite="trixie"),
    SmallGuest("penryn-7", Bochs(MODELS["penryn"]), "kvm.sh", seconds=120, suite="trixie-backports"),
    SmallGuest("haswell-7", Bochs(MODELS["haswell"]), "kvm.sh", seconds=120, suite="trixie-backports"),
]
"""Guests with the kernels of newer Debian releases, which only load kvm_intel."""
