"""VMX / Fleet: which hosts are alike, what each group of them can do, and what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from grafana_foundation_sdk.models import dashboard

from deploy.grafana import queries
from deploy.grafana.layout import Placed, Section, build
from deploy.grafana.queries import ALL_HOSTS, POOL, of_groups, of_pools, or_zero
from deploy.grafana.style import (
    ANY_IS_BAD,
    ANY_IS_ODD,
    SEVERITY,
    SIGNATURE,
    STATUS,
    Column,
    columns,
    lines,
    link_to,
    number,
)

UID: Final = "vmx-fleet"

TO_FEATURE: Final = link_to("vmx-feature", "This feature across the fleet", "feature", "pool", "model")
TO_HOST: Final = link_to("vmx-host", "This host", "host", "pool")
TO_RUNBOOK: Final = {
    "title": "Runbook",
    "url": "https://vmxd.example/docs/runbooks/${__value.raw}.html",
    "targetBlank": True,
}
"""The address is a placeholder, as in deploy/prometheus/alerts.rules.yml."""

KNOWN_HOSTS: Final = f"sum({of_pools(queries.STATUS_HOSTS)})"
NOT_USABLE: Final = "=~no_vmx|disabled_by_firmware|unlocked|smx_only"
OF_POOLS_ONLY: Final = "Not narrowed by model."
OLD_AND_NEW: Final = (Column("fingerprint_before", "Fingerprint before", 150), Column("fingerprint", "now", 130))


def make() -> dashboard.Dashboard:
    """Return the dashboard."""
    sections = [
        Section("Now", list(_headline())),
        Section("Alerts", list(_alerts())),
        Section("Coverage: who has which feature", list(_coverage())),
        Section("Groups: hosts with one fingerprint have the same features", list(_groups())),
        Section("Status: can software execute VMXON", list(_status())),
        Section("Inconsistencies", list(_inconsistencies())),
        Section("Changes", list(_changes())),
        Section("Models and microcode", list(_models())),
        Section("vmxd", list(_exporters())),
    ]
    description = (
        "VMX features across a fleet: coverage, groups of hosts that are alike, what is odd, what has changed."
    )
    return build(UID, "VMX / Fleet", description, [queries.POOL_VARIABLE, queries.MODEL_VARIABLE], sections)


def _headline() -> Iterator[Placed]:
    hosts = "Hosts that report what their CPUs are. Metric vmx_host_info."
    yield Placed(number("Hosts", hosts, ALL_HOSTS), 3, 4)
    usable = f"Hosts on which software may execute VMXON on every CPU. Metric vmx_status. {OF_POOLS_ONLY}"
    expression = f"sum({of_pools(queries.STATUS_HOSTS, status='usable')})"
    yield Placed(number("Usable", usable, expression), 3, 4)
    not_usable = (
        "Hosts without VMX, or where firmware has disabled it, left IA32_FEATURE_CONTROL unlocked or allows it in SMX "
        f"only. Metric vmx_status. {OF_POOLS_ONLY}"
    )
    expression = f"sum({of_pools(queries.STATUS_HOSTS, status=NOT_USABLE)})"
    yield Placed(number("Not usable", not_usable, expression, limits=ANY_IS_BAD), 3, 4)
    unknown = (
        "Hosts of which no feature may be assumed, for no capability MSR could be read; they count as lacking nothing. "
        f"Source: vmx_host_info without a fingerprint. {OF_POOLS_ONLY}"
    )
    expression = or_zero(f"sum({of_pools('pool:vmx_unknown_hosts:count')})", KNOWN_HOSTS)
    yield Placed(number("Features unknown", unknown, expression, limits=ANY_IS_ODD), 3, 4)
    fingerprints = "Distinct sets of capabilities: values of the label fingerprint of vmx_host_info."
    expression = f"count(group by (fingerprint) ({of_groups(queries.GROUPS)}))"
    yield Placed(number("Fingerprints", fingerprints, expression), 3, 4)
    inconsistent = f"Hosts whose own CPUs differ in a capability MSR. Metric vmx_inconsistent_cpus. {OF_POOLS_ONLY}"
    expression = f"sum({of_pools(queries.INCONSISTENT_HOSTS)})"
    yield Placed(number("With CPUs that differ", inconsistent, expression, limits=ANY_IS_BAD), 3, 4)
    changed = "Hosts with another fingerprint than a day ago. Metric vmx_host_info."
    expression = or_zero(f"count({of_groups(queries.CHANGED)})", ALL_HOSTS)
    yield Placed(number("Changed in a day", changed, expression, limits=ANY_IS_ODD), 3, 4)
    down = f"Targets that cannot be scraped, of the jobs in which there is a vmxd. Metric up. {OF_POOLS_ONLY}"
    expression = or_zero(f"count({_down()})", KNOWN_HOSTS)
    yield Placed(number("Down", down, expression, limits=ANY_IS_BAD), 3, 4)


def _down() -> str:
    return f"{of_pools('up')} == 0 and on (job) group by (job) ({of_pools('vmxd_build_info')})"


def _alerts() -> Iterator[Placed]:
    firing = (
        "Alerts that fire, the most severe first, what each is about (a host, or so many hosts of a kind), and since "
        "when it holds. Source: the series ALERTS and ALERTS_FOR_STATE that Prometheus writes for the rules of "
        f"deploy/prometheus. {OF_POOLS_ONLY}"
    )
    shown = [
        Column("alertname", "Alert", 260, link=TO_RUNBOOK),
        Column("Value #A", "Severity", 100, states=SEVERITY),
        Column("Value #B", "Since", 140, unit="dateTimeFromNow"),
        Column(POOL, "Pool", 140),
        Column("instance", "Host", link=TO_HOST),
        Column("hosts", "Hosts", 70),
        Column("feature", "Feature", link=TO_FEATURE),
        SIGNATURE,
        Column("fingerprint", "Fingerprint", 150),
    ]
    ours = "=~Vmxd?[A-Z].+"
    ranks = (
        f"{rank} * max without (alertstate) ({of_pools('ALERTS', alertname=ours, alertstate='firing', severity=word)})"
        for rank, (word, _) in SEVERITY.items()
    )
    since = f"1000 * {of_pools('ALERTS_FOR_STATE', alertname=ours)} and ignoring (alertstate) "
    since += of_pools("ALERTS", alertname=ours, alertstate="firing")
    empty = "no alert fires, or the rules are not loaded"
    table = columns("Firing", firing, [" or ".join(ranks), since], shown, sort="Severity", descending=True, empty=empty)
    yield Placed(table.filterable(filterable=True), 24, 8)


def _coverage() -> Iterator[Placed]:
    coverage = (
        "For each feature: how many hosts have it on every CPU, how many lack it on some, "
        "and of how many this is not known. The share is of those known. Unit: hosts. Metric vmx_feature, recorded by "
        "fingerprint."
    )
    expressions = [
        queries.share_with("feature"),
        queries.hosts_with("feature"),
        queries.hosts_without("feature"),
        queries.hosts_unknown(),
    ]
    shown = [
        Column("feature", "Feature", link=TO_FEATURE),
        Column("Value #A", "Share that has it", 200, unit="percentunit", bar=True),
        Column("Value #B", "Have it", 80),
        Column("Value #C", "Lack it", 90),
        Column("Value #D", "Unknown", 90),
    ]
    yield Placed(
        columns(
            "Coverage", coverage, expressions, shown, sort="Lack it", descending=True, empty="no features recorded"
        ),
        14,
        16,
    )
    lacking = (
        "Hosts without a feature that other hosts here have, by CPU signature and feature. Unit: hosts. "
        "Metric vmx_feature, recorded by fingerprint."
    )
    expression = (
        f"{queries.hosts_without('signature, feature')} > 0 and on (feature) {queries.hosts_with('feature')} > 0"
    )
    shown = [
        Column("feature", "Feature", link=TO_FEATURE),
        SIGNATURE,
        Column("Value", "Hosts that lack it", 120),
    ]
    yield Placed(
        columns(
            "Who lacks it",
            lacking,
            expression,
            shown,
            sort="Feature",
            empty="no host is known to lack what another has",
        ).filterable(filterable=True),
        10,
        16,
    )
    unusual = (
        "Groups of hosts without a feature that more than half of the hosts with the same CPU model have: microcode, "
        "configuration or a hypervisor takes it away. Unit: hosts. Metric vmx_feature, recorded by CPU model."
    )
    expression = (
        f"(max without (fingerprint_before) ({of_groups(queries.MODEL_FEATURE, model_name='!=')}) == 0 "
        f"and on (signature, model_name, feature) {queries.select(queries.USUAL, signature='=~$model')} > 0.5) "
        f"+ on ({queries.GROUP}, model_name) group_left () {of_groups(queries.MODEL_GROUPS)}"
    )
    shown = [
        Column("feature", "Feature", link=TO_FEATURE),
        Column(POOL, "Pool"),
        Column("model_name", "CPU"),
        Column("fingerprint", "Fingerprint", 150),
        Column("Value", "Hosts that lack it", 120),
    ]
    yield Placed(
        columns(
            "Lacks what most hosts with the same CPU model have",
            unusual,
            expression,
            shown,
            sort="Feature",
            empty="none is known to",
        ).filterable(filterable=True),
        24,
        9,
    )


def _groups() -> Iterator[Placed]:
    groups = (
        "Hosts of a pool with one CPU signature and one fingerprint, and how many features software can use on them. "
        "no_vmx: the CPUs have no VMX. Metrics vmx_host_info and vmx_feature, recorded by fingerprint."
    )
    expressions = [of_groups(queries.GROUPS), f"sum by ({queries.GROUP}) ({of_groups(queries.GROUP_FEATURE)})"]
    shown = [
        Column(POOL, "Pool"),
        SIGNATURE,
        Column("fingerprint", "Fingerprint", 150),
        Column("Value #A", "Hosts", 80),
        Column("Value #B", "Features", 90),
    ]
    yield Placed(
        columns("Groups", groups, expressions, shown, sort="Hosts", descending=True, empty="no host").filterable(
            filterable=True
        ),
        10,
        10,
    )
    split = (
        "Pools in which hosts with one CPU signature have several fingerprints: a guest may not be able to migrate "
        "between them. Unit: fingerprints. Metric vmx_host_info, recorded by fingerprint."
    )
    expression = f"count by ({POOL}, signature) ({of_groups(queries.GROUPS)}) > 1"
    shown = [Column(POOL, "Pool"), SIGNATURE, Column("Value", "Fingerprints", 110)]
    yield Placed(
        columns(
            "One CPU, several fingerprints",
            split,
            expression,
            shown,
            sort="Fingerprints",
            descending=True,
            empty="none with several",
        ),
        7,
        10,
    )
    over_time = "Distinct fingerprints in each pool, over time. Metric vmx_host_info, recorded by fingerprint."
    expression = f"count by ({POOL}) (group by ({POOL}, fingerprint) ({of_groups(queries.GROUPS)}))"
    yield Placed(lines("Fingerprints over time", over_time, {f"{{{{{POOL}}}}}": expression}), 7, 10)


def _status() -> Iterator[Placed]:
    over_time = f"Hosts by status, over time. Metric vmx_status. {OF_POOLS_ONLY}"
    expression = f"sum by (status) ({of_pools(queries.STATUS_HOSTS)}) > 0"
    yield Placed(lines("Hosts by status", over_time, {"{{status}}": expression}, stacked=True), 8, 9)
    by_pool = f"Hosts of each pool by status. Unit: hosts. Metric vmx_status. {OF_POOLS_ONLY}"
    expression = f"{of_pools(queries.STATUS_HOSTS)} > 0"
    shown = [Column(POOL, "Pool"), Column("status", "Status", 190, states=STATUS), Column("Value", "Hosts", 80)]
    yield Placed(columns("Pools by status", by_pool, expression, shown, sort="Pool", empty="no host"), 8, 9)
    which = (
        f"Hosts on which software may not execute VMXON, or where that is not known. Metric vmx_status. {OF_POOLS_ONLY}"
    )
    expression = f"{of_pools('vmx_status', status='!=usable')} == 1"
    shown = [
        Column("instance", "Host", link=TO_HOST),
        Column(POOL, "Pool", 100),
        Column("status", "Status", 190, states=STATUS),
    ]
    yield Placed(
        columns("Hosts that are not usable", which, expression, shown, empty="none of the hosts that answer"), 8, 9
    )


def _inconsistencies() -> Iterator[Placed]:
    hosts = (
        f"Hosts with CPUs that differ from the host's most common MSR values. Unit: logical CPUs. "
        f"Metric vmx_inconsistent_cpus. {OF_POOLS_ONLY}"
    )
    shown = [Column("instance", "Host", link=TO_HOST), Column(POOL, "Pool", 110), Column("Value", "CPUs", 70)]
    yield Placed(
        columns(
            "Hosts with CPUs that differ",
            hosts,
            f"{of_pools('vmx_inconsistent_cpus')} > 0",
            shown,
            sort="CPUs",
            descending=True,
            empty="no host is known to have any",
        ),
        10,
        8,
    )
    rules = f"Rules that healthy values obey and some hosts break. Unit: hosts. vmx_sanity_violations. {OF_POOLS_ONLY}"
    shown = [Column("rule", "Rule"), Column("Value", "Hosts", 70)]
    expression = f"count by (rule) ({of_pools('vmx_sanity_violations')})"
    yield Placed(columns("Broken rules", rules, expression, shown, empty="none is known to be"), 7, 8)
    bits = f"MSRs with set bits that vmxd does not know: new silicon. Unit: hosts. vmx_unknown_bits. {OF_POOLS_ONLY}"
    shown = [Column("msr", "MSR"), Column("Value", "Hosts", 70)]
    expression = f"count by (msr) ({of_pools('vmx_unknown_bits')} > 0)"
    yield Placed(columns("Unknown bits", bits, expression, shown, empty="none was seen"), 7, 8)


def _changes() -> Iterator[Placed]:
    lost = "Features that hosts had a day ago and lack now. Unit: hosts. Metric vmx_feature, recorded by fingerprint."
    shown = [
        Column("feature", "Feature", link=TO_FEATURE),
        Column(POOL, "Pool", 100),
        *OLD_AND_NEW,
        Column("Value", "Hosts", 70),
    ]
    expression = of_groups(queries.LOST)
    yield Placed(
        columns("Features lost in a day", lost, expression, shown, empty="no host is known to have lost one"), 12, 8
    )
    gained = (
        "Features that hosts lacked a day ago and have now. Unit: hosts. Metric vmx_feature, recorded by fingerprint."
    )
    expression = of_groups(queries.GAINED)
    yield Placed(
        columns("Features gained in a day", gained, expression, shown, empty="no host is known to have gained one"),
        12,
        8,
    )
    changed = "Hosts with another fingerprint than a day ago. Metric vmx_host_info."
    shown = [
        Column("instance", "Host", link=TO_HOST),
        Column(POOL, "Pool", 100),
        SIGNATURE,
        *OLD_AND_NEW,
    ]
    yield Placed(
        columns(
            "Hosts that changed", changed, of_groups(queries.CHANGED), shown, empty="no host is known to have changed"
        ),
        12,
        8,
    )
    over_time = (
        "Hosts that lost or gained a feature within the day before, over time. vmx_feature, recorded by fingerprint."
    )
    group = f"{queries.GROUP}, fingerprint_before"
    expressions = {
        "lost a feature": f"sum(max by ({group}) ({of_groups(queries.LOST)}))",
        "gained a feature": f"sum(max by ({group}) ({of_groups(queries.GAINED)}))",
    }
    yield Placed(lines("Changes over time", over_time, expressions), 12, 8)


def _models() -> Iterator[Placed]:
    models = "Hosts by CPU model, signature and microcode revision. Source: /proc/cpuinfo, metric vmx_host_info."
    by = "vendor, model_name, signature, microcode, hypervisor"
    shown = [
        Column("model_name", "Model"),
        SIGNATURE,
        Column("microcode", "Microcode", 120),
        Column("hypervisor", "Is a guest", 100),
        Column("Value", "Hosts", 80),
    ]
    expression = f"sum by ({by}) ({of_groups(queries.HOSTS)})"
    yield Placed(
        columns(
            "Models and microcode", models, expression, shown, sort="Hosts", descending=True, empty="no host"
        ).filterable(filterable=True),
        15,
        11,
    )
    over_time = "Hosts by CPU signature and microcode revision, over time. Source: /proc/cpuinfo, metric vmx_host_info."
    expression = f"sum by (signature, microcode) ({of_groups(queries.HOSTS)})"
    yield Placed(
        lines("Microcode over time", over_time, {"{{signature}} {{microcode}}": expression}, stacked=True), 9, 11
    )


def _exporters() -> Iterator[Placed]:
    down = f"Targets that cannot be scraped, of the jobs in which there is a vmxd. Metric up. {OF_POOLS_ONLY}"
    host = Column("instance", "Host", link=TO_HOST)
    pool = Column(POOL, "Pool", 100)
    yield Placed(columns("Down", down, _down(), [host, pool], empty="none"), 6, 8)
    stale = (
        "Hosts whose boot, online CPUs or microcode changed, or that resumed, after the MSRs were read. "
        f"Metric vmxd_recording_stale. {OF_POOLS_ONLY}"
    )
    expression = f"{of_pools('vmxd_recording_stale')} == 1"
    yield Placed(columns("Scan out of date", stale, expression, [host, pool], empty="none"), 6, 8)
    errors = f"Reads of an MSR on a CPU that failed, by host and errno. Metric vmxd_scan_errors. {OF_POOLS_ONLY}"
    shown = [host, Column("errno", "errno", 90), Column("Value", "Reads", 80)]
    yield Placed(columns("Reads that failed", errors, of_pools("vmxd_scan_errors"), shown, empty="none"), 6, 8)
    versions = f"Hosts by version of vmxd. Metric vmxd_build_info. {OF_POOLS_ONLY}"
    expression = f"count by (version) ({of_pools('vmxd_build_info')})"
    shown = [Column("version", "Version"), Column("Value", "Hosts", 80)]
    yield Placed(columns("Versions", versions, expression, shown, empty="no vmxd"), 6, 8)
