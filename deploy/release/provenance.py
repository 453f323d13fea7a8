"""Write and check where a release comes from: in-toto statement 1 with SLSA provenance 1 (slsa.dev/spec/v1.0).

It is not signed: there is no key. Whoever signs the tag vouches for the commit that it names, from which the same bytes
can be built.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from deploy.addresses import PROJECT
from deploy.release.run import run
from vmxd.errors import VmxdError

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
_PINS: Final = ".ci/requirements.txt"


def write_provenance(made: Iterable[Path], source: Path, target: Path) -> Path:
    """Write what was built from the commit of a repository, and with what. Raises VmxdError."""
    commit = run("git", "rev-parse", "HEAD", cwd=source).strip()
    git = f"git+{PROJECT['git']}"
    document = {
        "_type": STATEMENT,
        "subject": [{"name": path.name, "digest": {"sha256": _digest(path)}} for path in made],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": f"{PROJECT['documentation']}/deploy/release/README.html",
                "externalParameters": {"source": git, "command": "make release"},
                "internalParameters": {
                    "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", ""),
                    "python": platform.python_version(),
                },
                "resolvedDependencies": [
                    {"uri": f"{git}@{commit}", "digest": {"gitCommit": commit}},
                    {"uri": _PINS, "digest": {"sha256": _digest(source / _PINS)}},
                ],
            },
            "runDetails": {"builder": {"id": f"{PROJECT['documentation']}/deploy/release/README.html#by-hand"}},
        },
    }
    target.write_text(json.dumps(document, indent=2) + "\n")
    return target


def check_provenance(provenance: Path, source: Path) -> None:
    """Hold that a provenance is of the files beside it and of a repository's commit. Raises VmxdError."""
    document: dict[str, Any] = json.loads(provenance.read_text())
    hint = "build it anew: make release"
    if (document.get("_type"), document.get("predicateType")) != (STATEMENT, PREDICATE) or not document["subject"]:
        raise VmxdError(f"{provenance.name} is no SLSA provenance of files", hint)
    for subject in document["subject"]:
        path = provenance.with_name(subject["name"])
        if not path.is_file() or _digest(path) != subject["digest"]["sha256"]:
            raise VmxdError(f"{path.name} is not the file that {provenance.name} is about", hint)
    dependencies = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    commit, pins = (dependency["digest"] for dependency in dependencies)
    if run("git", "rev-parse", "HEAD", cwd=source).strip() != commit["gitCommit"]:
        raise VmxdError(f"{provenance.name} is of commit {commit['gitCommit'][:12]}, which is not checked out", hint)
    if _digest(source / _PINS) != pins["sha256"]:
        raise VmxdError(f"{provenance.name} was made with other pins than {_PINS} has", hint)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
