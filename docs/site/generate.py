"""Write the generated pages: python -m docs.site.generate, or make generated; a test holds them to it.

The pages are in the repository, and not made when the site is: a forge shows them, other pages link into them, and a
change of a table shows in review what it does to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from docs.site import alert_index, feature_reference, metric_reference
from vmxd.commands.profiles import builtin_profiles
from vmxd.host.scan import scan

REPOSITORY: Final = Path(__file__).resolve().parents[2]


def generate(repository: Path = REPOSITORY) -> dict[str, str]:
    """Return the text of each page by its path, from the tables and the recordings in tests/hosts."""
    profiles = builtin_profiles()
    hosts = sorted(path for path in (repository / "tests" / "hosts").iterdir() if path.is_dir())
    scans = {host.name: scan(str(host), profiles=profiles) for host in hosts}
    real = [scan.inventory for host, scan in scans.items() if not host.startswith("made-")]
    return {
        "docs/reference/features.md": feature_reference.page(real),
        "docs/reference/metrics.md": metric_reference.page(scans),
        "docs/runbooks/README.md": alert_index.page(repository / "deploy" / "prometheus" / "alerts.rules.yml"),
    }


if __name__ == "__main__":
    for name, text in generate().items():
        (REPOSITORY / name).write_text(text)
