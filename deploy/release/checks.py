"""What must hold before a release is built. Each check raises VmxdError with what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.release.build import read_version
from deploy.release.run import python, run
from vmxd.errors import VmxdError

VERSIONS: Final = {
    "Containerfile": r'image\.version="(.*)"',
    "deploy/ansible/README.md": r"/vmxd-(.*)-py3-none-any\.whl",
    "deploy/debian/README.md": r"/vmxd_(.*)-\d+_all\.deb",
    "deploy/debian/changelog": r"\Avmxd \((.*)-\d+\)",
    "deploy/helm/vmxd/Chart.yaml": r"^version: .*\nappVersion: (.*)$",
    "deploy/kubernetes/overlays/example/kustomization.yaml": r"newTag: (.*)$",
    "deploy/rpm/vmxd.spec": r"^Version: *(.*)$",
}
"""Files that repeat the version, and how."""

GENERATORS: Final = ("deploy.shell.generate", "deploy.grafana.generate")
"""Modules that write files that are checked in."""


def check_clean(source: Path) -> None:
    """Hold that nothing is changed and nothing lies about: what is built is what is committed."""
    changed = run("git", "status", "--porcelain", cwd=source).splitlines()
    if changed:
        raise VmxdError(
            f"the tree has changes that are not committed: {', '.join(line[3:] for line in changed[:5])}",
            "commit, stash or remove them",
        )


def check_tag(source: Path) -> None:
    """Hold that the version is not released yet."""
    tag = f"v{read_version(source)}"
    if run("git", "tag", "--list", tag, cwd=source):
        raise VmxdError(f"tag {tag} is there already", "give vmxd/__init__.py the next version")


def check_versions(source: Path) -> None:
    """Hold that every file that repeats the version repeats this one."""
    version = read_version(source)
    for name, pattern in VERSIONS.items():
        found = re.search(pattern, (source / name).read_text(), re.MULTILINE)
        if not found or found[1] != version:
            said = found[1] if found else "none"
            raise VmxdError(f"{name} has version {said}, vmxd/__init__.py has {version}", "write the same in both")


def check_changelog(source: Path) -> None:
    """Hold that CHANGELOG.md has a dated section for the version, right after an empty [Unreleased]."""
    version = read_version(source)
    sections = re.split(r"^## ", (source / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    unreleased, newest = (*sections, "", "")[:2]
    if not re.match(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n\s*\S", newest):
        raise VmxdError(
            f"CHANGELOG.md has no dated section for {version} below [Unreleased]",
            f"put what is new below a line: ## [{version}] - YEAR-MONTH-DAY",
        )
    if unreleased.strip() != "[Unreleased]":
        raise VmxdError("CHANGELOG.md has entries that are in no release", f"move them to the section of {version}")


def check_generated(source: Path) -> None:
    """Hold that what is checked in is what generators write. They write to source: give it a copy."""
    files = [path for path in (source / "deploy").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    before = {path: path.read_bytes() for path in files}
    for module in GENERATORS:
        python("-m", module, cwd=source)
    stale = [str(path.relative_to(source)) for path, data in before.items() if path.read_bytes() != data]
    if stale:
        raise VmxdError(f"not what its generator writes: {', '.join(sorted(stale))}", "make generated, and commit")


CHECKS: Final[tuple[Callable[[Path], None], ...]] = (check_clean, check_tag, check_versions, check_changelog)
"""Those that look at the tree as it is; check_generated takes a copy."""
