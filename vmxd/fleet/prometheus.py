"""A Prometheus as a fleet: what every vmxd host says of itself, and one host of each kind in full.

A few series of each host are asked for; vmx_msr_info, and vmx_feature where CPUs differ, of one host for each
fingerprint. All queries are as of one time, that of the first; those that need no other's answer are asked at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Final

from vmxd.fleet.api import Api, Series
from vmxd.fleet.kinds import NO_VMX, Doubt, make_kind, msr_index, msr_value
from vmxd.fleet.later import at_once, later
from vmxd.fleet.model import UNDECIDED, UNREAD, Fleet, FleetHost, Kind, Parameters, number_text, parameters_of
from vmxd.fleet.selector import OWN_LABELS, parse_selector
from vmxd.fleet.targets import name_hosts
from vmxd.fleet.transport import PrometheusError
from vmxd.views.verdict_words import status_sentence

Target = frozenset[tuple[str, str]]
"""What tells one target from another: its labels, those of the metrics themselves left out."""

BATCH: Final = 100
"""Hosts named in one query."""
_CPUS_MAX: Final = 1 << 20
ALONE_MAX: Final = 250
"""Hosts that no fingerprint stands for and that are looked at all the same, one by one."""

_STALE: Final = "its recording is out of date: the host has changed since (vmxd_recording_stale)"
_CHANGED: Final = "it has just changed, and Prometheus has both what it was and what it is: ask again in five minutes"
_DOWN: Final = "Prometheus cannot scrape it (up is 0)"
_NO_STATUS: Final = "Prometheus has its vmx_host_info but no vmx_status"
_TOO_MANY: Final = f"its CPUs could not all be read, as on more than {ALONE_MAX} other hosts, and it was not looked at"


class NoHostsError(PrometheusError):
    """Raised when a Prometheus answers, and has no host of those that are asked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which hosts, when, and what of them beside the hardware.

    matchers: label matchers of PromQL as they stand in braces, "" for all. at: Unix time in seconds, None for now.
    nested: features of which it is asked whether KVM offers them. host: matchers of one host among these, "" for all.
    parameters: whether those of kvm_intel are asked for.
    """

    matchers: str = ""
    at: float | None = None
    nested: tuple[str, ...] = ()
    host: str = ""
    parameters: bool = False

    @property
    def selected(self) -> str:
        """All matchers."""
        return all_of(self.matchers, self.host)


def read_prometheus(api: Api, asked: Asked) -> Fleet:
    """Ask a Prometheus for a fleet. Raises PrometheusError, also where it has no host."""
    return _Reader(api, asked).read()


def read_parameter_changes(api: Api, matchers: str, since: float, now: Fleet) -> dict[str, dict[str, tuple[str, str]]]:
    """Ask which parameters of kvm_intel have changed: by host, each with what it was and is. Raises PrometheusError."""
    present = f"vmx_kvm_parameter{{{matchers}}}"
    past = f"{present} offset {now.taken_at - since:.0f}s"
    names = {frozenset(host.labels.items()): host.name for host in now.hosts}
    before, after = (
        {(_target(series), series.labels["parameter"]): series.value for series in answer}
        for answer in at_once(
            [
                partial(api.query, query, now.taken_at, ("parameter",))
                for query in (f"{past} != {present}", f"{present} != {past}")
            ]
        )
    )
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for (target, parameter), value in after.items():
        if target in names and (old := before.get((target, parameter))) is not None:
            change = (number_text(old), number_text(value))
            found.setdefault(names[target], {})[f"kvm_intel.{parameter}"] = change
    return found


def quote(text: str) -> str:
    """Return a string of PromQL that means a text."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def one_of(label: str, values: Iterable[str]) -> str:
    """Return a matcher for a label that has one of several values."""
    return f"{label}=~{quote('|'.join(map(re.escape, values)))}"


def all_of(*matchers: str) -> str:
    """Return matchers, each a list of them or "", as one list."""
    return ",".join(filter(None, matchers))


def host_matchers(name: str) -> str:
    """Return the matchers for a host by its name: its instance label, without the port if one likes.

    Labels in braces behind it, as name_hosts() writes them, are matchers themselves. Raises UsageError.
    """
    instance, brace, labels = name.partition("{")
    matchers = parse_selector(brace + labels) if brace else ""
    return all_of(f"instance=~{quote(re.escape(instance) + '(:[0-9]+)?')}" if instance else "", matchers)


class _Reader:
    """One reading of a fleet; series are kept by target."""

    def __init__(self, api: Api, asked: Asked) -> None:
        self._api = api
        self._asked = asked
        self._at = asked.at

    def read(self) -> Fleet:
        infos = self._query("vmx_host_info")
        if self._at is None:
            self._at = infos[0].samples[0][0] if infos else time.time()
        down = later(self._down)
        if not infos and not down.result():
            raise self._nothing()
        offered, parameters = later(self._offered), later(self._parameters)
        hosts = self._told(infos)
        kinds = self._kinds({target: host for target, host in hosts.items() if host.status})
        nested, set_to = offered.result(), parameters.result()
        found = [
            replace(_with_kind(host, kinds.get(each)), nested=nested.get(each), parameters=set_to.get(each))
            for each, host in hosts.items()
        ]
        found += [FleetHost("", dict(each), reason=_DOWN) for each in map(_target, down.result()) if each not in hosts]
        return Fleet(name_hosts(found), self._api.url, self._at, tuple(sorted(self._api.warnings)))

    def _query(self, metric: str, *matchers: str, suffix: str = "", needs: Iterable[str] = ()) -> list[Series]:
        return self._api.query(f"{metric}{{{all_of(self._asked.selected, *matchers)}}}{suffix}", self._at, needs)

    def _down(self) -> list[Series]:
        """Ask for targets that are down, of jobs in which there is a vmxd, or was an hour or a day ago."""
        build = f"vmxd_build_info{{{self._asked.matchers}}}"
        jobs = f"({build} or {build} offset 1h or {build} offset 1d)"
        return self._query("up", suffix=f" == 0 and on (job) {jobs}")

    def _nothing(self) -> NoHostsError:
        where = f" with {self._asked.selected}" if self._asked.selected else ""
        when = " at that time" if self._asked.at is not None else ""
        hint = "let it scrape vmxd on each host (docs/first-hour.md)"
        if where or when:
            hint = f"look at {' and '.join(['--selector'] * bool(where) + ['--at'] * bool(when))}; or {hint}"
        message = f"{self._api.url} has no metrics of vmxd{where}{when}"
        if self._api.warnings:
            return NoHostsError(
                f"{message}, and {next(iter(self._api.warnings))}", "ask again when all of its storage answers"
            )
        return NoHostsError(message, hint)

    def _told(self, infos: Iterable[Series]) -> dict[Target, FleetHost]:
        """Return hosts by vmx_host_info, and by a few other series that say something of every host, or of few."""
        asked: tuple[tuple[str, str, str, tuple[str, ...], Callable[[Series], dict[str, Any]]], ...] = (
            ("vmx_status", "", " == 1", ("status",), lambda each: _status(each.labels["status"])),
            ("vmx_kernel_info", "", "", ("release",), lambda each: {"kernel": each.labels["release"]}),
            ("vmx_inconsistent_cpus", "", " > 0", (), lambda each: {"inconsistent": self._cpus(each)}),
            ("vmx_cpus", 'state="failed"', " > 0", (), lambda each: {"failed": self._cpus(each)}),
            ("vmxd_recording_stale", "", " == 1", (), lambda _: {"status": None, "reason": _STALE}),
        )
        answers = at_once(
            [
                partial(self._query, metric, matchers, suffix=suffix, needs=needs)
                for metric, matchers, suffix, needs, _ in asked
            ]
        )
        facts: dict[Target, dict[str, Any]] = {}
        changed = set()
        for info in infos:
            target, host = _target(info), _facts(info)
            if facts.setdefault(target, host) != host:
                changed.add(target)
        for (*_, fact), answer in zip(asked, answers, strict=True):
            for series in answer:
                if (target := _target(series)) in facts:
                    facts[target] |= fact(series)
        for target in changed:
            facts[target] |= {"status": None, "reason": _CHANGED}
        return {target: FleetHost("", dict(target), **each) for target, each in facts.items()}

    def _cpus(self, series: Series) -> int:
        if not series.value.is_integer() or not 0 <= series.value <= _CPUS_MAX:
            message = f"{self._api.url} says that the number of CPUs is {series.value:g}"
            raise PrometheusError(message, "is it vmxd that has these metrics?")
        return int(series.value)

    def _offered(self) -> dict[Target, dict[str, bool]]:
        """Ask what KVM offers of the features that were asked for."""
        if not self._asked.nested:
            return {}
        found = self._unusual("vmx_nested_feature", "feature", one_of("feature", self._asked.nested))
        return {target: {name: bool(value) for name, value in values.items()} for target, values in found.items()}

    def _parameters(self) -> dict[Target, Parameters]:
        """Ask for kvm_intel's parameters."""
        found = self._unusual("vmx_kvm_parameter", "parameter") if self._asked.parameters else {}
        return {target: parameters_of(values) for target, values in found.items()}

    def _unusual(self, metric: str, label: str, *matchers: str) -> dict[Target, dict[str, float]]:
        """Ask for a metric's values by a label where they are not the median's: hosts are mostly set up alike."""
        selected = f"{metric}{{{all_of(self._asked.selected, *matchers)}}}"
        median = f"quantile by ({label}) (0.5, {selected})"
        odd = f"{selected} != on ({label}) group_left () {median}"
        usually, counts, oddly = at_once(
            [
                partial(self._api.query, median, self._at, (label,)),
                partial(self._api.query, f"count without ({label}) ({selected})", self._at),
                partial(self._api.query, odd, self._at, (label,)),
            ]
        )
        usual = _by_label(usually, label).get(frozenset(), {})
        found = _by_label(oddly, label)
        for series in counts:
            if series.value == len(usual):
                found[_target(series)] = usual | found.get(_target(series), {})
        fewer = [_target(series) for series in counts if series.value != len(usual)]
        return found | _by_label(self._of(fewer, metric, *matchers, needs=(label,)), label)

    # Kinds -----------------------------------------------------------------------------------------------------------

    def _kinds(self, hosts: Mapping[Target, FleetHost]) -> dict[Target, Kind | str]:
        """Return the kind of each host, or why it has none."""
        kinds: dict[Target, Kind | str] = {}
        groups: dict[object, list[Target]] = {}
        fingerprints: dict[Target, str] = {}
        alone = 0
        for target, host in sorted(hosts.items(), key=lambda item: item[1].status == "unreadable"):
            fingerprint = host.kind.fingerprint if host.kind else None
            fingerprints[target] = fingerprint or ""
            if host.status == "no_vmx" and not fingerprint and not host.failed:
                kinds[target] = NO_VMX
            elif fingerprint and not (host.failed and host.inconsistent):
                groups.setdefault(fingerprint, []).append(target)
            elif (alone := alone + 1) > ALONE_MAX:
                kinds[target] = _TOO_MANY
            else:
                groups[target] = [target]
        speakers = {min(group, key=lambda each: bool(hosts[each].failed)): group for group in groups.values()}
        inconsistent = [each for each in speakers if hosts[each].inconsistent]
        begun = later(partial(self._differing, inconsistent))
        values = self._values(speakers)
        unsure = [each for each in speakers if hosts[each].inconsistent or hosts[each].failed or each not in values]
        exported = self._exported(unsure)
        differing_msrs, differing = begun.result()
        for speaker, group in speakers.items():
            kind = make_kind(
                fingerprints[speaker] or None,
                values.get(speaker, {}),
                exported.get(speaker, {}),
                Doubt(differing_msrs.get(speaker, ()), differing.get(speaker, ()), failed=bool(hosts[speaker].failed)),
            )
            kinds |= dict.fromkeys(group, kind if kind.features else UNREAD)
        return kinds

    def _of(
        self, targets: Collection[Target], metric: str, *matchers: str, suffix: str = "", needs: Iterable[str] = ()
    ) -> Iterator[Series]:
        """Ask for a metric of some targets."""
        wanted = set(targets)
        instances = sorted({dict(target).get("instance", "") for target in targets})
        batches = (one_of("instance", instances[at : at + BATCH]) for at in range(0, len(instances), BATCH))
        ask = partial(self._query, metric, suffix=suffix, needs=needs)
        for found in at_once([partial(ask, names, *matchers) for names in batches]):
            yield from (series for series in found if _target(series) in wanted)

    def _values(self, targets: Collection[Target]) -> dict[Target, dict[int, int]]:
        values: dict[Target, dict[int, int]] = {}
        for series in self._of(targets, "vmx_msr_info", 'msr!="IA32_FEATURE_CONTROL"', needs=("msr", "value")):
            index, value = msr_index(series.labels["msr"]), msr_value(series.labels["value"])
            if index is not None and value is not None:
                values.setdefault(_target(series), {})[index] = value
        return values

    def _exported(self, targets: Collection[Target]) -> dict[Target, dict[str, bool]]:
        exported: dict[Target, dict[str, bool]] = {}
        for series in self._of(targets, "vmx_feature", needs=("feature",)):
            exported.setdefault(_target(series), {})[series.labels["feature"]] = bool(series.value)
        return exported

    def _differing(self, targets: Sequence[Target]) -> tuple[dict[Target, set[int]], dict[Target, set[str]]]:
        """Return the MSRs that differ between CPUs, and the features that some CPUs have and others have not."""
        by_cpu = later(lambda: list(self._of(targets, "vmx_feature_cpus", suffix=" > 0", needs=("feature", "state"))))
        msrs: dict[Target, set[int]] = {}
        for series in self._of(targets, "vmx_msr_variants", suffix=" > 1", needs=("msr",)):
            if (index := msr_index(series.labels["msr"])) is not None:
                msrs.setdefault(_target(series), set()).add(index)
        states: dict[tuple[Target, str], set[str]] = {}
        for series in by_cpu.result():
            states.setdefault((_target(series), series.labels["feature"]), set()).add(series.labels["state"])
        features: dict[Target, set[str]] = {}
        for (target, feature), seen in states.items():
            if {"present", "absent"} <= seen:
                features.setdefault(target, set()).add(feature)
        return msrs, features


def _target(series: Series) -> Target:
    return frozenset((name, value) for name, value in series.labels.items() if name not in OWN_LABELS)


def _by_label(found: Iterable[Series], label: str) -> dict[Target, dict[str, float]]:
    values: dict[Target, dict[str, float]] = {}
    for series in found:
        values.setdefault(_target(series), {})[series.labels[label]] = series.value
    return values


def _facts(info: Series) -> dict[str, Any]:
    """Return what vmx_host_info says, as fields of a FleetHost."""
    labels = info.labels
    return {
        "reason": _NO_STATUS,
        "vendor": labels.get("vendor") or None,
        "model_name": labels.get("model_name") or None,
        "signature": labels.get("signature") or None,
        "microcode": labels.get("microcode") or None,
        "hypervisor": labels.get("hypervisor") == "true",
        "kind": _unread(labels.get("fingerprint") or None),
    }


def _status(status: str) -> dict[str, Any]:
    return {"status": status, "reason": status_sentence(status)}


@cache
def _unread(fingerprint: str | None) -> Kind:
    """Return a kind of which nothing but the fingerprint is known yet."""
    return Kind(fingerprint, {})


def _with_kind(host: FleetHost, kind: Kind | str | None) -> FleetHost:
    if isinstance(kind, Kind):
        return replace(host, kind=kind)
    undecided = host.status in UNDECIDED
    return replace(host, kind=None, reason=host.reason if kind is None or undecided else kind)
