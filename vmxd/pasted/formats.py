"""Every format of what people paste: a new one is a file with find(), and a line here.

A format takes what it knows wherever it stands and leaves the rest, so that several of them find theirs in one text:

    def find(text: str) -> Iterator[Finding]:
        for match in _PATTERN.finditer(text):
            yield Message("my_kind", cpus=(int(match["cpu"]),))

Its patterns have bounded repeats; text.pattern() lets a blank be the end of a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from vmxd.pasted import flags, kernel_log, qemu, values, virtualbox, vm, vmxcap
from vmxd.pasted.findings import Finding
from vmxd.pasted.text import prepare

FORMATS: Final[tuple[Callable[[str], Iterator[Finding]], ...]] = (
    kernel_log.find,
    qemu.find,
    vm.find,
    flags.find,
    vmxcap.find,
    virtualbox.find,
    values.find,
)

FORMS: Final = (
    "vmxd explain takes features and MSRs by any name, values of MSRs, errors of libvirt and QEMU, kernel logs, "
    '"vmx flags" lines, a VM\'s XML or -cpu'
)


def glean(text: str) -> tuple[Finding, ...]:
    """Return all that is understood of a text, () if nothing. Raises UsageError for a text that is too long."""
    prepared = prepare(text)
    return tuple(finding for find in FORMATS for finding in find(prepared))
