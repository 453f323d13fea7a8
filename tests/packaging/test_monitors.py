"""docs/monitors.md: what it tells other monitors to run is run by them, where Debian has them."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.inside import vmxd
from tests.helpers.support import HOSTS, LAKEFIELD, REPOSITORY, program

PAGE: Final = (REPOSITORY / "docs" / "monitors.md").read_text()
BLOCKS: Final = {
    section.split()[0]: re.findall(r"^```(?:text|yaml|toml)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)
}
"""The configurations of each section, by the first word of its heading."""
INSTALLED: Final = ("/usr/bin/vmxd", f"PYTHONPATH={REPOSITORY} {sys.executable} -m vmxd")
RECORDING: Final = "--root /run/vmxd/host"

NAGIOS: Final = """\
object_cache_file={0}/objects.cache
status_file={0}/status
status_update_interval=1
check_result_path={0}/results
temp_path={0}
lock_file={0}/lock
log_file={0}/log
log_archive_path={0}
command_file={0}/command
query_socket={0}/socket
cfg_file={0}/objects.cfg
nagios_user={1}
nagios_group={2}
check_external_commands=0
interval_length=1
service_inter_check_delay_method=n
max_service_check_spread=1
"""
SERVICES: Final = {
    "good": (0, "--require ept", "VMX OK - 1 check passed"),
    "bad": (2, "--consistent", "VMX CRITICAL - consistent: CPU 4 differs in IA32_VMX_PROCBASED_CTLS2"),
    "unknown": (3, "--usable", "VMX UNKNOWN - usable: whether VMX may be used is not known"),
    "mistaken": (3, "--require nonsense", "VMX UNKNOWN - no feature is called 'nonsense'"),
}


def objects() -> str:
    """Return a host of Nagios with a service for each exit code, whose command is the page's."""
    command = BLOCKS["Nagios"][0].replace(*INSTALLED).replace(RECORDING, f"--root {LAKEFIELD}")
    common = "max_check_attempts 1\n check_period none\n contacts nobody\n notification_period none\n"
    common = common.replace("check_period none", "check_period always")
    days = "\n".join(
        f" {day} 00:00-24:00" for day in ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    )
    parts = [
        command,
        f"define timeperiod {{\n timeperiod_name always\n alias always\n{days}\n}}",
        "define timeperiod {\n timeperiod_name none\n alias none\n}",
        (
            "define contact {\n contact_name nobody\n"
            " host_notification_period none\n service_notification_period none\n"
            " host_notification_commands check_vmx\n service_notification_commands check_vmx\n}"
        ),
        f"define host {{\n host_name host\n address 127.0.0.1\n {common}}}",
        *(
            f"define service {{\n host_name host\n service_description {name}\n check_command check_vmx!{options}\n"
            f" check_interval 3600\n retry_interval 3600\n {common}}}"
            for name, (_, options, _) in SERVICES.items()
        ),
    ]
    return "\n".join(parts) + "\n"


def test_nagios(tmp_path: Path) -> None:
    """Nagios takes the exit codes for its states, and text and performance data apart."""
    nagios = program("nagios4", "nagios4-core")
    (tmp_path / "nagios.cfg").write_text(
        NAGIOS.format(tmp_path, pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name)
    )
    (tmp_path / "objects.cfg").write_text(objects())
    (tmp_path / "results").mkdir()
    status = tmp_path / "status"
    with subprocess.Popen([nagios, tmp_path / "nagios.cfg"], stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 60
            found: dict[str, dict[str, str]] = {}
            while SERVICES.keys() != {name for name, values in found.items() if values["plugin_output"]}:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
                with contextlib.suppress(FileNotFoundError):
                    found = services(status.read_text())
        finally:
            process.terminate()

    for name, (code, _, text) in SERVICES.items():
        assert str(code) == found[name]["current_state"], name
        assert found[name]["plugin_output"].startswith(text), name
    assert "checks=1;;;0 failed=1;;0;0;1 unknown=0;;;0;1" == found["bad"]["performance_data"]
    assert "consistent: CPU 4 differs" in found["bad"]["long_plugin_output"]


def services(status: str) -> dict[str, dict[str, str]]:
    """Return what Nagios' status file says of each service."""
    blocks = re.findall(r"^servicestatus \{\n(.*?)\}", status, re.MULTILINE | re.DOTALL)
    found = [dict(re.findall(r"^\t(\w+)=(.*)$", block, re.MULTILINE)) for block in blocks]
    return {values["service_description"]: values for values in found}


def test_zabbix_agent(tmp_path: Path) -> None:
    """Zabbix' agent has the item that the page says."""
    agent = program("zabbix_agentd", "zabbix-agent")
    settings = BLOCKS["Zabbix"][0].replace(*INSTALLED).replace(RECORDING, f"--root {LAKEFIELD}")
    (tmp_path / "agent.conf").write_text(f"Server=127.0.0.1\nHostname=host\nTimeout=30\n{settings}")
    done = subprocess.run(
        [agent, "-c", tmp_path / "agent.conf", "-t", "vmx.check[--profile kvm-fast]"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    assert "[t|VMX CRITICAL - profile kvm-fast: pml is missing on every CPU" in done.stdout


@pytest.mark.parametrize("pattern", re.findall(r"\| `(vmx_[^`]+)`, value \|", PAGE))
def test_zabbix_patterns(pattern: str) -> None:
    """Each pattern selects one series of a host."""
    name, _, label = pattern.rstrip("}").partition("{")
    labels = dict(re.findall(r'(\w+)="(.*?)"', label))
    page = vmxd("metrics", "--root", HOSTS / "made-nested").stdout
    series = [
        sample
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]

    assert 1 == len(series)


def test_opentelemetry_receiver(tmp_path: Path) -> None:
    """The receiver's configuration is one of Prometheus, and each pipeline is of parts that there are."""
    document = yaml.safe_load(BLOCKS["OpenTelemetry"][0])
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(document["receivers"]["prometheus"]["config"]))
    subprocess.run([program("promtool", "prometheus"), "check", "config", tmp_path / "prometheus.yml"], check=True)
    for pipeline in document["service"]["pipelines"].values():
        assert all(name in document[kind] for kind, names in pipeline.items() for name in names)


def test_telegraf() -> None:
    """The input asks vmxd's default address."""
    (telegraf,) = tomllib.loads(BLOCKS["Telegraf"][0])["inputs"]["prometheus"]

    assert ["http://127.0.0.1:10480/metrics"] == telegraf["urls"]
