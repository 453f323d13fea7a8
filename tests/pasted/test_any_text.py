"""Any text: no traceback, work in proportion to its length, and nothing around a known line changes its meaning."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pasted.test_formats import LACKING, MESSAGES, SETS, VALUES, VMS
from vmxd.errors import UsageError
from vmxd.pasted.findings import Finding, Lacking, MsrValues
from vmxd.pasted.formats import glean
from vmxd.pasted.text import TEXT_MAX

KNOWN: Final = sorted(
    {
        *(text for text, expected in (*VALUES.values(), *LACKING.values()) if expected),
        *(text for text, expected in (*MESSAGES.items(), *VMS.items()) if expected and "," not in text[:20]),
        *(text for text, _, _ in SETS.values()),
    }
)
FRAGMENTS: Final = st.sampled_from(
    ["rdmsr ", "0x48b", "=", "MSR", "IA32_VMX_BASIC", "\n", " ", "missing features:", "vmx-pml", ",", "<cpu", ">",
     "-cpu ", "host", "[bit 5]", "MSR(48BH).", "0x", "f" * 20, "9" * 5000, "cpu:", "- name: vmx", "\\n", "=\n",
     "\x1b[1m", "VMX ctrl", "CPU 99999", "vmx flags :", "{", '"', "٣", "Hex: 0x", "pin-based controls", "0-65535=0x1"]
)  # fmt: skip


def facts(findings: tuple[Finding, ...]) -> set[object]:
    """Return what findings say, apart from how it is put together."""
    found: set[object] = set()
    for each in findings:
        if isinstance(each, MsrValues):
            found |= {(value.msr.index, value.value) for value in each.values}
        elif isinstance(each, Lacking):
            found |= {(each.by, named.text) for named in each.missing}
        else:
            found.add(type(each))
    return found


@given(st.text() | st.lists(FRAGMENTS, max_size=30).map("".join))
def test_any_text_is_safe(text: str) -> None:
    """Whatever is pasted, it is understood or not; it raises nothing."""
    glean(text)


@given(st.sampled_from(KNOWN), st.text(max_size=200), st.text(max_size=200))
def test_what_stands_around_does_not_matter(known: str, before: str, after: str) -> None:
    """What is understood of a text is understood of it in the middle of another."""
    assert facts(glean(known)) <= facts(glean(f"{before}\n\n{known}\n\n{after}"))


def test_a_text_is_bounded() -> None:
    """More than the bound is refused in one sentence; just that much is looked at."""
    with pytest.raises(UsageError, match="more than 4 MiB"):
        glean("x" * (TEXT_MAX + 1))
    assert () == glean("\n" * TEXT_MAX)


REPEATED: Final[dict[str, Callable[[int], str]]] = {
    "options of rdmsr": lambda n: "rdmsr " + "-p1 " * n,
    "blanks": lambda n: "IA32_VMX_BASIC" + " " * n + "x",
    "empty lines": lambda n: "missing features:" + " \n" * n + "x",
    "CPUID": lambda n: "CPUID" * n,
    "digits": lambda n: "0x48b=" + "1" * n,
    "an MSR": lambda n: "0x48b " * n,
    "a list": lambda n: "missing features: " + "vmx-pml," * n,
    "-cpu": lambda n: "-cpu " + "host," * n,
    "elements": lambda n: "<cpu <model>" * n,
    "cpu:": lambda n: "cpu:\n" * n,
    "insert": lambda n: "could not insert '" + "/" * n,
    "backslashes": lambda n: "\\" * n,
    "quotes": lambda n: "> " * n,
    "brackets": lambda n: "0x48b (" * n,
    "flags": lambda n: "vmx flags : " + "ept " * n,
    "labels": lambda n: "cpu-feature.node.kubevirt.io/" * n,
    "titles": lambda n: "VMX: Supported advanced features:\n" * n,
}


def work(text: str) -> float:
    """Return the CPU time that a text costs, the least of three."""
    costs = []
    for _ in range(3):
        start = time.process_time()
        glean(text)
        costs.append(time.process_time() - start)
    return min(costs)


@pytest.mark.parametrize("repeated", REPEATED)
def test_work_is_proportional_to_length(repeated: str) -> None:
    """Eight times the text is nowhere near sixty-four times the work, as it would be with a quadratic pattern."""
    text = REPEATED[repeated]

    assert work(text(16_000)) < 24 * max(work(text(2_000)), 0.001)
