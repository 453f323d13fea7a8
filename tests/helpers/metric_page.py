"""The metrics of a host as a scraper reads them, and the contract that they keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from tests.helpers.strategies import host_of
from tests.helpers.support import HOSTS
from vmxd.commands.profiles import builtin_profiles
from vmxd.host.root import read_host
from vmxd.host.scan import Scan, scan
from vmxd.model.facts import Host, Reading
from vmxd.model.inventory import take_inventory
from vmxd.server.live import LiveCollector
from vmxd.server.negotiate import Format
from vmxd.server.render import render_metrics

CONTRACT: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(labels.split())
    for name, labels in {
        "vmx_feature": "feature",
        "vmx_feature_cpus": "feature state",
        "vmx_usable": "",
        "vmx_status": "status",
        "vmx_feature_control": "bit",
        "vmx_cpus": "state",
        "vmx_msr_variants": "msr",
        "vmx_inconsistent_cpus": "",
        "vmx_cpu_inconsistent": "cpu msr kvm",
        "vmx_msr_info": "msr value",
        "vmx_unknown_bits": "msr",
        "vmx_platform_differs": "feature state",
        "vmx_sanity_violations": "rule",
        "vmx_profile_missing_features": "profile",
        "vmx_host_info": "vendor model_name signature microcode hypervisor fingerprint",
        "vmx_kernel_info": "release",
        "vmx_vmcs_region_bytes": "",
        "vmx_vmcs_revision": "",
        "vmx_preemption_timer_tsc_shift": "",
        "vmx_cr3_targets": "",
        "vmx_msr_list_max": "",
        "vmx_vmcs_field_index_max": "",
        "vmx_hlat_prefix_max": "",
        "vmxd_build_info": "version",
        "vmxd_source_info": "kind root",
        "vmxd_scan_duration_seconds": "",
        "vmx_kvm_parameter": "parameter",
        "vmx_kvm_unused_feature": "feature parameter",
        "vmx_nested_status": "status",
        "vmx_nested_feature": "feature",
        "vmxd_scan_timestamp_seconds": "",
        "vmxd_scan_success": "",
        "vmxd_scan_failures_total": "reason",
        "vmxd_scan_errors": "errno",
        "vmxd_recording_stale": "",
        "vmxd_http_requests_total": "code",
        "process_virtual_memory_bytes": "",
        "process_resident_memory_bytes": "",
        "process_start_time_seconds": "",
        "process_cpu_seconds_total": "",
        "process_open_fds": "",
        "process_max_fds": "",
    }.items()
}
"""Every metric with its labels: to rename one breaks its users."""
Series = tuple[str, tuple[tuple[str, str], ...], float]


def readings_of(name: str) -> dict[int, Reading]:
    """Return the readings of a recorded host's first CPU."""
    readings = read_host(str(HOSTS / name)).readings
    return {index: by_cpu[min(by_cpu)] for index, by_cpu in readings.items()}


SKYLAKE: Final = readings_of("skylake-6700k")
HEALTHY: Final = host_of({0: SKYLAKE, 1: SKYLAKE})


def flat(families: Iterable[Metric]) -> list[Series]:
    """Return the samples of families, in their order."""
    return [
        (sample.name, tuple(sorted(sample.labels.items())), float(sample.value))
        for family in families
        for sample in family.samples
    ]


def together(*collectors: Collector) -> list[Series]:
    """Return the samples that collectors yield."""
    return flat(family for collector in collectors for family in collector.collect())


class Page:
    """The metrics of one host as a scraper that reads the text format sees them."""

    def __init__(self, taken: Scan) -> None:
        self.text = (render_metrics(taken, Format.TEXT) + LiveCollector().render(Format.TEXT)).decode()
        self.families = list(parse_text(self.text))
        self.samples = flat(self.families)

    def values(self, metric: str) -> dict[tuple[str, ...], float]:
        """Return a metric's values by its label values, which stand in the order of the labels' names."""
        return {tuple(value for _, value in labels): number for name, labels, number in self.samples if name == metric}

    def by(self, metric: str) -> dict[str, float]:
        """Return the values of a metric that has one label, by its value."""
        return {label: number for (label,), number in self.values(metric).items()}

    def value(self, metric: str) -> float | None:
        """Return the value of a metric without labels; None where it has no series."""
        return self.values(metric).get(())

    def names(self) -> set[str]:
        """Return the metrics that have series."""
        return {name for name, _, _ in self.samples}


@cache
def recorded(name: str) -> Page:
    """Return the page of a recorded host."""
    return Page(scan(str(HOSTS / name), profiles=builtin_profiles()))


def page_of(host: Host) -> Page:
    """Return the page of a host in memory."""
    return Page(Scan(take_inventory(host), 0.25))


def on_each_cpu(*readings: Mapping[int, Reading]) -> Page:
    """Return the page of a host with these readings, CPU 0 first."""
    return page_of(host_of(dict(enumerate(readings))))
