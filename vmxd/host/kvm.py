"""Ask KVM what it gives to guests: system ioctls on dev/kvm, by which no VM is made (Linux include/uapi/linux/kvm.h).

Needs no capability, only that the device may be opened: the group kvm, where udev has it so. No CPU is interrupted: KVM
answers from what it found when it was loaded.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from array import array
from typing import Final

from vmxd.host.files import Files
from vmxd.model.facts import Failed, KvmMsrs, Reading
from vmxd.tables import CAPABILITY_RANGE

DEVICE: Final = "dev/kvm"

_NUMBER: Final = os.makedev(10, 232)
"""KVM_MINOR of the misc devices (Linux include/linux/miscdevice.h)."""
_CHECK_EXTENSION: Final = 0xAE03
_CAP_GET_MSR_FEATURES: Final = 153
_GET_MSR_FEATURE_INDEX_LIST: Final = 0xC004AE0A
_GET_MSRS: Final = 0xC008AE88
_ONE_MSR: Final = struct.Struct("=IIIIQ")
"""struct kvm_msrs with one entry: nmsrs, pad, index, reserved, data."""
_ROOM: Final = 64
_ROOM_MAX: Final = 1 << 16


def read_kvm_msrs(files: Files) -> KvmMsrs | Failed:
    """Return what KVM says of its feature MSRs, or why it says nothing.

    ENOTSUP is not the kernel's: it stands for a KVM without KVM_CAP_GET_MSR_FEATURES, older than Linux 4.17.
    """
    try:
        fd = files.open_device(DEVICE, lambda number: number == _NUMBER)
    except OSError as error:
        return _failed(error)
    try:
        if not fcntl.ioctl(fd, _CHECK_EXTENSION, _CAP_GET_MSR_FEATURES):
            return Failed("ENOTSUP")
        listed = list_feature_msrs(fd)
        return KvmMsrs(listed, {index: _read(fd, index) for index in listed if index in CAPABILITY_RANGE})
    except OSError as error:
        return _failed(error)
    finally:
        os.close(fd)


def list_feature_msrs(fd: int, room: int = _ROOM) -> tuple[int, ...]:
    """Return the indexes that KVM lists, ascending; asks again with more room where they do not fit. Raises OSError."""
    while True:
        indexes = array("I", [room, *(0,) * room])
        try:
            fcntl.ioctl(fd, _GET_MSR_FEATURE_INDEX_LIST, indexes)
        except OSError as error:
            if error.errno != errno.E2BIG or room >= _ROOM_MAX:
                raise
            room *= 2
        else:
            return tuple(sorted(set(indexes[1 : 1 + indexes[0]])))


def _read(fd: int, index: int) -> Reading:
    """Return one MSR's value, or why there is none; ENODATA where KVM says only that it gave none."""
    entry = bytearray(_ONE_MSR.pack(1, 0, index, 0, 0))
    try:
        count = fcntl.ioctl(fd, _GET_MSRS, entry)
    except OSError as error:
        return _failed(error)
    value: int = _ONE_MSR.unpack(entry)[4]
    return value if count == 1 else Failed("ENODATA")


def _failed(error: OSError) -> Failed:
    return Failed(errno.errorcode.get(error.errno or 0, "EIO"))
