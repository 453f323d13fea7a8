"""Write the dashboards: python -m deploy.grafana.generate. A test holds what is checked in to what this writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import feature, fleet, host

DIRECTORY: Final = Path(__file__).resolve().parent / "dashboards"


def dashboards() -> dict[str, str]:
    """Return each dashboard's file name and JSON text."""
    return {
        f"{module.UID}.json": json.dumps(module.make(), cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"
        for module in (fleet, host, feature)
    }


def main() -> None:
    """Write them all."""
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in dashboards().items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
