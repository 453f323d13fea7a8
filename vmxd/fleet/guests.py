"""A fleet as its VMs see it: hosts' features are those that KVM gives there, as it answered or as expected. Pure.

The expectation takes what both sources have: MSRs, kernel, parameters and signature. /proc/cpuinfo's flags are in no
metric; without them a kernel is taken to use what the CPU has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from vmxd.fleet.model import Fleet, FleetHost, Kind, Parameters, parameters_of
from vmxd.model.answers import View
from vmxd.model.facts import Parameter
from vmxd.model.guest import PARAMETERS, Seen, Source, expect_guest
from vmxd.model.offer import AS_IT_IS, Offer, WhatIf, expected_offer
from vmxd.tables import FEATURES
from vmxd.tables.kvm import Default
from vmxd.views.guest_words import reason_text


def fleet_as_guests(fleet: Fleet, what_if: WhatIf = AS_IT_IS) -> Fleet:
    """Give each host of a fleet the features that a VM gets there."""
    return replace(fleet, hosts=as_guests(fleet.hosts, what_if), view=View.GUEST)


def as_guests(hosts: Iterable[FleetHost], what_if: WhatIf = AS_IT_IS) -> tuple[FleetHost, ...]:
    """Give each host the features that a VM gets there; the cost follows setups, not hosts.

    A host of which nothing is known stays as it is; so does its failure to read some CPUs, unless KVM answered.
    """
    seen: dict[object, tuple[Kind | None, Offer]] = {}
    found = []
    for host in hosts:
        if host.status is None or (host.kind is None and host.nested is None):
            found.append(host)
            continue
        answered = None if host.nested is None else tuple(sorted(host.nested.items()))
        key = (host.setup, host.signature, host.status == "no_vmx", answered)
        if key not in seen:
            seen[key] = _given(host, what_if)
        kind, offer = seen[key]
        recorded = offer.source is Source.RECORDED
        found.append(
            replace(
                host,
                kind=kind,
                offer=offer,
                kernel=offer.kernel,
                parameters=_after_load(host, offer) if what_if.asked else host.parameters,
                failed=0 if recorded else host.failed,
                reason=host.reason if kind else _why_nothing(offer),
            )
        )
    return tuple(found)


def _given(host: FleetHost, what_if: WhatIf) -> tuple[Kind | None, Offer]:
    offer = _offer(host, what_if)
    features = {name: value for name, value in offer.features.items() if value is not None}
    return (Kind(host.fingerprint, features) if features else None), offer


def _offer(host: FleetHost, what_if: WhatIf) -> Offer:
    kernel = what_if.kernel or host.kernel
    expected = None
    if host.status != "no_vmx":
        seen = Seen(None, host.kernel, host.signature)
        values = host.kind.values if host.kind else {}
        expected = expect_guest(values, kernel, parameters_given(host), what_if.parameters, seen)
    if host.nested is None or what_if.asked:
        return expected_offer(expected, kernel, what_if)
    return Offer(Source.RECORDED, kernel, {}, {name: host.nested.get(name) for name in FEATURES}, expected)


def parameters_given(host: FleetHost) -> Mapping[str, Parameter] | None:
    """Read a host's parameters as sysfs shows them; None if not known."""
    if host.parameters is None:
        return None
    return {name: _value(name, text) for name, text in host.parameters}


def _after_load(host: FleetHost, offer: Offer) -> Parameters | None:
    """Return what parameters would be, of a host of which it is known what they are."""
    if host.parameters is None or offer.expected is None:
        return host.parameters
    given = offer.expected.parameters.items()
    return parameters_of({name: float(value) for name, value in given if isinstance(value, bool | int)})


def _value(name: str, text: str) -> Parameter:
    default = PARAMETERS[name].default if name in PARAMETERS else 0
    if isinstance(default, bool | Default):
        return text != "0"
    return int(text) if text.isdecimal() else text


def _why_nothing(offer: Offer) -> str:
    reason = next(iter(offer.reasons.values()))
    return f"what a VM gets there is not known: {reason_text(reason, offer.kernel)}"
