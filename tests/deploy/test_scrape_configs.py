"""The scrape configurations of deploy/prometheus are ones that Prometheus takes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from bench.fleet.hosts import Fleet
from bench.fleet.simulator import simulated
from bench.fleet.stores import SHARDS, shard_config
from tests.helpers.certificates import make_authority, make_pair
from tests.helpers.prometheus import DEPLOY, promtool
from tests.helpers.support import HOSTS, program, vmxd

CONFIGS: Final = sorted(DEPLOY.glob("scrape-*.yml"))


def test_example() -> None:
    """The example is a whole configuration, with its rule files beside it."""
    promtool("check", "config", DEPLOY / "prometheus.example.yml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_scrape_config(path: Path, tmp_path: Path) -> None:
    """Promtool takes it, with real certificates, but without Kubernetes discovery, which Debian leaves out."""
    authority = make_authority(tmp_path, "ca")
    make_pair(tmp_path, "prometheus", authority)
    config = yaml.safe_load(path.read_text().replace("/etc/prometheus/tls", str(tmp_path)))
    for each in config["scrape_configs"]:
        if "kubernetes_sd_configs" in each:
            del each["kubernetes_sd_configs"]
    (tmp_path / path.name).write_text(yaml.safe_dump(config))

    promtool("check", "config", tmp_path / path.name)


@pytest.mark.parametrize("path", [DEPLOY / "prometheus.example.yml", *CONFIGS], ids=lambda path: path.stem)
def test_job(path: Path) -> None:
    """Each has the job vmxd, by which the alerts VmxdDown and VmxdAbsent find it."""
    assert ["vmxd"] == [each["job_name"] for each in yaml.safe_load(path.read_text())["scrape_configs"]]


def test_shards(tmp_path: Path) -> None:
    """The shards of ``make bench-fleet``, split as shipped: each host is scraped by one, and its pool's others too."""
    fleet = Fleet(2_500)  # of ten pools: four would be on one shard
    pools: list[set[str]] = []
    hosts: list[str] = []
    with simulated(fleet) as port:
        for number in range(SHARDS):
            (tmp_path / "shard.yml").write_text(yaml.safe_dump(shard_config(port, number)))
            promtool("check", "config", "--agent", tmp_path / "shard.yml")
            command = ("check", "service-discovery", "--timeout=1s", tmp_path / "shard.yml", "vmxd")
            found = subprocess.run([program("promtool", "prometheus"), *command], capture_output=True, check=True)
            kept = [labels for each in json.loads(found.stdout) if (labels := each["labels"])]
            pools.append({each["cluster"] for each in kept})
            hosts += [each["instance"] for each in kept]

    assert all(pools)
    assert not set.intersection(*pools)
    assert sorted(hosts) == [f"{name}:10480" for name in sorted(fleet.hosts)]


def test_sample_limit(tmp_path: Path) -> None:
    """A host on which every CPU has values of its own in every MSR is scraped: it is the one to be seen."""
    root = tmp_path / "host"
    shutil.copytree(HOSTS / "sapphirerapids", root)
    lines = (root / "msr.txt").read_text().splitlines()
    for number, line in enumerate(lines):
        if found := re.fullmatch(r"(\w+): 0-71=(0x\w+)", line):
            values = (f"{cpu}={int(found[2], 16) ^ cpu << 36:#x}" for cpu in range(72))
            lines[number] = f"{found[1]}: {' '.join(values)}"
    (root / "msr.txt").write_text("\n".join(lines) + "\n")
    page = vmxd("metrics", "--root", root).stdout
    samples = [line for line in page.splitlines() if not line.startswith("#")]
    (limit,) = {
        each["sample_limit"]
        for path in CONFIGS
        for each in yaml.safe_load(path.read_text())["scrape_configs"]
        if "sample_limit" in each
    }

    assert 1_000 < len(samples) < limit
    assert 64 == len(set(re.findall(r'^vmx_cpu_inconsistent\{cpu="(\d+)"', page, re.MULTILINE)))


def test_a_wrong_config_is_found(tmp_path: Path) -> None:
    """Promtool would have noticed."""
    shutil.copy(DEPLOY / "alerts.rules.yml", tmp_path / "broken.rules.yml")
    (tmp_path / "prometheus.yml").write_text(
        "rule_files: [broken.rules.yml]\nscrape_configs: [{job_name: vmxd, schema: https}]\n"
    )

    with pytest.raises(AssertionError, match="field schema not found"):
        promtool("check", "config", tmp_path / "prometheus.yml")
