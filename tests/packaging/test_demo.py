"""make demo: the fleet that it serves has lost a feature since yesterday, and the alert names who and what."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys

from tests.helpers.support import REPOSITORY, program, vmxd


def test_demo() -> None:
    """The alert fires, each command of the tour has an answer, and Ctrl-C ends all of it."""
    for name, package in {"prometheus": "prometheus", "prometheus-alertmanager": "prometheus-alertmanager"}.items():
        program(name, package)
    command = [sys.executable, "-m", "bench.fleet.demo"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        answers = {}
        for tour in (shlex.split(line)[1:] for line in lines if line.startswith("  vmxd ")):
            arguments = [str(REPOSITORY / word) if word.startswith("build/demo") else word for word in tour]
            answers[tour[1]] = vmxd(*(["-" if word == "report.html" else word for word in arguments]))
        demo.send_signal(signal.SIGINT)

        assert 0 == demo.wait(60), lines
    assert "firing: db-03, db-05 (databases) lost apicv, posted_intr.\n" in lines
    assert 5 == len(answers)
    assert "20 hosts in" in answers["summary"].stdout
    assert re.search(r"microcode 0x2006f05 -> 0x2007006\n +2 hosts: db-03, db-05", answers["changes"].stdout)
    assert "db-01, db-02, db-04, db-06" in answers["has"].stdout
    assert "posted_intr is missing on every CPU" in answers["posted_intr"].stdout
    assert "</html>" in answers["report"].stdout
