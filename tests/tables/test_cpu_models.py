"""vmxd/tables/cpu_models.py against QEMU: the recorded answer of one version, and the QEMU that is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.helpers import qemu
from tests.helpers.support import program
from vmxd.tables import FEATURES, MSR_BY_INDEX
from vmxd.tables.cpu_models import CPU_MODELS, cpu_model_names, features_of, find_cpu_model
from vmxd.tables.rows import MayBeZero
from vmxd.tables.versions import QEMU

RECORDED: Final = json.loads(qemu.RECORDING.read_text())
MAY_BE_ZERO: Final = {f.row.of: name for name, f in FEATURES.items() if isinstance(f.row, MayBeZero)}


def wanted(name: str) -> tuple[str, ...]:
    """Return the features that a model wants by our table."""
    found = find_cpu_model(name)
    assert found is not None, name
    return features_of(*found)


def feature_of_bit(index: int, bit: int) -> str:
    """Return the feature that QEMU means by a bit; a control that is 1 by default it wants for its being 0."""
    index = MSR_BY_INDEX[index].twin_of or index
    (name,) = (
        name
        for name, feature in FEATURES.items()
        if feature.msr and feature.msr.index == index and getattr(feature.row, "bit", None) == bit
    )
    return MAY_BE_ZERO.get(name, name)


def recorded_features(bits: dict[str, str]) -> Iterator[str]:
    """Yield the features that a recorded model wants."""
    for index, mask in bits.items():
        yield from (feature_of_bit(int(index, 16), bit) for bit in range(64) if int(mask, 16) >> bit & 1)


@pytest.mark.parametrize("group", RECORDED["groups"], ids=lambda group: group["models"][0])
def test_features_are_qemus(group: dict[str, object]) -> None:
    """Bit by bit, every version of every model wants what QEMU says it does."""
    models, bits = group["models"], group["bits"]
    assert isinstance(models, list)
    assert isinstance(bits, dict)
    expected = sorted(recorded_features(bits))

    assert dict.fromkeys(models, expected) == {name: sorted(wanted(name)) for name in models}


def test_the_table_has_qemus_models_and_no_other() -> None:
    """Models, versions and other names are those of the QEMU whose version the table names."""
    models = {name for group in RECORDED["groups"] for name in group["models"]}
    aliases = {name: found for name, found in RECORDED["aliases"].items() if f"{name}-v1" != found}

    assert RECORDED["qemu"] == QEMU
    assert models == {f"{model.name}-v{version}" for model in CPU_MODELS for version in range(1, model.versions + 1)}
    assert aliases == {
        alias: f"{model.name}-v{version}" for model in CPU_MODELS for alias, version in model.aliases.items()
    }


def test_the_installed_qemu_agrees() -> None:
    """What the QEMU of this machine expands a model to, older or newer, is what the table has; it has most models."""
    with qemu.running(program("qemu-system-x86_64", "qemu-system-x86")) as installed:
        names = [name for name in installed.models() if find_cpu_model(name)]
        answers = {name: installed.vmx_features(name) for name in names}

    assert len(names) > 60
    assert answers == {name: {FEATURES[each].row.qemu for each in wanted(name)} - {None} for name in names}


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("SapphireRapids", "SapphireRapids", 1),
        (" sapphirerapids-V2 ", "SapphireRapids", 2),
        ("Haswell-noTSX-IBRS", "Haswell", 4),
        ("Skylake-Server-v6", "Skylake-Server", 6),
    ],
)
def test_a_model_is_found(text: str, name: str, version: int) -> None:
    """In any case; without a version it is the first, as for QEMU."""
    found = find_cpu_model(text)

    assert found is not None
    assert (name, version) == (found[0].name, found[1])


@pytest.mark.parametrize(
    "text", ["", "Sapphire", "SapphireRapids-v0", "SapphireRapids-v99", "SapphireRapids-2", "Haswell-noTSX-v2", "EPYC"]
)
def test_what_is_no_model_is_not_found(text: str) -> None:
    """A version that a model does not have, a version of an alias, and a model without VMX are no models."""
    assert None is find_cpu_model(text)


def test_names_find_models() -> None:
    """Every name that is listed finds a model, and no two are alike but for case."""
    names = cpu_model_names()

    assert all(find_cpu_model(name) for name in names)
    assert len(names) == len({name.casefold() for name in names})
