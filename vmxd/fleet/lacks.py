"""Which hosts lack features, which have them all, and of which that is not known. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.summary import UNKNOWN, hosts_text, some
from vmxd.fleet.table import Table
from vmxd.model.answers import View
from vmxd.views.json import Json

SCHEMA: Final = "vmxd.fleet.lacks/1"
_FEATURES_SHOWN: Final = 12
_UNUSABLE: Final = ("disabled_by_firmware", "unlocked", "smx_only")


@dataclass(frozen=True, slots=True)
class Sorted:
    """Hosts by how they stand to features.

    lacks: hosts without some of them, each with these. has: hosts with all. unknown: hosts that lack none as far as is
    known, each with the features of which it is not. view: whose features these are.
    """

    features: tuple[str, ...]
    view: View
    lacks: Mapping[FleetHost, tuple[str, ...]]
    has: tuple[FleetHost, ...]
    unknown: Mapping[FleetHost, tuple[str, ...]]

    @property
    def holds(self) -> bool | None:
        """Whether every host has every feature; None where none is known to lack one, but not all is known."""
        return False if self.lacks else None if self.unknown else True


def sort_hosts(fleet: Fleet, features: Sequence[str], view: View) -> Sorted:
    """Sort the hosts of a fleet by how they stand to features."""
    lacks: dict[FleetHost, tuple[str, ...]] = {}
    has: list[FleetHost] = []
    unknown: dict[FleetHost, tuple[str, ...]] = {}
    for host in fleet.hosts:
        asked = host.has if view is View.HARDWARE else host.offers
        values = {name: asked(name) for name in features}
        if lacking := tuple(name for name, value in values.items() if value is False):
            lacks[host] = lacking
        elif open_ := tuple(name for name, value in values.items() if value is None):
            unknown[host] = open_
        else:
            has.append(host)
    return Sorted(tuple(features), view, lacks, tuple(has), unknown)


def document(found: Sorted) -> Json:
    """Return what ``vmxd fleet lacks --json`` prints, and ``vmxd fleet has --json``."""
    return {
        "schema": SCHEMA,
        "lacks": {host.name: list(features) for host, features in found.lacks.items()},
        "has": [host.name for host in found.has],
        "unknown": [host.name for host in found.unknown],
    }


def table(found: Sorted) -> Table:
    """Return one row a host, for CSV; the features are those that it lacks, or of which it is not known."""
    rows = [(host, "lacks", features) for host, features in found.lacks.items()]
    rows += [(host, "has", ()) for host in found.has]
    rows += [(host, "unknown", features) for host, features in found.unknown.items()]
    return Table(
        ("host", "answer", "features", "model_name", "fingerprint", "status"),
        tuple(
            (host.name, answer, " ".join(features), host.model_name or "", _fingerprint(host) or "", host.status or "")
            for host, answer, features in rows
        ),
    )


# For people ----------------------------------------------------------------------------------------------------------


def text(found: Sorted, order: Sequence[str], width: int | None, names: int | None) -> str:
    """Return the answer for people: hosts by model and fingerprint.

    order: of "lacks", "has" and "unknown", which comes first. width: columns to wrap at, None for none. names: hosts
    to name of each group, None for all.
    """
    what = found.features[0] if len(found.features) == 1 else "them all"
    sections = {
        "lacks": (
            f"LACK {what}" if len(found.features) == 1 else "LACK some",
            _grouped(found.lacks, lambda host: (_kind(host), _lacking(found, host))),
        ),
        "has": (f"HAVE {what}", _grouped(found.has, lambda host: (_kind(host), ""))),
        "unknown": (
            "NOT KNOWN",
            _grouped(found.unknown, lambda host: (_why_unknown(host, found.view, found.unknown[host]), "")),
        ),
    }
    lines = [*_wrapped(_sentence(found), "", width)]
    for key in order:
        title, groups = sections[key]
        lines += ["", title] if groups else []
        for (first, second), hosts in groups.items():
            lines += _wrapped(f"  {first}", "    ", width)
            lines += _wrapped(f"    {second}", "      ", width) if second else []
            shown = some([_marked(host) for host in hosts], names or len(hosts))
            lines += _wrapped(f"    {hosts_text(len(hosts))}: {shown}", "      ", width)
    if unusable := [host for host in (*found.lacks, *found.has, *found.unknown) if host.status in _UNUSABLE]:
        lines += ["", *_wrapped(f"* VMX may not be used there as it is: {_statuses(unusable)}", "  ", width)]
    return "\n".join(lines) + "\n"


def _lacking(found: Sorted, host: FleetHost) -> str:
    """Say what a host lacks, where that is not plain from the question."""
    return f"lacks {some(found.lacks[host], _FEATURES_SHOWN)}" if len(found.features) > 1 else ""


def _sentence(found: Sorted) -> str:
    count = len(found.lacks) + len(found.has) + len(found.unknown)
    what = found.features[0] if len(found.features) == 1 else f"some of {len(found.features)} features"
    verb = "lacks" if len(found.lacks) == 1 else "lack"
    whose = "the hardware" if found.view is View.HARDWARE else "what KVM offers to guests"
    it = "it" if len(found.features) == 1 else "them all"
    unknown = f"; of {len(found.unknown)} that is not known" if found.unknown else ""
    return f"By {whose}, {len(found.lacks)} of {hosts_text(count)} {verb} {what}; {len(found.has)} have {it}{unknown}."


def _grouped(
    hosts: Sequence[FleetHost] | Mapping[FleetHost, object], key: Callable[[FleetHost], tuple[str, str]]
) -> dict[tuple[str, str], list[FleetHost]]:
    groups: dict[tuple[str, str], list[FleetHost]] = {}
    for host in hosts:
        groups.setdefault(key(host), []).append(host)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _fingerprint(host: FleetHost) -> str | None:
    return host.kind.fingerprint if host.kind else None


def _kind(host: FleetHost) -> str:
    model = f"{host.model_name or f'model {UNKNOWN}'}, {host.signature or f'signature {UNKNOWN}'}"
    if host.status == "no_vmx":
        return f"{model}, no VMX"
    return f"{model}, fingerprint {_fingerprint(host) or UNKNOWN}"


def _why_unknown(host: FleetHost, view: View, features: Sequence[str]) -> str:
    if host.status is None or (host.kind is None and view is View.HARDWARE):
        return host.reason or f"nothing is {UNKNOWN}"
    shown = some(features, 3)
    if view is View.NESTED:
        why = "KVM was not asked" if host.nested is None else "its metrics leave them out"
        return f"{shown}: {why} (vmxd serve --collector.nested)"
    if host.failed:
        return f"{shown}: {host.failure}"
    return f"{shown}: what says so was not recorded there"


def _marked(host: FleetHost) -> str:
    return f"{host.name}*" if host.status in _UNUSABLE else host.name


def _statuses(hosts: Sequence[FleetHost]) -> str:
    counts: dict[str, int] = {}
    for host in hosts:
        counts[host.status or ""] = counts.get(host.status or "", 0) + 1
    return ", ".join(f"{status} on {hosts_text(count)}" for status, count in counts.items())


def _wrapped(line: str, indent: str, width: int | None) -> list[str]:
    if width is None:
        return [line]
    return textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
