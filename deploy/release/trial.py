"""Try what was built as its users will: installed, or copied, and started far from the sources."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from deploy.release.build import build_wheel
from deploy.release.install import make_environment
from deploy.release.run import REPOSITORY, python, run
from vmxd.errors import VmxdError

HOST: Final = REPOSITORY / "tests" / "hosts" / "lakefield-i5-l16g7"
TREE: Final = ("bench", "deploy", "docs", "tests")
"""What the tests of the code read and import: not vmxd."""

_ALONE: Final = {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}


def try_wheel(wheel: Path, version: str) -> None:
    """Install the wheel and run the program. Raises VmxdError."""
    with tempfile.TemporaryDirectory() as scratch:
        its_python = make_environment(wheel, Path(scratch, "environment"))
        _try((its_python.with_name("vmxd"),), version, Path(scratch))


def try_pyz(pyz: Path, version: str) -> None:
    """Run the archive with a Python that finds nothing else. Raises VmxdError."""
    with tempfile.TemporaryDirectory() as scratch:
        _try((sys.executable, "-I", "-S", pyz), version, Path(scratch))


def _try(program: tuple[str | Path, ...], version: str, directory: Path) -> None:
    expected = {"--version": f"vmxd {version}\n", f"show --root {HOST}": python("-m", "vmxd", "show", "--root", HOST)}
    for arguments, output in expected.items():
        if run(*program, *arguments.split(), cwd=directory, env=_ALONE) != output:
            raise VmxdError(f"{program[-1]} {arguments} does not print what it should", "try it by hand")


def try_sdist(sdist: Path, wheel: Path) -> None:
    """Build the wheel from the sdist: it is the same, to the byte. Raises VmxdError."""
    with tempfile.TemporaryDirectory() as scratch:
        shutil.unpack_archive(sdist, scratch, filter="data")
        source = Path(scratch, sdist.name.removesuffix(".tar.gz"))
        if build_wheel(source, Path(scratch, "dist")).read_bytes() != wheel.read_bytes():
            raise VmxdError(
                f"{sdist.name} does not give the wheel {wheel.name}", "look at sdist.include in pyproject.toml"
            )


def run_tests(wheel: Path) -> str:
    """Run the tests of the code, which mirror its packages, against the installed wheel; return pytest's last line.

    The tests are copied to where no vmxd lies; pytest and what else they need come from this Python. Raises VmxdError.
    """
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)  # some tests run as a user without rights
        copy = Path(scratch, "tree")
        for name in TREE:
            shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "pyproject.toml", copy)
        its_python = make_environment(wheel, Path(scratch, "environment"))
        where = "import os, {0}; print(os.path.dirname({0}.__file__))"
        (installed,) = Path(scratch, "environment").glob("lib/python*/site-packages")
        # below what is installed; of an editable vmxd in there nothing is found: its .pth is not read
        borrowed = run(sys.executable, "-c", where.format("pytest"), cwd=copy).strip()
        (installed / "zz-borrowed.pth").write_text(f"{Path(borrowed).parent}\n")
        used = Path(run(its_python, "-c", where.format("vmxd"), cwd=copy, env=_ALONE).strip())
        if used.parent != installed:
            raise VmxdError(
                f"the tests would run against {used}", "that is no fault of the wheel: mend deploy/release/trial.py"
            )
        mirrors = [f"tests/{path.name}" for path in (copy / "tests").iterdir() if (used / path.name).is_dir()]
        options = ("-q", "--numprocesses=auto", "--dist=worksteal", "tests/test_hosts.py")
        return run(its_python, "-m", "pytest", *options, *mirrors, cwd=copy, env=_ALONE).splitlines()[-1]
