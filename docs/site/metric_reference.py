"""docs/reference/metrics.md: every metric family as the collectors yield it over all recordings."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import Metric
from prometheus_client.registry import Collector

from vmxd.host.scan import Scan
from vmxd.server.live import LiveCollector
from vmxd.server.self_metrics import SelfCollector
from vmxd.views.metrics import HostCollector, to_text

_HEAD: Final = """# Metric reference

Generated from vmxd's collectors, run on the recordings in `tests/hosts`: do not edit. `vmx_*` is about the hardware and
what KVM makes of it, `vmxd_*` about vmxd; a server also has the usual `process_*`. [Scaling](../scaling.md) says what
the series cost. Values are rendered once per scan; only what a server says of itself moves between scans.

- First comes the HELP of a scrape, which ends with the source.
- A family that has nothing to say is left out. *There on* counts the recordings of real machines that have it, and the
  median of its series there. Families that none of them has are shown from recordings made by hand.
- Families of a server only (`vmxd serve`, not `vmxd metrics`) say so.

"""
NOTES: Final = {
    "vmx_feature": "A feature of an absent MSR is 0, so a host without VMX has every feature at 0.",
    "vmx_status": """\
| status | meaning |
|---|---|
| `usable` | VMX is there, and IA32_FEATURE_CONTROL is locked with VMX enabled outside SMX |
| `no_vmx` | the CPU has no VMX, or a hypervisor hides it (IA32_VMX_BASIC is missing or reads 0) |
| `disabled_by_firmware` | locked with VMX disabled: only firmware setup and a power cycle change that |
| `smx_only` | locked with VMX enabled inside SMX (Intel TXT) alone |
| `unlocked` | not locked: VMXON faults until the kernel or firmware locks it |
| `unreadable` | VMX is or may be there, but its MSRs cannot be read; the log says why |
| `unknown` | IA32_FEATURE_CONTROL was not recorded or could not be read |

If CPUs differ, the first of `no_vmx`, `disabled_by_firmware`, `smx_only`, `unlocked`, `usable` that some CPU has.
`no_vmx` is certain: on Intel, Centaur and Zhaoxin hardware Linux hides the vmx flag if firmware has disabled VMX, so a
missing flag with unreadable MSRs is `unreadable`.""",
    "vmx_msr_variants": "An absent MSR is a value of its own if other CPUs have it.",
    "vmx_inconsistent_cpus": "If two values are equally common, the lowest CPU counts. No series if nothing is known.",
    "vmx_unknown_bits": "promtool's linter takes the word for a data size; these are bits.",
    "vmx_platform_differs": """\
At least two CPUs of the same microarchitecture and product class agree. Nothing is said of guests, nor of CPUs that the
table lacks. [Which CPUs have it](../platforms.md) says what the table is worth.""",
    "vmx_sanity_violations": "The rules are in `vmxd/model/checks.py`.",
    "vmx_profile_missing_features": "[Profiles](../profiles.md) says which there are, and how to make your own.",
    "vmx_host_info": """\
If CPUs differ, a label has each value, joined by commas. `fingerprint` is equal on two hosts whose known capability
MSRs are equal, whatever their number of CPUs; IA32_FEATURE_CONTROL is not in it. A host on which every CPU had a failed
read has none. What `vmx_feature` says about one host of a fingerprint holds for all of them.""",
    "vmx_kernel_info": "The kernel that ran when the MSRs were read; no series if that was not recorded.",
    "vmx_kvm_parameter": "A number is itself. No series at all if the module is not loaded.",
    "vmx_kvm_unused_feature": "[KVM](../kvm.md) says what is no finding.",
    "vmx_nested_status": "With `--collector.nested`; no series if nobody asked.",
    "vmx_nested_feature": "With `--collector.nested`. Every feature is 0 if KVM offers guests no VMX.",
    "vmxd_source_info": "`kind` is `live` or `recording`.",
    "vmxd_scan_timestamp_seconds": "When the MSRs were read.",
    "vmxd_recording_stale": "No series if nothing can tell, as for another machine's recording.",
}
"""Name of a family -> what its HELP leaves out."""
_CLOSED: Final = frozenset(("state", "status", "bit", "code", "reason", "profile"))
"""Labels whose values are few and fixed: all are listed."""
_LIVE: Final = "live"


@dataclass(frozen=True, slots=True, eq=False)
class _One(Collector):
    """A collector of one family."""

    family: Metric

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield self.family


_COLLECTORS: Final[tuple[Callable[[Scan], Collector], ...]] = (
    lambda scan: HostCollector(scan.inventory),
    SelfCollector,
)


def page(scans: Mapping[str, Scan]) -> str:
    """Return the page. scans: by name of the recording, made- ones included."""
    by_name: dict[str, dict[str, Metric]] = {}
    order: list[str] = []
    for make in _COLLECTORS:
        own: list[str] = []
        for host, scan in scans.items():
            families = list(make(scan).collect())
            _merge(own, [family.name for family in families])
            for family in families:
                by_name.setdefault(family.name, {})[host] = family
        order += own
    for family in LiveCollector(stale=False).collect():
        order.append(family.name)
        by_name[family.name] = {_LIVE: family}
    real = sum(1 for host in scans if not host.startswith("made-"))
    return _HEAD + "\n\n".join("\n".join(_family(by_name[name], real)) for name in order) + "\n"


def _merge(order: list[str], names: list[str]) -> None:
    """Put names that are new where they stand among those that are not."""
    for before, name in zip(["", *names], names, strict=False):
        if name not in order:
            order.insert(order.index(before) + 1 if before else 0, name)


def _family(by_host: Mapping[str, Metric], real: int) -> Iterator[str]:
    family = next(iter(by_host.values()))
    lines = {host: _lines(each) for host, each in by_host.items()}
    on_real = {host: found for host, found in lines.items() if not host.startswith("made-") and host != _LIVE}
    name = _name(lines)
    yield f"## {name}"
    yield ""
    yield _escape(family.documentation)
    yield ""
    if name in NOTES:
        yield NOTES[name]
        yield ""
    yield f"- {family.type if family.type != 'unknown' else 'gauge'}; {_labels(by_host)}"
    if _LIVE in lines:
        yield "- of a server only"
    elif on_real:
        median = statistics.median_low(len(found) for found in on_real.values())
        yield f"- there on {len(on_real)} of {real}; {median} series{' each' if median > 1 else ''}"
    else:
        yield f"- there on none of {real}; made by hand: {', '.join(f'`{host}`' for host in lines)}"
    if _LIVE not in lines:
        host = _example(on_real or lines)
        yield f"- for example, on `{host}`:"
        yield ""
        yield "```text"
        yield _stable(next((line for line in lines[host] if not line.endswith(" 0.0")), lines[host][0]))
        yield "```"


def _example(lines: Mapping[str, list[str]]) -> str:
    preferred = ("lakefield-i5-l16g7", "sapphirerapids", "skylake-sp-8160-2s")
    return next((host for host in preferred if host in lines), next(iter(lines)))


def _stable(line: str) -> str:
    """Leave out what differs from run to run: where the tree is, its version, and the times of a scan."""
    line = re.sub(r'root="[^"]*/tests/', 'root="tests/', line)
    line = re.sub(r'version="[^"]*"', 'version="…"', line)
    return re.sub(r"^(vmxd_scan_(?:duration|timestamp)_seconds) .*", r"\1 …", line)


def _name(lines: Mapping[str, list[str]]) -> str:
    return next(re.split(r"[{ ]", found[0])[0] for found in lines.values())


def _lines(family: Metric) -> list[str]:
    """Return the family's series as an exposition has them."""
    return [line for line in to_text(_One(family)).decode().splitlines() if not line.startswith("#")]


def _labels(by_host: Mapping[str, Metric]) -> str:
    values: dict[str, dict[str, None]] = {}
    for family in by_host.values():
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault(label, {})[value] = None
    if not values:
        return "no labels"
    return "labels " + ", ".join(
        f"`{label}` ({', '.join(f'`{value}`' for value in found)})" if label in _CLOSED else f"`{label}`"
        for label, found in values.items()
    )


def _escape(text: str) -> str:
    return re.sub(r"([*_<>\[\]])", r"\\\1", text)
