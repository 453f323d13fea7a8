"""Every recording of tests/hosts through the whole program: golden metrics, replay, and the kernel's own word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.golden import compact
from tests.helpers.support import ALL_HOSTS, HOSTS, MADE_HOSTS, REAL_HOSTS, REPOSITORY
from vmxd.cli import main
from vmxd.host.scan import scan
from vmxd.model.decode import cpuinfo_flags

CPUINFO_LINES = json.loads((REPOSITORY / "tests" / "cpuinfo_lines.json").read_text())


def host_metrics(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> str:
    """Return what ``vmxd metrics`` prints of a host, without vmxd's own metrics, which differ from run to run."""
    assert main(["metrics", "--root", str(root)]) == 0

    lines = capfdbinary.readouterr().out.decode().splitlines(keepends=True)
    assert lines
    return "".join(line for line in lines if "vmxd_" not in line.partition("{")[0])


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_golden(name: str, update: bool, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The metrics of a recorded host are those that were reviewed."""
    golden = HOSTS / name / "metrics.prom"
    metrics = compact(host_metrics(HOSTS / name, capfdbinary))
    if update:
        golden.write_text(metrics)

    assert golden.read_text() == metrics


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_recording_of_a_recording(name: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A host recorded anew from its recording has the same metrics, byte for byte."""
    assert main(["record", str(tmp_path / "copy"), "--root", str(HOSTS / name)]) == 0

    assert host_metrics(HOSTS / name, capfdbinary) == host_metrics(tmp_path / "copy", capfdbinary)


@pytest.mark.parametrize("name", REAL_HOSTS)
def test_real_hosts_are_healthy(name: str) -> None:
    """No real CPU breaks a rule, and on one host alone, Lakefield, CPUs differ."""
    inventory = scan(str(HOSTS / name)).inventory

    assert () == inventory.violations
    assert ((4,) if name == "lakefield-i5-l16g7" else ()) == tuple(inventory.inconsistent)


@pytest.mark.parametrize("line", CPUINFO_LINES, ids=lambda line: f"{line['host']}: {line['source']}")
def test_cpuinfo_line(line: dict[str, object]) -> None:
    """The flags that we derive are those that a real kernel printed for that CPU, in its order."""
    (group,) = scan(str(HOSTS / str(line["host"]))).inventory.groups
    hidden = line["hidden by that kernel"]
    assert isinstance(hidden, list)
    derived = [flag for flag in cpuinfo_flags(group.decoded.features) if flag not in hidden]

    assert str(line["vmx flags"]).split() == derived


@pytest.mark.parametrize("name", ALL_HOSTS)
def test_about(name: str) -> None:
    """Every host says where it comes from, and a made one that it was made and why."""
    about = (HOSTS / name / "about.txt").read_text()

    assert (name in MADE_HOSTS) == about.startswith("made by hand: ")
    assert ("why: " if name in MADE_HOSTS else "source kind: ") in about
