"""docs/first-hour.md, followed to its end: commands print what it shows, and the alert names the host that it says."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

from tests.helpers.docs import Command, Session, blocks, commands, matches
from tests.helpers.support import program

PAGE: Final = "docs/first-hour.md"
SECONDS: Final = 60.0
"""How long a reader asks again: what a server or a database is asked for may take a while to be there."""
_ASKS: Final = ("curl ", "promtool query ")


def test_first_hour(tmp_path: Path) -> None:
    """Each command, as a reader would paste it, does what the page says; only the lab's 15 s are 1 s."""
    for name, package in {"prometheus": "prometheus", "amtool": "prometheus-alertmanager", "curl": "curl"}.items():
        program(name, package)
    session = Session(tmp_path)
    try:
        for block in blocks(PAGE):
            if block.options.get("not-run") == "test_first_hour":
                for command in commands(block):
                    _follow(session, command)
    finally:
        session.close()


def _follow(session: Session, command: Command) -> None:
    command.text = re.sub(r"\b15s\b", "1s", command.text)
    deadline = time.monotonic() + SECONDS
    while True:
        code, printed = session.run(command)
        if 0 == code and (not command.output or matches(command.output, printed)):
            return
        told = "\n".join([f"{PAGE}:{command.line + 1}: {command.text}", *printed])
        assert command.text.startswith(_ASKS), told
        assert time.monotonic() < deadline, told
        time.sleep(0.5)
