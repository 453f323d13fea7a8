"""The words of all answers about a fleet: hosts, features, CPU models, and what is not known. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from vmxd.fleet.causes import platform_of
from vmxd.fleet.model import FleetHost
from vmxd.model.answers import View
from vmxd.tables.platforms.brands import short_name
from vmxd.views.guest_words import source_text

UNKNOWN: Final = "not known"
_MODEL_MAX: Final = 20


def hosts_text(count: int) -> str:
    """Say how many hosts."""
    return "1 host" if count == 1 else f"{count:,} hosts"


def features_text(count: int) -> str:
    """Say how many features."""
    return "1 feature" if count == 1 else f"{count} features"


def some(names: Sequence[str], limit: int, count: int | None = None) -> str:
    """Name the first of several, and count the others. count: how many there are, if not all are in names."""
    more = (len(names) if count is None else count) - limit
    return ", ".join(names[:limit]) + (f" and {more:,} more" if more > 0 else "")


def few(names: Iterable[str], limit: int = 3) -> str:
    """Name the first of several and count the others, for a narrow cell: db-1, db-2 +7."""
    names = list(names)
    return ", ".join(names[:limit]) + (f" +{len(names) - limit:,}" if len(names) > limit else "")


def group_text(value: str | None) -> str:
    """Name the group of hosts that have a value of a label; None: those without the label."""
    return "(none)" if value is None else value


_KNOWN_SHOWN: Final = 4


def whose_text(view: View) -> str:
    """Name the layer that an answer is by."""
    return "the hardware" if view is View.HARDWARE else "what guests get"


def known_text(host: FleetHost) -> str:
    """Say how it is known what guests get on a host; "" if the answer is by the hardware, or it is not known."""
    return source_text(host.offer) if host.offer and host.offer.expected and host.kind else ""


def known_by_host(hosts: Iterable[FleetHost]) -> Mapping[str, str]:
    """Say so of each host of which it is known."""
    return {host.name: text for host in hosts if (text := known_text(host))}


def guests_sentence(hosts: Iterable[FleetHost]) -> str:
    """Say how it is known what guests get, with the number of hosts; "" if the answer is by the hardware."""
    counts = Counter(known_by_host(hosts).values())
    texts = [f"{text} ({hosts_text(count)})" for text, count in counts.most_common(_KNOWN_SHOWN)]
    texts += [f"{len(counts) - _KNOWN_SHOWN} more"] * (len(counts) > _KNOWN_SHOWN)
    return f"Guests: {'; '.join(texts)}." if texts else ""


def codename_text(host: FleetHost) -> str:
    """Name the microarchitecture and product class of a host's CPU; "" if they are not known."""
    platform = platform_of(host)
    if platform is None or platform.family is None:
        return ""
    return f"{platform.family.name} {platform.product.capitalize()}".removesuffix(" Other").rstrip()


def model_text(host: FleetHost) -> str:
    """Name a host's CPU model, in at most 20 characters; its signature if the name is not known."""
    name = short_name(host.model_name or "") or host.signature or UNKNOWN
    return name if len(name) <= _MODEL_MAX else f"{name[: _MODEL_MAX - 3]}..."
