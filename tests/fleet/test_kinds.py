"""vmxd/fleet/kinds.py: what one host's metrics say of its kind, and what they leave open."""

from __future__ import annotations

from tests.helpers.support import HOSTS, LAKEFIELD
from vmxd.fleet.kinds import Doubt, make_kind, msr_index, msr_value
from vmxd.fleet.model import FleetHost
from vmxd.fleet.recordings import Reader, read_recordings
from vmxd.tables import FEATURES

CTLS2 = 0x48B


def test_values_are_enough() -> None:
    """Where CPUs agree, raw values alone say of each feature what the host itself says."""
    hosts = read_recordings(str(HOSTS), lambda *_: None).hosts
    agreeing = [host for host in hosts if host.kind and host.kind.values and not host.inconsistent]

    assert len(agreeing) > 40
    for host in agreeing:
        assert host.kind
        assert host.kind.features == make_kind(None, host.kind.values, {}).features, host.name


def test_no_series_is_no_lack() -> None:
    """Where CPUs differ in an MSR and there is no series of a feature in it, most CPUs' value proves no yes."""
    host = Reader().read("lakefield", str(LAKEFIELD))
    assert host.kind
    kind = make_kind("x", host.kind.values, {}, Doubt(msrs=[CTLS2]))
    in_it = {name for name, feature in FEATURES.items() if feature.msr and feature.msr.index == CTLS2}

    assert {False} == {kind.features[name] for name in in_it & kind.features.keys()}
    assert {name for name in in_it if host.kind.features.get(name)} == in_it - kind.features.keys()
    assert host.kind.features["vnmi"] is kind.features["vnmi"] is True


def test_bits_that_the_host_does_not_know() -> None:
    """A feature that only the raw values show, since the host's vmxd is older, is seen; so is a bit without a name."""
    future = Reader().read("future", str(HOSTS / "made-future"))
    assert future.kind
    kind = make_kind("x", future.kind.values, {"ept": True})

    assert future.kind.features == kind.features
    assert future.kind.unknown == kind.unknown
    assert kind.unknown


def test_failed_cpus() -> None:
    """A feature that all known CPUs have is not known where a CPU failed; one that some known CPU lacks is lacking."""
    host = FleetHost("a", failed=1, kind=make_kind(None, {}, {"ept": True, "pml": False}))

    assert (None, False, None) == (host.has("ept"), host.has("pml"), host.has("vpid"))


def test_labels() -> None:
    """MSRs are labelled by name or by index, values in hex; what is neither says nothing."""
    assert [CTLS2, 0x4FF, None, None] == list(
        map(msr_index, ("IA32_VMX_PROCBASED_CTLS2", "0x4ff", "IA32_VMX_NEW", "0xzz"))
    )
    assert [1, None, None] == list(map(msr_value, ("0x0000000000000001", "1", "0x10000000000000000")))
