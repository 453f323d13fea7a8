"""What people paste, by format: what is understood of it, whatever stands around it."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from tests.helpers.support import REPOSITORY
from vmxd.pasted.findings import (
    By,
    ControlsRefused,
    FeatureSet,
    Finding,
    Lacking,
    Message,
    MsrBits,
    MsrValues,
    Named,
    Refused,
    SetRefused,
    UnknownNames,
    Vm,
    VmxFlags,
)
from vmxd.pasted.formats import glean
from vmxd.pasted.text import prepare
from vmxd.pasted.vmxcap import TITLES
from vmxd.tables.features import FEATURES


def words(names: tuple[Named, ...]) -> str:
    """Return the features of names, by vmxd's names; of what is none, the name with a question mark."""
    return " ".join(dict.fromkeys(each.feature.name if each.feature else f"{each.text}?" for each in names))


def of(text: str, kind: type[Finding]) -> list[Finding]:
    """Return what is understood of a text, of one kind."""
    return [finding for finding in glean(text) if isinstance(finding, kind)]


# Values -----------------------------------------------------------------------------------------------------------

VALUES: Final = {
    "NAME = VALUE": ("IA32_VMX_BASIC=00da040000000012", "480=00da040000000012"),
    "a sentence": ("IA32_VMX_BASIC (MSR 0x480) = 0x3DA050000000013", "480=03da050000000013"),
    "two on a line": (
        "IA32_VMX_CR0_FIXED0=0000000080000021 IA32_VMX_CR0_FIXED1=00000000ffffffff",
        "486=0000000080000021 487=00000000ffffffff",
    ),
    "VBox.log": ("00:00:04.8 HM: MSR_IA32_VMX_MISC           = 0x7004c1e7", "485=000000007004c1e7"),
    "VBox.log of old": (
        "HWACCM: MSR_IA32_VMX_BASIC_INFO = da04000000000f\nHWACCM: MSR_IA32_VMX_EPT_VPID_CAPS = f0106114141",
        "480=00da04000000000f 48c=00000f0106114141",
    ),
    "turbostat": (
        "cpu0: MSR_IA32_FEATURE_CONTROL: 0x00040005 (Locked SGX)\ncpu6: MSR_IA32_FEATURE_CONTROL: 0x1 (Locked )",
        "3a=0000000000040005@0 3a=0000000000000001@6",
    ),
    "WinDbg": ("lkd> rdmsr 480\nmsr[480] = 00da0400`00000012", "480=00da040000000012"),
    "rdmsr": ("    $ sudo rdmsr 0x0000048B\n    7cff00000000\n", "48b=00007cff00000000"),
    "rdmsr -a": ("$ sudo rdmsr -a 0x3a\n5\n5\n1\n", "3a=0000000000000005@0,1 3a=0000000000000001@2"),
    "rdmsr -p": ("# rdmsr -p 4 -0 0x48b\n00035d6fff00000000\n".replace("000", "0", 1), "48b=035d6fff00000000@4"),
    "rdmsr in decimal": ("# rdmsr -u 58\n5\n", "3a=0000000000000005"),
    "a comment between": ("# rdmsr 0x3a\n# the answer:\n100005\n", "3a=0000000000100005"),
    "VirtualBox of 2013": (
        "HM: MSR_A32_VMX_VMFUNC = 0x1\nHM:  MSR_IA32_VMX_MISC_MAX_MSR = 512", "491=0000000000000001"),
    "decimal, as it is too long for hex": (f"IA32_VMX_BASIC = {0xDA040000000012}", "480=00da040000000012"),
    "binary": ("IA32_FEATURE_CONTROL = 0b101", "3a=0000000000000005"),
    "allowed settings": ("IA32_VMX_PINBASED_CTLS allowed0=0x00000016 allowed1=0x0000007f", "481=0000007f00000016"),
    "a table with lines": ("\u2502 0x480 \u2502 0x00da040000000012 \u2502\n| `0x48B` | `0x57cff00000000` |",
                           "480=00da040000000012 48b=00057cff00000000"),
    "Rust": ("IA32_VMX_BASIC: 0xda040000000012_u64", "480=00da040000000012"),
    "words": ("Feature Control MSR is 0x5", "3a=0000000000000005"),
    "thousands": ("IA32_VMX_MISC = 805,601,765", ""),
    "two halves apart": ("[MSR 3Ah] 00000000 00000005", "3a=0000000000000005"),
    "vmware.log": ("vmx| I005: Common: MSR      0x480 =   0xda040000000012", "480=00da040000000012"),
    "two halves": ("IA32_VMX_PINBASED_CTLS=0000007f-00000016", "481=0000007f00000016"),
    "EAX and EDX": ("[*] MSR 0x481: EAX = 0x00000016, EDX = 0x0000007F", "481=0000007f00000016"),
    "AIDA64": (
        ("-[ Logical CPU #0 ]-\nMSR 0000003A : 0000-0000-0000-0005 [S]\n-[ Logical CPU #1 ]-\n"
         "MSR 0000003Ah: 0000-0000-0000-0005"),
        "3a=0000000000000005@0,1",
    ),
    "VMware": (
        "vmx| VPID and EPT Capabilities (0x00000f0106114141)\nvmx|   EPT memory type WB      yes",
        "48c=00000f0106114141",
    ),
    "VMware's TRUE MSRs": ("True Pin-Based VM-Execution Controls (0x0000007f00000016)", "48d=0000007f00000016"),
    "VMware's CR0": ("VMX-Fixed Bits in CR0 (0x80000021/0xffffffff)", "486=0000000080000021 487=00000000ffffffff"),
    "JSON": ('{"0x48b": "0x57cff00000000", "IA32_VMX_MISC": "0x300481e5"}',
             "48b=00057cff00000000 485=00000000300481e5"),
    "a table": ("| IA32_VMX_BASIC | 0x480 | 0x00da040000000012 |", "480=00da040000000012"),
    "a recording": (
        "48b: 0-1=0x035d6fff00000000 4=0x435d6fff00000000\n48c: 0-3=EIO",
        "48b=035d6fff00000000@0,1 48b=435d6fff00000000@4",
    ),
    "vmxcap": ("Basic VMX Information\n  Hex: 0x98100000000001\nMiscellaneous data\n  Hex: 0x40",
               "480=0098100000000001 485=0000000000000040"),
    "prose": ("IA32_VMX_BASIC is in A.1; see IA32_VMX_BASIC: A description of 0x480 and 3a", ""),
    "an MSR's index as a value": ("0x3a=0x480\n0x485: 0x48b", "3a=0000000000000480 485=000000000000048b"),
    "a mail": ("> > IA32_VMX_BASIC =3D 0xda040000000012", "480=00da040000000012"),
    "errors of others": ("error: failed to set MSR 0x48e to 0xfff9\nkvm: ignored rdmsr: 0x3a data 0x0", ""),
}  # fmt: skip


@pytest.mark.parametrize("form", VALUES)
def test_values(form: str) -> None:
    """An MSR's value is understood in every tool's form, with the CPUs that the tool names."""
    text, expected = VALUES[form]
    found = [each for values in glean(text) if isinstance(values, MsrValues) for each in values.values]
    cpus = [f"@{','.join(map(str, each.cpus))}" if each.cpus else "" for each in found]

    assert expected == " ".join(
        f"{each.msr.index:x}={each.value:016x}{where}" for each, where in zip(found, cpus, strict=True)
    )


def test_an_unknown_name_refuses_no_other() -> None:
    """A name of Intel's future, and a value of more than 64 bits, are told of beside the others."""
    (found,) = glean(
        "MSR_IA32_VMX_NEW_CTLS = 0x5\nIA32_VMX_MISC = 0x1234567890abcdef0\nIA32_VMX_BASIC = 0x5a08000000000d"
    )

    assert isinstance(found, MsrValues)
    assert [0x480] == [each.msr.index for each in found.values]
    assert (("MSR_IA32_VMX_NEW_CTLS",), ("IA32_VMX_MISC",)) == (found.strange, found.too_long)


# Kernel log -------------------------------------------------------------------------------------------------------

MESSAGES: Final = {
    "[    0.135737] x86/cpu: VMX (outside TXT) disabled by BIOS": "disabled",
    "kvm_intel: VMX not enabled (by BIOS) in MSR_IA32_FEAT_CTL on CPU 3": "disabled 3",
    "kvm: disabled by bios": "disabled",
    "kvm: support for 'kvm_intel' disabled by bios": "disabled",
    "(XEN) CPU2: VMX disabled by BIOS.": "disabled 2",
    "VT-x is disabled in the BIOS for all CPU modes (VERR_VMX_MSR_ALL_VMX_DISABLED)": "disabled",
    "kvm: no hardware support": "no_vmx",
    "kvm_intel: VMX not supported by CPU 0": "no_vmx 0",
    "VMXON faulted, MSR_IA32_FEAT_CTL (0x3a) = 0x4": "vmxon",
    "kvm: enabling virtualization on CPU7 failed\nkvm: enabling virtualization on CPU6 failed": "enabling 6 7",
    "kvm: CPU 4 feature inconsistency!": "inconsistent 4",
    "kvm_intel: Failed to setup VMCS config": "setup",
    "EPT CAP should not exist if not support 1-setting enable EPT VM-execution control": "capability",
    "kvm_intel: Inconsistent VM-Entry/VM-Exit pair, entry = 100000, exit = 0": "pair",
    "modprobe: ERROR: could not insert 'kvm_intel': Operation not supported": "insert",
    "FATAL: Error inserting kvm_intel (/lib/modules/3.2.0/kernel/kvm-intel.ko): Input/output error": "insert",
    "kvm: already loaded vendor module 'kvm_intel'": "loaded",
    "kvm_intel: Using Hyper-V Enlightened VMCS": "evmcs",
    "unchecked MSR access error: RDMSR from 0x48d at rIP: 0xffffffff8106a4f4": "unchecked",
    "kvm [3464]: vcpu1, guest rIP: 0xffffffff8666b9e4 ignored rdmsr: 0x3a": "ignored",
    "rdmsr: CPU 0 cannot read MSR 0x0000048d": "cannot_read 0",
    "KVM internal error. Suberror: 1": "internal",
    "Could not access KVM kernel module: No such file or directory": "no_kvm",
    "x86/cpu: VMX (outside TXT)\n  disabled by BIOS": "disabled",
    "INFO: KVM (vmx) is disabled by your BIOS": "disabled",
    "Virtualization Enabled In Firmware: No": "disabled",
    "vmx_modinit: VMX operation disabled by BIOS": "disabled",
    "  VT-x: (disabled in BIOS) ": "disabled",
    "QEMU: Checking for hardware virtualization   : FAIL (Only emulated CPUs are available)": "no_vmx",
    "vmx_modinit: processor does not support VMX operation": "no_vmx",
    "vmx_modinit: processor does not support desired secondary processor-based controls": "refuses",
    "(XEN) VMX: Capabilities fatally differ between CPU2 and CPU0": "inconsistent 2",
    "(XEN) CPU3: unexpected VMXON failure": "vmxon 3",
    "Virtualized Intel VT-x/EPT is not supported on this platform.": "no_nested",
    "kvm: vmwrite error: reg 401e value 2021 (err 12)": "instruction",
    "kvm: VM_EXIT_LOAD_IA32_PERF_GLOBAL_CTRL does not work properly. Using workaround": "perf",
    "KVM: vmx: using Hyper-V Enlightened VMCS": "evmcs",
    "wrmsr: CPU 0 cannot set MSR 0x0000003a to 0x0000000000000005": "cannot_set 0",
    "qemu-system-x86_64: error: failed to get MSR 0x48d": "cannot_get",
    "rdmsr: open: No such file or directory": "no_msr",
    "qemu: CPU does not support KVM extensions.": "no_vmx",
    "HyperVRequirementVirtualizationFirmwareEnabled : False": "disabled",
    "SVM disabled by BIOS": "",
    "VT-d is disabled in BIOS": "",
    "kvm: no hardware support for 'kvm_amd'": "",
    "ignored rdmsr: 0x140": "",
    "SVM disabled (by BIOS) in MSR_VM_CR": "",
}


@pytest.mark.parametrize("line", MESSAGES)
def test_kernel_log(line: str) -> None:
    """Each wording of Linux 2.6 to 7.x, of Xen and of VirtualBox is known, with its CPUs; others' are not ours."""
    found = [finding for finding in glean(line) if isinstance(finding, Message)]

    assert MESSAGES[line].split() == [word for each in found for word in (each.kind, *map(str, each.cpus))]


def test_config_mismatch() -> None:
    """Offsets go with their CPU, and the failure that follows is a message of its own."""
    log = """
[    5.355958] kvm_intel: VMCS config on CPU 0 doesn't match reference config:
[    5.355986]   Offset 76 REF = 0x107fffff, CPU0 = 0x007fffff, mismatch = 0x10000000
[    5.356048] kvm: enabling virtualization on CPU0 failed
"""
    (refused,) = of(log, Refused)

    assert isinstance(refused, Refused)
    assert {0: [76]} == {cpu: [each.offset for each in mismatches] for cpu, mismatches in refused.cpus.items()}
    assert [Message("enabling", (0,))] == of(log, Message)


# QEMU and libvirt -------------------------------------------------------------------------------------------------

LACKING: Final = {
    "a log in JSON": (r'{"msg":"guest CPU: missing features: vmx-pml,vmx-ept","pos":"x.go:7"}', "pml ept"),
    "JSON in JSON": (r"Message='x: MSR(48BH).vmx-pml [bit 17]\\n2020 MSR(48CH).vmx-eptad [bit 21]\\n'", "pml ept_ad"),
    "YAML, folded": ("match specification: missing\n  features: vmx-pml,vmx-ept'')'", "pml ept"),
    "an escaped newline": (r"missing features: vmx-pml\nTraceback", "pml"),
    "quotes": ("missing features: 'vmx-pml, vmx-ept'.", "pml ept"),
    "libvirt's other sentence": ("Host CPU does not provide required features: vmx-pml, hle", "pml hle?"),
    "VMX itself": ("Host CPU does not provide required features: vmx", "vmx?"),
    "labels of KubeVirt": (
        "required features: map[cpu-feature.node.kubevirt.io/vmx-pml:true cpu-feature.node.kubevirt.io/fsrm:true]",
        "pml fsrm?",
    ),
    "QEMU on CPUID": (
        "MSR(48DH).vmx-posted-intr [bit 7] CPUID.07H:EBX.hle [bit 4] CPUID[eax=01h].ECX.vmx [bit 5] CPUID.0DH:EAX",
        "posted_intr hle? vmx?",
    ),
    "a wrapped mail": (
        (
            "2020-03-12T15:06:22.560159Z qemu-system-x86_64: warning: host doesn't suppo=\n"
            "rt requested feature: MSR(48EH).vmx-vnmi-pending [bit 22]"
        ),
        "nmi_window_exiting",
    ),
    "a bit without a name": ("host doesn't support requested feature: MSR(48BH) [bit 23]", "ept_sub_page_write"),
    "nothing missing": ("missing features: ,", ""),
}


@pytest.mark.parametrize("form", LACKING)
def test_missing_features(form: str) -> None:
    """Whatever an error is wrapped in, it names the same features; what is none of VMX's keeps its name."""
    text, expected = LACKING[form]

    assert expected == " ".join(words(each.missing) for each in glean(text) if isinstance(each, Lacking))


def test_qemu_leaves_out_what_lacks_its_needs() -> None:
    """A feature that -cpu asks for without another is missing on no host."""
    (found,) = glean("This feature depends on other features that were not requested: MSR(48BH).vmx-vmfunc [bit 13]")

    assert isinstance(found, Lacking)
    assert (By.ITSELF, "vmfunc") == (found.by, words(found.missing))


def test_tcg_lacks_nothing_of_a_host() -> None:
    """A warning that names TCG is of QEMU without KVM, and so are the others beside it."""
    (found,) = glean(
        "warning: TCG doesn't support requested feature: MSR(48EH).vmx-mtf [bit 27]\nMSR(48BH).vmx-ept [bit 1]"
    )

    assert isinstance(found, Lacking)
    assert (By.TCG, "mtf ept") == (found.by, words(found.missing))


@pytest.mark.parametrize(
    ("text", "index", "value"),
    [
        (
            "qemu-kvm: error: failed to set MSR 0x48e to 0xfff9fffe04006172\\nqemu-kvm: kvm.c:2713",
            0x48E,
            0xFFF9FFFE04006172,
        ),
        ("failed to set MSR 0x48b to 0x1582e00000000", 0x48B, 0x1582E00000000),
    ],
)
def test_a_refused_msr(text: str, index: int, value: int) -> None:
    """KVM refused a guest's value; it is no value of the host."""
    (found,) = glean(text)

    assert isinstance(found, SetRefused)
    assert [(index, value)] == [(each.msr.index, each.value) for each in found.values]


def test_names_that_a_program_is_too_old_for() -> None:
    """A property or a model that QEMU or libvirt does not know is not a feature that a host lacks."""
    found = glean("Property 'Haswell-x86_64-cpu.vmx-mbec' not found\nerror: Unknown CPU model SapphireRapids-v7")

    assert [UnknownNames((Named("vmx-mbec", FEATURES["ept_mode_based_exec"]),), ("SapphireRapids-v7",))] == list(found)


# Lists of features ------------------------------------------------------------------------------------------------

SETS: Final = {
    "Xen": (
        "(XEN) VMX: Supported advanced features:\n(XEN)  - VMCS shadowing\n(XEN)  - New Thing\n(XEN) HVM: ASIDs",
        "shadow_vmcs New Thing?",
        "",
    ),
    "FreeBSD": ("  VT-x: PAT,HLT,UG,PostIntr\n",
                "exit_save_pat exit_load_pat entry_load_pat hlt_exiting unrestricted_guest posted_intr", ""),
    "KubeVirt": ('"cpu-feature.node.kubevirt.io/vmx-pml": "true",\ncpu-feature.node.kubevirt.io/aes=true',
                 "pml aes?", ""),
    "QEMU": ('{"vmx-ept": true, "vmx-pml": false}', "ept", "pml"),
    "a VMCS": (
        "PinBased=0x00000021 CPUBased=0x80000080 SecondaryExec=0x00000002 TertiaryExec=0x0\nVMEntry=0000c000 VMExit=0",
        "intr_exiting vnmi hlt_exiting sec_controls ept entry_load_pat entry_load_efer", ""),
    "Coreinfo": ("VMX   *   Supports Intel hardware\nEPT   -   Supports Intel extended page tables", "VMX?", "ept"),
    "HAXM": ("VMX supported   *  Yes\nEPT supported   -  No", "VMX?", "ept"),
    "VirtualBox": (" RdrandExit - RDRAND exiting   = 0 (1)\n PML - Page-Modification  = 0 (0)\n FPU - x87 = 1 (1)",
                   "rdrand_exiting", "pml"),
    "vmxcap": (
        ("VM-Entry controls\n Load IA32_PAT  yes\nVM-Exit controls\n Load IA32_PAT  no\n"
         "VPID and EPT capabilities\n 2MB EPT pages  yes"),
        "entry_load_pat ept_2mb",
        "exit_load_pat",
    ),
}  # fmt: skip


@pytest.mark.parametrize("program", SETS)
def test_feature_sets(program: str) -> None:
    """A program's list is by our names, what it lacks apart; a name that we do not know stays."""
    text, present, absent = SETS[program]
    (found,) = of(text, FeatureSet)

    assert isinstance(found, FeatureSet)
    assert (program, present, absent) == (found.program, words(found.present), words(found.absent))


def test_vmx_flags_wherever_they_stand() -> None:
    """The line is taken from a file, a log or a mail; one that is there twice is one."""
    (found,) = glean("> vmx flags\t: vnmi ept\n> vmx flags\t: vnmi ept\nlscpu: vmx flags : vnmi\n")

    assert isinstance(found, VmxFlags)
    assert ["vnmi ept", "vnmi"] == [words(line) for line in found.lines]


@pytest.mark.parametrize(
    ("text", "index", "refused"),
    [
        ("VMX ctrl 0x48b not fully enabled: request 0x40004ab but get0xab", 0x48B, 0x4000400),
        ("(XEN) VMX Secondary Exec Control: saw 0x1013ef expected 0x5013ef", 0x48B, 0x400000),
    ],
)
def test_refused_controls(text: str, index: int, refused: int) -> None:
    """ACRN says what it asked for and what it got, with or without a blank; Xen what a CPU lacks of the first."""
    (found,) = glean(text)

    assert isinstance(found, ControlsRefused)
    assert (index, refused) == (found.msr.index, found.asked & ~found.got)


def test_some_bits_of_an_msr() -> None:
    """What rdmsr -f prints is of some bits, whatever the order of its options."""
    for command in ("rdmsr -f 2:0 0x3a", "rdmsr 0x3a --bitfield 2:0"):
        (found,) = glean(f"# {command}\n5\n")
        assert isinstance(found, MsrBits)
        assert (0x3A, 2, 0, 5) == (found.msr.index, found.high, found.low, found.value)


def test_verbose_freebsd() -> None:
    """A verbose boot prints words of allowed 1-settings: a feature each, there or not."""
    (found,) = of("VT-x: Basic Features=0xda0400<SMM,INS/OUTS,TRUE>\n Pin-Based Controls=0x3f<ExtINT>", FeatureSet)
    assert isinstance(found, FeatureSet)
    assert "dual_monitor ins_outs true_ctls intr_exiting nmi_exiting vnmi" == words(found.present)
    assert {"preemption_timer", "posted_intr"} <= set(words(found.absent).split())


def test_vmxcap_titles_are_of_msrs() -> None:
    """Every MSR of vmxcap's titles has rows to look words up in."""
    assert len(TITLES) == len(set(TITLES.values()))


# VMs --------------------------------------------------------------------------------------------------------------

XML: Final = """<domain type='kvm'><cpu mode='custom' match='exact'>
<model fallback='forbid'>Skylake-Client-IBRS</model><vendor>Intel</vendor>
<feature policy='require' name='vmx'/><feature name="vmx-pml" policy="force"/>
<feature policy='optional' name='vmx-ple'/>
<feature policy='disable' name='hle'/><feature policy='forbid' name='vmx-ept'/>
</cpu></domain>"""
YAML: Final = """
spec:
  domain:
    cpu:
      cores: 2
      model: Haswell-noTSX
      features:
      - name: vmx
        policy: require
      - policy: disable
        name: vmx-pml
"""
DOMCAPABILITIES: Final = """<cpu>
<mode name='host-model' supported='yes'><model>Haswell</model><feature policy='require' name='vmx-ept'/></mode>
<mode name='custom' supported='yes'><model usable='no'>Nehalem</model>
<blockers model='Nehalem'><feature name='vmx-pml'/></blockers></mode></cpu>"""
VMS: Final = {
    XML: "Skylake-Client-IBRS +vmx? pml -hle? ept ~ple",
    XML.replace("'", '\\"').replace("\n", "\\n"): "Skylake-Client-IBRS +vmx? pml -hle? ept ~ple",
    YAML: "Haswell-noTSX +vmx? -pml ~",
    "<cpu mode='host-passthrough' check='none'/>": "host-passthrough + - ~",
    "<cpu mode='host-model'><feature policy='disable' name='vmx-pml'/></cpu>": "host-model + -pml ~",
    DOMCAPABILITIES: "host-model Haswell +ept - ~",
    "qemu-system-x86_64 -enable-kvm -cpu host,-vmx-pml,+vmx -m 4G": "host-passthrough +vmx? -pml ~",
    "-cpu Snowridge,vmx=on,fma=on,vmx-ept=off \\\n-m 4": "Snowridge +vmx? fma? -ept ~",
    '"-cpu" "Haswell-noTSX,vmx=on,vmx-pml=off"': "Haswell-noTSX +vmx? -pml ~",
    "args: -cpu host,+kvm_pv_unhalt": "host-passthrough +kvm_pv_unhalt? - ~",
    "virt-install --cpu Haswell,require=vmx,disable=vmx-pml": "Haswell +vmx? -pml ~",
    "Skylake-Server-v4,+vmx,vmx-pml=off": "Skylake-Server-v4 +vmx? -pml ~",
    '{"cpu":{"model":"Haswell","features":[{"name":"vmx"},{"policy":"disable","name":"vmx-pml"}]}}':
        "Haswell +vmx? -pml ~",
    "cpu: host,flags=+pcid;-vmx-pml\ncores: 4": "host-passthrough +pcid? -pml ~",
    "cpu_mode = custom\ncpu_models = Haswell\ncpu_model_extra_flags = vmx, -vmx-pml": "Haswell +vmx? -pml ~",
    "<domain type='kvm'><name>x</name></domain>": " + - ~",
    "a-b,c-d": "",
    "-cpu-usage,high": "",
}  # fmt: skip


@pytest.mark.parametrize("text", VMS)
def test_vms(text: str) -> None:
    """Model or mode, what is required, disabled and optional, in every spelling."""
    found = [each for each in glean(text) if isinstance(each, Vm)]

    assert VMS[text] == " ".join(
        " ".join(filter(None, (each.mode, each.model)))
        + f" +{words(each.require)} -{words(each.disable)} ~{words(each.optional)}"
        for each in found
    )


def test_the_format_that_contributing_shows() -> None:
    """The example of a new format runs as it stands there."""
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "CONTRIBUTING.md").read_text(), re.DOTALL)
    module: dict[str, Any] = {}
    exec(code, module)
    (found,) = module["find"](prepare("> acme: no ept\n> on cpu 3; acme: no pml on cpu 3"))

    assert ("acme", "ept pml") == (found.program, words(found.absent))
