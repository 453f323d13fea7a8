"""VMX / Feature: one feature across the fleet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from grafana_foundation_sdk.models import dashboard

from deploy.grafana import queries
from deploy.grafana.layout import Placed, Section, build
from deploy.grafana.queries import ALL_HOSTS, POOL, of_groups, of_pools, or_zero
from deploy.grafana.style import (
    ANY_IS_ODD,
    DIM,
    PRESENCE,
    SIGNATURE,
    Column,
    States,
    columns,
    lines,
    link_to,
    number,
    words,
)
from vmxd.tables import FEATURES, Feature
from vmxd.tables.purpose import PURPOSE

UID: Final = "vmx-feature"

FEATURE: Final = {"feature": "$feature"}
KNOWN: Final = f"group by (feature) ({queries.select(queries.GROUP_FEATURE, feature='$feature')})"
TO_HOST: Final = link_to("vmx-host", "This host", "host", "pool")


def make() -> dashboard.Dashboard:
    """Return the dashboard."""
    sections = [
        Section("What it is", list(_names())),
        Section("Who has it", list(_headline())),
        Section("By model, pool and group", list(_tables())),
        Section("Hosts", list(_hosts())),
        Section("Over time", list(_history())),
        Section("What KVM makes of it", list(_kvm())),
    ]
    description = "One VMX feature across the fleet: which models, pools and hosts have it, and since when."
    variables = [queries.POOL_VARIABLE, queries.MODEL_VARIABLE, queries.FEATURE_VARIABLE]
    return build(UID, "VMX / Feature", description, variables, sections)


def _names() -> Iterator[Placed]:
    name = "The name that vmxd gives the feature: value of the label feature of vmx_feature."
    yield Placed(words("Feature", name, KNOWN, "feature"), 6, 3)
    location = "The MSR and bit that say whether software can use it. Source: SDM Vol. 3D Appendix A."
    states = _texts(lambda feature: feature.location or "several bits together")
    yield Placed(words("MSR and bit", location, KNOWN, "feature", states=states), 7, 3)
    sdm = "What the SDM calls it, Vol. 3D Appendix A."
    yield Placed(words("In the SDM", sdm, KNOWN, "feature", states=_texts(lambda feature: feature.row.sdm)), 6, 3)
    qemu = "The CPU property that QEMU and libvirt say is missing when a migration fails. Source: QEMU."
    states = _texts(lambda feature: feature.row.qemu or "no name")
    yield Placed(words("In QEMU", qemu, KNOWN, "feature", states=states), 5, 3)
    purpose = "What a VM or its operator has of it; of the features that matter most. Source: SDM, and KVM's code."
    states = _texts(lambda feature: PURPOSE.get(feature.name, "-"))
    yield Placed(words("What it is for", purpose, KNOWN, "feature", states=states), 24, 3)


def _headline() -> Iterator[Placed]:
    share = "Share of the hosts with the feature, of those of which it is known. Metric vmx_feature, by fingerprint."
    expression = queries.share_with("feature", **FEATURE)
    yield Placed(number("Share that has it", share, expression, unit="percentunit"), 4, 4)
    having = "Hosts on which software can use it on every CPU. Metric vmx_feature, recorded by fingerprint."
    yield Placed(number("Have it", having, queries.hosts_with("feature", **FEATURE)), 4, 4)
    lacking = "Hosts on which software cannot use it on some CPU at least. Metric vmx_feature, recorded by fingerprint."
    expression = queries.hosts_without("feature", **FEATURE)
    yield Placed(number("Lack it", lacking, expression, limits=ANY_IS_ODD), 4, 4)
    unknown = (
        "Hosts of which it is not known, for MSRs could not be read on some CPU and no other host is like them. They "
        "count as neither. Metrics vmx_host_info and vmx_feature, recorded by fingerprint."
    )
    expression = queries.hosts_unknown(**FEATURE)
    yield Placed(number("Unknown", unknown, expression, limits=ANY_IS_ODD), 4, 4)
    mixed = "Pools in which some hosts have it and some lack it. Metric vmx_feature, recorded by fingerprint."
    share_by_pool = queries.share_with(POOL, **FEATURE)
    expression = or_zero(f"count({share_by_pool} > 0 < 1)", ALL_HOSTS)
    yield Placed(number("Mixed pools", mixed, expression, limits=ANY_IS_ODD), 4, 4)
    changed = "Hosts that had it a day ago and lack it now. Metric vmx_feature, recorded by fingerprint."
    expression = or_zero(f"sum({of_groups(queries.LOST, **FEATURE)})", ALL_HOSTS)
    yield Placed(number("Lost in a day", changed, expression, limits=ANY_IS_ODD), 4, 4)


def _texts(text: Callable[[Feature], str]) -> States:
    return {name: (text(feature), DIM) for name, feature in FEATURES.items()}


def _tables() -> Iterator[Placed]:
    counts = (
        Column("Value #A", "Share that has it", 180, unit="percentunit", bar=True),
        Column("Value #B", "Have it", 70),
        Column("Value #C", "Lack it", 80),
    )
    for title, label, name, width in (("Models", "signature", "Signature", 8), ("Pools", POOL, "Pool", 8)):
        description = (
            f"Hosts with and without the feature, by {name.lower()}; hosts where it is unknown are in neither. "
            "Unit: hosts. Metric vmx_feature, recorded by fingerprint."
        )
        of = [
            function(label, **FEATURE) for function in (queries.share_with, queries.hosts_with, queries.hosts_without)
        ]
        shown = [Column(label, name), *counts]
        yield Placed(
            columns(title, description, of, shown, sort="Lack it", descending=True, empty="unknown"), width, 10
        )
    groups = (
        "Hosts with one fingerprint, and whether they have the feature. Metric vmx_feature, recorded by fingerprint."
    )
    shown = [
        Column(POOL, "Pool"),
        SIGNATURE,
        Column("fingerprint", "Fingerprint", 125),
        Column("Value", "Hosts", 65),
        Column("state", "State", 105, states=PRESENCE),
    ]
    groups_of = of_groups(queries.GROUPS)
    of_feature = of_groups(queries.GROUP_FEATURE, **FEATURE)
    expression = " or ".join(
        f'label_replace({those}, "state", "{state}", "", "")'
        for state, those in (
            (1, f"{groups_of} and on ({queries.GROUP}) {of_feature} == 1"),
            (0, f"{groups_of} and on ({queries.GROUP}) {of_feature} == 0"),
            (-1, f"{groups_of} unless on ({queries.GROUP}) {of_feature}"),
        )
    )
    yield Placed(columns("Groups", groups, expression, shown, sort="Hosts", descending=True, empty="no host"), 8, 10)


def _hosts() -> Iterator[Placed]:
    host = Column("instance", "Host", link=TO_HOST)
    pool = Column(POOL, "Pool", 100)
    group = of_groups(queries.GROUP_FEATURE, **FEATURE)
    lacking = (
        "Hosts on which software cannot use the feature on some CPU at least. Metrics vmx_host_info and vmx_feature, "
        "recorded by fingerprint."
    )
    expression = f"{of_groups(queries.HOST_GROUP)} and on ({queries.GROUP}) {group} == 0"
    shown = [host, pool, SIGNATURE, Column("fingerprint", "Fingerprint", 140)]
    yield Placed(
        columns("Hosts without it", lacking, expression, shown, sort="Host", empty="no host is known to lack it"),
        10,
        10,
    )
    unknown = (
        "Hosts of which it is not known, for MSRs could not be read on some CPU and no other host is like them. "
        "Metrics vmx_host_info and vmx_feature, recorded by fingerprint."
    )
    expression = (
        f"{of_groups('vmx_host_info')} unless on (job, instance) "
        f"({of_groups(queries.HOST_GROUP)} and on ({queries.GROUP}) {group})"
    )
    shown = [host, pool, SIGNATURE]
    yield Placed(columns("Hosts where it is unknown", unknown, expression, shown, sort="Host", empty="none"), 7, 10)
    split = "Hosts on whose CPUs the feature differs. Unit: logical CPUs. Metric vmx_feature_cpus."
    shown = [host, Column("state", "State", 80), Column("Value", "CPUs", 65)]
    expression = f"{of_pools('vmx_feature_cpus', **FEATURE)} > 0"
    yield Placed(columns("Hosts whose CPUs disagree", split, expression, shown, sort="Host", empty="none"), 7, 10)


def _history() -> Iterator[Placed]:
    over_time = "Hosts with and without the feature, over time. Metric vmx_feature, recorded by fingerprint."
    expressions = {
        "with": queries.hosts_with("feature", **FEATURE),
        "without": queries.hosts_without("feature", **FEATURE),
    }
    yield Placed(lines("Hosts", over_time, expressions, stacked=True), 8, 8)
    by_pool = "Hosts without the feature, by pool, over time. Metric vmx_feature, recorded by fingerprint."
    expression = f"{queries.hosts_without(POOL, **FEATURE)} > 0"
    yield Placed(lines("Hosts without it, by pool", by_pool, {f"{{{{{POOL}}}}}": expression}, stacked=True), 8, 8)
    changed = "Groups of hosts that lost or gained the feature within a day. vmx_feature, recorded by fingerprint."
    expression = " or ".join(
        f'label_replace({of_groups(metric, **FEATURE)}, "change", "{change}", "", "")'
        for change, metric in (("lost", queries.LOST), ("gained", queries.GAINED))
    )
    shown = [
        Column(POOL, "Pool"),
        Column("fingerprint_before", "before", 125),
        Column("fingerprint", "now", 125),
        Column("change", "Change", 75),
        Column("Value", "Hosts", 65),
    ]
    yield Placed(
        columns("Lost and gained in a day", changed, expression, shown, empty="no host is known to have"), 8, 8
    )


def _kvm() -> Iterator[Placed]:
    unused = (
        "Hosts whose hardware has the feature while the loaded kvm_intel leaves it off, by the parameter that does. "
        "Unit: hosts. Metric vmx_kvm_unused_feature."
    )
    shown = [Column(POOL, "Pool"), Column("parameter", "Parameter of kvm_intel"), Column("Value", "Hosts", 80)]
    expression = f"count by ({POOL}, parameter) ({of_pools('vmx_kvm_unused_feature', **FEATURE)} == 1)"
    yield Placed(columns("Left off by KVM", unused, expression, shown, empty="no host"), 12, 8)
    which = "Hosts whose hardware has the feature while the loaded kvm_intel leaves it off. vmx_kvm_unused_feature."
    shown = [Column("instance", "Host", link=TO_HOST), Column(POOL, "Pool"), Column("parameter", "Parameter")]
    expression = f"{of_pools('vmx_kvm_unused_feature', **FEATURE)} == 1"
    yield Placed(columns("Hosts where KVM leaves it off", which, expression, shown, empty="no host"), 12, 8)
