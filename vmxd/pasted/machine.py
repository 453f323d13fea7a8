"""What a pasted text says of one machine, for a recording: MSRs by CPU, /proc/cpuinfo, the kernel; and what not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.cpulist import CPU_MAX
from vmxd.errors import UsageError
from vmxd.model.decode import decode
from vmxd.model.facts import Missing
from vmxd.pasted.findings import FeatureSet, Finding, MsrValue, MsrValues, VmxFlags
from vmxd.pasted.formats import glean
from vmxd.pasted.plausible import broken_by, is_cut
from vmxd.pasted.text import prepare
from vmxd.pasted.vmxcap import controls
from vmxd.tables.msrs import IA32_FEATURE_CONTROL, MSR_BY_INDEX, MSRS

_CPUINFO: Final = re.compile(r"^processor[ \t]{0,20}: ?\d{1,5}\n(?:[^\n:]{1,40}:[^\n]{0,6000}\n){2,60}", re.MULTILINE)
_NUMBER: Final = re.compile(r"processor[ \t]{0,20}: ?(\d{1,5})")
_KERNEL: Final = re.compile(r"\bLinux version (\d{1,2}\.\d{1,3}[\w.+~-]{0,60}) \(")
_HINT: Final = "record the text of one machine at a time"


@dataclass(frozen=True, slots=True)
class Machine:
    """What can be recorded.

    online: the CPUs that are named, CPU 0 if none is. readings: MSR index -> CPU -> value.
    cpuinfo: the blocks of /proc/cpuinfo, "" if there are none. kernel: its release, "" if not named.
    left_out: what is not recorded, a sentence each.
    """

    online: tuple[int, ...]
    readings: Mapping[int, Mapping[int, int]]
    cpuinfo: str
    kernel: str
    left_out: tuple[str, ...]


def machine(text: str) -> Machine:
    """Find what a text says of one machine. Raises UsageError if it says nothing, or of two what cannot be of one."""
    findings = glean(text)
    listed = controls(prepare(text))
    found = [value for each in findings if isinstance(each, MsrValues) for value in each.values]
    cut = any(is_cut(each.msr, each.value) and broken_by(each.msr, each.value) for each in found)
    believed = [
        each
        for each in found
        if not broken_by(each.msr, each.value) and not (cut and each.msr.index != IA32_FEATURE_CONTROL)
    ]
    doubted = [each for each in found if each not in believed]
    named = {each.msr.index for each in believed}
    believed += [each for each in listed.values if each.msr.index not in named]
    blocks = dict.fromkeys(match[0].rstrip("\n") for match in _CPUINFO.finditer(text.replace("\r\n", "\n")))
    in_cpuinfo = {int(match[1]) for block in blocks if (match := _NUMBER.match(block))}
    cpus = {cpu for each in believed for cpu in each.cpus} | in_cpuinfo
    if beyond := [cpu for cpu in cpus if cpu > CPU_MAX]:
        raise UsageError(f"the text names CPU {max(beyond)}, and no host has more than {CPU_MAX + 1}", _HINT)
    online = tuple(sorted(cpus)) or (0,)
    readings = _readings(believed, online[0])
    if not readings and not blocks:
        raise UsageError("the text has no value of an MSR that a CPU can have", _nothing(findings))
    kernel = _KERNEL.search(text)
    return Machine(
        online,
        readings,
        "\n\n".join((*blocks, "")) if blocks else "",
        kernel[1] if kernel else "",
        (*_left_out(readings, doubted, listed.unlisted, findings), *_of_cpus(len(cpus), has_cpuinfo=bool(blocks))),
    )


def _readings(values: list[MsrValue], first: int) -> dict[int, dict[int, int]]:
    readings: dict[int, dict[int, int]] = {}
    for each in values:
        for cpu in each.cpus or (first,):
            known = readings.setdefault(each.msr.index, {}).setdefault(cpu, each.value)
            if known != each.value:
                raise UsageError(
                    f"the text has two values of {each.msr.name} on CPU {cpu}: {known:#x} and {each.value:#x}", _HINT
                )
    return readings


def _nothing(findings: tuple[Finding, ...]) -> str:
    if any(isinstance(each, VmxFlags) for each in findings):
        return '"vmx flags" names features and gives no value: paste all of /proc/cpuinfo, or what rdmsr prints'
    return "rdmsr -a, vmxcap, VBox.log and AIDA64's dumps have values; vmxd explain says what else is in it"


def _left_out(
    readings: Mapping[int, Mapping[int, int]],
    doubted: list[MsrValue],
    unlisted: Mapping[int, tuple[str, ...]],
    findings: tuple[Finding, ...],
) -> Iterator[str]:
    for each in doubted:
        why = "; ".join(broken_by(each.msr, each.value)) or "others of the text have lost their upper half"
        yield f"{each.msr.name} = {each.value:#x} is not recorded: {why}"
    for index, names in unlisted.items():
        if index not in readings:
            yield f"{MSR_BY_INDEX[index].name} is not recorded: the list does not name {', '.join(names)}"
    absent = decode(None, {index: next(iter(by_cpu.values())) for index, by_cpu in readings.items()}).msrs
    told = (*readings, *unlisted, *(index for index, state in absent.items() if state is Missing.ABSENT))
    if missing := [msr.name for msr in MSRS if msr.index not in told and msr.twin_of not in unlisted]:
        yield f"not in the text, so not recorded: {', '.join(missing)}"
    if any(isinstance(each, VmxFlags) for each in findings):
        yield '"vmx flags" names features and gives no value of an MSR: no feature is recorded from it'
    if any(isinstance(each, FeatureSet) and each.program != "vmxcap" for each in findings):
        yield "lists of features give no value of an MSR: no feature is recorded from them"


def _of_cpus(named: int, *, has_cpuinfo: bool) -> Iterator[str]:
    if named == 0:
        yield "the text names no CPU: its values are recorded as those of CPU 0, the only one"
    if not has_cpuinfo:
        yield "the text has no /proc/cpuinfo: model, microcode and flags of the CPU are not recorded"
