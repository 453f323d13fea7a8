"""Build vmxd.pyz: vmxd and what it imports in one file that a host's own Python runs as it is (PEP 441).

Nothing in it is compiled: a zip file cannot be loaded from by the dynamic linker, and unpacking it first would leave
files on the host. So MarkupSafe and PyYAML are in it as Python, and psutil and bcrypt are not in it: vmxd counts CPUs
without psutil, and refuses passwords in --web.config.file without bcrypt.
"""

from __future__ import annotations

import os
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.release.install import install

NAME: Final = "vmxd.pyz"
COMPILED: Final = ("bcrypt", "psutil")
"""Distributions, and packages, of which nothing is left without their compiled code."""

_MAIN: Final = """\
import sys

if sys.version_info < (3, 11):
    sys.stderr.write("vmxd: Python 3.11 or newer is needed, and this is %d.%d\\n" % sys.version_info[:2])
    sys.stderr.write("hint: name another, as in python3.11 vmxd.pyz show\\n")
    sys.exit(2)

from vmxd.cli import main

sys.exit(main())
"""
_EARLIEST: Final = 315532800
"""The first second of 1980 (UTC), in which a zip file's time begins."""


def build_pyz(wheel: Path, target: Path) -> Path:
    """Build vmxd.pyz from a wheel, with the dependencies that the container image has. Raises VmxdError."""
    made = target / NAME
    with tempfile.TemporaryDirectory() as scratch:
        install(wheel, Path(scratch))
        with made.open("wb") as file:
            file.write(b"#!/usr/bin/env python3\n")
            with zipfile.ZipFile(file, "w", compresslevel=9) as archive:
                archive.writestr(_entry("__main__.py"), _MAIN)
                for name in sorted(_wanted(Path(scratch))):
                    archive.writestr(_entry(name), Path(scratch, name).read_bytes())
    made.chmod(0o755)
    return made


def _wanted(directory: Path) -> Iterator[str]:
    """Yield the paths of what runs, and of licences; nothing that tells of this machine."""
    for path in directory.rglob("*"):
        name = path.relative_to(directory)
        project = name.parts[0].partition("-")[0]
        is_metadata = name.parts[0].endswith(".dist-info")
        if not path.is_file() or project in ("bin", "share", *COMPILED):
            continue
        if name.name == "METADATA" or "licenses" in name.parts if is_metadata else path.suffix not in (".so", ".pyc"):
            yield name.as_posix()


def _entry(name: str) -> zipfile.ZipInfo:
    date = time.gmtime(max(int(os.environ.get("SOURCE_DATE_EPOCH", _EARLIEST)), _EARLIEST))
    entry = zipfile.ZipInfo(name, date[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o100644 << 16
    return entry
