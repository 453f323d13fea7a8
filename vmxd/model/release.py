"""Which series of Linux a kernel release is, and how sure that is. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from vmxd.tables.kvm import NEWEST, OLDEST, Release

_VERSION: Final = re.compile(r"(\d{1,3})\.(\d{1,4})(?![\d])")
_BACKPORTS: Final = re.compile(r"\.el\d|uek|-default$|\.oe\d|\.an\d|\.tl\d|\.amzn\d|\.ky\d", re.ASCII)
"""Kernels that take more of KVM from newer releases than their number says: Red Hat and its rebuilds, Oracle's UEK,
SUSE, openEuler, Anolis, TencentOS, Amazon Linux, Kylin."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel release, as the range of series that KVM of it may be of.

    text: the release, "" if not recorded. low, high: equal if its number tells.
    too_old: it is older than all that was read, so that nothing is known of it. newer: than all that was read.
    """

    text: str
    low: Release
    high: Release
    too_old: bool = False
    newer: bool = False

    @property
    def certain(self) -> bool:
        """Whether the number tells what KVM does."""
        return not self.too_old and self.low == self.high


def parse_release(text: str | None) -> Kernel:
    """Read a release as uname -r prints it, or a series such as "6.12".

    A number without backports is certain. Backports may be of any newer release; what is newer than the newest release
    that was read is taken for that one; of what is older than the oldest, nothing is known.

    >>> parse_release("6.12.117+deb13-amd64").low
    (6, 12)
    """
    match = _VERSION.match(text or "")
    if match is None:
        return Kernel(text or "", OLDEST, NEWEST)
    assert text is not None
    series = (int(match[1]), int(match[2]))
    if series < OLDEST:
        return Kernel(text, OLDEST, NEWEST, too_old=True)
    low = min(series, NEWEST)
    high = NEWEST if _BACKPORTS.search(text) else low
    return Kernel(text, low, high, newer=series > NEWEST)


def is_release(text: str) -> bool:
    """Whether a text begins like a kernel release."""
    return _VERSION.match(text) is not None
