"""The list of features that vmxd knows, as text."""

from __future__ import annotations

from collections.abc import Sequence

from vmxd.tables import Feature


def to_text(features: Sequence[Feature]) -> str:
    """Return one line a feature: name, MSR and bit, then its other names."""
    rows = [(feature.name, feature.location or "derived", ", ".join(_names(feature))) for feature in features]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "".join(f"{name:<{widths[0]}}  {location:<{widths[1]}}  {names}\n" for name, location, names in rows)


def _names(feature: Feature) -> list[str]:
    row = feature.row
    names = [
        row.sdm,
        feature.linux_name,
        feature.macro,
        f"cpuinfo {feature.cpuinfo_flag}" if feature.cpuinfo_flag else None,
    ]
    if row.qemu and row.qemu == row.libvirt:
        names.append(row.qemu)
    else:
        names += [f"{row.qemu} (QEMU)" if row.qemu else None, f"{row.libvirt} (libvirt)" if row.libvirt else None]
    return [name for name in names if name]
