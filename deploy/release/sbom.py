"""Write what the wheel brings along when it is installed, as a CycloneDX 1.6 bill of materials."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name

from deploy.release.install import make_environment
from deploy.release.run import REPOSITORY, python

SPEC_VERSION: Final = "1.6"


def build_sbom(wheel: Path, target: Path) -> Path:
    """Write the bill of materials of a wheel and its pinned dependencies, valid, without time or serial number.

    Each component has the SHA-256 of the file that was installed.

    Raises VmxdError.
    """
    version = wheel.name.split("-")[1]
    made = target / f"vmxd-{version}.cdx.json"
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.json")
        its_python = make_environment(wheel, Path(scratch, "environment"), report)
        options = ("--output-reproducible", "--validate", "--spec-version", SPEC_VERSION, "--output-format=JSON")
        project = Path(scratch, "pyproject.toml")  # of vmxd itself; cyclonedx-py knows no dynamic version
        text = (REPOSITORY / "pyproject.toml").read_text()
        project.write_text(text.replace('dynamic = ["version"]', f'version = "{version}"'))
        whose = ("--pyproject", project, "--mc-type=application")
        python("-m", "cyclonedx_py", "environment", *options, *whose, "--output-file", made, its_python)
        installed = json.loads(report.read_text())["install"]
    hashes = {
        canonicalize_name(each["metadata"]["name"]): each["download_info"]["archive_info"]["hashes"]["sha256"]
        for each in installed
    }
    bill = json.loads(made.read_text())
    bill["metadata"]["component"]["hashes"] = _sha256(hashlib.sha256(wheel.read_bytes()).hexdigest())
    for component in bill["components"]:
        component["hashes"] = _sha256(hashes[canonicalize_name(component["name"])])
    made.write_text(json.dumps(bill, indent=2) + "\n")
    return made


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]
