"""Profiles: named sets of features that a host is meant to have, and what of them it lacks. Pure.

parse.py reads one from text, files.py finds the files. Those of QEMU's CPU models come from the table, on demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.errors import UsageError
from vmxd.tables.find import close_hint, closest
from vmxd.tables.versions import QEMU

QEMU_PREFIX: Final = "qemu-"
"""What the profile of a CPU model begins with: qemu-SapphireRapids-v2. No file may define such a name."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of features, by vmxd's names and in the order of the SDM.

    description: what they are for. reason: why it takes these. source: where that can be read; "" if not given.
    """

    name: str
    description: str
    features: tuple[str, ...]
    reason: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Fit:
    """A profile on a host: the features that it lacks, and those that are not known."""

    profile: Profile
    lacking: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        """Whether the host has every feature; one that it lacks decides, whatever is not known."""
        return False if self.lacking else None if self.unknown else True

    @property
    def missing(self) -> int | None:
        """How many features the host lacks; None if it may be more."""
        return None if self.unknown else len(self.lacking)


def fit(profile: Profile, values: Mapping[str, bool | None]) -> Fit:
    """Hold a host against a profile. values: features by name, None if unknown."""
    return Fit(
        profile,
        lacking=tuple(name for name in profile.features if values[name] is False),
        unknown=tuple(name for name in profile.features if values[name] is None),
    )


def find_profile(name: str, profiles: Iterable[Profile]) -> Profile:
    """Find the profile of a name; qemu-MODEL[-vN] is that of a CPU model. Raises UsageError."""
    if name.startswith(QEMU_PREFIX):
        return cpu_model_profile(name.removeprefix(QEMU_PREFIX))
    by_name = {profile.name: profile for profile in profiles}
    if name in by_name:
        return by_name[name]
    raise UsageError(f"no profile is called {name!r}", _hint(closest(name, by_name), "vmxd check --list-profiles"))


def cpu_model_profile(name: str) -> Profile:
    """Make the profile of a CPU model of QEMU, as in SapphireRapids-v2; without a version it is the first.

    Raises UsageError.
    """
    # The table is loaded only where someone asks for a model.
    from vmxd.tables import cpu_models  # noqa: PLC0415

    found = cpu_models.find_cpu_model(name)
    if found is not None:
        model, version = found
        return Profile(
            f"{QEMU_PREFIX}{model.name}-v{version}",
            f"QEMU's CPU model {model.name}, version {version} of {model.versions}, with vmx=on",
            cpu_models.features_of(model, version),
            source=f"QEMU {QEMU} target/i386/cpu.c",
        )
    stem = cpu_models.find_cpu_model(name.casefold().rpartition("-v")[0])
    if stem is not None and name.rpartition("-v")[2].isdecimal():
        last = f"{stem[0].name}-v{stem[0].versions}"
        raise UsageError(f"no CPU model is called {name!r}", f"the last that QEMU {QEMU} has is {last}")
    names = closest(name, cpu_models.cpu_model_names())
    raise UsageError(f"no CPU model with VMX is called {name!r}", _hint(names, "vmxd check --list-cpu-models"))


def _hint(close: list[str], command: str) -> str:
    return close_hint(close, f"{command} lists them all")
