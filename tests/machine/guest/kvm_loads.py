# ruff: noqa: INP001 (a script that is run inside a guest)
"""Load kvm_intel with one set of parameters after the other: KVM's answer and sysfs in $OUT/kvm/NAME."""

from __future__ import annotations

import os
import subprocess
import sys

from vmxd.host.files import Files
from vmxd.host.kvm import read_kvm_msrs
from vmxd.host.kvm_text import format_kvm_text
from vmxd.host.parameters import DIRECTORY

MODULE = "/lib/modules/kvm-intel.ko"


def load(name: str, parameters: list[str], directory: str) -> None:
    """Load, ask, unload; what the kernel says of a load that fails is kept."""
    print(f"@@ kvm {name}", flush=True)
    os.makedirs(directory)
    with open("/dev/kmsg", "w") as log:
        log.write(f"load {name}\n")
    done = subprocess.run(["insmod", MODULE, *parameters], capture_output=True, text=True, check=False)
    write(directory, "error", done.stderr)
    if done.returncode == 0:
        os.makedirs(f"{directory}/{DIRECTORY}")
        for each in os.listdir(f"/{DIRECTORY}"):
            with open(f"/{DIRECTORY}/{each}") as file:
                write(directory, f"{DIRECTORY}/{each}", file.read())
        write(directory, "kvm.txt", format_kvm_text(read_kvm_msrs(Files("/"))))
        subprocess.run(["rmmod", "kvm_intel"], check=False)
    log_text = subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout
    write(directory, "dmesg", log_text.rpartition(f"load {name}\n")[2])


def write(directory: str, name: str, text: str) -> None:
    """Write one file."""
    with open(f"{directory}/{name}", "w") as file:
        file.write(text)


for line in sys.stdin:
    first, *rest = line.split()
    load(first, rest, f"{os.environ['OUT']}/kvm/{first}")
