"""vmxd on the newest Python that Debian has, with what .ci/requirements.txt pins, and as pipx runs it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

from deploy.release.build import build_wheel
from tests.helpers import newest
from tests.helpers.support import LAKEFIELD, REPOSITORY, as_root, deploy_program, program, vmxd
from vmxd import __version__

NEEDED: Final = frozenset(
    """
    attrs h11 hypothesis iniconfig jinja2 jsonschema jsonschema-specifications markupsafe packaging pluggy
    prometheus-client psutil pygments pytest referencing rpds-py sortedcontainers
    """.split()  # noqa: SIM905
)
"""What the tests below import, and what that imports."""
TESTS: Final = ("tests/test_hosts.py::test_golden",)


@as_root
def test_newest_python(tmp_path: Path) -> None:
    """Every recorded host has the metrics that were reviewed, with no warning."""
    name = newest.pythons()[-1]
    root = newest.python(name)
    modules = tmp_path / "modules"
    pins = re.findall(
        r"^([\w-]+)(==.*(?:\n    --hash.*)*)", (REPOSITORY / ".ci/requirements.txt").read_text(), re.MULTILINE
    )
    (tmp_path / "pins").write_text("".join(f"{each}{pin}\n" for each, pin in pins if each in NEEDED))
    subprocess.run(
        [deploy_program("uv"), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:",
         "--python-version", name.removeprefix("python"), "--target", modules, "--requirement", tmp_path / "pins"],
        check=True,
    )  # fmt: skip
    mounts = []
    for path in map(str, ("/proc", "/dev", REPOSITORY, tmp_path)):
        there = shlex.quote(f"{root}{path}")
        mounts.append(f"mkdir -p {there} && mount --rbind {shlex.quote(path)} {there}")
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path}/base", *TESTS]
    start = f"import os, sys; os.chdir({str(REPOSITORY)!r}); os.execv(sys.executable, [sys.executable, *{arguments!r}])"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", "\n".join([*mounts, 'exec "$@"']), "sh",
         program("chroot", "coreutils"), root, f"/usr/bin/{name}", "-c", start],
        env={"PYTHONPATH": f"{REPOSITORY}:{modules}", "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout + done.stderr
    assert re.search(r"^\d+ passed in", done.stdout, re.MULTILINE)


def test_pipx_run(tmp_path: Path) -> None:
    """Pipx runs the built wheel without installing it for good."""
    wheel = build_wheel(REPOSITORY, tmp_path)
    home = {name: str(tmp_path / name) for name in ("HOME", "PIPX_HOME", "PIPX_BIN_DIR")}
    pipx: list[str | Path] = [program("pipx", "pipx"), "run", "--python", sys.executable, "--spec", wheel, "vmxd"]
    shown = subprocess.run(
        [*pipx, "show", "--root", LAKEFIELD],
        env={**os.environ, **home}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip

    assert vmxd("show", "--root", LAKEFIELD).stdout == shown.stdout, shown.stderr
    assert __version__ in wheel.name
