"""Since when QEMU knows its properties vmx-*: an older one refuses a name that it does not know.

From the programs of Debian's releases, QEMU 5.2, 7.2, 10.0 and 11.1: what is not listed here, all of them know.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

Version = tuple[int, int]
"""A series of QEMU: (7, 2)."""

OLDEST: Final[Version] = (5, 2)
"""The oldest that was read."""


class Since(NamedTuple):
    """When a name began: the last series known to lack it, the first known to have it."""

    without: Version
    by: Version


_BETWEEN: Final = {
    Since((5, 2), (7, 2)): "vmx-tsc-scaling vmx-exit-load-pkrs vmx-entry-load-pkrs",
    Since((7, 2), (10, 0)): "vmx-any-errcode vmx-nested-exception vmx-enable-user-wait-pause vmx-exit-secondary-ctls "
    "vmx-entry-load-fred",
    Since((10, 0), (11, 1)): "vmx-mbec vmx-exit-save-cet vmx-entry-load-cet",
}
SINCE: Final = {name: since for since, names in _BETWEEN.items() for name in names.split()}
"""By QEMU's name of the property."""
_VERSION: Final = re.compile(r"(\d{1,2})\.(\d{1,3})(?:[.+~-][\w.+~-]{0,60})?", re.ASCII)


def parse_version(text: str) -> Version | None:
    """Read a version of QEMU, as in 7.2 or 7.2.9; None if it is none.

    >>> parse_version("7.2.9")
    (7, 2)
    """
    match = _VERSION.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def knows(version: Version, name: str) -> bool:
    """Whether a QEMU is known to know a property."""
    return version >= OLDEST and (name not in SINCE or version >= SINCE[name].by)
