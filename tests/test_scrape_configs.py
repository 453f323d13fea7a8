"""The scrape configurations of deploy/prometheus are ones that Prometheus takes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.certificates import make_authority, make_pair
from tests.test_rules import DEPLOY, promtool

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


def test_a_wrong_config_is_found(tmp_path: Path) -> None:
    """Promtool would have noticed."""
    shutil.copy(DEPLOY / "alerts.rules.yml", tmp_path / "broken.rules.yml")
    (tmp_path / "prometheus.yml").write_text(
        "rule_files: [broken.rules.yml]\nscrape_configs: [{job_name: vmxd, schema: https}]\n"
    )

    with pytest.raises(AssertionError, match="field schema not found"):
        promtool("check", "config", tmp_path / "prometheus.yml")
