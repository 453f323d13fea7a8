"""vmxd/views/metrics.py: what holds whatever a host answers and calls itself."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from dataclasses import replace
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.helpers.metric_page import (
    CONTRACT,
    HEALTHY,
    flat,
    page_of,
    together,
)
from tests.helpers.strategies import any_readings, host_of
from tests.helpers.support import program
from vmxd.host.scan import Scan
from vmxd.model.facts import Cpu, Host, Source
from vmxd.model.inventory import take_inventory
from vmxd.server.live import LiveCollector
from vmxd.server.self_metrics import SelfCollector
from vmxd.tables import FEATURES
from vmxd.views.metrics import HostCollector, to_openmetrics, to_text

HOSTILE: Final = st.text(
    st.sampled_from('"\\\n\r\t{}=,# \x00\x1f\x85\u2028ü漢🦄nN') | st.characters(blacklist_categories=["Cs"]),
    max_size=20,
)


@st.composite
def hostile_hosts(draw: st.DrawFn) -> Host:
    """Hosts whose MSRs hold anything, and which call themselves anything."""
    numbers = sorted(draw(st.sets(st.integers(0, 8191), min_size=1, max_size=5)))
    kinds = draw(st.lists(any_readings, min_size=1, max_size=3))
    cpu = st.builds(
        Cpu,
        HOSTILE,
        model_name=HOSTILE,
        microcode=HOSTILE,
        flags=st.frozensets(st.sampled_from(("vmx", "hypervisor"))),
    )
    host = host_of(
        {number: draw(st.sampled_from(kinds)) for number in numbers},
        {number: draw(cpu) for number in numbers},
        excluded=draw(st.sets(st.integers(8192, 8200), max_size=2)),
    )
    return replace(host, root=draw(HOSTILE), source=draw(st.sampled_from(Source)))


class TestAnyHost:
    """What holds whatever a host answers and calls itself."""

    @settings(max_examples=60)
    @given(hostile_hosts())
    def test_parses_back(self, host: Host) -> None:
        """The page reads back as what was collected, in either format."""
        taken = Scan(take_inventory(host), 0.25)
        collectors = (HostCollector(taken.inventory), SelfCollector(taken))

        assert together(*collectors) == flat(parse_text(to_text(*collectors).decode()))
        assert together(*collectors) == flat(parse_openmetrics(to_openmetrics(*collectors).decode()))  # type: ignore[no-untyped-call]

    @settings(max_examples=60)
    @given(hostile_hosts())
    def test_contract(self, host: Host) -> None:
        """Names and labels are those of the contract, one status holds, and no series appears twice."""
        taken = Scan(take_inventory(host), 0.25)
        samples = together(HostCollector(taken.inventory), SelfCollector(taken), LiveCollector(stale=False))

        assert [] == [name for name, labels, _ in samples if CONTRACT[name] != {label for label, _ in labels}]
        assert {1} == set(Counter((name, labels) for name, labels, _ in samples).values())
        assert 1 == sum(value for name, _, value in samples if name == "vmx_status")

    @settings(max_examples=60)
    @given(hostile_hosts())
    def test_features(self, host: Host) -> None:
        """A feature is 0 or 1, its CPUs add up to no more than were read, and it is 1 only where no CPU lacks it."""
        page = page_of(host)
        features, cpus = page.by("vmx_feature"), page.values("vmx_feature_cpus")

        assert set(features.values()) <= {0, 1}
        assert features.keys() <= FEATURES.keys()
        for name in {name for name, _ in cpus}:
            present, absent, failed = (cpus[name, state] for state in ("present", "absent", "failed"))
            assert present + absent + failed <= len(host.online) - len(host.excluded)
            assert features[name] == (absent == 0)

    def test_promtool(self) -> None:
        """Prometheus itself reads the worst of names."""
        worst = replace(HEALTHY.cpus[0], model_name='a"b\\c\n# EOF\n\\"{}=,ü漢🦄\\', vendor="\\n", microcode='"')
        result = subprocess.run(
            [program("promtool", "prometheus"), "check", "metrics"],
            input=page_of(replace(HEALTHY, cpus={0: worst, 1: worst})).text,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

        assert (0, "", "") == (result.returncode, result.stdout, result.stderr)

    def test_root_that_is_not_utf8(self) -> None:
        """A directory whose name is no UTF-8 does not spoil the page."""
        root = os.fsdecode(b"caf\xe9")

        assert 1 == page_of(replace(HEALTHY, root=root)).value("vmx_usable")
