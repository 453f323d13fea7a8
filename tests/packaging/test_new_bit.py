"""A new bit is one line, here CONTRIBUTING's in a copy of the tree; one command renews all, and the tests pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.helpers.docs import Session, blocks, commands, matches
from tests.helpers.support import REPOSITORY, program

PAGE: Final = "CONTRIBUTING.md"
TABLE: Final = "vmxd/tables/msrs.py"
RENEWED: Final = {
    *("deploy/grafana/dashboards/vmx-feature.json", "deploy/grafana/dashboards/vmx-host.json"),
    *(f"deploy/share/{name}" for name in ("bash-completion/completions/vmxd", "fish/vendor_completions.d/vmxd.fish")),
    *("deploy/share/zsh/site-functions/_vmxd", "docs/reference/features.md", "docs/reference/metrics.md"),
    "tests/hosts/made-future/metrics.prom",
}
"""What make generated changes: of the golden files that of the one host that has the bit."""
TESTS: Final = (
    *("tests/test_hosts.py", "tests/docs/test_pages.py", "tests/docs/test_docs_commands.py"),
    *("tests/tables", "tests/pasted", "tests/model", "tests/views", "tests/commands", "tests/deploy"),
)


def run(tree: Path, *words: str) -> str:
    """Run a program in the copy, where it finds that vmxd and no other; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        words, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout
    return done.stdout


def test_a_new_bit_is_one_line(public_path: Path) -> None:
    """The bit is in commands and metrics; goldens, pages, dashboards and completion are renewed; no test fails."""
    git = program("git", "git")
    tree, scratch, environment = public_path / "tree", public_path / "scratch", Path(sys.prefix)
    for name in run(REPOSITORY, git, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (REPOSITORY / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, tree / name)
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")
    run(tree, git, "init", "--quiet")
    run(tree, git, "add", "--all", "--force")
    run(tree, git, *who, "commit", "--quiet", "--message=all")
    (diff,) = [block.text for block in blocks(PAGE) if block.language == "diff"]
    old, new = ("".join(line[1:] for line in diff.splitlines(True) if line[0] in kept) for kept in (" -", " +"))
    text = (tree / TABLE).read_text()
    assert 1 == text.count(old)
    (tree / TABLE).write_text(text.replace(old, new))

    run(tree, "make", f"--old-file={environment}/.ready-for-tests", f"VENV={environment}", "generated")

    assert {TABLE, *RENEWED} == set(run(tree, git, "diff", "--name-only").splitlines())
    scratch.mkdir()
    session = Session(scratch, tree)
    for block in (block for block in blocks(PAGE) if block.options.get("not-run") == "test_new_bit"):
        for command in commands(block):
            code, printed = session.run(command)
            assert (0, True) == (code, matches(command.output, printed)), printed
    run(tree, sys.executable, "-m", "pytest", "-q", "--numprocesses=auto", "--hypothesis-profile=few", *TESTS)
