"""Errors as they come: in logs, in YAML, in a sentence; what they name is the same."""

from __future__ import annotations

from typing import Final

import pytest

from vmxd.pasted.recognise import Lacking, recognise

SHAPES: Final = {
    "a log in JSON": (
        r'{"level":"error","msg":"guest CPU: missing features: vmx-pml,vmx-ept","pos":"x.go:7"}',
        "pml ept",
    ),
    "YAML, folded": (
        "reason: 'guest CPU doesn''t match specification: missing\n  features: vmx-pml,vmx-ept'')'",
        "pml ept",
    ),
    "an escaped newline": (r"missing features: vmx-pml\nTraceback", "pml"),
    "quotes": ("missing features: 'vmx-pml, vmx-ept'.", "pml ept"),
    "libvirt's other sentence": ("Host CPU does not provide required features: vmx-pml, hle", "pml hle?"),
    "labels of KubeVirt": (
        "required features: map[cpu-feature.node.kubevirt.io/vmx-pml:true cpu-feature.node.kubevirt.io/fsrm:true]",
        "pml fsrm?",
    ),
    "QEMU on CPUID": (
        "MSR(48DH).vmx-posted-intr [bit 7] CPUID.07H:EBX.hle [bit 4] CPUID[eax=01h].ECX.vmx [bit 5] CPUID.0DH:EAX",
        "posted_intr hle? vmx?",
    ),
    "nothing missing": ("missing features: ,", ""),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_errors(shape: str) -> None:
    """Whatever an error is wrapped in, it names the same features; what is none of VMX's keeps its name."""
    text, expected = SHAPES[shape]
    found = recognise(text)
    missing = found.missing if isinstance(found, Lacking) else ()

    assert sorted(expected.split()) == sorted(
        each.feature.name if each.feature else f"{each.text}?" for each in missing
    )
