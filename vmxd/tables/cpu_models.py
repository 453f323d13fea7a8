"""QEMU's named CPU models: the VMX features that each wants where a guest is given VMX (``-cpu MODEL,vmx=on``).

From QEMU (versions.py), as it answers itself (tests/helpers/qemu.py asks it): the features that are left once QEMU has
taken out those whose CPUID flag the model lacks, so not quite what target/i386/cpu.c lists. A model without VMX
features is no row. Of a control QEMU also wants that it may be 0; no CPU is known to force one that it names.

A model is another one with differences, and its version 1; a later version has what the one before it has, and more.
Import this only where a model is asked for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from vmxd.tables import FEATURES


@dataclass(frozen=True, slots=True)
class CpuModel:
    """A named model.

    like: model and version that version 1 is like, "" for none; with what ``adds`` and without what ``drops`` names.
    versions: how many there are, from 1. later: version -> features that it adds to the version before.
    aliases: QEMU's other names of a version.
    libvirt: the last version that libvirt's CPU map has, None if it has all of them.
    """

    name: str
    like: str
    adds: str = ""
    drops: str = ""
    versions: int = 1
    later: Mapping[int, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    libvirt: int | None = None

    @property
    def in_libvirt(self) -> int:
        """The last version that libvirt has; the first ones it has all."""
        return self.versions if self.libvirt is None else self.libvirt


_CET: Final = "exit_load_cet entry_load_cet"

# fmt: off
CPU_MODELS: Final = (
    CpuModel("kvm32", "", """
        intr_exiting nmi_exiting
        intr_window_exiting tsc_offset hlt_exiting invlpg_exiting mwait_exiting rdpmc_exiting rdtsc_exiting
        mov_dr_exiting uncond_io_exiting use_io_bitmaps use_msr_bitmaps monitor_exiting pause_exiting
        exit_ack_intr activity_hlt"""),
    CpuModel("coreduo", "kvm32-v1"),
    CpuModel("kvm64", "kvm32-v1", "cr8_load_exiting cr8_store_exiting vtpr entry_ia32e_mode",
        drops="use_msr_bitmaps"),
    CpuModel("core2duo", "kvm64-v1", "ins_outs vnmi nmi_window_exiting use_msr_bitmaps sec_controls vapic"),
    CpuModel("Conroe", "core2duo-v1"),
    CpuModel("Penryn", "Conroe-v1", "wbinvd_exiting exit_load_perf_global_ctrl entry_load_perf_global_ctrl"),
    CpuModel("Nehalem", "Penryn-v1", """
        true_ctls preemption_timer mtf ept desc_exiting virtual_x2apic vpid
        exit_save_pat exit_load_pat exit_save_efer exit_load_efer exit_save_preemption_timer
        entry_load_pat entry_load_efer
        ept_x_only ept_page_walk_4 ept_wb ept_2mb ept_1gb invept invept_single_context invept_all_context
        invvpid invvpid_single_addr invvpid_single_context invvpid_all_context invvpid_single_context_noglobals
        cr3_load_noexit cr3_store_noexit exit_nosave_debugctl entry_noload_debugctl""",
        versions=2, aliases={"Nehalem-IBRS": 2}),
    CpuModel("Westmere", "Nehalem-v1", "unrestricted_guest store_lma", versions=2, aliases={"Westmere-IBRS": 2}),
    CpuModel("SandyBridge", "Westmere-v1", "rdtscp", versions=2, aliases={"SandyBridge-IBRS": 2}),
    CpuModel("IvyBridge", "SandyBridge-v1", "posted_intr vapic_reg vid rdrand_exiting",
        versions=2, aliases={"IvyBridge-IBRS": 2}),
    CpuModel("Haswell", "IvyBridge-v1", "invpcid vmfunc shadow_vmcs vmwrite_vmexit_fields ept_ad eptp_switching",
        versions=4, aliases={"Haswell-noTSX": 2, "Haswell-IBRS": 3, "Haswell-noTSX-IBRS": 4}),
    CpuModel("Broadwell", "Haswell-v1", "rdseed_exiting pml",
        versions=4, aliases={"Broadwell-noTSX": 2, "Broadwell-IBRS": 3, "Broadwell-noTSX-IBRS": 4}),
    CpuModel("Skylake-Client", "Broadwell-v1", drops="posted_intr virtual_x2apic vapic_reg vid",
        versions=4, later={4: "xsaves"}, aliases={"Skylake-Client-IBRS": 2, "Skylake-Client-noTSX-IBRS": 3}),
    CpuModel("Skylake-Server", "Broadwell-v1", drops="eptp_switching",
        versions=6, libvirt=5, later={4: "eptp_switching", 5: "xsaves", 6: "ept_mode_based_exec"},
        aliases={"Skylake-Server-IBRS": 2, "Skylake-Server-noTSX-IBRS": 3}),
    CpuModel("Cascadelake-Server", "Skylake-Server-v1",
        versions=7, libvirt=5, later={4: "eptp_switching", 5: "xsaves", 7: "ept_mode_based_exec"},
        aliases={"Cascadelake-Server-noTSX": 3}),
    CpuModel("Cooperlake", "Broadwell-v1", versions=2, later={2: "xsaves"}),
    CpuModel("Icelake-Server", "Broadwell-v1", drops="rdseed_exiting pml eptp_switching",
        versions=9, libvirt=7, later={4: "rdseed_exiting pml eptp_switching", 5: "xsaves", 6: "ept_5level",
                                      9: "ept_mode_based_exec"},
        aliases={"Icelake-Server-noTSX": 2}),
    CpuModel("SapphireRapids", "Icelake-Server-v6", versions=8, libvirt=6, later={5: _CET, 8: "ept_mode_based_exec"}),
    CpuModel("GraniteRapids", "SapphireRapids-v1", versions=7, libvirt=5, later={4: _CET, 7: "ept_mode_based_exec"}),
    CpuModel("DiamondRapids", "SapphireRapids-v5", """
        nested_exception tsc_scaling exit_host_addr_space_size exit_secondary_ctls entry_load_fred
        activity_shutdown activity_wait_sipi""", versions=2, libvirt=1, later={2: "ept_mode_based_exec"}),
    CpuModel("SierraForest", "SapphireRapids-v1", drops="ept_5level",
        versions=6, libvirt=5, later={4: _CET, 6: "ept_mode_based_exec"}),
    CpuModel("ClearwaterForest", "SierraForest-v1", versions=4, libvirt=3, later={2: _CET, 4: "ept_mode_based_exec"}),
    CpuModel("Denverton", "Broadwell-v1", drops="invpcid", versions=3, later={3: "xsaves"}),
    CpuModel("Snowridge", "Denverton-v1", versions=4, later={3: "xsaves"}),
    CpuModel("YongFeng", "Broadwell-v1", "exit_host_addr_space_size", drops="rdseed_exiting", versions=3),
)
# fmt: on

_BY_NAME: Final = {model.name.casefold(): model for model in CPU_MODELS}
_ALIASES: Final = {
    alias.casefold(): (model, version) for model in CPU_MODELS for alias, version in model.aliases.items()
}
_VERSIONED: Final = re.compile(r"(.+)-v([1-9][0-9]{0,3})")


def find_cpu_model(text: str) -> tuple[CpuModel, int] | None:
    """Return the model and version that a name means, in any case; without -vN version 1, as QEMU and libvirt do.

    None where there is no such model, or it has no such version.
    """
    key = text.strip().casefold()
    if key in _ALIASES:
        return _ALIASES[key]
    match = _VERSIONED.fullmatch(key)
    model = _BY_NAME.get(match[1] if match else key)
    version = int(match[2]) if match else 1
    return (model, version) if model and version <= model.versions else None


def cpu_model_names() -> tuple[str, ...]:
    """Return every name that find_cpu_model() takes, but for those with a version: models and aliases."""
    return tuple(name for model in CPU_MODELS for name in (model.name, *model.aliases))


@functools.cache
def first_model(*features: str) -> str | None:
    """Find the first CPU model, in QEMU's order, that wants all of some features in some version; kvm32 is none."""
    return next((name for name, wanted in _versions() if wanted.issuperset(features)), None)


def largest_model(features: Collection[str]) -> str | None:
    """Find the CPU model that wants most of some features and no other, of equal ones the last; None if none does."""
    fitting = [(len(wanted), at, name) for at, (name, wanted) in enumerate(_versions()) if wanted <= set(features)]
    return max(fitting)[2] if fitting else None


@functools.cache
def _versions() -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple(
        (f"{model.name}-v{version}", frozenset(wanted))
        for model in CPU_MODELS
        for version in range(1, model.versions + 1)
        if not model.name.startswith("kvm") and (wanted := features_of(model, version))
    )


def features_of(model: CpuModel, version: int) -> tuple[str, ...]:
    """Return the features that a version of a model wants, by vmxd's names in the order of the SDM."""
    wanted = _wanted(model, version)
    return tuple(name for name in FEATURES if name in wanted)


def _wanted(model: CpuModel, version: int) -> set[str]:
    found = find_cpu_model(model.like)
    wanted = (_wanted(*found) if found else set()) - set(model.drops.split()) | set(model.adds.split())
    return wanted.union(*(features.split() for number, features in model.later.items() if number <= version))
