"""Which hosts lack features, which have them all and may use them, and of which that is not known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vmxd.fleet.answer import Answer, Table, paragraph, section
from vmxd.fleet.causes import why
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.words import UNKNOWN, guests_sentence, hosts_text, known_by_host, known_text, some, whose_text
from vmxd.model.answers import View
from vmxd.model.guest import Why
from vmxd.tables import FEATURES
from vmxd.views.guest_words import why_text
from vmxd.views.json import Json
from vmxd.views.lines import Line, Tone
from vmxd.views.platform_words import cause_text

SCHEMA: Final = "vmxd.fleet.lacks/1"
_FEATURES_SHOWN: Final = 12
ORDERS: Final = {"lacks": ("lacks", "unusable", "unknown", "has"), "has": ("has", "unusable", "lacks", "unknown")}
"""Which hosts come first, by question."""


@dataclass(frozen=True, slots=True)
class Lacks(Answer):
    """Hosts by whether they have all of some features.

    lacks: hosts without some of them, each with these. has: hosts with all. unusable: hosts with all where VMX may
    not be used (not no_vmx: these lack all). unknown: hosts that lack none as far as is known, each with the features
    of which it is not.
    view: whose features these are. order: which hosts come first. complete: whether all was asked of every host.
    """

    features: tuple[str, ...]
    view: View
    lacks: Mapping[FleetHost, tuple[str, ...]]
    has: tuple[FleetHost, ...]
    unusable: tuple[FleetHost, ...]
    unknown: Mapping[FleetHost, tuple[str, ...]]
    order: tuple[str, ...] = ORDERS["lacks"]
    complete: bool = True

    @property
    def holds(self) -> bool | None:
        """Whether every host has every feature and may use VMX."""
        if self.lacks or self.unusable:
            return False
        return None if self.unknown or not self.complete else True

    def document(self) -> Json:
        """Follow docs/schema/fleet-lacks-1.json."""
        return {
            "schema": SCHEMA,
            "view": self.view.value,
            "known": dict(known_by_host(self._hosts)),
            "lacks": {host.name: list(features) for host, features in self.lacks.items()},
            "has": [host.name for host in self.has],
            "unusable": {host.name: host.status for host in self.unusable},
            "unknown": [host.name for host in self.unknown],
        }

    @property
    def _hosts(self) -> tuple[FleetHost, ...]:
        return (*self.lacks, *self.has, *self.unusable, *self.unknown)

    def csv(self) -> Table:
        """Give each host a row, with the features that it lacks, or of which it is not known."""
        rows = [(host, "lacks", features) for host, features in self.lacks.items()]
        rows += [(host, "has", ()) for host in self.has]
        rows += [(host, "unusable", ()) for host in self.unusable]
        rows += [(host, "unknown", features) for host, features in self.unknown.items()]
        return Table(
            ("host", "answer", "features", "model_name", "fingerprint", "status", "known"),
            tuple(
                (
                    host.name,
                    answer,
                    " ".join(each),
                    host.model_name or "",
                    host.fingerprint or "",
                    host.status or "",
                    known_text(host),
                )
                for host, answer, each in rows
            ),
        )

    def sentences(self) -> Iterator[str]:
        """Say how many hosts lack some, how many have all, and how it is known what guests get."""
        count = len(self._hosts)
        one = len(self.features) == 1
        what = self.features[0] if one else f"some of {len(self.features)} features"
        verb, have = ("lacks" if len(self.lacks) == 1 else "lack"), ("has" if len(self.has) == 1 else "have")
        text = f"By {whose_text(self.view)}, {len(self.lacks):,} of {hosts_text(count)} {verb} {what}"
        it = "it" if one else "them all"
        text += f"; {len(self.has):,} {have} {it}"
        if self.unusable:
            also = "has" if len(self.unusable) == 1 else "have"
            text += f"; {len(self.unusable):,} {also} {it}, but VMX may not be used there"
        yield f"{text}; of {len(self.unknown):,} that is not known." if self.unknown else f"{text}."
        if known := guests_sentence(self._hosts):
            yield known

    def lines(self, width: int | None, names: int | None) -> Iterator[Line]:
        """Show hosts under headings, by what is alike."""
        for sentence in self.sentences():
            yield from paragraph(sentence, 0, width)
        what = self.features[0] if len(self.features) == 1 else "them all"
        headings: dict[str, tuple[str, Tone, Iterable[FleetHost], Callable[[FleetHost], tuple[str, ...]]]] = {
            "lacks": (f"LACK {what.replace('them all', 'some')}", Tone.BAD, self.lacks, self._lacking),
            "has": (f"HAVE {what}", Tone.GOOD, self.has, lambda host: (_kind(host),)),
            "unusable": (f"HAVE {what}, BUT VMX MAY NOT BE USED", Tone.BAD, self.unusable, _reason),
            "unknown": ("NOT KNOWN", Tone.DOUBT, self.unknown, self._why_unknown),
        }
        mixed = len(set(known_by_host(self._hosts).values())) > 1
        for key in self.order:
            heading, tone, hosts, describe = headings[key]
            groups: dict[tuple[str, ...], list[str]] = {}
            for alike in _alike(hosts):
                said = (*describe(alike[0]), known_text(alike[0]) if mixed and hosts is not self.unusable else "")
                groups.setdefault(said, []).extend(host.name for host in alike)
            for names_alike in groups.values():
                names_alike.sort()
            yield from section(heading, tone, groups, width, names)

    def _lacking(self, host: FleetHost) -> tuple[str, ...]:
        names = self.lacks[host]
        if host.status == "no_vmx":
            return _kind(host), f"lacks {some(names, _FEATURES_SHOWN)}" if len(self.features) > 1 else ""
        told = _with_reasons(host, names)
        return _kind(host), "" if (told,) == self.features else f"lacks {told}"

    def _why_unknown(self, host: FleetHost) -> tuple[str, ...]:
        if host.status is None or host.kind is None:
            return (host.reason or f"nothing is {UNKNOWN}",)
        shown = some(self.unknown[host], 3)
        if host.failed:
            return (f"{shown}: {host.failure}",)
        if host.offer is not None:
            return (_with_reasons(host, self.unknown[host]),)
        return (f"{shown}: what says so was not recorded there",)


def sort_hosts(fleet: Fleet, features: Sequence[str], question: str = "lacks", *, complete: bool = True) -> Lacks:
    """Sort hosts by whether they have features. complete: no other feature was asked for."""
    lacks: dict[FleetHost, tuple[str, ...]] = {}
    has: list[FleetHost] = []
    unusable: list[FleetHost] = []
    unknown: dict[FleetHost, tuple[str, ...]] = {}
    sorted_: dict[tuple[object, bool], tuple[tuple[str, ...], ...]] = {}
    for host in fleet.hosts:
        if host.evidence not in sorted_:
            values = {name: host.has(name) for name in features}
            sorted_[host.evidence] = tuple(
                tuple(name for name in values if values[name] is each) for each in (False, None)
            )
        lacking, open_ = sorted_[host.evidence]
        if lacking:
            lacks[host] = lacking
        elif open_:
            unknown[host] = open_
        else:
            (unusable if host.is_forbidden else has).append(host)
    whole = complete and not fleet.warnings
    return Lacks(tuple(features), fleet.view, lacks, tuple(has), tuple(unusable), unknown, ORDERS[question], whole)


def _alike(hosts: Iterable[FleetHost]) -> Iterable[list[FleetHost]]:
    """Group hosts of equal CPU, status, features and guest view: one description holds for the group."""
    found: dict[tuple[object, ...], list[FleetHost]] = {}
    for host in hosts:
        key = (host.cpu, host.status, host.reason, host.failed, host.kind, id(host.offer))
        found.setdefault(key, []).append(host)
    return found.values()


def _with_reasons(host: FleetHost, names: Sequence[str]) -> str:
    """Name features, those of one reason together, before it."""
    by_reason: dict[str, list[str]] = {}
    for name in names:
        by_reason.setdefault(_why(host, name), []).append(name)
    return "; ".join(f"{some(each, _FEATURES_SHOWN)}{f': {text}' * bool(text)}" for text, each in by_reason.items())


def _why(host: FleetHost, name: str) -> str:
    """Say why a VM on a host, or its hardware, does not have a feature, or why that is not known; "" if nothing is."""
    if host.offer is not None and (reason := host.offer.reasons.get(name)) and reason.why is not Why.HARDWARE:
        return why_text(host.offer, name)
    lacked = name if host.offer is None else next(iter(host.offer.reasons[name].names), name)
    found = why(host, lacked) if lacked in FEATURES else None
    told = cause_text(found) if found else ""
    if host.offer is None:
        return told
    return why_text(host.offer, name) + f" ({told})" * bool(told)


def _reason(host: FleetHost) -> tuple[str, ...]:
    return (host.reason or "",)


def _kind(host: FleetHost) -> str:
    model = f"{host.model_name or f'model {UNKNOWN}'}, {host.signature or f'signature {UNKNOWN}'}"
    return f"{model}, no VMX" if host.status == "no_vmx" else f"{model}, fingerprint {host.fingerprint or UNKNOWN}"
