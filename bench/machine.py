"""Where a run took place: a header that says what the numbers depend on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path

import vmxd
from bench import servers


def print_header() -> None:
    """Print CPU, kernel, versions and load, and which package a missing peer is in."""
    lines = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} logical CPUs",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "load": " ".join(f"{each:.2f}" for each in os.getloadavg()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "vmxd": vmxd.__version__,
        "prometheus_client": importlib.metadata.version("prometheus-client"),
        "node_exporter": _node_exporter_version(),
        "served": f"tests/hosts/{servers.SERVED.name}, the same series by every server",
    }
    for name, value in lines.items():
        print(f"{name:<18} {value}")
    if os.getloadavg()[0] > 0.5:
        print("\nThis machine is not idle: mind the ratios, not the absolute numbers.")


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _node_exporter_version() -> str:
    path = servers.node_exporter()
    if path is None:
        return f"missing, left out: apt-get install {servers.NODE_EXPORTER}"
    result = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr).partition("\n")[0].partition("version ")[2].partition(" ")[0]
