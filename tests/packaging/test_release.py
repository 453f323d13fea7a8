"""python -m deploy.release check: what must hold before a release is built, tried on copies of this tree."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from deploy.release.provenance import check_provenance, write_provenance
from tests.helpers.support import REPOSITORY, program
from vmxd import __version__
from vmxd.errors import VmxdError

KEPT: Final = (".ci", "deploy", "vmxd", "CHANGELOG.md", "Containerfile", "README.md", "pyproject.toml")
"""What the checks look at, and what they run."""


def git(tree: Path, *words: str) -> str:
    """Run git in a tree, as an author of no place."""
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false")
    command = [program("git", "git"), *who, *words]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a repository with this tree in it that can be released: what is new stands below version and date."""
    copy = tmp_path / "vmxd"
    for name in KEPT:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.xml"))
        else:
            shutil.copy(source, copy / name)
    text = (copy / "CHANGELOG.md").read_text()
    head, entries = text.split("## [Unreleased]\n", 1)
    if f"## [{__version__}]" not in entries:
        today = dt.datetime.now(dt.UTC).date()
        text = f"{head}## [Unreleased]\n\n## [{__version__}] - {today}\n{entries}"
    (copy / "CHANGELOG.md").write_text(text)
    run_module(copy, "deploy.shell.generate")  # the man page has the date of the release
    git(copy, "init", "--quiet")
    commit(copy)
    return copy


def commit(tree: Path) -> None:
    """Commit all that there is."""
    git(tree, "add", "--all", "--force")
    git(tree, "commit", "--quiet", "--allow-empty", "--message=all")


def check(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the checks on a tree, with the release and vmxd that are in it."""
    return run_module(tree, "deploy.release", "check")


def run_module(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module of a tree."""
    command = [sys.executable, "-m", *words]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip


def edit(name: str, pattern: str, replacement: str) -> Callable[[Path], None]:
    """Return what changes a file of a tree and commits that."""

    def change(tree: Path) -> None:
        text = (tree / name).read_text()
        changed = re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)
        assert text != changed
        (tree / name).write_text(changed)
        commit(tree)

    return change


def leave_a_file(tree: Path) -> None:
    """Leave a file that is not committed."""
    (tree / "vmxd" / "notes.txt").touch()


def tag(tree: Path) -> None:
    """Release the version before."""
    git(tree, "tag", f"v{__version__}")


def test_released(tree: Path) -> None:
    """A tree that can be released is told so, and stays as it is."""
    done = check(tree)

    assert (0, f"vmxd {__version__} can be released\n", "") == (done.returncode, done.stdout, done.stderr)
    assert "" == git(tree, "status", "--porcelain", "--ignored")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (leave_a_file, "the tree has changes that are not committed: vmxd/notes.txt"),
        (tag, f"tag v{__version__} is there already"),
        (edit("vmxd/__init__.py", r'"[\d.]+"', '"1.x"'), "vmxd/__init__.py has no version of the form 1.2.3"),
        (edit("Containerfile", r'version="[\d.]+"', 'version="9.9.9"'), "Containerfile has version 9.9.9, vmxd/__init"),
        (edit("CHANGELOG.md", r"\] - \d{4}-", "] - "), f"CHANGELOG.md has no dated section for {__version__} below"),
        (edit("CHANGELOG.md", r"^## \[Unre.*", r"\g<0>\n\n- New."), "CHANGELOG.md has entries that are in no release"),
        (
            edit("deploy/share/man/man1/vmxd.1", "^.SH", ".SS"),
            "not what its generator writes: deploy/share/man/man1/vm",
        ),
    ],
    ids=["changes", "tag", "version", "versions", "undated", "unreleased", "generated"],
)
def test_not_released(tree: Path, spoil: Callable[[Path], None], message: str) -> None:
    """A tree that cannot be released gets one sentence that says why, a hint, and exit code 2."""
    spoil(tree)
    done = check(tree)

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(f"release: {message}")
    assert ["release:", "hint:"] == [line.split()[0] for line in done.stderr.splitlines()]


def test_provenance(tree: Path, tmp_path: Path) -> None:
    """What a release is made of is in its provenance; another file, commit or pin is not."""
    made = [tmp_path / "vmxd.pyz", tmp_path / "vmxd-1.2.3.tar.gz"]
    for path in made:
        path.write_text(path.name)
    provenance = write_provenance(made, tree, tmp_path / "vmxd-1.2.3.intoto.json")
    check_provenance(provenance, tree)
    digests = {each["name"]: each["digest"]["sha256"] for each in json.loads(provenance.read_text())["subject"]}

    assert {path.name: hashlib.sha256(path.name.encode()).hexdigest() for path in made} == digests
    made[0].write_text("another")
    with pytest.raises(VmxdError, match=r"vmxd\.pyz is not the file"):
        check_provenance(provenance, tree)
    made[0].write_text(made[0].name)
    commit(tree)
    with pytest.raises(VmxdError, match="which is not checked out"):
        check_provenance(provenance, tree)
