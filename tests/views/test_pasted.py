"""What ``vmxd explain`` says of what people paste: what it means, what to do, and how the host stands to it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.support import HOSTS, LAKEFIELD, vmxd
from vmxd.host.scan import scan
from vmxd.model.inventory import Inventory
from vmxd.pasted.findings import Mismatch, MsrValues, Refused
from vmxd.pasted.formats import glean
from vmxd.pasted.kernel_log import MESSAGES
from vmxd.pasted.plausible import broken_by
from vmxd.tables.features import FEATURES
from vmxd.tables.msrs import MSR_BY_INDEX
from vmxd.tables.rows import Layout
from vmxd.tables.vmcs_config import WORDS
from vmxd.views.explain import Block, block_lines
from vmxd.views.lines import lines_text
from vmxd.views.pasted import pasted_blocks
from vmxd.views.pasted_log import MEANINGS

KERNEL_LOG: Final = """
[    5.355958] kvm_intel: VMCS config on CPU 4 doesn't match reference config:
[    5.355986]   Offset 16 REF = 0x435d6fff, CPU4 = 0x035d6fff, mismatch = 0x40000000
[    5.356019]   Offset 84 REF = 0x0010f3ff, CPU4 = 0x0000f3ff, mismatch = 0x00100000
[    5.356048] kvm: enabling virtualization on CPU4 failed
"""


def text_of(blocks: Iterator[Block], inventory: Inventory | None) -> str:
    """Return blocks as text."""
    return lines_text(block_lines(blocks, inventory))


def explain(text: str, root: str = LAKEFIELD.name) -> str:
    """Return what the command says of a pasted text, without line breaks; it must succeed and print no error."""
    done: subprocess.CompletedProcess[str] = vmxd("explain", "-", "--root", HOSTS / root, input=text)
    assert (0, "") == (done.returncode, done.stderr)
    return " ".join(done.stdout.split())


# Values -----------------------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(MSR_BY_INDEX)), st.integers(min_value=0, max_value=2**64 - 1))
def test_any_value_of_any_msr(index: int, value: int) -> None:
    """A value is decoded, each bit that no row explains named; of one that no CPU can have nothing is concluded."""
    (found,) = glean(f"{index:#x}={value:#x}")
    assert isinstance(found, MsrValues)
    text = " ".join(text_of(pasted_blocks((found,), None), None).split())
    unknown = value & ~MSR_BY_INDEX[index].explained
    named = re.findall(r"unknown \w+\[([\d,]+)\] set,and no source names it", text.replace(", ", ","))

    if broken_by(MSR_BY_INDEX[index], value):
        assert "no CPU has this value" in text
        assert "nothing is concluded from it" in text
    else:
        assert [bit for bit in range(64) if unknown >> bit & 1] == [
            int(bit) for bits in named for bit in bits.split(",")
        ]


def test_a_legacy_msr_leaves_the_last_word_to_its_twin() -> None:
    """What a legacy MSR forces, its TRUE MSR may not; there it shows as default1 that may be cleared."""
    assert "forced cr3_load_exiting[47], cr3_store_exiting[48] unless IA32_VMX_TRUE_PROCBASED_CTLS says" in explain(
        "0x482=0xfff9fffe0401e172"
    )
    assert "default1-clearable cr3_load_exiting[47], cr3_store_exiting[48]" in explain("0x48e=0xfff9fffe04006172")


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ("5", "VMX may be used"),
        ("100005", "VMX may be used"),
        ("1", "firmware has locked VMX off"),
        ("3", "inside SMX (Intel TXT) only"),
        ("4", "is not locked, so VMXON faults next firmware should lock it"),
    ],
)
def test_feature_control_has_a_verdict(value: str, verdict: str) -> None:
    """Whether VMX may be used is said first; of what is not locked, that a suspend may have left it so."""
    text = explain(f"# rdmsr 0x3a\n{value}\n")

    assert f"verdict {verdict}" in text.replace("verdict IA32_FEATURE_CONTROL ", "verdict ").replace(
        "verdict firmware allows VMX ", "verdict "
    )
    assert ("before 5.7.7" in text) == (value == "4")


def test_cpus_that_differ() -> None:
    """rdmsr -a gives each CPU's value; those that differ are told apart."""
    text = explain("$ sudo rdmsr -a 0x3a\n5\n5\n1\n")

    assert "= 0x0000000000000005 on CPUs 0-1" in text
    assert "= 0x0000000000000001 on CPU 2 beware the CPUs differ" in text


def test_values_that_are_cut() -> None:
    """Where upper halves are missing, nothing is concluded but from IA32_FEATURE_CONTROL, which has none."""
    text = explain("IA32_FEATURE_CONTROL_MSR = 5\nIA32_VMX_BASIC_MSR = 10\nIA32_VMX_PROCBASED_CTLS = 401E172\n"
                   "IA32_VMX_PROCBASED_CTLS2 = 0\n")  # fmt: skip

    assert "verdict VMX may be used" in text
    assert 2 == text.count("its upper half is missing")
    assert "a VMCS region has 1 to 4096 bytes" in text
    assert "nothing is concluded from this one" in text
    assert "unavailable" not in text


def test_bits_of_control_registers_have_names() -> None:
    """IA32_VMX_CR0_FIXED0 and its like are masks of CR0 and CR4."""
    assert "bits PE, NE, PG" in explain("IA32_VMX_CR0_FIXED0 = 0x80000021")


# libvirt and QEMU -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "missing", "causes"),
    [
        ("haswell-ep-2s", "pml", "ept=N, eptad=N, nested=N of kvm_intel; QEMU without KVM"),
        ("skylake-6700k", "ept-1gb", "ept=N, nested=N of kvm_intel; QEMU without KVM"),
        ("skylake-6700k", "shadow-vmcs", "nested=N of kvm_intel; QEMU without KVM"),
        ("made-ept-off", "pml", None),
    ],
)
def test_what_takes_a_feature_that_guests_are_given(root: str, missing: str, causes: str | None) -> None:
    """Where KVM gives a feature, be it emulated, the error comes from a parameter that takes it, or from no KVM."""
    text = explain(f"qemu-kvm: warning: host doesn't support requested feature: MSR(48BH).vmx-{missing} [bit 1]", root)

    assert (causes is not None) == ("KVM gives it to guests here" in text)
    assert f"the error can be of: {causes}" in text or causes is None


def test_missing_features_are_of_the_guest_layer() -> None:
    """What libvirt finds missing is what KVM does not give here, which KVM's own answer says first."""
    text = explain("guest CPU doesn't match specification: extra features: vmx-ins-outs, "
                   "missing features: vmx-rdrand-exit,vmx-pml,sse4.1.", "made-nested")  # fmt: skip

    assert "vmx-rdrand-exit: missing is rdrand_exiting: RDRAND exiting, IA32_VMX_PROCBASED_CTLS2[43] guests KVM" in text
    assert "vmx-pml: missing is pml: Enable PML, IA32_VMX_PROCBASED_CTLS2[49] guests KVM does not give it" in text
    assert "not VMX is sse4.1" in text
    assert "vmx-ins-outs: not asked for is ins_outs" in text


def test_what_tcg_lacks() -> None:
    """QEMU without KVM has no VMX: no host lacks anything, and none is read."""
    text = explain("warning: TCG doesn't support requested feature: MSR(48EH).vmx-mtf [bit 27]")

    assert "QEMU runs without KVM" in text
    assert "no host lacks anything: mtf" in text
    assert "here host" not in text


def test_the_pair_of_perf_global_ctrl() -> None:
    """KVM gives it with a virtual PMU only, so the warning may be harmless."""
    assert "since Linux 5.5, and only with a virtual PMU" in explain("missing features: vmx-exit-load-perf-global-ctrl")


def test_a_refused_msr_names_what_is_beyond() -> None:
    """Bits that KVM does not offer here are named; where it offers all, that is said."""
    text = explain("qemu: error: failed to set MSR 0x48b to 0x7f582e00000000", "made-nested")

    assert "beyond" in text
    assert "pml" in text.partition("beyond ")[2].partition("guests")[0]
    assert "as KVM answered" in text
    assert "nothing: this host's KVM offers all of it" in explain(
        "failed to set MSR 0x48b to 0x200000000", "made-nested"
    )


@pytest.mark.parametrize("text", ["vmx", "error: Host CPU does not provide required features: vmx"])
def test_vmx_itself(text: str) -> None:
    """VMX itself is missing for one of three causes; the host's status and nested=N say which."""
    said = explain(text, "made-nested")

    assert "VMX itself: CPUID.1:ECX[5]" in said
    assert "here VMX may be used" in said
    assert "parameter nested is" in said


# VMs --------------------------------------------------------------------------------------------------------------


def test_a_vm_and_what_it_lacks_here() -> None:
    """The model's features, those on top and those off; what KVM does not give here, with the cause."""
    text = explain("-cpu Snowridge,vmx=on,fma=on,vmx-pml=on,vmx-ept=off", "made-nested")

    assert "a VM with CPU Snowridge vmx on model Snowridge-v1 of QEMU" in text
    assert "without ept not VMX fma" in text
    assert "pml: KVM does not give it to guests here" in text


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("<cpu mode='host-passthrough'/>", "depends on the host"),
        ("-cpu Haswell,vmx=off", "vmx off: the VM gets no VMX"),
        ("-cpu Haswell", "not asked for: the VM gets no VMX"),
        ("-cpu EPYC,vmx=on", "no CPU model with VMX that vmxd knows"),
    ],
)
def test_vms_without_a_list(spec: str, expected: str) -> None:
    """A VM that takes what there is, or no VMX, wants nothing by name."""
    assert expected in explain(spec)


# Lists of features ------------------------------------------------------------------------------------------------


def test_vmx_flags() -> None:
    """The features that the line names are listed, then flags that are none, and what the line cannot say."""
    text = explain("vmx flags\t: vnmi preemption_timer ept sse9")

    assert f"names 3 of {len(FEATURES)} features IA32_VMX_PINBASED_CTLS: vnmi, preemption_timer" in text
    assert "not known sse9" in text
    assert "every VM-exit and VM-entry control" in text


def test_lists_of_others() -> None:
    """vmxcap says what a CPU lacks; Xen prints what is there only; KubeVirt's labels are of guests."""
    assert "has nmi_exiting lacks vnmi" in explain("pin-based controls\n  NMI exiting   yes\n  Virtual NMIs   no\n")
    assert "may be there all the same" in explain("(XEN) VMX: Supported advanced features:\n(XEN)  - TSC Scaling\n")
    assert "not what the CPUs have" in explain("cpu-feature.node.kubevirt.io/vmx-pml=true")


def test_refused_controls() -> None:
    """Each control that a hypervisor asked for and did not get is named, with its state here."""
    text = explain("VMX ctrl 0x48b not fully enabled: request 0x40004ab but get0xab", "made-nested")

    assert "refused control 10: ple control 26: usr_wait_pause" in text
    assert "here ple: on" in text


# The kernel log ---------------------------------------------------------------------------------------------------


def test_every_message_has_a_meaning() -> None:
    """Each kind of message is told, and no other is."""
    assert {kind for kind, _ in MESSAGES} == MEANINGS.keys()


def test_a_kernel_log() -> None:
    """A log's messages are each told once, with their CPUs, next step and this host's status; the rest is left."""
    text = explain("[ 0.1] Linux version 6.12\n[ 0.2] x86/cpu: VMX (outside TXT) disabled by BIOS\n"
                   "[ 8.0] kvm_intel: VMX not enabled (by BIOS) in MSR_IA32_FEAT_CTL on CPU 0\n"
                   "modprobe: ERROR: could not insert 'kvm_intel': Operation not supported\n",
                   "made-disabled")  # fmt: skip

    assert "VMX is locked off by firmware on CPU 0" in text
    assert "enable VT-x" in text
    assert "kvm_intel does not load" in text
    assert "EOPNOTSUPP" in text
    assert "here firmware has locked VMX off" in text
    assert "Linux version" not in text


def test_vmxon_after_a_suspend() -> None:
    """Not locked, so VMXON faults: after a suspend, older kernels did not set it again."""
    text = explain("VMXON faulted, MSR_IA32_FEAT_CTL (0x3a) = 0x4\nkvm: enabling virtualization on CPU0 failed")

    assert "IA32_FEATURE_CONTROL is not locked, so VMXON faults" in text
    assert "5.7.7" in text
    assert "KVM could not enable VMX on CPU 0" in text


def test_a_vmcs_config_that_differs() -> None:
    """The kernel's offsets become fields of vmcs_config, MSRs and controls; what differs here is beside them."""
    text = explain(KERNEL_LOG)

    assert "offset 16: vmcs_config.cpu_based_2nd_exec_ctrl" in text
    assert "bit 62 bus_lock_detection: 0 on CPU 4, 1 on the reference" in text
    assert "offset 84: vmcs_config.nested.entry_ctls_high" in text
    assert "bit 52 entry_load_cet: 0 on CPU 4, 1 on the reference" in text
    assert "CPU 4 differs in IA32_VMX_PROCBASED_CTLS2 (bus_lock_detection)" in text


def test_a_vmcs_config_of_an_older_kernel() -> None:
    """Older kernels name the CPU only; an offset of another layout is not guessed at."""
    assert "does not say what differs" in explain("kvm_intel: Inconsistent VMCS config on CPU 8")
    inventory = scan(str(LAKEFIELD)).inventory
    assert "no field" in text_of(pasted_blocks((Refused({8: (Mismatch(400, 1, 0),)}),), inventory), inventory)


def test_vmcs_config_has_no_holes() -> None:
    """The table has all 160 bytes of the struct but the padding, and controls begin at a half of their MSR."""
    assert [*range(0, 20, 4), *range(24, 160, 4)] == list(WORDS)
    assert [] == [word for word in WORDS.values() if word.shift not in (0, 32)]
    assert {0x492} == {w.msr for w in WORDS.values() if w.used and MSR_BY_INDEX[w.msr].layout is not Layout.CONTROLS}


# What is not recognised -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text", "expected"),
    [
        (["VMX_FEATURE_EPTP_SWITCHNG"], None, ("no feature is called", "eptp_switching")),
        (["my virtual machine does not start"], None, ("has nothing about VMX in it", "values of MSRs")),
        (
            ["-"],
            "Jun 1 kernel: usb 1-1: new device\nJun 1 kernel: eth0: up\n",
            ("nothing about VMX in it", "vmxd explain"),
        ),
        (["ept", "0x480=0xda040000000012"], None, ("side by side", "one after the other")),
        (["-"], " \n", ("nothing to explain", "vmxd explain")),
        (["--json", "0x480=0x1"], None, ("has no JSON", "features and MSRs by name")),
        (["IA32_VMX_PROCBASED_CTL"], None, ("no feature is called", "IA32_VMX_PROCBASED_CTLS")),
    ],
)
def test_what_is_not_recognised(arguments: list[str], text: str | None, expected: tuple[str, str]) -> None:
    """What is nothing known ends with one sentence, a hint with the forms that are, and exit code 2."""
    done = vmxd("explain", *arguments, input=text)
    sentence, hint = done.stderr.splitlines()

    assert (2, "") == (done.returncode, done.stdout)
    assert expected[0] in sentence
    assert expected[1] in hint
