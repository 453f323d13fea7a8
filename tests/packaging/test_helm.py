"""deploy/helm: rendered by Helm itself, valid, and the same as what kustomize builds of deploy/kubernetes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.helpers.manifests import Object, build_with, of_kind
from tests.helpers.support import REPOSITORY, deploy_module, program

CHART: Final = REPOSITORY / "deploy" / "helm" / "vmxd"
NEWEST: Final = "1.37"
OPERATOR_KINDS: Final = frozenset(("PodMonitor", "PrometheusRule", "ServiceMonitor"))

Values = dict[str, Any]

COMPONENTS: Final[dict[str, Values]] = {
    "": {},
    "load-msr": {"loadMsr": True},
    "device-plugin": {"record": "devicePlugin"},
    "node-recording": {"record": "node"},
    "rescan": {"rescan": True},
    "nfd": {"nfd": True},
    "podmonitor": {"podMonitor": {"enabled": True}},
    "networkpolicy": {"networkPolicy": {"enabled": True}},
    "device-plugin rescan load-msr podmonitor": {
        "loadMsr": True, "record": "devicePlugin", "rescan": True, "podMonitor": {"enabled": True},
    },
}  # fmt: skip
"""Components of deploy/kubernetes, and the values that are the same."""
SETS: Final[dict[str, Values]] = {
    "defaults": {},
    "everything": {
        **dict.fromkeys(("loadMsr", "rescan", "nfd"), True),
        **{name: {"enabled": True} for name in ("podMonitor", "networkPolicy", "prometheusRule", "dashboards")},
    },
    "one's own": {
        "image": {"repository": "registry.corp/vmxd", "tag": "1.2.3", "pullPolicy": "Always"},
        "record": "node",
        "extraArgs": ["--log.level=warn"],
        "tolerations": [],
        "serviceMonitor": {
            "enabled": True, "labels": {"release": "prometheus"},
            "relabelings": [{"targetLabel": "cluster", "replacement": "a"}],
        },
        "prometheusRule": {
            "enabled": True, "labels": {"release": "prometheus"}, "documentation": "https://wiki.corp/vmxd/",
            "required": [{"name": "mine", "rules": [{"record": "vmx:required_feature", "expr": "vector(1)"}]}],
        },
        "dashboards": {"enabled": True, "annotations": {"folder": "VMX"}},
    },
}  # fmt: skip


def render(values: Values) -> list[Object]:
    """Return the objects of a release "vmxd" in a namespace "vmxd"."""
    chart = deploy_module("helm_python").Chart.load(CHART)
    chart.validate_schema(values)
    rendered = chart.render(values, name="vmxd", namespace="vmxd").values()
    return [item for text in rendered for item in yaml.safe_load_all(text) if item]


def comparable(objects: list[Object]) -> dict[str, Any]:
    """Return what objects do, by kind: without labels, image and what names the content of a ConfigMap."""
    found = {}
    for item in objects:
        text = json.dumps({key: value for key, value in item.items() if key not in ("metadata", "apiVersion")})
        text = re.sub(r'"image": "vmxd(:[^"]*)?"', '"image": "vmxd"', text)
        found[item["kind"]] = json.loads(re.sub(r"vmxd-nfd-\w{10}", "vmxd-nfd", text))
    found.pop("Namespace", None)  # Helm has the one that it is told
    spec = found["DaemonSet"]["spec"]
    spec["template"]["metadata"]["labels"].pop("app.kubernetes.io/part-of", None)
    if not spec["template"]["spec"].get("initContainers"):  # kustomize leaves an empty list
        spec["template"]["spec"].pop("initContainers", None)
    volumes = spec["template"]["spec"]["volumes"]
    spec["template"]["spec"]["volumes"] = sorted(volumes, key=lambda volume: str(volume["name"]))
    return found


def test_lint() -> None:
    """Helm's linter has no error and no warning."""
    report = deploy_module("helm_python.chart").lint(CHART, strict=True)

    assert [] == report["errors"]
    assert [] == [message for message in report["messages"] if message["severity"] > 1]


@pytest.mark.parametrize("components", COMPONENTS)
def test_helm_and_kustomize_run_the_same(components: str) -> None:
    """The same pods, permissions, monitors and policies come out of both."""
    assert comparable(build_with(*components.split())) == comparable(render(COMPONENTS[components]))


@pytest.mark.parametrize("name", SETS)
def test_values(name: str, tmp_path: Path) -> None:
    """What comes out is valid: by Kubernetes' schemas, by promtool, and as JSON."""
    objects = render(SETS[name])
    validator = deploy_module("kubernetes_validate")
    for item in objects:
        if item["kind"] not in OPERATOR_KINDS:
            validator.validate(item, NEWEST, strict=True)
        elif item["kind"] == "PrometheusRule":
            path = tmp_path / f"{item['metadata']['name']}.yml"
            path.write_text(yaml.safe_dump(item["spec"]))
            subprocess.run([program("promtool", "prometheus"), "check", "rules", path], check=True)
        assert "vmxd" == item["metadata"]["namespace"]
    dashboards = [item for item in objects if item["metadata"]["name"].startswith("vmxd-dashboard-")]
    texts = {file: json.loads(text)["uid"] for item in dashboards for file, text in item["data"].items()}
    assert ({"vmx-fleet.json", "vmx-host.json", "vmx-feature.json"} if dashboards else set()) == texts.keys()


def test_ones_own_values_arrive() -> None:
    """Image, options, labels, pools, required features and the documentation's address are where they belong."""
    values = SETS["one's own"]
    objects = render(values)
    (server,) = of_kind(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"]
    rules = {item["metadata"]["name"]: item for item in objects if item["kind"] == "PrometheusRule"}
    everything = json.dumps(objects)

    assert ("registry.corp/vmxd:1.2.3", "Always") == (server["image"], server["imagePullPolicy"])
    assert "--log.level=warn" == server["args"][-1]
    assert {"prometheus"} == {rule["metadata"]["labels"]["release"] for rule in rules.values()}
    assert values["prometheusRule"]["required"] == rules["vmxd-required"]["spec"]["groups"]
    relabelings = of_kind(objects, "ServiceMonitor")["spec"]["endpoints"][0]["relabelings"]
    assert values["serviceMonitor"]["relabelings"][0] in relabelings
    alerts = [rule for group in rules["vmxd-alerts"]["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert {f"https://wiki.corp/vmxd/docs/runbooks/{rule['alert']}.html" for rule in alerts} == {
        rule["annotations"]["runbook_url"] for rule in alerts
    }
    assert "vmxd.example" not in everything


def test_service_monitor() -> None:
    """A ServiceMonitor scrapes as the PodMonitor does, by a headless Service that has its labels and the pods."""
    objects = render({"serviceMonitor": {"enabled": True}})
    monitor, service = (of_kind(objects, kind) for kind in ("ServiceMonitor", "Service"))
    pods = of_kind(objects, "DaemonSet")["spec"]["template"]["metadata"]["labels"]
    (endpoint,) = monitor["spec"].pop("endpoints")
    by_pod = of_kind(render({"podMonitor": {"enabled": True}}), "PodMonitor")["spec"]
    (theirs,) = by_pod.pop("podMetricsEndpoints")

    assert "pod|container|endpoint|service" == endpoint["relabelings"][-1].pop("regex")
    assert "pod|container|endpoint" == theirs["relabelings"][-1].pop("regex")
    assert (by_pod, theirs) == (monitor["spec"], endpoint)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= pods.items()
    assert ("None", "metrics") == (service["spec"]["clusterIP"], service["spec"]["ports"][0]["name"])
    with pytest.raises(deploy_module("helm_python").HelmError, match="scraped twice"):
        render({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}})


@pytest.mark.parametrize("wrong", [{"recrod": "node"}, {"record": "magic"}, {"image": {"repository": ""}}])
def test_the_schema_refuses(wrong: Values) -> None:
    """A value that the chart does not know is a mistake, not ignored."""
    with pytest.raises(deploy_module("helm_python").HelmError):
        render(wrong)


def test_readme_has_every_value() -> None:
    """The table of values is what helm-docs would make of values.yaml."""
    assert rows(CHART / "values.yaml") == [
        line for line in (CHART / "README.md").read_text().splitlines() if re.match(r"\| [a-z][\w.]* \|", line)
    ]


def rows(path: Path) -> list[str]:
    """Return a row for each value that a comment "# --" describes, sorted by key."""
    values = yaml.safe_load(path.read_text())
    found, parents, comment = [], [""], ""
    for line in path.read_text().splitlines():
        if match := re.match(r" *# -- (.*)", line):
            comment = match[1]
        elif match := re.match(r"( *)(\w+):", line):
            parents = [*parents[: len(match[1]) // 2], match[2]]
            if comment:
                value: Any = values
                for name in parents:
                    value = value[name]
                kind = {bool: "bool", str: "string", list: "list", dict: "object"}[type(value)]
                shown = json.dumps(value, separators=(",", ":"))
                found.append(f"| {'.'.join(parents)} | {kind} | `{shown}` | {comment} |")
            comment = ""
    return sorted(found)
