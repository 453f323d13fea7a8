"""The features that a question is about: names, what people paste, profiles and CPU models."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import vmxd
from vmxd.commands.input import standard_input
from vmxd.commands.output import say
from vmxd.commands.parser import Parser, profile_options
from vmxd.commands.profiles import chosen_profiles
from vmxd.commands.vms import chosen_vms, vm_option
from vmxd.errors import UsageError
from vmxd.model.profiles import cpu_model_profile, find_profile
from vmxd.pasted.findings import By, FeatureSet, Lacking, Named, Of, Vm, VmxFlags
from vmxd.pasted.formats import glean
from vmxd.pasted.vm import wants
from vmxd.tables import find_features
from vmxd.tables.find import find_feature

_INPUT_MAX: Final = 1 << 20
_NAME_MAX: Final = 500
"""Longer text is no name, nor some with commas between them."""
_VMX: Final = "vmx"
"""CPUID.1:ECX[5], as libvirt and QEMU call it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Features by vmxd's names, each once.

    whole: whether no other vmx-* feature was named, which no table has.
    """

    features: tuple[str, ...]
    whole: bool


def wanted_options() -> Parser:
    """Return the options that name features, as a parent for a question's parser."""
    options = Parser(add_help=False, parents=[profile_options()])
    options.add_argument(
        "--cpu-model",
        dest="cpu_models",
        action="append",
        default=[],
        metavar="MODEL[-vN]",
        help="what a CPU model of QEMU takes; may be given more than once",
    )
    vm_option(options)
    options.add_argument(
        "features",
        nargs="*",
        metavar="NAME",
        help='a feature by any name, or an error with "missing features: vmx-…" as libvirt, QEMU and KubeVirt print '
        "it; - reads standard input",
    )
    return options


def wanted(arguments: argparse.Namespace) -> Wanted:
    """Return the features that were asked for. Raises UsageError."""
    given = _standard_input() if arguments.features == ["-"] else arguments.features
    findings = (glean("\n".join(given)) or (glean(" ".join(given)) if len(given) > 1 else ())) if given else ()
    lacking = [each for each in findings if isinstance(each, Lacking) and each.by is By.KVM]
    sets = [each for each in findings if isinstance(each, FeatureSet) and each.of is Of.GUESTS]
    flags = [each for each in findings if isinstance(each, VmxFlags)]
    vms = [each for each in findings if isinstance(each, Vm)]
    asked_vms = chosen_vms(arguments.vms)
    features = dict.fromkeys((*_of_sets(arguments), *(name for vm in asked_vms for name in vm.asked)))
    named: tuple[Named, ...] = ()
    if not findings:
        features |= dict.fromkeys(name for text in given for name in _named(text))
    elif lacking:
        named = tuple(each for found in lacking for each in found.missing)
        if extra := [each for found in lacking for each in found.extra]:
            say([f"features that are too many do not keep a VM from starting: {_names(extra)}"])
    elif flags:
        named = tuple(each for found in flags for line in found.lines for each in line)
    elif sets:
        named = tuple(each for found in sets for each in found.present)
    elif vms:
        features |= dict.fromkeys(name for each in vms for name in wants(each))
    else:
        raise UsageError("what was pasted names no features", "vmxd explain says what it means")
    features |= dict.fromkeys(each.feature.name for each in named if each.feature)
    strange = [each for each in named if each.feature is None]
    say(_notes_on(strange))
    if not features and asked_vms:
        raise UsageError("no VM that is named takes VMX", "as far as VMX decides it, each starts on every host")
    if not features:
        question = arguments.question
        hint = f"as in vmxd fleet {question} ept vmx-vpid, or paste the error after the word {question}"
        if any(each.text == _VMX for each in strange):
            hint = "vmxd fleet summary --csv has each host's status, no_vmx for one; vmxd check --view nested asks KVM"
        raise UsageError("no VMX feature is named", hint)
    whole = not any(each.text.startswith("vmx-") for each in strange) and not any(vm.unheard for vm in asked_vms)
    return Wanted(tuple(features), whole)


def _of_sets(arguments: argparse.Namespace) -> Iterator[str]:
    if arguments.profiles:
        profiles = chosen_profiles(arguments.profile_dirs, arguments.profiles)
        for name in arguments.profiles:
            yield from find_profile(name, profiles).features
    for name in arguments.cpu_models:
        yield from cpu_model_profile(name).features


def _named(text: str) -> Iterator[str]:
    if len(text) > _NAME_MAX or {":", "\n"}.intersection(text):
        raise UsageError(
            "what was pasted names no VMX feature", 'paste an error as it is, with its "missing features: vmx-..."'
        )
    names = [text] if find_features(text) else [part for part in text.split(",") if part.strip()]
    yield from (find_feature(name).name for name in names)


def _notes_on(strange: Sequence[Named]) -> Iterator[str]:
    """Say why names in what was pasted are not asked for."""
    newer = [each for each in strange if each.text.startswith("vmx-")]
    others = [each for each in strange if each not in newer and each.text != _VMX]
    if len(strange) > len(newer) + len(others):
        yield "vmx itself is missing where a host has no VMX, or KVM gives none to guests (kvm_intel's nested is N)"
    if newer:
        yield f"not known to vmxd {vmxd.__version__}, so not looked at: {_names(newer)}"
    if others:
        yield f"no VMX features, so not looked at: {_names(others)}"


def _names(named: Sequence[Named]) -> str:
    return ", ".join(each.text for each in named)


def _standard_input() -> list[str]:
    lines = standard_input(_INPUT_MAX).splitlines()
    return [line for line in lines if line.strip()]
