"""vmxd/fleet/script.py: vmxd as a script on standard input, from wherever it is installed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.helpers.support import LAKEFIELD, REPOSITORY, recorded
from vmxd.fleet.script import build_script
from vmxd.host.archive import unpack

_IN_ZIP = "import sys; sys.path.insert(0, sys.argv[1]); from vmxd.fleet import script; print(script.__file__); "
_IN_ZIP += "sys.stdout.flush(); sys.stdout.buffer.write(script.build_script(['features']))"


def test_a_python_runs_it_from_standard_input(tmp_path: Path) -> None:
    """A recording comes out; nothing is written, and of this user's settings and directory nothing counts."""
    (tmp_path / "vmxd.py").write_text("raise SystemExit('the wrong one')")
    done = subprocess.run(
        [sys.executable, "-I", "-"], input=build_script(["record", "--root", str(LAKEFIELD), "-"]),
        capture_output=True, check=True, timeout=60, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip

    assert b"" == done.stderr
    assert recorded(LAKEFIELD) == unpack(done.stdout)[0]
    assert ["vmxd.py"] == [path.name for path in tmp_path.iterdir()]


def test_vmxd_in_a_zip_archive_makes_the_same(tmp_path: Path) -> None:
    """vmxd.pyz finds its own source as an installed vmxd does."""
    with zipfile.ZipFile(tmp_path / "vmxd.pyz", "w") as archive:
        for path in sorted((REPOSITORY / "vmxd").rglob("*.py")):
            archive.write(path, path.relative_to(REPOSITORY))
    done = subprocess.run(
        [sys.executable, "-I", "-c", _IN_ZIP, tmp_path / "vmxd.pyz"], capture_output=True, check=True, timeout=60
    )
    place, script = done.stdout.split(b"\n", 1)

    assert b"vmxd.pyz/vmxd/fleet/script.py" in place
    assert build_script(["features"]) == script
