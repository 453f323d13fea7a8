"""The documentation's blocks: what is a command, how it is run as a reader would, and what it is said to print."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from markdown_it import MarkdownIt

from tests.helpers.support import HOSTS, REPOSITORY

PAGES: Final = sorted(
    str(path.relative_to(REPOSITORY))
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "bench/*.md", "tests/machine/*.md")
    for path in REPOSITORY.glob(pattern)
)
"""Every page but systemd/README.md, whose commands tests/machine runs on a booted Debian, word for word."""

NOT_RUN: Final = {
    "install": "installs into the reader's host or needs the network; make and tests/machine do the same",
    "host": "asks or changes the reader's host, cluster or Prometheus",
    "make": "a target of the Makefile that takes minutes or changes the tree; make -n is asked whether it is there",
    "test_first_hour": "tests/packaging/test_first_hour.py follows the page with a real Prometheus",
    "test_fleet_docs": "tests/fleet/test_docs.py runs it against a real Prometheus with a fleet",
    "test_new_bit": "tests/packaging/test_new_bit.py runs it on a copy of the tree, changed as the page says",
}
"""Why a block of commands is not run, by what its info string says: ```sh not-run=host."""

PROGRAMS: Final = frozenset(("vmxd", "promtool", "curl", "cd", "cp", "diff", "echo", "grep", "head", "sed"))
"""What a block that is run may start."""
_COMMAND: Final = re.compile(
    r"(?:\$|#|vmxd|make|promtool|curl|pip|python3?|apt|apt-get|dnf|sudo|rpmbuild|systemctl|kubectl|podman|modprobe) "
)
PLACEHOLDERS: Final = {"FEATURE": "ept", "PROFILE": "kvm-load", "NAME": "ept", "DIR": "new", "A": "a", "B": "b"}
"""What pages write for a name of the reader, and what it is here. a and b are recordings, fleet has those of FLEET."""
FLEET: Final = ("cascadelake-sp", "haswell-ep-2s", "icelake-sp-2s", "skylake-sp-8160-2s")

DEFAULT_HOST: Final = "cascadelake-sp"
"""The recording that a command without --root is given, in place of the reader's host."""

_PORT: Final = re.compile(r"(?<=:)(?:1048\d|909[05])\b")
_ELISION: Final = "…"
_HERE: Final = "<<'END'"
_LISTEN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code. line: of its first line of text, from 0; indent: what stands before each of its lines."""

    page: str
    line: int
    language: str
    options: dict[str, str]
    text: str
    indent: str

    @property
    def where(self) -> str:
        """Page and line for people."""
        return f"{self.page}:{self.line + 1}"

    @property
    def is_run(self) -> bool:
        """Whether it has commands that are run here."""
        return self.language in ("console", "sh") and "not-run" not in self.options


@dataclass(slots=True)
class Command:
    """A command, and the lines that it is said to print, none where the page says nothing. line: its first, from 0."""

    text: str
    line: int
    output: list[str] = field(default_factory=list)


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page. An indented one that begins with a prompt is a console, one with vmxd is sh."""
    found = []
    for token in MarkdownIt().parse((REPOSITORY / page).read_text()):
        if token.type not in ("fence", "code_block"):
            continue
        assert token.map is not None
        language, *options = token.info.split() or ["text"]
        if token.type == "code_block":
            language = {"$": "console", "vmxd": "sh"}.get(token.content.split(maxsplit=1)[0], "text")
        first = token.map[0] + (token.type == "fence")
        indent = "    " if token.type == "code_block" else ""
        pairs = dict(option.partition("=")[::2] for option in options)
        found.append(Block(page, first, language, pairs, token.content, indent))
    return found


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block: of a console the lines after a $, with what they print; of sh each line."""
    command = None
    continues = False
    for number, line in enumerate(block.text.splitlines(), block.line):
        if command and continues:
            command.text += f"\n{line}"
        elif block.language == "sh" or line.startswith("$ "):
            if command:
                yield command
            command = Command(line.removeprefix("$ "), number)
        else:
            assert command, f"{block.page}:{number + 1}: a console begins with a command"
            command.output.append(line)
            continue
        continues = line.endswith("\\") or (_HERE in command.text and line != "END")
    if command:
        yield command


def hidden_commands(block: Block) -> list[str]:
    """Return lines of a block that says it has no commands and seems to have some."""
    if block.language not in ("text", ""):
        return []
    return [line for line in block.text.splitlines() if _COMMAND.match(line)]


def words_of_commands(page: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command within a sentence of a page, and in its blocks that are not run."""
    for token in MarkdownIt().enable("table").parse((REPOSITORY / page).read_text()):
        for child in token.children or ():
            if child.type == "code_inline":
                yield tuple(child.content.split())
    for block in blocks(page):
        if block.language in ("sh", "console") and not block.is_run and block.options["not-run"] != "file":
            for command in commands(block):
                yield tuple(shlex.split(command.text, comments=True))


class Session:
    """A reader at a terminal, for one page: a scratch directory with the tree's files, and servers left running.

    tree: where the vmxd is that is run.
    """

    def __init__(self, scratch: Path, tree: Path = REPOSITORY) -> None:
        self._tree = tree
        self._directory = self._scratch = scratch
        self._servers: list[subprocess.Popen[bytes]] = []
        self._ports: dict[str, str] = {}
        self._code = 0
        shutil.copytree(REPOSITORY / "deploy", scratch / "deploy")
        for name in ("tests", "docs", "systemd", "README.md", "Makefile"):
            (scratch / name).symlink_to(REPOSITORY / name)
        for name, host in (("a", "sandybridge-e"), ("b", DEFAULT_HOST), *((f"fleet/{host}", host) for host in FLEET)):
            shutil.copytree(HOSTS / host, scratch / name, ignore=shutil.ignore_patterns("about.txt", "metrics.prom"))
        (scratch / "bin").mkdir()
        wrapper = scratch / "bin" / "vmxd"
        wrapper.write_text(_WRAPPER.format(python=sys.executable, host=HOSTS / DEFAULT_HOST))
        wrapper.chmod(0o755)

    def run(self, command: Command) -> tuple[int, list[str]]:
        """Run a command; return its exit code and what it printed. A server is left running, once it listens."""
        text = _PORT.sub(lambda match: self._port(match[0]), command.text)
        text = text.replace("--recordings DIR", "--recordings fleet")
        for name, value in PLACEHOLDERS.items():
            text = re.sub(rf"(?<![\w-]){name}(?!\w)", value, text)
        if text.startswith("vmxd serve"):
            self._serve(text)
            return 0, []
        if text.endswith("&"):
            self._servers.append(self._start(text))
            return 0, []
        script = f"(exit {self._code})\n{text}\ncode=$?; pwd >{self._scratch}/cwd; exit $code"
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            cwd=self._directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        self._directory = Path((self._scratch / "cwd").read_text().rstrip("\n"))
        self._code = result.returncode
        printed = result.stdout.replace(f"{self._scratch}/", "")
        for port, free in self._ports.items():
            printed = printed.replace(f":{free}", f":{port}")
        return result.returncode, [line.rstrip() for line in printed.splitlines()]

    def close(self) -> None:
        """End the servers."""
        for server in self._servers:
            server.terminate()
        for server in self._servers:
            server.wait(20)

    def _environment(self) -> dict[str, str]:
        home = {"HOME": str(self._scratch), "PATH": f"{self._scratch}/bin:{os.environ['PATH']}", "COLUMNS": "80"}
        return home | {"LC_ALL": "C.UTF-8", "PYTHONPATH": str(self._tree), "no_proxy": "*"}

    def _port(self, port: str) -> str:
        if port not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self._ports[port] = str(free.getsockname()[1])
        return self._ports[port]

    def _serve(self, text: str) -> None:
        if "--web.listen-address" not in text:
            text = re.sub("vmxd serve", f"vmxd serve --web.listen-address=127.0.0.1:{self._port('10480')}", text)
        log = self._scratch / f"serve-{len(self._servers)}.log"
        with log.open("wb") as stderr:
            server = self._start(text, stderr)
        self._servers.append(server)
        deadline = time.monotonic() + _LISTEN_SECONDS
        while "listening on" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

    def _start(self, text: str, stderr: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        command = ["bash", "-c", f"exec {text.removesuffix('&')}"]
        return subprocess.Popen(command, cwd=self._directory, env=self._environment(), stderr=stderr)


_WRAPPER: Final = """#!/bin/sh
case " $* " in
  *" --root"*) ;;
  *" serve "*|*" record "*|*" show "*|*" explain "*|*" metrics "*|*" check "*) set -- "$@" --root {host} ;;
esac
exec {python} -m vmxd "$@"
"""


def matches(expected: Sequence[str], printed: Sequence[str]) -> bool:
    """Return whether lines are as a page has them: a line … stands for any lines, a … within one for any text."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == _ELISION else ".*?".join(map(re.escape, line.rstrip().split(_ELISION))) + r"\n"
        for line in expected
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def refreshed(expected: Sequence[str], printed: Sequence[str]) -> list[str]:
    """Return what a page should have: as many lines between two elisions as it has now, from where they are found.

    The lines before the first elision are the first that were printed, those after the last the last; others start
    at the first line that begins with the same word. Raises ValueError where there is none: that is for a person.
    """
    parts: list[list[str]] = [[]]
    for line in expected:
        if line.strip() == _ELISION:
            parts.append([])
        else:
            parts[-1].append(line)
    if len(parts) == 1:
        return list(printed)
    new = list(printed[: len(parts[0])])
    position = len(new)
    for part in parts[1:-1]:
        word = part[0].split()[0]
        position = next((at for at in range(position, len(printed)) if printed[at].split()[:1] == [word]), len(printed))
        if position + len(part) > len(printed):
            raise ValueError(f"no line begins with {word!r}")
        new += [_ELISION, *printed[position : position + len(part)]]
        position += len(part)
    end = parts[-1]
    return [*new, _ELISION, *(printed[len(printed) - len(end) :] if end else [])]


def rewrite(page: str, changes: Sequence[tuple[Block, Command, Sequence[str]]]) -> None:
    """Write to a page what commands print; changes are in its order."""
    lines = (REPOSITORY / page).read_text().splitlines()
    for block, command, output in reversed(changes):
        first = command.line + command.text.count("\n") + 1
        lines[first : first + len(command.output)] = [f"{block.indent}{line}".rstrip() for line in output]
    if changes:
        (REPOSITORY / page).write_text("\n".join(lines) + "\n")
