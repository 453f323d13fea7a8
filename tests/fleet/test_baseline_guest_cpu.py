"""vmxd/fleet/guest_cpu.py against QEMU, libvirt's schema and libvirt's names: what is asked for is a baseline's."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import qemu
from tests.helpers.fleet_sets import recorded
from tests.helpers.inside import vmxd
from tests.helpers.support import HOSTS, missing_tool, program
from vmxd.errors import UsageError
from vmxd.fleet.baseline import find_baseline
from vmxd.fleet.guest_cpu import (
    NEEDS_CPUID,
    PROPERTIES,
    GuestCpu,
    for_qemu,
    guest_cpu,
    libvirt_model,
    model_names,
    satisfied_models,
    to_libvirt,
    to_qemu,
)
from vmxd.fleet.guests import as_guests
from vmxd.model.offer import WhatIf
from vmxd.tables import FEATURES
from vmxd.tables.cpu_models import CpuModel, cpu_model_names, features_of, find_cpu_model
from vmxd.tables.rows import Flag

LIBVIRT: Final = json.loads(Path(__file__).with_name("libvirt_features.json").read_text())
"""The features vmx-* of src/cpu_map/x86_features.xml of a libvirt, as MSR[bit]."""

SCHEMA: Final = Path("/usr/share/libvirt/schemas/cpu.rng")
TABLE: Final = Path("/usr/share/libvirt/cpu_map/x86_features.xml")

GROUPS: Final = (
    ("skylake-sp-8160-2s", "cascadelake-sp", "icelake-sp-2s", "emeraldrapids-2s"),
    ("haswell-ep-2s", "broadwell-5600u"),
    ("gulftown", "sapphirerapids"),
    ("kvm-guest", "skylake-6700k"),
    ("conroe",),
)
MODELS: Final = ("Conroe", "Nehalem", "Haswell-noTSX-IBRS", "Skylake-Client-v4", "Cascadelake-Server-v5")

_some = st.frozensets(st.sampled_from(sorted(FEATURES)))
feature_sets = _some | _some.map(lambda without: frozenset(FEATURES) - frozenset(sorted(without)[:4]))
models = st.sampled_from(cpu_model_names())


def wanted(model: str) -> set[str]:
    """Return the VMX features of a CPU model."""
    found = find_cpu_model(model)
    assert found is not None
    return set(features_of(*found))


def certain(*hosts: str) -> tuple[str, ...]:
    """Return what guests get on all of some recorded hosts, with the kernel that Debian has."""
    return find_baseline(as_guests(recorded(*hosts), WhatIf("6.12"))).certain


def features(properties: object) -> set[str]:
    """Return the features that properties set."""
    return {name for each in properties for name in each.features}  # type: ignore[attr-defined]


@given(feature_sets, models)
def test_a_guest_gets_nothing_beyond_the_baseline(have: frozenset[str], model: str) -> None:
    """Less what is disabled, plus what is required, a model has features of the baseline only, and all that it wants.

    EPT memory types are no property of QEMU: a guest with EPT has those that KVM gives.
    """
    cpu = guest_cpu(have, model)
    got = wanted(model) - features(cpu.disable) | features(cpu.require)

    assert {name for name in got if FEATURES[name].row.qemu} <= have
    assert {name for name in wanted(model) & have if FEATURES[name].row.qemu != "vmx-invept-single-context"} <= got
    assert features(cpu.require) <= have - NEEDS_CPUID
    assert not features(cpu.require) & features(cpu.disable)
    assert not set(cpu.left_out) & got


@given(feature_sets, models)
def test_satisfied_models_need_nothing_disabled(have: frozenset[str], model: str) -> None:
    """A model is satisfied where it wants nothing else; what it does is disabled, but where QEMU has no property."""
    cpu = guest_cpu(have, model)
    lost = wanted(model) - have

    assert len(wanted(model)) == satisfied_models(have).get(cpu.model, len(wanted(model)))
    assert (cpu.model in satisfied_models(have)) == (not lost)
    assert bool(cpu.disable) == any(FEATURES[name].row.qemu for name in lost)


def test_models_are_named_shortly() -> None:
    """Without versions where all are meant."""
    names = ["Nehalem-v1", "Nehalem-v2", "Skylake-Server-v1", "Skylake-Server-v2", "Icelake-Server-v3"]

    assert ["Nehalem", "Skylake-Server-v1 to -v2", "Icelake-Server-v3"] == model_names(names)
    assert ["Haswell", "Haswell-noTSX-IBRS", "SapphireRapids-v2"] == [
        libvirt_model(name) for name in ("Haswell-v1", "Haswell-v4", "SapphireRapids-v2")
    ]


# libvirt ----------------------------------------------------------------------------------------------------------


def location(name: str) -> set[str]:
    """Return where libvirt may say that a feature is: in its MSR, or in the MSR's TRUE twin."""
    feature = FEATURES[name]
    assert feature.msr is not None
    assert isinstance(feature.row, Flag)
    indexes = [feature.msr.index, *([feature.msr.true] if feature.msr.true else [])]
    return {f"{index:#x}[{feature.row.bit}]" for index in indexes}


def test_libvirts_names_are_libvirts() -> None:
    """Its 99 features vmx-* are the table's, each for the bit that libvirt says."""
    names = {feature.row.libvirt: name for name, feature in FEATURES.items() if feature.row.libvirt}

    assert LIBVIRT["features"].keys() == names.keys()
    for libvirt, name in names.items():
        if isinstance(FEATURES[name].row, Flag):
            assert LIBVIRT["features"][libvirt] in location(name)


def test_the_installed_libvirt_knows_them() -> None:
    """Its table has all names of the recorded one, or none: that of Debian 12 is older than they are."""
    if not TABLE.exists():
        missing_tool(str(TABLE), "libvirt0")
    names = set(re.findall(r"name='(vmx-[^']+)'", TABLE.read_text()))

    assert not names or names >= LIBVIRT["features"].keys()


def complaints(xml: str, directory: Path) -> str:
    """Return what libvirt's RELAX NG schema finds wrong."""
    if not SCHEMA.exists():
        missing_tool(str(SCHEMA), "libvirt0")
    path = directory / "cpu.xml"
    path.write_text(xml)
    command = [program("xmllint", "libxml2-utils"), "--noout", "--relaxng", str(SCHEMA), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("hosts", GROUPS, ids=lambda hosts: hosts[0])
@pytest.mark.parametrize("model", MODELS)
def test_libvirt_accepts_the_xml(hosts: tuple[str, ...], model: str, tmp_path: Path) -> None:
    """By its own schema; every feature is one that libvirt knows, and that it can hand to QEMU."""
    cpu = guest_cpu(certain(*hosts), model)
    xml = to_libvirt(cpu)
    named = re.findall(r"name='(vmx-[^']+)'", xml)

    assert "" == complaints(xml, tmp_path)
    assert set(named) <= LIBVIRT["features"].keys()
    assert not {"vmx-ept-uc", "vmx-ept-wb", "vmx-invvpid-single-context"}.intersection(named)
    assert len(named) == len(cpu.require) + len(cpu.disable)


def test_the_schema_refuses_what_is_wrong(tmp_path: Path) -> None:
    """A policy that there is not."""
    xml = to_libvirt(guest_cpu(frozenset(), "Nehalem")).replace("'require'", "'need'")

    assert "fails to validate" in complaints(xml, tmp_path)


@pytest.mark.parametrize(
    ("model", "nearest"), [("SapphireRapids-v8", "SapphireRapids-v6"), ("Skylake-Server-v6", "Skylake-Server-v5")]
)
def test_a_model_that_libvirt_lacks(model: str, nearest: str, tmp_path: Path) -> None:
    """The last version that libvirt has stands in its place, with the VMX features that it lacks on top, and a note."""
    (tmp_path / "one").symlink_to(HOSTS / "sapphirerapids")
    done = vmxd("fleet", "baseline", "--recordings", tmp_path, "--kernel=7.3", "--format=libvirt", "--model", model)

    assert f"<model fallback='forbid'>{nearest}</model>" in done.stdout
    assert "<feature policy='require' name='vmx-mbec'/>" in done.stdout
    assert f"libvirt has no {model}: this is {nearest} with its VMX features" in done.stderr
    assert (0, "") == (done.returncode, complaints(done.stdout, tmp_path))


# QEMU -------------------------------------------------------------------------------------------------------------


def expanded(installed: qemu.Qemu, cpu: GuestCpu) -> set[str]:
    """Return the properties vmx-* that QEMU gives a guest with these arguments."""
    options = dict(each.split("=") for each in to_qemu(cpu).removeprefix("-cpu ").strip().split(",")[1:])
    wanted = {"name": cpu.model, "props": {name: value == "on" for name, value in options.items()}}
    properties = installed("query-cpu-model-expansion", type="full", model=wanted)["model"]["props"]
    return {name for name, value in properties.items() if name.startswith("vmx-") and value is True}


def test_qemu_gives_just_that() -> None:
    """The installed QEMU gives a guest what we say it does: nothing is lost for want of a CPUID flag, nothing added."""
    with qemu.running(program("qemu-system-x86_64", "qemu-system-x86")) as installed:
        for hosts in GROUPS:
            have = certain(*hosts)
            for model in MODELS:
                cpu = guest_cpu(have, model)
                got = wanted(model) - features(cpu.disable) | features(cpu.require)
                expected = {each.name for each in PROPERTIES if got.issuperset(each.features)}
                assert expected == expanded(installed, cpu), (hosts, model)


def start(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Start QEMU with a CPU and stop it at once."""
    command = [program("qemu-system-x86_64", "qemu-system-x86"), *arguments]
    command += ["-machine", "pc,accel=tcg", "-display", "none", "-nodefaults", "-S", "-monitor", "stdio"]
    return subprocess.run(command, input="quit\n", capture_output=True, text=True, check=False, timeout=60)


def test_qemu_takes_the_arguments(tmp_path: Path) -> None:
    """A real QEMU starts with what the command prints, and does not with a name that is wrong."""
    for name in GROUPS[0]:
        (tmp_path / name).symlink_to(HOSTS / name)
    printed = vmxd(
        "fleet", "baseline", "--recordings", tmp_path, "--kernel=6.12", "--format=qemu", "--model=Skylake-Server"
    ).stdout

    assert 0 == start(printed.split()).returncode
    assert 1 == start(printed.replace("vmx-tsc-scaling", "vmx-tsc-scalling").split()).returncode


def test_an_older_qemu_is_not_asked_for_names_that_it_lacks() -> None:
    """A name of a newer QEMU is neither on nor off, for QEMU and for libvirt; it is told of."""
    have = {*features_of(*_found("Haswell")), "ept_mode_based_exec"}
    cpu = for_qemu(guest_cpu(have, "SapphireRapids-v8"), (7, 2))

    assert ("vmx-exit-save-cet", "vmx-entry-load-cet") == cpu.too_new
    for text in (to_qemu(cpu), to_libvirt(cpu)):
        assert not set(cpu.too_new) & set(re.findall(r"vmx-[\w-]+", text))
        assert "vmx-rdseed-exit" in text
    for arguments in (("--qemu=7.2",), ("--format=qemu", "--model=Haswell", "--qemu=4.2")):
        assert 2 == vmxd("fleet", "baseline", "--recordings", HOSTS, *arguments).returncode


def _found(name: str) -> tuple[CpuModel, int]:
    found = find_cpu_model(name)
    assert found
    return found


def test_a_model_without_vmx_is_refused() -> None:
    """With a hint."""
    with pytest.raises(UsageError, match="no CPU model with VMX is called 'EPYC'"):
        guest_cpu(frozenset(), "EPYC")
