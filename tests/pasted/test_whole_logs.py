"""Whole logs, as they are piped in: nothing in the answer but what is about VMX, in time that follows the length."""

from __future__ import annotations

import random
import time
from typing import Final

import pytest

from vmxd.pasted.findings import FeatureSet, Finding, Message, MsrValues, Refused
from vmxd.pasted.formats import glean
from vmxd.pasted.text import TEXT_MAX

DMESG: Final = """\
[    0.000000] Linux version 6.12.48+deb13-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-14) #1 SMP
[    0.000000] BIOS-provided physical RAM map: [mem 0x0000000000000480-0x000000000009fbff] usable
[    0.004000] ACPI: PM-Timer IO Port: 0x408, SCI 0x3a 0x00000005 level
[    0.021000] x2apic: enabled by BIOS, switching to x2apic ops
[    0.031000] pnp 00:03: [io  0x0480-0x048f] has been reserved
[    0.040000] pci 0000:00:1f.0: quirk: [io  0x0480-0x04bf] claimed by ICH6 GPIO
[    0.050000] pci 0000:01:00.0: reg 0x10: [mem 0xfe000000-0xfe03ffff 64bit]
[    0.060000] smpboot: CPU0: Intel(R) Xeon(R) CPU (family: 0x6, model: 0x8f, stepping: 0x8)
[    0.061000] smp: Bringing up secondary CPUs ... node #0, CPUs: #1 #2 #3
[    0.070000] Performance Events: PEBS fmt4+, generic architected perfmon, Intel PMU driver.
[    0.080000] microcode: Current revision: 0x2b000590
[    0.090000] DMAR: dmar0: reg_base_addr fed90000 ver 1:0 cap 1c0000c40660462 ecap 7e3ff0505e
[    0.100000] i2c i2c-0: device 0x3a: 0x00000005 answers at 0x480: 0x12345678
[    0.110000] usb 1-1: New USB device found, idVendor=8087, idProduct=0029, bcdDevice= 0.01
[    0.120000] systemd[1]: Inserted module 'autofs4'
[    0.130000] EDAC MC0: Giving out device to module skx_edac controller 0x480 = 0x00000005
[    0.140000] ata1.00: supports DRM functions and may not be fully accessible
[    0.150000] nvme nvme0: allocated 64 MiB host memory buffer; missing features: none
[    0.160000] kvm_intel: L1TF CPU bug present and SMT on, data leak possible.
[    0.170000] kvm [2121]: ignored rdmsr: 0x140 data 0x0
[    0.180000] SGX disabled by BIOS.
[    0.190000] mce: CPU 3: Machine Check: 0 Bank 4: ba00000000000480
[    0.200000] audit: type=1400 apparmor="STATUS" name="libvirtd" comm="apparmor_parser" cpu=3
"""
VBOX: Final = """\
00:00:00.071771 [/CPUM/] (level 1)
00:00:00.071772   NestedHWVirt       <integer> = 0x0000000000000000 (0)
00:00:00.071773   Irq0x3a            <integer> = 0x0000000000000480 (1 152)
00:00:00.093001 PIIX3 ATA: LUN#0: 0x48b 0x00000005
00:00:00.093002 HM: Host CR4                          = 0x370678
00:00:00.093003 HM: MSR_IA32_SMM_MONITOR_CTL          = 0x0
00:00:00.093004 HM:   CR3_LOAD_EXIT (must be set)
00:00:00.093005 HM:   VMCS size                         = 1024 bytes
00:00:00.093006 HM:   PREEMPT_TIMER_TSC                 = 0x7
00:00:00.093007 HM:   MAX_MSR                           = 0x0 ( 512 )
00:00:00.155007   APIC - APIC On-Chip                                     = 1 (1)
00:00:00.155008   VME - Virtual 8086 Mode Enhancements                    = 1 (1)
00:00:00.155009   MSR - Model Specific Registers                          = 1 (1)
00:00:02.946465 Guest CPUM (VCPU 0) state: cr0=00000011 cr4=00000000 EFER=0000000000000000
"""
AIDA: Final = """\
------[ CPUID Registers / Logical CPU #1 ]------
CPUID 00000001: 000906EA-00100800-7FFAFBFF-BFEBFBFF
CPUID 80000004: 00000000-00000480-0000003A-0000048B
------[ MSR Registers ]------
MSR 00000017: 0004-0000-0000-0000 [PlatID = 1]
MSR 0000019C: 0000-0000-883A-0000 [100C]
MSR 00000492: < FAILED >
MSR 000004C1: 0000-0000-0000-0480
PCI 00:1F.3: 0480 3A00 048B
"""
MSRS: Final = {0x3A: 0x5, 0x480: 0xDA0400_0000_0004, 0x48B: 0x5FBCFF_0000_0000}


def facts(findings: tuple[Finding, ...]) -> set[object]:
    """Return what is understood: values, kinds of messages, CPUs that are refused, features of a list."""
    found: set[object] = set()
    for each in findings:
        if isinstance(each, MsrValues):
            found |= {(value.msr.index, value.value, value.cpus) for value in each.values}
        elif isinstance(each, Message):
            found |= {each.kind, *each.cpus}
        elif isinstance(each, Refused):
            found |= {("refused", cpu) for cpu in each.cpus}
        elif isinstance(each, FeatureSet):
            found |= {named.text for named in each.present} | {f"no {named.text}" for named in each.absent}
        else:
            found.add(each)
    return found


WHOLE: Final = {
    "dmesg": (
        DMESG,
        ("[    5.355958] kvm_intel: VMCS config on CPU 2 doesn't match reference config:\n"
         "[    5.355986]   Offset 76 REF = 0x107fffff, CPU2 = 0x007fffff, mismatch = 0x10000000\n"
         "[    5.356048] kvm: enabling virtualization on CPU2 failed\n"),
        {"enabling", 2, ("refused", 2)},
    ),
    "a Debian host's dmesg": (DMESG, "[    5.1] kvm_intel: Using Hyper-V Enlightened VMCS\n", {"evmcs"}),
    "VBox.log": (
        VBOX,
        "".join(f"00:00:04.8 HM: MSR_IA32_{name:27} = {MSRS[index]:#x}\n" for index, name in (
            (0x3A, "FEATURE_CONTROL"), (0x480, "VMX_BASIC"), (0x48B, "VMX_PROCBASED_CTLS2")))
        + "00:00:05.1   RdrandExit - RDRAND exiting                             = 0 (1)\n"
          "00:00:05.1   PML - Page-Modification Log                             = 0 (0)\n",
        {*((index, value, ()) for index, value in MSRS.items()), "RdrandExit", "no PML"},
    ),
    "AIDA64": (
        AIDA,
        "".join(f"MSR {index:08X}: {value >> 48:04X}-{value >> 32 & 0xFFFF:04X}-{value >> 16 & 0xFFFF:04X}-"
                f"{value & 0xFFFF:04X}\n" for index, value in MSRS.items()),
        {(index, value, ()) for index, value in MSRS.items()},
    ),
}  # fmt: skip


@pytest.mark.parametrize("log", WHOLE)
def test_nothing_but_vmx(log: str) -> None:
    """A thousand lines that look like it and are not, in any order, add nothing to the few that are."""
    noise, ours, expected = WHOLE[log]
    lines = noise.splitlines(keepends=True)
    if log == "AIDA64":
        text = noise.replace("MSR 00000492", ours + "MSR 00000492")
    else:
        chosen = random.Random(log)
        text = "".join(chosen.choices(lines, k=500)) + ours + "".join(chosen.choices(lines, k=500))

    assert expected == facts(glean(text))
    assert set() == facts(glean(noise))


def test_as_much_as_is_taken_costs_seconds() -> None:
    """Half a MiB of a log costs eight times an eighth of it, with room for noise; four MiB are taken."""
    costs = []
    for size in (TEXT_MAX // 64, TEXT_MAX // 8):
        text = (DMESG * (size // len(DMESG) + 1))[:size]
        start = time.process_time()
        glean(text)
        costs.append(time.process_time() - start)

    assert costs[1] < 24 * costs[0]
