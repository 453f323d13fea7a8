"""The PromQL that the dashboards share: selectors by the variables, and sums over groups of hosts with one fingerprint.

Questions about a fleet are answered from the series that deploy/prometheus/recording.rules.yml records, one a group and
feature; only lists of hosts that stand out read series of hosts.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.layout import any_of, one_of
from vmxd.views.metrics import FIELD_METRICS

POOL: Final = "cluster"
"""The label that names a pool of hosts, as in the recording rules."""

GROUP: Final = f"{POOL}, signature, fingerprint"
"""Hosts that agree on these have the same features."""

HOSTS: Final = "model:vmx_hosts:count"
GROUPS: Final = "fingerprint:vmx_hosts:count"
GROUP_FEATURE: Final = "fingerprint:vmx_feature:max"
WITH: Final = "pool_signature_feature:vmx_hosts_with:sum"
WITHOUT: Final = "pool_signature_feature:vmx_hosts_without:sum"
HOST_GROUP: Final = "instance:vmx_fingerprint:info"
CHANGED: Final = "instance:vmx_fingerprint:changed1d"
LOST: Final = "fingerprint_before:vmx_hosts_lost:count1d"
GAINED: Final = "fingerprint_before:vmx_hosts_gained:count1d"
STATUS_HOSTS: Final = "pool_status:vmx_hosts:count"
INCONSISTENT_HOSTS: Final = "pool:vmx_inconsistent_hosts:count"
MODEL_GROUPS: Final = "model_fingerprint:vmx_hosts:count"
MODEL_FEATURE: Final = "fingerprint_before:vmx_feature:max"
USUAL: Final = "model_feature:vmx_hosts_with:ratio"


def select(metric: str, **matchers: str) -> str:
    """Return a selector: label="value", or another operator where the value begins with one (=~, !=)."""
    written = (
        f'{label}{value[:2]}"{value[2:]}"' if value[:2] in ("=~", "!=", "!~") else f'{label}="{value}"'
        for label, value in matchers.items()
    )
    return f"{metric}{{{','.join(written)}}}"


def of_host(metric: str, **matchers: str) -> str:
    """Return a metric of the chosen host."""
    return select(metric, **{POOL: "=~$pool"}, instance="$host", **matchers)


def of_pools(metric: str, **matchers: str) -> str:
    """Return a metric in the chosen pools."""
    return select(metric, **{POOL: "=~$pool"}, **matchers)


def of_groups(metric: str, **matchers: str) -> str:
    """Return series that have a CPU signature, in the chosen pools and models."""
    return select(metric, **{POOL: "=~$pool"}, signature="=~$model", **matchers)


ALL_HOSTS: Final = f"sum({of_groups(HOSTS)})"


def hosts_with(by: str, **matchers: str) -> str:
    """Return how many hosts have a feature, by labels: of pool, signature and feature."""
    return f"sum by ({by}) ({of_groups(WITH, **matchers)})"


def hosts_without(by: str, **matchers: str) -> str:
    """Return how many hosts are known to lack a feature, by labels: of pool, signature and feature."""
    return f"sum by ({by}) ({of_groups(WITHOUT, **matchers)})"


def hosts_unknown(**matchers: str) -> str:
    """Return of how many hosts it is not known whether they have a feature, by feature."""
    known = f"{hosts_with('feature', **matchers)} + {hosts_without('feature', **matchers)}"
    return f"scalar({ALL_HOSTS}) - ({known})"


def share_with(by: str, **matchers: str) -> str:
    """Return the share of the hosts that have a feature, of those of which it is known, by labels; 0 to 1."""
    having = hosts_with(by, **matchers)
    return f"{having} / ({having} + {hosts_without(by, **matchers)})"


def or_zero(expression: str, known_by: str) -> str:
    """Return an expression that is 0 where it has no series but there is one of another, by which that is known."""
    return f"{expression} or 0 * {known_by}"


POOL_VARIABLE: Final = any_of(
    "pool", "Pool", f"label_values({HOSTS}, {POOL})", f"Pools of hosts: the label {POOL} of the targets."
)

MODEL_VARIABLE: Final = any_of(
    "model",
    "Model",
    f"query_result(label_join(topk by (signature) (1, sum by (signature, model_name) ({of_pools(HOSTS)})), "
    '"model_name", " ", "signature", "model_name"))',
    "CPU signature (family-model-stepping), shown with its most common model name.",
).regex('/model_name="(?<text>[^"]+)"|signature="(?<value>[^"]+)"/g')

FEATURE_VARIABLE: Final = one_of(
    "feature",
    "Feature",
    f"label_values({GROUP_FEATURE}, feature)",
    "A VMX feature, by the name that vmxd gives it.",
    "ept",
)

HOST_VARIABLE: Final = one_of(
    "host",
    "Host",
    f"label_values({of_pools('vmx_host_info', signature='=~$model')}, instance)",
    "A host: its label instance.",
)


def numeric_fields() -> str:
    """Return the chosen host's numeric fields, which are metrics of their own."""
    names = "|".join(metric for _, metric, _, _ in FIELD_METRICS)
    return select("", __name__=f"=~{names}", **{POOL: "=~$pool"}, instance="$host")


def or_unknown(features: str, names: str) -> str:
    """Return the features of a host, -1 for those that the fleet knows and the host does not."""
    return f"{features} or on (feature) (-1 * group by (feature) ({select(GROUP_FEATURE, feature=f'=~{names}')}))"
