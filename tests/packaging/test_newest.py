"""The tables against the newest Linux, QEMU and libvirt that Debian's suites have: what these name, the tables have.

Whoever meets a failure here adds the line that it names, or raises the version in vmxd/tables/versions.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from tests.helpers import newest, qemu
from tests.tables.test_cpu_models import RECORDED
from tests.tables.test_linux_header import differences
from vmxd.tables import versions
from vmxd.tables.cpu_models import CPU_MODELS
from vmxd.tables.features import FEATURES
from vmxd.tables.find import find_features, find_msr
from vmxd.tables.kvm import KVM_PARAMETERS
from vmxd.tables.msrs import FEATURE_CONTROL, MSR_BY_INDEX
from vmxd.tables.rows import Flag, Layout

LIBVIRT: Final = json.loads((Path(__file__).parents[1] / "fleet" / "libvirt_features.json").read_text())

CONTROL_MACRO: Final = re.compile(
    r"^#define\s+((?:SECONDARY_EXEC|CPU_BASED|PIN_BASED|TERTIARY_EXEC|VM_EXIT|VM_ENTRY|VMX_BASIC|VMX_VMFUNC)_\w+"
    r"|VMX_MISC_\w+|VMX_VPID_\w+_BIT|VMX_EPTP?_\w+_BIT)\s",
    re.MULTILINE,
)
NO_CAPABILITY: Final = re.compile(
    r"\w+_ALWAYSON_WITHOUT_TRUE_MSR|VMX_MISC_MSR_LIST_MULTIPLIER|VMX_EPTP_AD_ENABLE_BIT"
    r"|VMX_EPT_(?:IPAT|ACCESS|DIRTY|SUPPRESS_VE)_BIT"
)
"""Macros of asm/vmx.h that are masks, or bits of an EPT entry or of an EPTP."""

OTHER_PARAMETERS: Final = frozenset(
    """
    nested emulate_invalid_guest_state fasteoi allow_smaller_maxphyaddr enable_device_posted_irqs sgx tdx pt_mode cet
    mbec enable_mediated_pmu warn_on_missed_cc dump_invalid_vmcs error_on_inconsistent_vmcs_config vmentry_l1d_flush
    enlightened_vmcs ple_window ple_window_grow ple_window_shrink ple_window_max
    """.split()  # noqa: SIM905
)
"""Parameters of kvm_intel that leave no feature of the CPU off."""


@pytest.fixture(scope="module")
def linux() -> Path:
    """Return a directory with files of the newest Linux."""
    return newest.linux()[1]


@pytest.mark.parametrize("source", ["linux", "qemu", "libvirt"])
def test_no_source_is_newer_than_the_tables(source: str) -> None:
    """The newest series that Debian has is not beyond the one that the tables were held against."""
    version, _ = getattr(newest, source)()
    debian, ours = (
        [int(part) for part in text.split(".")[:2]] for text in (newest.upstream(version), versions.SOURCES[source])
    )

    assert debian <= ours, (
        f"Debian has {source} {version}: read it, then set {source.upper()} in vmxd/tables/versions.py"
    )


def test_vmx_features_of_linux(linux: Path) -> None:
    """Every VMX_FEATURE_* is a row of the tables, in its place, and shown in /proc/cpuinfo as Linux does."""
    assert [] == differences((linux / "arch/x86/include/asm/vmxfeatures.h").read_text())


def test_macros_of_linux(linux: Path) -> None:
    """Every macro of asm/vmx.h for a control or a capability bit finds one feature."""
    macros = CONTROL_MACRO.findall((linux / "arch/x86/include/asm/vmx.h").read_text())
    lacking = [name for name in macros if not NO_CAPABILITY.fullmatch(name) and len(find_features(name)) != 1]

    assert len(macros) > 100
    assert [] == [f'"<feature>": "{name}",  to add to MACROS of vmxd/tables/vmx_h.py' for name in lacking]


def test_macros_are_of_the_bits_that_linux_means(linux: Path) -> None:
    """A macro whose value is a plain bit stands for the feature of that bit."""
    header = (linux / "arch/x86/include/asm/vmx.h").read_text()
    values = re.findall(r"^#define\s+((?:VM_EXIT|VM_ENTRY)_\w+)\s+0x0*([1248])(0*)$", header, re.MULTILINE)
    values = [(name, int(digit + zeros, 16).bit_length() - 1) for name, digit, zeros in values]
    plain = re.findall(r"^#define\s+(VMX_(?:BASIC|MISC)_\w+)\s+BIT_ULL\((\d+)\)", header, re.MULTILINE)
    values += [(name, int(bit)) for name, bit in plain]

    assert len(values) > 25
    for name, bit in values:
        (feature,) = find_features(name)
        assert isinstance(feature.row, Flag)
        assert (name, feature.row.bit) == (name, bit)


def test_msrs_of_linux(linux: Path) -> None:
    """Every MSR_IA32_VMX_* is known by that name and index, and every bit of IA32_FEATURE_CONTROL is a row."""
    header = (linux / "arch/x86/include/asm/msr-index.h").read_text()
    msrs = re.findall(r"^#define\s+(MSR_IA32_VMX_\w+)\s+(0x[0-9a-f]+)", header, re.MULTILINE)
    bits = {int(bit) for bit in re.findall(r"^#define\s+FEAT_CTL_\w+\s+BIT\((\d+)\)", header, re.MULTILINE)}

    assert [] == [f"{name} {index}: a Msr row to add" for name, index in msrs
                  if MSR_BY_INDEX.get(int(index, 16)) is not find_msr(name) or find_msr(name) is None]  # fmt: skip
    assert set() == bits - {row.bit for row in FEATURE_CONTROL if isinstance(row, Flag)}


def test_parameters_of_kvm_intel(linux: Path) -> None:
    """Every parameter of the module is known: as one that leaves a feature off, or as another."""
    sources = "".join(path.read_text() for path in (linux / "arch/x86/kvm/vmx").glob("*.c"))
    names = set(re.findall(r"^module_param(?:_named|_cb)?\(\s*(\w+)", sources, re.MULTILINE))

    assert len(names) > 20
    assert set() == names - KVM_PARAMETERS.keys() - OTHER_PARAMETERS


def test_faults_of_linux(linux: Path) -> None:
    """feat_ctl.c still takes the high half of IA32_VMX_VMFUNC, and tests VPID's bit in the word of the pin controls."""
    source = (linux / "arch/x86/kernel/cpu/feat_ctl.c").read_text()

    assert re.search(r"MSR_IA32_VMX_VMFUNC, &val\.q\);\s*funcs = val\.h;", source)
    assert "vmx_capability[MISC_FEATURES] & VMX_F(VPID)" in source


def libvirt_features(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield libvirt's vmx-* features, each with its MSR[bit], of a control the number in the VMCS."""
    for feature in ET.parse(directory / "x86_features.xml").iter("feature"):
        msr = feature.find("msr")
        if msr is not None and feature.get("name", "").startswith("vmx-"):
            index, high, low = (int(msr.get(name) or "0", 16) for name in ("index", "edx", "eax"))
            upper = 32 if MSR_BY_INDEX[index].layout is Layout.PLAIN else 0
            yield (
                feature.attrib["name"],
                f"{index:#x}[{high.bit_length() - 1 + upper if high else low.bit_length() - 1}]",
            )


def test_features_of_libvirt() -> None:
    """Every vmx-* of libvirt's CPU map is a name in the tables, and stands where the recorded answer has it."""
    found = dict(libvirt_features(newest.libvirt()[1]))
    known = {feature.row.libvirt for feature in FEATURES.values()}

    assert len(found) > 90
    assert [] == [f'libvirt="{name}" of {found[name]}: to add to its row' for name in found if name not in known]
    assert set() == known - found.keys() - {None}
    assert LIBVIRT["features"] == found


def test_models_of_libvirt() -> None:
    """libvirt has the versions of a model that the table says, and no more."""
    names = {path.stem.removeprefix("x86_") for path in newest.libvirt()[1].glob("x86_*.xml")}
    versions_of = {
        model.name: max(v for v in range(model.versions + 2) if v == 0 or f"{model.name}-v{v}" in names)
        for model in CPU_MODELS
    }

    assert versions_of == {model.name: model.in_libvirt for model in CPU_MODELS}
    assert {alias for model in CPU_MODELS for alias in model.aliases} <= names


def test_models_of_qemu() -> None:
    """The newest QEMU knows the models, versions and properties of the table, and wants what the table has."""
    with qemu.running(*newest.qemu()[1]) as newest_qemu:
        models = {name: alias for name, alias in newest_qemu.models().items() if newest_qemu.vmx_features(name)}
        wanted = {name: newest_qemu.vmx_features(name) for name, alias in models.items() if alias is None}
    known = {f"{model.name}-v{version}" for model in CPU_MODELS for version in range(1, model.versions + 1)}
    names = {name for features in wanted.values() for name in features}

    assert [] == sorted(name for name in wanted.keys() - known if not name.startswith(("base", "host", "max")))
    assert [] == sorted(names - {feature.row.qemu for feature in FEATURES.values()})
    assert {name for group in RECORDED["groups"] for name in group["models"]} <= wanted.keys()
