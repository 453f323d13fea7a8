"""The commands of docs/fleet.md, against a real Prometheus with a fleet, and what they are said to print."""

from __future__ import annotations

import re
import shlex
import shutil
import time
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.docs import Block, Command, blocks, commands, matches, refreshed, rewrite
from tests.helpers.inside import vmxd
from tests.helpers.served import Served
from tests.helpers.support import HOSTS
from vmxd.fleet.times import format_time

PAGE: Final = "docs/fleet.md"
URL: Final = "http://prometheus:9090"
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_commands(prometheus: Served, tmp_path: Path, update: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands can tell, and print what the page shows, at other times."""
    for name, host in {"today": "haswell-ep-2s", "yesterday": "sandybridge-e"}.items():
        shutil.copytree(HOSTS / host, tmp_path / name / "host-1")
    monkeypatch.chdir(tmp_path)
    now = format_time(time.time() + 1)  # not before the first sample, which a time without fractions could be
    stand_ins = {
        URL: prometheus.url, "/srv/recordings": str(HOSTS), "host-1@2026-11-01": f"host-00001@{now}",
        "cluster=a": "cluster=pool-00", "cluster=b": "cluster=pool-01", "host-2:10480": "host-00002:10480",
    }  # fmt: skip
    changes: list[tuple[Block, Command, list[str]]] = []
    for block in (each for each in blocks(PAGE) if each.options.get("not-run") == "test_fleet_docs"):
        for command in commands(block):
            words = shlex.split(command.text, comments=True)
            if not words:
                continue
            if "--recordings" not in words:
                words = [{"host-1": "host-00001"}.get(word, word) for word in words]
            done = vmxd(*(stand_ins.get(word, word) for word in words[1:]))
            where = f"{PAGE}:{command.line + 1}: {command.text}\n{done.stdout}{done.stderr}"
            assert done.returncode in (0, 1), where
            printed = done.stdout.replace(prometheus.url, URL).splitlines()
            if command.output and not matches(timeless(command.output), timeless(printed)):
                assert update, f"{where}(make generated)"
                changes.append((block, command, refreshed(command.output, printed)))
    rewrite(PAGE, changes)


def timeless(lines: list[str]) -> list[str]:
    """Return lines without times."""
    return [_TIME.sub("TIME", line) for line in lines]
