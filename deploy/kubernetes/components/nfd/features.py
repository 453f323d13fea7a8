"""Write a recording as a feature file of node-feature-discovery: features.py RECORDING FILE.

Labels are what tells kinds of node apart. The features themselves are for NodeFeatureRule objects to match, not labels:
one a feature would be too many. A feature that is not known is left out: it is neither true nor false.
"""  # noqa: INP001 (a script, for a ConfigMap)

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def to_text(shown: dict[str, Any]) -> str:
    """Return what ``vmxd show --json`` printed in the form of NFD's local source."""
    labels = {
        "status": shown["status"],
        "fingerprint": shown["host"]["fingerprint"],
        "inconsistent": "true" if shown["inconsistent"]["cpus"] else "false",
    }
    lines = [f"feature.node.kubernetes.io/vmx.{name}={value}" for name, value in labels.items() if value is not None]
    for name, feature in shown["features"].items():
        if feature["value"] is not None:
            lines += ["# +no-label", f"vmx.{name}={'true' if feature['value'] else 'false'}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Replace the file in one step; NFD reads no file whose name starts with a dot."""
    recording, destination = sys.argv[1], Path(sys.argv[2])
    show = ["vmxd", "show", "--json", "--root", recording]
    result = subprocess.run(show, stdout=subprocess.PIPE, check=True)  # noqa: S603 (the image's vmxd)
    scratch = destination.with_name(f".{destination.name}")
    scratch.write_text(to_text(json.loads(result.stdout)))
    os.replace(scratch, destination)


if __name__ == "__main__":
    main()
