"""Write the dashboards: python -m deploy.grafana.generate. A test holds what is checked in to what this writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from deploy.grafana import feature, fleet, host

GRAFANA: Final = "11.6.0"
"""The oldest that shows the dashboards."""
DIRECTORY: Final = Path(__file__).resolve().parent / "dashboards"


def dashboards() -> dict[str, str]:
    """Return each dashboard's file name and JSON text."""
    return {
        f"{module.UID}.json": json.dumps(_to_import(module.make()), cls=JSONEncoder, indent=1, ensure_ascii=False)
        + "\n"
        for module in (fleet, host, feature)
    }


def _to_import(made: dashboard.Dashboard) -> dict[str, object]:
    """Return a dashboard with what Grafana's import reads: nothing is asked, and what it takes."""
    panels = sorted({panel.type_val for panel in made.panels or () if isinstance(panel, dashboard.Panel)})
    takes = [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": GRAFANA},
        {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        *({"type": "panel", "id": name, "name": name, "version": ""} for name in panels),
    ]
    return {"__inputs": [], "__requires": takes, **made.to_json()}


def main() -> None:
    """Write them all."""
    DIRECTORY.mkdir(exist_ok=True)
    for name, text in dashboards().items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
