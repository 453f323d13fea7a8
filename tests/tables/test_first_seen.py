"""vmxd/tables/first_seen.py: what the recordings of real CPUs say, oldest first, and nothing else."""

from __future__ import annotations

from typing import Final

from tests.helpers.support import HOSTS, REAL_HOSTS
from vmxd.host.scan import scan
from vmxd.model.states import Presence
from vmxd.tables import FEATURES
from vmxd.tables.cpu_models import CPU_MODELS
from vmxd.tables.first_seen import FIRST_SEEN, first_seen

RECORDINGS: Final = {
    ("Yonah", 2006): "yonah-t2600",
    ("Merom", 2006): "conroe",
    ("Penryn", 2007): "harpertown-x5482",
    ("Westmere", 2010): "arrandale-2540p gulftown",
    ("Isaiah", 2011): "via-l4700",
    ("Sandy Bridge", 2011): "sandybridge-e",
    ("Ivy Bridge", 2012): "ivybridge-3820qm",
    ("Haswell", 2013): "haswell-ep-2s",
    ("Silvermont", 2013): "silvermont",
    ("Broadwell", 2014): "broadwell-5600u broadwell-e",
    ("Skylake", 2015): "skylake-6700k",
    ("Skylake-SP", 2017): "skylake-sp-8160-2s",
    ("Goldmont", 2017): "denverton",
    ("Kaby Lake", 2017): "kabylake-8550u",
    ("KX-5000", 2018): "zhaoxin-kx-u5581",
    ("KX-6000", 2019): "zhaoxin-kx6000",
    ("Cascade Lake", 2019): "cascadelake-sp",
    ("Ice Lake", 2019): "icelake-client",
    ("Lakefield", 2020): "lakefield-i5-l16g7",
    ("Tiger Lake", 2020): "tigerlake",
    ("Jasper Lake", 2021): "jasperlake",
    ("Ice Lake-SP", 2021): "icelake-sp-2s",
    ("Alder Lake", 2021): "alderlake-hybrid",
    ("Raptor Lake", 2022): "raptorlake-hybrid",
    ("Sapphire Rapids", 2023): "sapphirerapids",
    ("Emerald Rapids", 2023): "emeraldrapids-2s",
    ("Meteor Lake", 2023): "meteorlake-155h meteorlake-hybrid",
    ("Lunar Lake", 2024): "lunarlake-hybrid",
    ("Arrow Lake-H", 2025): "arrowlake-h-hybrid",
}
"""The recordings of each microarchitecture, in the order of their years; a guest of KVM is none."""


def test_the_table_is_what_the_recordings_say() -> None:
    """Each feature stands with the oldest CPU on which a recording has it, in SDM order, and with no other."""
    seen: set[str] = set()
    found: list[tuple[str, int, list[str]]] = []
    for (cpu, year), names in RECORDINGS.items():
        hosts = [scan(str(HOSTS / name)).inventory.features for name in names.split()]
        new = [name for name in FEATURES if any(Presence.PRESENT in host[name].presence for host in hosts)]
        if fresh := [name for name in new if name not in seen]:
            found.append((cpu, year, fresh))
            seen.update(fresh)

    assert found == [(row.cpu, row.year, row.features.split()) for row in FIRST_SEEN]


def test_every_real_recording_counts() -> None:
    """No recording of a real CPU is left out, and years never go back."""
    years = [year for _, year in RECORDINGS]

    assert set(REAL_HOSTS) - {"kvm-guest"} == {name for names in RECORDINGS.values() for name in names.split()}
    assert sorted(years) == years


def test_what_was_never_seen_is_none() -> None:
    """A feature that no recording has was seen on no CPU, whatever QEMU's models want."""
    assert first_seen("hlat") is None
    assert "DiamondRapids" in {model.name for model in CPU_MODELS if "nested_exception" in model.adds}
    assert first_seen("nested_exception") is None
