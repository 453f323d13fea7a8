"""VMX / Host: everything that one host says of itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from grafana_foundation_sdk.models import dashboard

from deploy.grafana import queries
from deploy.grafana.layout import Placed, Section, build
from deploy.grafana.queries import of_host
from deploy.grafana.style import (
    ANY_IS_BAD,
    ANY_IS_ODD,
    DIM,
    GOOD,
    ODD,
    PRESENCE,
    STATUS,
    YES_NO,
    Column,
    Limits,
    columns,
    lines,
    link_to,
    number,
    timeline,
    words,
)
from vmxd.tables import FEATURES, Feature

UID: Final = "vmx-host"

TO_FEATURE: Final = link_to("vmx-feature", "This feature across the fleet", "feature", "pool")
ROW_PIXELS: Final = 36
UNIT_PIXELS: Final = 38
"""Heights: of a table's row, and of a grid unit with its margin."""


def make() -> dashboard.Dashboard:
    """Return the dashboard."""
    sections = [
        Section("This host", list(_headline())),
        Section("CPUs that differ", list(_differences())),
        Section("Features by MSR: what software can use on every CPU", list(_features()), packed=True),
        Section("What KVM makes of it", list(_kvm())),
        Section("Raw values", list(_raw())),
        Section("History", list(_history())),
        Section("vmxd on this host", list(_exporter())),
    ]
    description = "One host: status, features by MSR, CPUs that differ, raw MSR values, and what KVM makes of them."
    variables = [queries.POOL_VARIABLE, queries.MODEL_VARIABLE, queries.HOST_VARIABLE]
    return build(UID, "VMX / Host", description, variables, sections)


def _headline() -> Iterator[Placed]:
    info = of_host("vmx_host_info")
    status = "Whether software may execute VMXON. Source: CPUID and IA32_FEATURE_CONTROL (0x3a), metric vmx_status."
    yield Placed(words("Status", status, f"{of_host('vmx_status')} == 1", "status", states=STATUS), 5, 4)
    yield Placed(words("CPU", "Model name. Source: /proc/cpuinfo, label of vmx_host_info.", info, "model_name"), 7, 4)
    signature = "Family, model and stepping in hex, as Linux names microcode files. Source: /proc/cpuinfo."
    yield Placed(words("Signature", signature, info, "signature"), 3, 4)
    microcode = "Microcode revision. Source: /proc/cpuinfo."
    yield Placed(words("Microcode", microcode, info, "microcode"), 3, 4)
    fingerprint = (
        "Hash of the capability MSRs: hosts with one fingerprint have the same capabilities. Label of vmx_host_info."
    )
    yield Placed(words("Fingerprint", fingerprint, info, "fingerprint"), 3, 4)
    guest = "Whether a hypervisor runs this host, which then decides what it sees. Source: /proc/cpuinfo."
    states = {"false": ("no", DIM), "true": ("yes", ODD)}
    yield Placed(words("Is a guest", guest, info, "hypervisor", states=states), 3, 4)

    online = "Logical CPUs online. Source: /sys/devices/system/cpu, metric vmx_cpus."
    yield Placed(number("CPUs online", online, of_host("vmx_cpus", state="online")), 3, 4)
    failed = "Logical CPUs on which an MSR could not be read; what they can do is unknown. Metric vmx_cpus."
    yield Placed(number("CPUs not read", failed, of_host("vmx_cpus", state="failed"), limits=ANY_IS_ODD), 3, 4)
    differ = "Logical CPUs that differ from this host's most common MSR values. Metric vmx_inconsistent_cpus."
    yield Placed(number("CPUs that differ", differ, of_host("vmx_inconsistent_cpus"), limits=ANY_IS_BAD), 3, 4)
    present = "Features that software can use on every CPU, of those that vmxd knows. Metric vmx_feature."
    yield Placed(number("Features it has", present, f"sum({of_host('vmx_feature')})"), 3, 4)
    absent = "Features that software cannot use on some CPU at least. Metric vmx_feature."
    yield Placed(number("Features it lacks", absent, f"count({of_host('vmx_feature')} == 0)"), 3, 4)
    unused = "Features that the hardware has and the loaded kvm_intel leaves off. Metric vmx_kvm_unused_feature."
    expression = f"count({of_host('vmx_kvm_unused_feature')} == 1) or 0 * count({of_host('vmx_kvm_parameter')})"
    yield Placed(number("Unused by KVM", unused, expression, limits=ANY_IS_ODD), 3, 4)
    bits = "Bits that are set on some CPU and have no name in vmxd's tables: new silicon. Metric vmx_unknown_bits."
    expression = f"sum({of_host('vmx_unknown_bits')}) or 0 * count({of_host('vmx_msr_variants')} > 0)"
    yield Placed(number("Unknown bits", bits, expression, limits=ANY_IS_ODD), 3, 4)
    broken = "Rules that healthy CPUs obey and this host's values break. Metric vmx_sanity_violations."
    expression = f"count({of_host('vmx_sanity_violations')}) or 0 * count({of_host('vmx_msr_variants')} > 0)"
    yield Placed(number("Broken rules", broken, expression, limits=ANY_IS_BAD), 3, 4)


def _differences() -> Iterator[Placed]:
    counts = [
        f"sum without (state) ({of_host('vmx_feature_cpus', state=state)})" for state in ("present", "absent", "failed")
    ]
    shown = [
        Column("feature", "Feature", link=TO_FEATURE),
        Column("Value #A", "CPUs with it", 120),
        Column("Value #B", "CPUs without", 120),
        Column("Value #C", "not read", 100),
    ]
    disagree = (
        "Features on which the CPUs disagree; software that may run on every CPU cannot use them. Unit: logical CPUs. "
        "Metric vmx_feature_cpus."
    )
    yield Placed(columns("Features on which CPUs disagree", disagree, counts, shown, empty="none is known"), 10, 8)
    which = "CPUs and the MSRs in which they differ from the most common value; 64 CPUs at most. vmx_cpu_inconsistent."
    shown = [Column("cpu", "CPU", 70), Column("msr", "MSR")]
    yield Placed(
        columns(
            "CPUs and MSRs", which, of_host("vmx_cpu_inconsistent"), shown, empty="none is known to differ", sort="CPU"
        ),
        7,
        8,
    )
    rules = "Rules that healthy values obey, and on how many logical CPUs they are broken. vmx_sanity_violations."
    shown = [Column("rule", "Rule"), Column("Value", "CPUs", 70)]
    yield Placed(
        columns("Broken rules", rules, of_host("vmx_sanity_violations"), shown, empty="none is known to be"), 7, 8
    )


def _features() -> Iterator[Placed]:
    for title, source, features in groups():
        description = (
            f"1 (has): software can use the feature on every CPU; 0 (lacks): not on some; unknown: it could not "
            f"be read on any. Source: {source}, metric vmx_feature."
        )
        names = "|".join(feature.name for feature in features)
        expression = queries.or_unknown(of_host("vmx_feature", feature=f"=~{names}"), names)
        shown = [Column("feature", "Feature", link=TO_FEATURE), Column("Value", "State", 110, states=PRESENCE)]
        height = 1 + -(-(len(features) + 1) * ROW_PIXELS // UNIT_PIXELS) + 1
        yield Placed(columns(title, description, expression, shown, empty="no data"), 6, height)


def groups() -> Iterator[tuple[str, str, list[Feature]]]:
    """Yield the features by the MSR that says whether software can use them, in the SDM's order: name, source, rows."""
    for msr, features in itertools.groupby(FEATURES.values(), key=lambda feature: feature.msr):
        if msr is None:
            yield "Several bits together", "several of the MSRs above", list(features)
        else:
            yield msr.name, f"{msr.name} ({msr.index:#x}), SDM Vol. 3D {msr.sdm}", list(features)


def _kvm() -> Iterator[Placed]:
    unused = (
        "Features that the hardware has and the loaded kvm_intel leaves off, and why. Metric vmx_kvm_unused_feature."
    )
    shown = [Column("feature", "Feature", link=TO_FEATURE), Column("parameter", "Parameter of kvm_intel")]
    expression = f"{of_host('vmx_kvm_unused_feature')} == 1"
    yield Placed(
        columns("Left off by KVM", unused, expression, shown, empty="nothing, or kvm_intel is not loaded"), 8, 9
    )
    parameters = "Parameters of the loaded module; Y and N as 1 and 0. Source: /sys/module/kvm_intel/parameters."
    shown = [Column("parameter", "Parameter"), Column("Value", "Value", 80)]
    yield Placed(
        columns(
            "Parameters of kvm_intel",
            parameters,
            of_host("vmx_kvm_parameter"),
            shown,
            empty="kvm_intel is not loaded",
            sort="Parameter",
        ),
        8,
        9,
    )
    nested = (
        "What KVM offers to guests that are hypervisors themselves, where the hardware has it. Source: KVM_GET_MSRS on "
        "/dev/kvm, metric vmx_nested_feature."
    )
    shown = [
        Column("feature", "Feature", link=TO_FEATURE),
        Column("Value", "Offered", 110, states=YES_NO),
    ]
    expression = f"{of_host('vmx_nested_feature')} and on (feature) ({of_host('vmx_feature')} == 1)"
    yield Placed(
        columns(
            "Offered to nested hypervisors", nested, expression, shown, empty="/dev/kvm was not read", sort="Offered"
        ),
        8,
        9,
    )


def _raw() -> Iterator[Placed]:
    info = (
        "Most common raw value over the CPUs, 64 bits in hex; variants: distinct values, 1 is consistent. vmx_msr_info."
    )
    shown = [
        Column("msr", "MSR", 280),
        Column("value", "Most common value"),
        Column("Value", "Variants", 80),
    ]
    expression = f"{of_host('vmx_msr_info')} * on (msr) group_left {of_host('vmx_msr_variants')}"
    yield Placed(columns("MSRs", info, expression, shown, empty="no MSR was read"), 12, 13)
    fields = (
        "Numeric fields of the capability MSRs, each a metric: the unit is in its HELP. Source: IA32_VMX_BASIC, "
        "IA32_VMX_MISC, IA32_VMX_VMCS_ENUM and IA32_VMX_EPT_VPID_CAP."
    )
    shown = [Column("__name__", "Field"), Column("Value", "Value", 80)]
    yield Placed(columns("Numeric fields", fields, queries.numeric_fields(), shown, empty="no MSR was read"), 6, 13)
    control = "1 if the bit is set on every CPU. Source: IA32_FEATURE_CONTROL (0x3a), metric vmx_feature_control."
    shown = [Column("bit", "Bit"), Column("Value", "Set", 90, states=YES_NO)]
    yield Placed(
        columns("IA32_FEATURE_CONTROL", control, of_host("vmx_feature_control"), shown, empty="not recorded"), 6, 7
    )
    bits = "Set bits without a name in vmxd's tables, by MSR. Unit: bits. Metric vmx_unknown_bits."
    shown = [Column("msr", "MSR"), Column("Value", "Bits", 80)]
    yield Placed(columns("Unknown bits", bits, of_host("vmx_unknown_bits"), shown, empty="none was seen"), 6, 6)


def _history() -> Iterator[Placed]:
    status = "The status that held, over time; gaps: not scraped. Metric vmx_status."
    expression = f"{of_host('vmx_status')} == 1"
    yield Placed(timeline("Status", status, expression, "{{status}}", {"1": ("holds", GOOD)}), 8, 6)
    identity = "Microcode revision and fingerprint over time: a new line is a change. Metric vmx_host_info."
    legend = "{{microcode}} {{fingerprint}}"
    yield Placed(
        timeline("Microcode and fingerprint", identity, of_host("vmx_host_info"), legend, {"1": ("in use", GOOD)}), 8, 6
    )
    count = "Number of features that software can use on every CPU, over time. Metric vmx_feature."
    yield Placed(lines("Features it has", count, {"features": f"sum({of_host('vmx_feature')})"}), 8, 6)


def _exporter() -> Iterator[Placed]:
    age = "Seconds since the MSRs were read. Metric vmxd_scan_timestamp_seconds."
    expression = f"time() - {of_host('vmxd_scan_timestamp_seconds')}"
    yield Placed(number("Age of the scan", age, expression, unit="s"), 4, 4)
    stale = "1 if boot, CPUs online, microcode, a resume or kvm_intel tell that it is stale. vmxd_recording_stale."
    expression = of_host("vmxd_recording_stale")
    yield Placed(number("Scan out of date", stale, expression, limits=ANY_IS_BAD, unit="bool_yes_no"), 4, 4)
    success = "1 if the last scan could be made; 0: an older one is served. Metric vmxd_scan_success."
    expression = of_host("vmxd_scan_success")
    limits = Limits(ODD, {1: GOOD})
    yield Placed(number("Last scan made", success, expression, limits=limits, unit="bool_yes_no"), 4, 4)
    duration = "Seconds that the last scan took. Metric vmxd_scan_duration_seconds."
    yield Placed(number("Scan took", duration, of_host("vmxd_scan_duration_seconds"), unit="s"), 4, 4)
    errors = "Reads of an MSR on a CPU that failed, by errno. Metric vmxd_scan_errors."
    shown = [Column("errno", "errno"), Column("Value", "Reads", 80)]
    yield Placed(columns("Reads that failed", errors, of_host("vmxd_scan_errors"), shown, empty="none is known"), 4, 4)
    version = "Version of vmxd. Metric vmxd_build_info."
    yield Placed(words("vmxd", version, of_host("vmxd_build_info"), "version"), 4, 4)
