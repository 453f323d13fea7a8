"""What people paste: MSR values, errors of libvirt and QEMU, lines of /proc/cpuinfo and of the kernel log. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.errors import UsageError
from vmxd.tables import Feature, find_features
from vmxd.tables.find import find_msr
from vmxd.tables.rows import Msr

FORMS: Final = (
    'give a feature by any name; MSR=VALUE; the "missing features" of libvirt or QEMU; a line "vmx flags" of '
    '/proc/cpuinfo; the lines "VMCS config on CPU" of the kernel log'
)


@dataclass(frozen=True, slots=True)
class MsrValue:
    """One MSR and its 64-bit value."""

    msr: Msr
    value: int


@dataclass(frozen=True, slots=True)
class MsrValues:
    """MSRs with their values, in the order they came in."""

    values: tuple[MsrValue, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A feature as somebody else named it; None where it is no VMX feature that the tables have."""

    text: str
    feature: Feature | None


@dataclass(frozen=True, slots=True)
class Lacking:
    """Features that libvirt or QEMU found missing, and those that libvirt found too many."""

    missing: tuple[Named, ...]
    extra: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class VmxFlags:
    """The distinct "vmx flags" lines of /proc/cpuinfo."""

    lines: tuple[tuple[Named, ...], ...]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """32 bits of vmcs_config at an offset in bytes: of the CPU that KVM took as reference, and of this one."""

    offset: int
    reference: int
    value: int


@dataclass(frozen=True, slots=True)
class Refused:
    """CPUs that kvm_intel refuses since they differ, each with what does; nothing where the kernel is silent."""

    cpus: Mapping[int, tuple[Mismatch, ...]]


Pasted = MsrValues | Lacking | VmxFlags | Refused

_RDMSR: Final = r"(?:[#$]\s*)?(?:sudo\s+)?rdmsr\s+(?:-p\s*\d+\s+|-\w+\s+)*"
_COMMAND: Final = re.compile(rf"^({_RDMSR}\S+)[ \t]*\n", re.MULTILINE | re.ASCII)
"""rdmsr as typed: its answer, which names no MSR, is the next line."""
_MSR_LINE: Final = re.compile(
    rf"(?:{_RDMSR})?(?:(?:MSR_)?(IA32_\w+)|(?:0x)?([0-9a-f]{{1,8}}))\s*[=:\s]\s*(?:0x)?([0-9a-f]+)",
    re.IGNORECASE | re.ASCII,
)
_NAME: Final = r"(?:[\w-]+\.)*[\w-]+"
_LIST: Final = rf"[\"'\[]*({_NAME}(?:,\s*(?!missing\s+features){_NAME})*)"
_MISSING: Final = re.compile(rf"(?:missing|required)\s+features:\s*(?!map\[){_LIST}", re.ASCII | re.IGNORECASE)
_EXTRA: Final = re.compile(rf"extra\s+features:\s*{_LIST}", re.ASCII | re.IGNORECASE)
_KUBEVIRT: Final = re.compile(rf"(?:cpu-feature|host-model-required-features)\.node\.kubevirt\.io/({_NAME})", re.ASCII)
"""Labels that KubeVirt gives to nodes, and asks for where a VM's model is the host's."""
_QEMU: Final = re.compile(r"MSR\(([0-9a-f]+)H\)\.([\w-]+)(?:\s+\[bit (\d+)\])?", re.IGNORECASE | re.ASCII)
_CPUID: Final = re.compile(r"CPUID[\w.:,=\[\]]*\bE[ABCD]X\.([\w-]+)\s+\[bit \d+\]", re.ASCII)
"""QEMU on a feature of CPUID: CPUID.07H:EBX.hle [bit 4], later CPUID[eax=07h,ecx=00h].EBX.hle [bit 4]."""
_FLAGS: Final = re.compile(r"^\s*vmx flags\s*:(.*)$", re.MULTILINE)
_CONFIG: Final = re.compile(
    r"(?:VMCS config on CPU (\d+) doesn't match reference config|Inconsistent VMCS config on CPU (\d+))", re.ASCII
)
_OFFSET: Final = re.compile(
    r"Offset (\d+) REF = 0x([0-9a-f]{1,8}), CPU(\d+) = 0x([0-9a-f]{1,8})", re.IGNORECASE | re.ASCII
)


def recognise(text: str) -> Pasted | None:
    """Return what a text is, or None where it is nothing of the kind: then it may be a feature's name.

    Raises UsageError where it is an MSR and its value, but of an MSR that the tables do not have or above 64 bits.
    """
    if found := _refused(text):
        return found
    missing = [_by_location(*match.groups()) for match in _QEMU.finditer(text)]
    missing += [_named(match[1]) for found in (_KUBEVIRT, _CPUID) for match in found.finditer(text)]
    missing += [_named(name) for match in _MISSING.finditer(text) for name in re.split(r",\s*", match[1])]
    extra = [_named(name) for match in _EXTRA.finditer(text) for name in re.split(r",\s*", match[1])]
    if missing or extra:
        return Lacking(tuple(dict.fromkeys(missing)), tuple(dict.fromkeys(extra)))
    if lines := dict.fromkeys(tuple(match[1].split()) for match in _FLAGS.finditer(text)):
        return VmxFlags(tuple(tuple(_flag(name) for name in line) for line in lines))
    lines_of_values = _COMMAND.sub(r"\1 ", text).splitlines()
    matches = [_MSR_LINE.fullmatch(line.strip()) for line in lines_of_values if line.strip()]
    values = [_msr_value(match) for match in matches if match]
    return MsrValues(tuple(values)) if values and len(values) == len(matches) else None


def _refused(text: str) -> Refused | None:
    found: dict[int, dict[Mismatch, None]] = {int(match[1] or match[2]): {} for match in _CONFIG.finditer(text)}
    for match in _OFFSET.finditer(text):
        mismatch = Mismatch(int(match[1]), int(match[2], 16), int(match[4], 16))
        found.setdefault(int(match[3]), {})[mismatch] = None
    return Refused({cpu: tuple(mismatches) for cpu, mismatches in found.items()}) if found else None


def _named(name: str) -> Named:
    found = find_features(name)
    return Named(name, found[0] if len(found) == 1 else None)


def _flag(name: str) -> Named:
    named = _named(name)
    return named if named.feature and named.feature.cpuinfo_flag == name else Named(name, None)


def _by_location(index: str, name: str, bit: str | None) -> Named:
    """Return QEMU's feature; where its name stands for two, the bit tells."""
    for feature in find_features(f"0x{index}[{bit}]") if bit else ():
        if feature.row.qemu == name:
            return Named(name, feature)
    return _named(name)


def _msr_value(match: re.Match[str]) -> MsrValue:
    name, index, value = match.groups()
    msr = find_msr(name or index)
    if msr is None:
        raise UsageError(
            f"{name or f'{int(index, 16):#x}'} is no MSR that vmxd knows", "vmxd features --json lists them all"
        )
    number = int(value, 16) if len(value.lstrip("0")) <= 16 else -1
    if number < 0:
        raise UsageError(f"the value of {msr.name} has more than 64 bits", "give it in hex, as rdmsr prints it")
    return MsrValue(msr, number)
