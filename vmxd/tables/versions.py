"""The versions of the sources that the tables were held against: what they lack is newer than these.

tests/tables holds each table to the newest version that Debian's suites have; a new source version is one line here.
"""

from __future__ import annotations

from typing import Final

LINUX: Final = "7.3.4"
"""asm/vmxfeatures.h, asm/vmx.h, kernel/cpu/feat_ctl.c and kvm/vmx/ of arch/x86; 6.12.117 and 7.2.13 were read too."""
QEMU: Final = "11.1.3"
"""target/i386/cpu.c, and what this QEMU answers of its CPU models."""
LIBVIRT: Final = "12.9.0"
"""src/cpu_map."""
SDM: Final = "325462-092"
"""Order number and revision of the combined volumes."""

SOURCES: Final = {"linux": LINUX, "qemu": QEMU, "libvirt": LIBVIRT, "sdm": SDM}
"""By name, as ``vmxd features --sources`` and --json print them."""

LINUX_SERIES: Final = ".".join(LINUX.split(".")[:2])
"""For sentences: the newest series of Linux that was read, as in 7.3."""
