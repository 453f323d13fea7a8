"""CPUs of VMs: libvirt's <cpu> and what has one, QEMU's -cpu in all its spellings, VMs of KubeVirt."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Final

from vmxd.model.starts import Needs
from vmxd.pasted.findings import VMX, Finding, Named, Vm, distinct
from vmxd.tables.cpu_models import features_of, find_cpu_model
from vmxd.tables.features import FEATURES

_ELEMENT: Final = re.compile(
    r"<(/?)(cpu|mode|model|feature|domain|domainCapabilities|blockers)\b([^<>]{0,400})>(?:([\w.-]{1,60})</model>)?"
)
_ATTRIBUTE: Final = re.compile(r"([a-z]{2,20})\s?=\s?[\"']([^\"'<>]{0,80})[\"']")
_CPU_OPTION: Final = re.compile(
    r"(?:^|[\s\"'\[,])-{1,2}cpu[\"']?[=\s,]{1,3}[\"']?([A-Za-z][\w.-]{1,60}(?:,[ \n]?[\w.+:=-]{1,80}){0,400})",
    re.ASCII,
)
_BARE_SPEC: Final = re.compile(r"([A-Za-z][\w.-]{1,60})((?:,[+-]?[\w.:=-]{1,80}){1,400})", re.ASCII)
_MODES: Final = {
    "host": "host-passthrough", "host-passthrough": "host-passthrough", "max": "maximum", "maximum": "maximum",
    "host-model": "host-model", "host-copy": "host-model", "host-model-only": "host-model",
}  # fmt: skip
"""What stands in place of a model: QEMU's, libvirt's, virt-install's and KubeVirt's words -> libvirt's mode."""
_KUBEVIRT_FEATURE: Final = re.compile(
    r"- ?(?:name: ?['\"]?([\w.-]{1,60})['\"]?(?:\npolicy: ?['\"]?([a-z]{4,10}))?"
    r"|policy: ?['\"]?([a-z]{4,10})['\"]?\nname: ?['\"]?([\w.-]{1,60}))"
)
_KUBEVIRT_MODEL: Final = re.compile(r"\bcpu: ?\n(?:[^\n]{0,120}\n){0,12}?model: ?['\"]?([\w.-]{1,60})")
_WANTED: Final = ("require", "force")
_UNWANTED: Final = ("disable", "forbid")


def find(text: str) -> Iterator[Finding]:
    """Yield the CPU of each VM, each once.

    >>> [vm.model for vm in find("-cpu Snowridge,vmx=on,vmx-pml=on")]
    ['Snowridge']
    """
    vms = [*_elements(text), *_options(text), *_kubevirt(text), *_kubevirt_json(text), *_settings(text)]
    yield from dict.fromkeys(vms)


class Exposes(enum.Enum):
    """Whether a VM has VMX, by its own words."""

    YES = "yes"
    NO = "no"
    AS_HOST = "as the host"
    """What KVM gives where it starts: libvirt's host-passthrough, host-model and maximum, and an optional vmx."""


def exposes(vm: Vm) -> Exposes:
    """Return whether a VM has VMX. No CPU model brings it: it is asked for by name, or by a feature vmx-*."""
    if VMX in {each.text for each in vm.disable}:
        return Exposes.NO
    if any(each.text == VMX or each.feature or each.text.startswith("vmx-") for each in vm.require):
        return Exposes.YES
    return Exposes.AS_HOST if vm.mode or VMX in {each.text for each in vm.optional} else Exposes.NO


def unheard(vm: Vm) -> tuple[str, ...]:
    """Return the vmx-* names that a VM asks for and no table has."""
    return tuple(each.text for each in vm.require if each.feature is None and each.text.startswith("vmx-"))


def wants(vm: Vm) -> tuple[str, ...]:
    """Return the features that a VM takes, by vmxd's names in the order of the SDM: its model's and those on top.

    None of host-passthrough and the like, which take what there is; none of a VM that gets no VMX.
    """
    if exposes(vm) is not Exposes.YES:
        return ()
    on_top = {each.feature.name for each in vm.require if each.feature}
    off = {each.feature.name for each in vm.disable if each.feature}
    model = find_cpu_model(vm.model) if vm.model else None
    wanted = on_top.union(features_of(*model) if model else ()) - off
    return tuple(name for name in FEATURES if name in wanted)


def needs(name: str, vm: Vm) -> Needs:
    """Return what a VM takes to start; name: what it is called in the answer."""
    return Needs(name, exposes(vm) is Exposes.YES, wants(vm), unheard(vm))


def _elements(text: str) -> Iterator[Vm]:
    """Read <cpu> elements, whole or in part, and the modes of domcapabilities."""
    if "<" not in text:
        return
    mode = model = ""
    listing = bare = False
    policies: dict[str, list[str]] = {}
    for match in _ELEMENT.finditer(text):
        closing, element = match[1], match[2]
        attributes = dict(_ATTRIBUTE.findall(match[3]))
        if element == "domain":
            if closing and bare:
                yield Vm("", "", ())
            bare = not closing and "type" in attributes and "<capabilities>" not in text
        elif element in ("cpu", "mode"):
            bare = False
            if model or policies or (mode and closing and element == "cpu"):
                yield _vm(mode, model, policies)
            mode, model, policies = "", "", {}
            listing = element == "mode" and attributes.get("name") == "custom"  # all that libvirt knows
            if not closing and (element == "cpu" or attributes.get("supported") != "no"):
                mode = _MODES.get(attributes.get("mode") or attributes.get("name") or "", "")
                if match[3].rstrip().endswith("/") and element == "cpu" and mode:
                    yield _vm(mode, "", {})
                    mode = ""
        elif element == "model" and match[4] and not listing and not model:
            model = match[4]
        elif element == "feature" and "name" in attributes and not listing:
            policies.setdefault(attributes.get("policy", "require"), []).append(attributes["name"])
    if model or policies:
        yield _vm(mode, model, policies)


def _vm(mode: str, model: str, policies: dict[str, list[str]]) -> Vm:
    def of(*names: str) -> tuple[Named, ...]:
        return distinct(feature for name in names for feature in policies.get(name, ()))

    return Vm(mode, model, of(*_WANTED), of(*_UNWANTED), of("optional"))


def _options(text: str) -> Iterator[Vm]:
    found = [match[1] for match in _CPU_OPTION.finditer(text)]
    stripped = text.strip()
    if not found and len(stripped) < 20_000 and (match := _BARE_SPEC.fullmatch(stripped)):
        name = match[1]
        known = name in _MODES or find_cpu_model(name)
        if known and re.search(r"[+=-]|,vmx", match[2]):
            found = [stripped]
    for spec in found:
        yield _spec(spec)


def _spec(spec: str) -> Vm:
    model, *options = (part.strip() for part in spec.split(","))
    policies: dict[str, list[str]] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if name.startswith("+") or (not equals and not name.startswith("-") and name):
            policies.setdefault("require", []).append(name.lstrip("+"))
        elif name.startswith("-"):
            policies.setdefault("disable", []).append(name[1:])
        elif value in ("on", "true", "yes", "y"):
            policies.setdefault("require", []).append(name)
        elif value in ("off", "false", "no", "n"):
            policies.setdefault("disable", []).append(name)
        elif name in ("require", "disable", "optional", "forbid", "force"):  # virt-install
            policies.setdefault(name, []).append(value)
    mode = _MODES.get(model, "")
    return _vm(mode, "" if mode else model, policies)


def _kubevirt(text: str) -> Iterator[Vm]:
    if "cpu:" not in text:
        return
    model = _KUBEVIRT_MODEL.search(text)
    policies: dict[str, list[str]] = {}
    start = text.index("cpu:")
    for match in _KUBEVIRT_FEATURE.finditer(text, start):
        name = match[1] or match[4]
        if name == "vmx" or name.startswith("vmx-") or policies:
            policies.setdefault(match[2] or match[3] or "require", []).append(name)
    name = model[1] if model else ""
    mode = _MODES.get(name, "")
    if policies or mode or (name and find_cpu_model(name)):
        yield _vm(mode, "" if mode else name, policies)


_JSON_CPU: Final = re.compile(r"[\"']cpu[\"'] ?: ?\{")
_JSON_MODEL: Final = re.compile(r"[\"']model[\"'] ?: ?[\"']([\w.-]{1,60})[\"']")
_JSON_FEATURE: Final = re.compile(
    r"\{[ \n]?[\"'](name|policy)[\"'] ?: ?[\"']([\w.-]{1,60})[\"']"
    r"(?:,[ \n]?[\"'](name|policy)[\"'] ?: ?[\"']([\w.-]{1,60})[\"'])?"
)


def _kubevirt_json(text: str) -> Iterator[Vm]:
    """Read the CPU of a KubeVirt VM in JSON: {"cpu": {"model": ..., "features": [{"name": ..., "policy": ...}]}}."""
    found = _JSON_CPU.search(text)
    if found is None:
        return
    policies: dict[str, list[str]] = {}
    for match in _JSON_FEATURE.finditer(text, found.end()):
        pair = {match[1]: match[2], match[3]: match[4]}
        name = pair.get("name") or ""
        if name == VMX or name.startswith("vmx-") or policies:
            policies.setdefault(pair.get("policy") or "require", []).append(name)
    model = _JSON_MODEL.search(text, found.end())
    name = model[1] if model else ""
    if policies or name in _MODES or find_cpu_model(name):
        yield _vm(_MODES.get(name, ""), "" if name in _MODES else name, policies)


_PROXMOX: Final = re.compile(
    r"^cpu: ?([\w.-]{1,60})(?:,flags=([\w.;+-]{1,400}))?(?:,[\w.=-]{1,80}){0,8}$", re.MULTILINE
)
_NOVA: Final = re.compile(r"^(cpu_mode|cpu_models?|cpu_model_extra_flags) ?= ?([\w., +-]{1,400})$", re.MULTILINE)


def _settings(text: str) -> Iterator[Vm]:
    """Read the CPU of Proxmox VE's VM (cpu: host,flags=+pcid;-vmx-pml) and of OpenStack Nova's VMs (cpu_mode = ...)."""
    for match in _PROXMOX.finditer(text):
        name = match[1]
        if match[2] or name in _MODES or find_cpu_model(name):
            yield _spec(",".join((name, *(match[2] or "").split(";"))).rstrip(","))
    nova = {
        match[1].removesuffix("s") if match[1] == "cpu_models" else match[1]: match[2] for match in _NOVA.finditer(text)
    }
    if "cpu_mode" in nova or "cpu_model" in nova:
        for model in nova.get("cpu_model", nova.get("cpu_mode", "")).split(","):
            flags = (flag.strip() for flag in nova.get("cpu_model_extra_flags", "").split(","))
            yield _spec(",".join((model.strip(), *filter(None, flags))))
