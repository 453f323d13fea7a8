"""A fleet to try vmxd on, on this machine alone: make demo.

Twenty recorded hosts in four pools, each served by a vmxd of its own; a Prometheus with the rules, and with a past in
which db-03 and db-05 got new firmware this morning; an Alertmanager. All of it listens on 127.0.0.1 and lives in
build/demo. Rules are evaluated every few seconds and alerts do not wait, else the tour would take half an hour.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench.fleet import engines
from bench.fleet.engines import RULE_FILES, Engine, Ports
from bench.fleet.kinds import HOSTS, KERNEL, POSTED_INTERRUPTS, Kind, page, set_up
from vmxd.host.recording_text import MSR_FILE, format_msr_text
from vmxd.host.root import read_host

DIRECTORY: Final = Path(__file__).resolve().parents[2] / "build" / "demo"
FIRST_PORT: Final = 10500
PORTS: Final = Ports(prometheus=9097, alertmanager=9098)
_DAY: Final = 86_400
_PAST: Final = 27 * 3600
_DEPTH: Final = 4
"""How many recording rules stand upon each other: promtool sees nothing of what it has just recorded."""
_HOUSEHOLD: Final = re.compile(r"vmx_(host_info|status|msr_info|inconsistent_cpus|cpus|kernel_info)\b")
"""What is kept of the past beside yesterday's hour: what vmxd fleet history and changes ask for."""

DATABASE: Final = Kind("skylake-sp-8160-2s", "0x2006f05")
UPDATED: Final = Kind("skylake-sp-8160-2s", "0x2007006", POSTED_INTERRUPTS)
NEW: Final = Kind("sapphirerapids", "0x2b0001b0")

FLEET: Final[dict[str, dict[str, Kind]]] = {
    "databases": {f"db-{number:02}": UPDATED if number in (3, 5) else DATABASE for number in range(1, 7)},
    "web": {
        **{f"web-{number:02}": NEW for number in range(1, 6)},
        "web-06": Kind("emeraldrapids-2s"),
        "web-07": Kind("icelake-sp-2s"),
    },
    "build": {"build-01": Kind("broadwell-e"), "build-02": Kind("haswell-ep-2s"), "build-03": Kind("made-disabled")},
    "lab": {
        "lakefield": Kind("lakefield-i5-l16g7"),
        "zhaoxin": Kind("zhaoxin-kx6000"),
        "epyc": Kind("made-amd"),
        "no-module": Kind("made-no-msr-module"),
    },
}
"""Pool -> host -> what it is now."""

TOUR: Final = """
  vmxd fleet summary --prometheus {url}
  vmxd fleet changes --since 1d --prometheus {url}
  vmxd fleet has --vm '-cpu Skylake-Server-v4,vmx=on' --prometheus {url}
  vmxd explain posted_intr --root {directory}/hosts/db-03
  vmxd fleet report --prometheus {url} -o report.html

  one host    http://127.0.0.1:{host_port}/
  alerts      {url}/alerts
  who is told http://127.0.0.1:{alertmanager_port}/
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until Ctrl-C, or SIGTERM, or until its alert fires. Returns an exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when the alert fires")
    once = parser.parse_args(arguments).once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with running() as prometheus:
            text = _wait_for_alert(prometheus)
            host_port = next(port for port, name in _ports().items() if name == "db-03")
            places = {"url": f"http://127.0.0.1:{PORTS.prometheus}", "directory": DIRECTORY.relative_to(Path.cwd())}
            places |= {"host_port": host_port, "alertmanager_port": PORTS.alertmanager}
            print(f"\nfiring: {text}\n{TOUR.format(**places)}\nCtrl-C ends it.", flush=True)
            while not once:
                time.sleep(3600)
    except KeyboardInterrupt:
        print()
    except FileNotFoundError as error:
        print(f"make demo: {error}", file=sys.stderr)
        return 2
    return 0


@contextlib.contextmanager
def running() -> Iterator[Engine]:
    """Serve the fleet, with its past, until the block ends. Raises FileNotFoundError if a program is missing."""
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    _say(f"{len(_ports())} hosts, each served by a vmxd of its own")
    with contextlib.ExitStack() as stack:
        for port, name in _ports().items():
            root = _record(name)
            command = (
                sys.executable,
                "-m",
                "vmxd",
                "serve",
                "--root",
                str(root),
                f"--web.listen-address=127.0.0.1:{port}",
            )
            stack.enter_context(engines.running(root.with_suffix(".log"), command, port, "/healthz"))
        _say("27 hours of the past")
        _write_past()
        _say("Prometheus and Alertmanager")
        stack.enter_context(engines.alertmanager(DIRECTORY, PORTS.alertmanager))
        targets = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name, "cluster": pool}}
            for port, name in _ports().items()
            for pool in FLEET
            if name in FLEET[pool]
        ]
        jobs = [{"job_name": "vmxd", "scrape_interval": "5s", "static_configs": targets}]
        yield stack.enter_context(
            engines.prometheus(DIRECTORY, jobs, engines.hurried_rules(DIRECTORY, "5s"), "5s", PORTS)
        )


def _say(text: str) -> None:
    print(f"demo: {text}", flush=True)


def _ports() -> dict[int, str]:
    return dict(enumerate((name for hosts in FLEET.values() for name in hosts), FIRST_PORT))


def _now(name: str) -> Kind:
    return next(hosts[name] for hosts in FLEET.values() if name in hosts)


def _record(name: str) -> Path:
    """Make the recording of a host as it is now."""
    kind, root = _now(name), DIRECTORY / "hosts" / name
    shutil.copytree(HOSTS / kind.recording, root, ignore=shutil.ignore_patterns("about.txt", "metrics.prom"))
    host = set_up(kind, read_host(str(root)))
    if host.readings:
        (root / MSR_FILE).write_text(format_msr_text(host.readings))
    release = root / "proc" / "sys" / "kernel" / "osrelease"
    if not release.exists():
        release.parent.mkdir(parents=True, exist_ok=True)
        release.write_text(f"{KERNEL}\n")
    if kind.microcode:
        cpuinfo = root / "proc" / "cpuinfo"
        text = re.sub(r"^microcode\t.*\n", "", cpuinfo.read_text(), flags=re.MULTILINE)
        cpuinfo.write_text(
            re.sub(r"^(model name\t.*\n)", rf"\1microcode\t: {kind.microcode}\n", text, flags=re.MULTILINE)
        )
    return root


def _write_past() -> None:
    """Give Prometheus what it would have scraped and recorded, had it run since yesterday."""
    now = int(time.time())
    lines: list[str] = []
    for pool, hosts in FLEET.items():
        for name, kind in hosts.items():
            before = DATABASE if kind is UPDATED else kind
            labels = {"job": "vmxd", "instance": name, "cluster": pool}
            for at in range(now - _PAST, now - 300, 240):
                was = before if at < now - 6 * 3600 else kind
                text = page(was).text.decode()
                if abs(at - now + _DAY) > 3600:
                    text = "".join(line for line in text.splitlines(keepends=True) if _HOUSEHOLD.match(line))
                lines += engines.samples(f"up 1\n{text}", labels, at)
    (DIRECTORY / "past.txt").write_text("".join(lines) + "# EOF\n")
    _promtool("openmetrics", "past.txt", "data")
    for _ in range(_DEPTH):
        with engines.prometheus(DIRECTORY, [], (), ports=PORTS):
            _promtool(
                "rules", f"--start={now - _DAY - 1800}", f"--end={now - _DAY + 600}", "--eval-interval=3m",
                f"--url=http://127.0.0.1:{PORTS.prometheus}", "--output-dir=data", str(RULE_FILES[0]),
            )  # fmt: skip


def _promtool(*arguments: str) -> None:
    command = (engines.program("promtool", "prometheus"), "tsdb", "create-blocks-from", *arguments)
    done = subprocess.run(command, cwd=DIRECTORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"promtool {' '.join(arguments)}: {done.stderr}")


def _wait_for_alert(prometheus: Engine) -> Any:  # noqa: ANN401 (JSON)
    """Return the summary of VmxFeatureLost, which fires within a minute."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for alert in prometheus.alerts():
            if alert["labels"]["alertname"] == "VmxFeatureLost" and alert["state"] == "firing":
                return alert["annotations"]["summary"]
        time.sleep(0.5)
    raise RuntimeError("VmxFeatureLost does not fire")


if __name__ == "__main__":
    sys.exit(main())
