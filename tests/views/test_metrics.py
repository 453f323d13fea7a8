"""The metrics' contract: names, labels and values that dashboards and alerts are built on."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import replace
from typing import Final

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import vmxd
from tests.helpers.metric_page import (
    CONTRACT,
    HEALTHY,
    SKYLAKE,
    Page,
    flat,
    on_each_cpu,
    page_of,
    recorded,
    together,
)
from tests.helpers.strategies import host_of
from tests.helpers.support import HOSTS, LAKEFIELD, REAL_HOSTS, program
from vmxd.host.scan import Scan, scan
from vmxd.model.facts import Cpu, Failed, Host, Reading, Source
from vmxd.model.inventory import take_inventory
from vmxd.server.live import CODES, LiveCollector
from vmxd.server.self_metrics import SelfCollector
from vmxd.tables import FEATURES, MSR_BY_INDEX
from vmxd.views.metrics import CPU_SERIES_MAX, HostCollector, to_openmetrics, to_text

STATUSES: Final = ("usable", "no_vmx", "disabled_by_firmware", "unlocked", "smx_only", "unreadable", "unknown")
SERIES_MAX: Final = 340
LINT_ON_UNKNOWN_BITS: Final = 'vmx_unknown_bits use base unit "bytes" instead of "bits"'
"""promtool takes the word "bits" for a size of data."""
FIELD_METRICS: Final = (
    "vmx_vmcs_region_bytes",
    "vmx_vmcs_revision",
    "vmx_preemption_timer_tsc_shift",
    "vmx_cr3_targets",
    "vmx_msr_list_max",
    "vmx_vmcs_field_index_max",
    "vmx_hlat_prefix_max",
)


EIO: Final = Failed("EIO")


TYPICAL: Final = ("lakefield-i5-l16g7", "made-nested", "made-future")
"""Hosts that have every kind of series between them; the values of each host are in its metrics.prom."""


@pytest.mark.parametrize("name", TYPICAL)
def test_contract(name: str) -> None:
    """Series have names and labels of the contract, are few, and each, as each HELP and TYPE, appears once."""
    page = recorded(name)
    series = Counter((metric, labels) for metric, labels, _ in page.samples)
    comments = Counter(tuple(line.split()[:3]) for line in page.text.splitlines() if line.startswith("#"))

    assert [] == [metric for metric, labels in series if CONTRACT[metric] != {label for label, _ in labels}]
    assert sum(not metric.startswith("vmx_nested_") for metric, _ in series) <= SERIES_MAX
    assert {1} == set(series.values()) == set(comments.values())


@pytest.mark.parametrize("name", TYPICAL)
def test_families(name: str) -> None:
    """HELP is a sentence that names the source, but for process_*; all are gauges, but for requests and CPU time."""
    families = {family.name: family for family in recorded(name).families}
    sourced = re.compile(r"\S.+[.;] Source: \S.*\.")

    assert [] == [
        each.name
        for each in families.values()
        if not each.name.startswith("process_") and not sourced.fullmatch(each.documentation)
    ]
    assert {"vmxd_http_requests", "vmxd_scan_failures", "process_cpu_seconds"} == {
        each.name for each in families.values() if each.type != "gauge"
    }


@pytest.mark.parametrize("name", TYPICAL)
def test_formats(name: str) -> None:
    """The page reads back as what was collected, in either format."""
    taken = scan(str(HOSTS / name))
    collectors = (HostCollector(taken.inventory), SelfCollector(taken))

    assert together(*collectors) == flat(parse_text(to_text(*collectors).decode()))
    assert together(*collectors) == flat(parse_openmetrics(to_openmetrics(*collectors).decode()))  # type: ignore[no-untyped-call]


def test_promtool() -> None:
    """Prometheus' own linter has nothing to say, but for a word that it takes for a unit."""
    result = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"],
        input=recorded("made-future").text,
        capture_output=True,
        text=True,
        check=False,
    )

    assert [LINT_ON_UNKNOWN_BITS] == (result.stdout + result.stderr).splitlines()


class TestFields:
    """Numbers that MSRs hold."""

    def test_most_common(self) -> None:
        """Where CPUs differ, it is that of most of them."""
        other = SKYLAKE | {0x48A: 0x30}

        assert 24 == on_each_cpu(SKYLAKE, other, other).value("vmx_vmcs_field_index_max")
        assert 23 == on_each_cpu(SKYLAKE, SKYLAKE, other).value("vmx_vmcs_field_index_max")

    def test_whole_width(self) -> None:
        """Fields are as wide as the SDM says and no wider."""
        ones = on_each_cpu(SKYLAKE | {0x480: 0x1FFF_7FFFFFFF, 0x485: 0xFFFF_FFFF, 0x48A: 0x3FF, 0x48C: 0x3F << 48})
        values = [ones.value(metric) for metric in FIELD_METRICS]

        assert [0x1FFF, 0x7FFF_FFFF, 31, 511, 4096, 511, 63] == values


class TestStatus:
    """Whether VMX may be used."""

    @pytest.mark.parametrize(
        ("control", "status", "usable"),
        [
            (0x5, "usable", 1),
            (0x7, "usable", 1),
            (0x0, "unlocked", 0),
            (0x4, "unlocked", 0),
            (0x1, "disabled_by_firmware", 0),
            (0x3, "smx_only", 0),
            (EIO, "unknown", None),
        ],
    )
    def test_feature_control(self, control: Reading, status: str, usable: float | None) -> None:
        """Status and usable follow IA32_FEATURE_CONTROL; where it is not known, usable has no series."""
        page = on_each_cpu(SKYLAKE | {0x3A: control})

        assert {each: float(each == status) for each in STATUSES} == page.by("vmx_status")
        assert usable == page.value("vmx_usable")

    def test_one_cpu_is_enough(self) -> None:
        """A host is usable where every CPU is."""
        page = on_each_cpu(SKYLAKE, SKYLAKE | {0x3A: 0x1})

        assert 1 == page.by("vmx_status")["disabled_by_firmware"]
        assert 0 == page.value("vmx_usable")

    def test_bits(self) -> None:
        """A bit of IA32_FEATURE_CONTROL is 1 where it is set on every CPU."""
        page = on_each_cpu(SKYLAKE | {0x3A: 0x100005}, SKYLAKE | {0x3A: 0x1})
        expected = dict.fromkeys(
            ("vmx_inside_smx", "vmx_outside_smx", "senter_enable", "sgx_launch_control", "sgx", "lmce"), 0
        )

        assert expected | {"locked": 1} == page.by("vmx_feature_control")

    def test_no_vmx(self) -> None:
        """Without VMX every feature is 0, and nothing is left to compare."""
        page = page_of(host_of({0: {}, 1: {}}, {0: Cpu(), 1: Cpu()}))

        assert dict.fromkeys(FEATURES, 0) == page.by("vmx_feature")
        assert 1 == page.by("vmx_status")["no_vmx"]
        assert 0 == page.value("vmx_usable")
        assert 0 == page.value("vmx_inconsistent_cpus")
        assert not {"vmx_msr_variants", "vmx_msr_info", "vmx_feature_cpus"} & page.names()

    def test_unreadable(self) -> None:
        """With VMX but without its MSRs nothing is claimed, not even that the CPUs agree: all failed."""
        page = on_each_cpu(dict.fromkeys(MSR_BY_INDEX, EIO), dict.fromkeys(MSR_BY_INDEX, EIO))

        assert 1 == page.by("vmx_status")["unreadable"]
        assert {} == page.by("vmx_feature")
        assert None is page.value("vmx_usable")
        assert None is page.value("vmx_inconsistent_cpus")
        assert {"online": 2, "scanned": 0, "failed": 2, "excluded": 0} == page.by("vmx_cpus")


class TestDisagreement:
    """CPUs that differ, fail or are left out."""

    def test_failed_msr(self) -> None:
        """An MSR that fails on one CPU leaves the value to the others, and is counted."""
        page = on_each_cpu(SKYLAKE, SKYLAKE, SKYLAKE | {0x48C: EIO})
        features = [feature.name for feature in FEATURES.values() if feature.msr and feature.msr.index == 0x48C]
        present = {name for name in features if page.by("vmx_feature")[name]}
        failed = {name: count for (name, state), count in page.values("vmx_feature_cpus").items() if state == "failed"}

        assert recorded("skylake-6700k").by("vmx_feature") == page.by("vmx_feature")
        assert dict.fromkeys(features, 1) == failed
        assert {(name, "present"): 2 for name in present} == {
            series: count
            for series, count in page.values("vmx_feature_cpus").items()
            if series[1] == "present" and count
        }
        assert {"online": 3, "scanned": 2, "failed": 1, "excluded": 0} == page.by("vmx_cpus")
        assert 0 == page.value("vmx_inconsistent_cpus")

    def test_failed_cpu(self) -> None:
        """A CPU of which nothing could be read is one failed CPU, not a disagreement for each feature."""
        page = on_each_cpu(SKYLAKE, dict.fromkeys(MSR_BY_INDEX, EIO))

        assert recorded("skylake-6700k").by("vmx_feature") == page.by("vmx_feature")
        assert {} == page.values("vmx_feature_cpus")
        assert {"online": 2, "scanned": 1, "failed": 1, "excluded": 0} == page.by("vmx_cpus")

    def test_absent_msr(self) -> None:
        """An MSR that exists on some CPUs only has absence as one of its variants."""
        small = {index: value for index, value in SKYLAKE.items() if index != 0x491}
        page = on_each_cpu(SKYLAKE, SKYLAKE, small | {0x48B: 0x001F_DCFF_0000_0000})

        assert 2 == page.by("vmx_msr_variants")["IA32_VMX_VMFUNC"]
        assert {("2", "refused", "IA32_VMX_PROCBASED_CTLS2"), ("2", "irrelevant", "IA32_VMX_VMFUNC")} == page.values(
            "vmx_cpu_inconsistent"
        ).keys()
        assert 1 == page.value("vmx_inconsistent_cpus")
        assert 0 == page.by("vmx_feature")["eptp_switching"]

    def test_tie(self) -> None:
        """Where two values are equally common, the other one is that which the lowest CPU has not."""
        page = on_each_cpu(SKYLAKE | {0x48A: 0x2C}, SKYLAKE, SKYLAKE, SKYLAKE | {0x48A: 0x2C})

        differing = {("1", "irrelevant", "IA32_VMX_VMCS_ENUM"): 1, ("2", "irrelevant", "IA32_VMX_VMCS_ENUM"): 1}
        assert differing == page.values("vmx_cpu_inconsistent")
        assert 2 == page.value("vmx_inconsistent_cpus")

    def test_excluded(self) -> None:
        """CPUs that were left alone are counted, and have no say."""
        page = page_of(host_of({0: SKYLAKE, 1: SKYLAKE}, excluded=(2, 3, 4)))

        assert {"online": 5, "scanned": 2, "failed": 0, "excluded": 3} == page.by("vmx_cpus")

    def test_sanity_violations(self) -> None:
        """A broken rule has the number of CPUs that break it; rules that hold have no series."""
        bad = SKYLAKE | {0x48B: 0x001F_FCFF_0000_0001}

        assert {"procbased_ctls2_low": 2} == on_each_cpu(bad, SKYLAKE, bad).by("vmx_sanity_violations")

    def test_platform_differs(self) -> None:
        """A host unlike its like has a series for each feature; those of whole hosts, and of guests, have none."""
        assert [("bus_lock_detection", "present"), ("pml", "absent")] == sorted(
            recorded("made-unlike").values("vmx_platform_differs")
        )
        assert not recorded("skylake-sp-8160-2s").values("vmx_platform_differs")

    def test_unknown_msr(self) -> None:
        """An MSR that no table has goes by its index, and all that is set in it is unknown."""
        page = on_each_cpu(SKYLAKE | {0x494: 0x8000_0000_0000_0001})

        assert {"0x494": 2} == page.by("vmx_unknown_bits")
        assert ("0x494", "0x8000000000000001") in page.values("vmx_msr_info")


class TestManyCpus:
    """The most CPUs that Linux has, 100 of which differ."""

    count = 8192
    differing = range(8000, 8100)

    def host(self) -> Host:
        """Return a host with two distinct sets of values."""
        other = SKYLAKE | {0x48B: 0x005F_FCFF_0000_0000}
        return host_of({cpu: other if cpu in self.differing else SKYLAKE for cpu in range(self.count)})

    def test_groups(self) -> None:
        """Two distinct sets are two groups, each decoded once."""
        assert [8092, 100] == [len(group.cpus) for group in take_inventory(self.host()).groups]

    def test_cap(self) -> None:
        """All CPUs that differ are counted; 64 of them, the lowest, are named."""
        page = page_of(self.host())
        expected = {(str(cpu), "irrelevant", "IA32_VMX_PROCBASED_CTLS2"): 1 for cpu in self.differing[:64]}

        assert 64 == CPU_SERIES_MAX
        assert expected == page.values("vmx_cpu_inconsistent")
        assert 100 == page.value("vmx_inconsistent_cpus")
        assert {"online": 8192, "scanned": 8192, "failed": 0, "excluded": 0} == page.by("vmx_cpus")

    def test_no_series_per_cpu(self) -> None:
        """But for those, the series are the same as on three CPUs of the two kinds."""
        small = page_of(host_of({0: SKYLAKE, 1: SKYLAKE, 2: SKYLAKE | {0x48B: 0x005F_FCFF_0000_0000}}))
        large = page_of(self.host())

        def others(page: Page) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
            return {(name, labels) for name, labels, _ in page.samples if name != "vmx_cpu_inconsistent"}

        assert others(small) == others(large)
        assert not [labels for _, labels in others(large) if "cpu" in dict(labels)]


class TestSelf:
    """What vmxd says of itself."""

    def test_recording(self) -> None:
        """A recording says that it is one, which, and when its MSRs were read."""
        page = recorded("lakefield-i5-l16g7")

        assert {("recording", str(LAKEFIELD)): 1} == page.values("vmxd_source_info")
        assert (LAKEFIELD / "msr.txt").stat().st_mtime == page.value("vmxd_scan_timestamp_seconds")

    def test_live(self) -> None:
        """A live host says that it is one."""
        page = page_of(replace(HEALTHY, source=Source.LIVE, root="/", read_at=1.5e9))

        assert {("live", "/"): 1} == page.values("vmxd_source_info")
        assert 1.5e9 == page.value("vmxd_scan_timestamp_seconds")

    def test_build_and_scan(self) -> None:
        """Version and duration are those of this program and its last scan."""
        page = page_of(HEALTHY)

        assert {vmxd.__version__: 1} == page.by("vmxd_build_info")
        assert 0.25 == page.value("vmxd_scan_duration_seconds")

    def test_requests(self) -> None:
        """Every status that vmxd answers with is counted from the start, where there is a server."""
        families = SelfCollector(Scan(take_inventory(HEALTHY), 0.25)).collect()

        assert {str(code.value): 0 for code in CODES} == page_of(HEALTHY).by("vmxd_http_requests_total")
        assert "vmxd_http_requests" not in {family.name for family in families}


def test_all_of_the_contract() -> None:
    """Every metric of the contract is on some host."""
    broken = on_each_cpu(SKYLAKE | {0x48B: 1})
    failed = together(SelfCollector(scan(str(HOSTS / "made-eio"))), LiveCollector(stale=False))
    hosts = (*REAL_HOSTS, "made-nested", "made-future", "made-unlike")
    names = set.union(broken.names(), *(recorded(name).names() for name in hosts), {name for name, *_ in failed})

    assert CONTRACT.keys() == names
