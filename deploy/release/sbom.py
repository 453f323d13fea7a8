"""Write what the wheel brings along when it is installed, as a CycloneDX 1.6 bill of materials."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from deploy.release.install import make_environment
from deploy.release.run import REPOSITORY, python

SPEC_VERSION: Final = "1.6"


def build_sbom(wheel: Path, target: Path) -> Path:
    """Write the bill of materials of a wheel and its pinned dependencies, valid, without time or serial number.

    Raises VmxdError.
    """
    version = wheel.name.split("-")[1]
    made = target / f"vmxd-{version}.cdx.json"
    with tempfile.TemporaryDirectory() as scratch:
        its_python = make_environment(wheel, Path(scratch, "environment"))
        options = ("--output-reproducible", "--validate", "--spec-version", SPEC_VERSION, "--output-format=JSON")
        project = Path(scratch, "pyproject.toml")  # of vmxd itself; cyclonedx-py knows no dynamic version
        text = (REPOSITORY / "pyproject.toml").read_text()
        project.write_text(text.replace('dynamic = ["version"]', f'version = "{version}"'))
        whose = ("--pyproject", project, "--mc-type=application")
        python("-m", "cyclonedx_py", "environment", *options, *whose, "--output-file", made, its_python)
    return made
