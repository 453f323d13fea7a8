"""deploy/kubernetes: what kustomize builds of it, against Kubernetes' schemas, and that it agrees with vmxd."""

from __future__ import annotations

import re
import runpy
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.helpers.manifests import COMPONENTS, DIRECTORY, Object, build, build_with, command, container, of_kind, pod
from tests.helpers.support import ALL_HOSTS, HOSTS, LAKEFIELD, REPOSITORY, deploy_module, program, vmxd
from vmxd import __version__
from vmxd.cli import build_parser
from vmxd.host.scan import scan
from vmxd.views.json import inventory_document

VERSIONS: Final = ("1.29", "1.37")
"""Oldest and newest Kubernetes; ``rescan`` needs RestartAllContainers, which came in 1.36."""

OPERATOR_KINDS: Final = frozenset({"PodMonitor", "PrometheusRule"})
FEATURES_SCRIPT: Final = DIRECTORY / "components" / "nfd" / "features.py"
ALONE: Final = ("load-msr", "device-plugin", "rescan", "node-recording", "nfd")
"""Components that change the pod."""


def restricted(spec: Object, item: Object) -> bool:
    """Return whether a container obeys the level "restricted" of the Pod Security Standards."""
    context = {**spec["securityContext"], **item["securityContext"]}
    return (
        not context.get("privileged")
        and context.get("allowPrivilegeEscalation") is False
        and context.get("capabilities") == {"drop": ["ALL"]}
        and context.get("runAsNonRoot") is True
        and context.get("seccompProfile") == {"type": "RuntimeDefault"}
    )


def validate(objects: list[Object], version: str) -> None:
    """Validate objects, with no field that the version does not know."""
    validator = deploy_module("kubernetes_validate")
    for item in objects:
        if item["kind"] not in OPERATOR_KINDS:
            validator.validate(item, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["none", *COMPONENTS])
def test_schema(name: str, version: str) -> None:
    """The base, and the base with each component, are objects that Kubernetes knows, down to each field."""
    objects = build_with(*([] if name == "none" else [name]))

    validate(objects, VERSIONS[-1] if name == "rescan" else version)


def test_schema_finds_mistakes() -> None:
    """The same validation does refuse a field that does not exist, and one that came later."""
    error = deploy_module("kubernetes_validate").ValidationError
    objects = build_with("rescan")
    with pytest.raises(error, match="restartPolicyRules"):
        validate(objects, VERSIONS[0])
    container(objects, "vmxd")["ports"][0]["containerport"] = 1
    with pytest.raises(error, match="containerport"):
        validate(objects, VERSIONS[-1])


def test_example_overlay() -> None:
    """The example overlay is valid, and every container has the image that it names."""
    objects = build(DIRECTORY / "overlays" / "example")
    spec = pod(objects)

    validate(objects, VERSIONS[-1])
    assert {f"registry.example.com/vmxd:{__version__}"} == {
        item["image"] for item in spec["containers"] + spec["initContainers"]
    }
    assert {"targetLabel": "cluster", "replacement": "example"} in (
        of_kind(objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["relabelings"]
    )


@pytest.mark.parametrize("name", ["none", *ALONE])
def test_privilege(name: str) -> None:
    """What serves is restricted; only what reads MSRs is privileged, and not where a component takes its place."""
    spec = pod(build_with(*([] if name == "none" else [name])))
    everything = spec["containers"] + spec["initContainers"]
    privileged = {item["name"] for item in everything if item["securityContext"].get("privileged")}

    assert all(item["securityContext"]["readOnlyRootFilesystem"] is True for item in everything)
    assert all(restricted(spec, item) for item in everything if item["name"] in {"vmxd", "rescan"})
    assert (set() if name in {"device-plugin", "node-recording"} else {"record"}) == privileged
    assert spec["automountServiceAccountToken"] is False


def test_probes_have_time() -> None:
    """Each probe waits for longer than a scrape may take under attack, and an answer that is late once ends nothing."""
    server = container(build_with(), "vmxd")
    probes = {kind: server[f"{kind}Probe"] for kind in ("readiness", "liveness")}

    assert all(probe["timeoutSeconds"] >= 5 for probe in probes.values())
    assert probes["liveness"]["timeoutSeconds"] < probes["liveness"]["periodSeconds"]
    assert probes["liveness"]["failureThreshold"] >= 3


def test_capabilities() -> None:
    """Capabilities are given out one by one: one to read MSRs with a device plugin, two to load the module."""
    objects = build_with("load-msr", "device-plugin")

    assert {"drop": ["ALL"], "add": ["SYS_RAWIO"]} == container(objects, "record")["securityContext"]["capabilities"]
    assert {"drop": ["ALL"], "add": ["SYS_CHROOT", "SYS_MODULE"]} == (
        container(objects, "load-msr")["securityContext"]["capabilities"]
    )


@pytest.mark.parametrize("names", [(), ("device-plugin",), ("rescan",)], ids=" ".join)
def test_commands(names: tuple[str, ...]) -> None:
    """The recorder and the server have commands that vmxd accepts, and one serves what the other writes."""
    objects = build_with(*names)
    words = command(container(objects, "record"))
    record = build_parser().parse_args(words[words.index("vmxd") + 1 :])
    serve = build_parser().parse_args(command(container(objects, "vmxd"))[1:])
    mounts = {item["name"]: item for item in container(objects, "vmxd")["volumeMounts"]}

    assert record.directory == serve.root
    assert str(Path(serve.root).parent) == mounts["recording"]["mountPath"]
    assert mounts["recording"]["readOnly"] is True
    if "rescan" in names:
        assert str(Path(serve.rescan_request).parent) == mounts["rescan"]["mountPath"]
        assert serve.rescan_request in command(container(objects, "rescan"))[-1]


def test_node_recording_is_what_the_unit_writes() -> None:
    """Without a recorder in the pod, the pod mounts the directory in which vmxd-record.service leaves its recording."""
    objects = build_with("node-recording")
    unit = (REPOSITORY / "systemd" / "vmxd-record.service").read_text()
    written = re.search(r"^ExecStart=.* (\S+)$", unit, re.MULTILINE)
    (volume,) = pod(objects)["volumes"]

    assert written
    assert [] == pod(objects)["initContainers"]
    assert str(Path(written[1]).parent) == volume["hostPath"]["path"]
    assert f"--root={written[1]}" in command(container(objects, "vmxd"))


def test_labels_and_ports_agree() -> None:
    """The selectors match the pods, and the port that is scraped and opened is the one that vmxd listens on."""
    objects = build_with("podmonitor", "networkpolicy")
    labels = of_kind(objects, "DaemonSet")["spec"]["template"]["metadata"]["labels"].items()
    (port,) = container(objects, "vmxd")["ports"]
    policy = of_kind(objects, "NetworkPolicy")["spec"]
    monitor = of_kind(objects, "PodMonitor")["spec"]

    assert "labels: {job: vmxd}" in (REPOSITORY / "deploy" / "prometheus" / "required.rules.yml").read_text()
    assert (monitor["jobLabel"], "vmxd") in labels  # without a label of the pod, the job is namespace/name
    assert policy["podSelector"]["matchLabels"].items() <= labels
    assert monitor["selector"]["matchLabels"].items() <= labels
    assert ["metrics"] == [item["port"] for item in policy["ingress"][0]["ports"]] == [port["name"]]
    assert ["metrics"] == [item["port"] for item in monitor["podMetricsEndpoints"]]
    assert f":{port['containerPort']}" in vmxd("serve", "--help").stdout


def test_podmonitor(tmp_path: Path) -> None:
    """The PodMonitor has fields that prometheus-operator knows, and Prometheus itself accepts its relabelling."""
    monitor = of_kind(build_with("podmonitor"), "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    relabelings = [
        {re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", key): value for key, value in rule.items()}
        for rule in endpoint["relabelings"]
    ]
    job: dict[str, Any] = {"job_name": "vmxd", "scrape_interval": endpoint["interval"], "relabel_configs": relabelings}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    result = subprocess.run(
        [program("promtool", "prometheus"), "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "monitoring.coreos.com/v1" == monitor["apiVersion"]
    assert {"jobLabel", "selector", "podMetricsEndpoints"} == set(monitor["spec"])
    assert {"port", "interval", "relabelings"} == set(endpoint)
    assert (0, "") == (result.returncode, result.stderr)


def test_rules(tmp_path: Path) -> None:
    """Each file of rules becomes one PrometheusRule that holds just what the file does."""
    made = tmp_path / "made.rules.yml"
    made.write_text(
        "# a comment\ngroups:\n- name: a\n  rules:\n  - record: b:c\n    expr: |\n      vmx_usable\n\n        > 0\n"
    )
    files = [made, *sorted((REPOSITORY / "deploy" / "prometheus").glob("*.rules.yml"))]
    result = subprocess.run([DIRECTORY / "prometheusrules", *files], capture_output=True, text=True, check=True)
    objects = list(yaml.safe_load_all(result.stdout))

    assert [yaml.safe_load(file.read_text()) for file in files] == [item["spec"] for item in objects]
    assert [f"vmxd-{file.name.removesuffix('.rules.yml')}" for file in files] == (
        [item["metadata"]["name"] for item in objects]
    )
    assert {("monitoring.coreos.com/v1", "PrometheusRule")} == {(item["apiVersion"], item["kind"]) for item in objects}


def start_rescan(scratch: Path, first: float) -> tuple[subprocess.Popen[bytes], Path]:
    """Run what the rescan container runs, with its file in a directory of ours and its waits made short."""
    words = command(container(build_with("rescan"), "rescan"))
    script = words[-1].replace("/run/vmxd-rescan", shlex.quote(str(scratch)))
    assert {"sleep 60", "sleep 5"} == set(re.findall(r"sleep \d+", script))
    script = script.replace("sleep 60", f"sleep {first}").replace("sleep 5", "sleep 0.1")
    return subprocess.Popen([*words[:-1], script]), scratch / "request"


def test_rescan(tmp_path: Path) -> None:
    """The container waits for the request, takes it away and ends with the code on which kubelet restarts all."""
    process, request = start_rescan(tmp_path, first=0)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    request.touch()
    (rule,) = container(build(DIRECTORY / "overlays" / "example"), "rescan")["restartPolicyRules"]

    assert rule["exitCodes"]["values"] == [process.wait(10)]
    assert "RestartAllContainers" == rule["action"]
    assert not request.exists()


def test_rescan_ends_when_told(tmp_path: Path) -> None:
    """The container ends at once, and with 0, when its pod is stopped."""
    process, _ = start_rescan(tmp_path, first=600)
    time.sleep(0.3)  # until the shell has set its trap
    process.send_signal(signal.SIGTERM)

    assert 0 == process.wait(10)


def write_features(root: Path, directory: Path) -> str:
    """Run the script of the nfd component on a recording and return the feature file that it writes."""
    subprocess.run(
        [sys.executable, FEATURES_SCRIPT, root, directory / "vmxd"],
        env={"PATH": str(Path(sys.executable).parent)}, check=True, timeout=60,
    )  # fmt: skip
    assert ["vmxd"] == [path.name for path in directory.iterdir()]
    return (directory / "vmxd").read_text()


def test_nfd_features(tmp_path: Path) -> None:
    """A feature on some CPUs only is false, one that is not known is left out, and labels tell kinds of host apart."""
    lines = write_features(LAKEFIELD, tmp_path).splitlines()

    assert "feature.node.kubernetes.io/vmx.fingerprint=fa1b6ded4f7d" in lines
    assert "feature.node.kubernetes.io/vmx.inconsistent=true" in lines
    assert ["# +no-label"] == [lines[lines.index(line) - 1] for line in ("vmx.bus_lock_detection=false",)]
    assert "vmx.ept=true" in lines
    assert "vmx.ept=true" not in write_features(HOSTS / "made-all-unreadable", tmp_path).splitlines()


@pytest.mark.parametrize("host", ALL_HOSTS)
def test_nfd_form(host: str) -> None:
    """Every line is one that NFD reads, of at most 64 kB in all, and every value may be that of a label."""
    to_text = runpy.run_path(str(FEATURES_SCRIPT))["to_text"]
    text = to_text(inventory_document(scan(str(HOSTS / host)).inventory))
    pairs = [line.split("=") for line in text.splitlines() if not line.startswith("#")]

    assert len(text) < 64_000
    assert all(re.fullmatch(r"[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?", value) for _, value in pairs)
    assert all(re.fullmatch(r"(feature\.node\.kubernetes\.io/)?vmx\.\w{1,59}", key) for key, _ in pairs)
    assert len(pairs) == len({key for key, _ in pairs})


def test_readme_names_every_component() -> None:
    """README.md says of every component what it is, and of none that is not there."""
    named = re.findall(r"^\| `([^`]+)` \|", (DIRECTORY / "README.md").read_text(), re.MULTILINE)

    assert sorted(COMPONENTS) == sorted(named)
