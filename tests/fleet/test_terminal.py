"""vmxd fleet on a terminal: as wide as it is, coloured unless NO_COLOR is set."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.support import ALL_HOSTS, HOSTS


def on_terminal(question: str, *arguments: str, recordings: Path = HOSTS, **environment: str) -> str:
    """Return what a question about recordings prints on a terminal of 80 columns."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "vmxd", "fleet", question, "--recordings", str(recordings), *arguments]
    base = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        command, stdout=follower, stderr=subprocess.PIPE, env={**base, "TERM": "xterm", "COLUMNS": "80", **environment}
    ) as process:
        os.close(follower)
        chunks = []
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # the other end is closed: EIO
                break
            chunks.append(chunk)
        os.close(leader)
        assert b"" == (process.stderr.read() if process.stderr else b"")
    return b"".join(chunks).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("arguments", [["summary"], ["has", "ept", "pml"]], ids=" ".join)
def test_fits(arguments: list[str]) -> None:
    """No line is longer than the terminal, and with NO_COLOR nothing but text is written."""
    text = on_terminal(*arguments, NO_COLOR="1", TERM="dumb")

    assert [] == [line for line in text.splitlines() if len(line) > 80]
    assert "\x1b" not in text
    assert "i5-L16G7" in text


def test_colour() -> None:
    """Headings stand out on a terminal that can do it."""
    assert "\x1b[" in on_terminal("summary")


@pytest.mark.parametrize("question", ["summary", "lacks pml", "pools", "diff red\x1b[2J lake"])
def test_hostile_names(question: str, tmp_path: Path) -> None:
    """What a host calls itself moves no cursor."""
    (tmp_path / "fleet" / "red\x1b[2J").parent.mkdir()
    (tmp_path / "fleet" / "red\x1b[2J").symlink_to(HOSTS / "made-tie")
    (tmp_path / "fleet" / "lake").symlink_to(HOSTS / "lakefield-i5-l16g7")
    text = on_terminal(*question.split(" "), recordings=tmp_path / "fleet")

    assert "\x1b[2J" not in text
    assert "red?[2J" in text


@pytest.mark.parametrize(("closed", "code"), [(1, 2), (2, 0)], ids=["output", "errors"])
def test_closed(closed: int, code: int) -> None:
    """Without an output there is one sentence, and without a place for that nothing is lost."""
    command = [sys.executable, "-m", "vmxd", "fleet", "summary", "--recordings", str(HOSTS)]
    shell = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *command]
    done = subprocess.run(shell, capture_output=True, text=True, check=False, timeout=60)

    assert code == done.returncode
    assert (f"{len(ALL_HOSTS)} hosts", "vmxd: cannot write to standard output: Bad file descriptor")[closed == 1] in (
        done.stdout or done.stderr
    )
    assert "Traceback" not in done.stderr


def test_progress(tmp_path: Path) -> None:
    """On a terminal that is interrupted or not, no progress is left in the line, and in a pipe there is none."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "vmxd", "fleet", "summary", "--recordings", str(HOSTS)]
    with (tmp_path / "out").open("w") as out:
        subprocess.run(command, stdout=out, stderr=follower, check=True, timeout=60)
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)

    assert f" of {len(ALL_HOSTS)} hosts" in shown
    assert shown.endswith("\r\x1b[K")
