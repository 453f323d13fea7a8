# ruff: noqa: INP001 (a script that is run inside a guest)
"""Take the last CPU offline in the middle of a scan, before its device is opened and after; print what comes of it."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable
from pathlib import Path

from vmxd.host.files import Files
from vmxd.host.msr import MsrDevices
from vmxd.host.root import read_host

CPU = 2
SWITCH = Path(f"/sys/devices/system/cpu/cpu{CPU}/online")
NODE = Path(f"/dev/cpu/{CPU}/msr")

failures: list[str] = []


class Racing(MsrDevices):
    """Devices of which one loses its CPU, before or after it is opened."""

    def __init__(self, before: bool) -> None:
        super().__init__(Files("/"))
        self._before = before

    def open(self, cpu: int) -> int:
        """Open as ever, but switch the CPU off."""
        if cpu != CPU:
            return super().open(cpu)
        if self._before:
            SWITCH.write_text("0")
        try:
            fd = super().open(cpu)
        except OSError as error:
            failures.append(f"open: {error.strerror}")
            raise
        SWITCH.write_text("0")
        try:
            self.pread(fd, 0x480)
        except OSError as error:
            failures.append(f"read: {errno.errorcode[error.errno or 0]}")
        return fd


def wait_for(true: Callable[[], bool]) -> None:
    """Wait, devtmpfs makes nodes a moment later."""
    while not true():
        time.sleep(0.1)


for before in (True, False):
    host = read_host("/", devices=Racing(before))
    print(json.dumps({"online": host.online, "read": sorted(host.readings[0x480]), "failures": failures}))
    failures.clear()
    SWITCH.write_text("1")
    wait_for(NODE.exists)
