"""vmxd explain: say what a feature is and how it stands here, and what errors, MSR values and log lines mean."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from vmxd.commands import EXIT_FINE
from vmxd.commands.output import say, terminal_width, write, write_lines
from vmxd.commands.parser import Commands, host_options, scan_chosen
from vmxd.errors import UsageError

if TYPE_CHECKING:
    from vmxd.model.inventory import Inventory
    from vmxd.tables import Feature
    from vmxd.tables.rows import Msr

_INPUT_MAX: Final = 1 << 20
"""Bytes of standard input that are looked at: a kernel log has its place."""
_SHOWN: Final = 60

_EPILOG: Final = """what can be pasted, as one argument or with - on standard input:
  0x48b=0x035d6fff00000000                     an MSR and its value, or many
  ... missing features: vmx-vmfunc,vmx-pml     an error of libvirt or QEMU
  vmx flags : vnmi preemption_timer ...        a line of /proc/cpuinfo
  VMCS config on CPU 4 doesn't match ...       lines of the kernel log
what is said of a feature:
  needs      features without which VM entry refuses it
  needed by  features, MSRs and parameters of kvm_intel that need it
  seen       the oldest recorded CPU that has it: late at times, never early
exit codes:
  0  explained
  2  not recognised, or the host cannot be read

examples:
  vmxd explain ept VMX_FEATURE_PML  what these are, and how they stand here
  vmxd explain 0x485                an MSR, bit by bit
  dmesg | vmxd explain -            what the kernel log says about VMX
"""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "explain",
        usage="%(prog)s [options] NAME [NAME ...]",
        parents=[host_options()],
        help="say what a feature is and how it stands here, or what a pasted error or value means",
        description="Say what features are, what others call them, and how they stand on a host and why; "
        "or what an error, an MSR's value or a log line means.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a feature or an MSR by any name, a group as of show, or what is pasted; - reads standard input",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON (docs/schema/explain-1.json); of features and MSRs only"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain. Raises UsageError for what is not recognised, VmxdError where the host cannot be read."""
    from vmxd.pasted.recognise import Lacking, recognise
    from vmxd.views.explain import WIDTH, name_lines, needs_host, pasted_lines

    names = _standard_input() if arguments.names == ["-"] else arguments.names
    width = min(WIDTH, terminal_width() or WIDTH)
    pasted = recognise("\n".join(names)) or recognise(" ".join(names))
    if arguments.json:
        from vmxd.views.explain_json import explain_document
        from vmxd.views.json import to_json

        if pasted is not None:
            raise UsageError("what was pasted has no JSON", "--json is for features and MSRs by name")
        subjects = _subjects(names)
        write(to_json(explain_document(subjects, _scan(arguments))).encode())
    elif pasted is None:
        subjects = _subjects(names)
        write_lines(name_lines(subjects, _scan(arguments), width))
    else:
        arguments.nested = arguments.nested or isinstance(pasted, Lacking)  # what libvirt and QEMU ask KVM for
        write_lines(pasted_lines(pasted, _scan(arguments) if needs_host(pasted) else None, width))
    return EXIT_FINE


def _standard_input() -> list[str]:
    lines = sys.stdin.buffer.read(_INPUT_MAX).decode(errors="replace").splitlines()
    if not any(line.strip() for line in lines):
        raise _unrecognised("")
    return [line for line in lines if line.strip()]


def _scan(arguments: argparse.Namespace) -> Inventory:
    inventory = scan_chosen(arguments).inventory
    say(inventory.host.notes)
    return inventory


def _subjects(names: Sequence[str]) -> list[Feature | Msr]:
    """Find the features and MSRs of names, each once; of a name that several features have, all."""
    from vmxd.tables.find import split_names

    return list(dict.fromkeys(subject for name in split_names(names) for subject in _called(name)))


def _called(name: str) -> Iterable[Feature | Msr]:
    from vmxd.pasted.recognise import recognise
    from vmxd.tables import MSR_BY_INDEX, find_uses
    from vmxd.tables.find import GROUPS, find_feature, find_group, find_msr

    if recognise(name):
        raise UsageError("feature names and what was pasted stand side by side", "explain them one after the other")
    if found := find_uses(name):
        return found
    if group := find_group(name):
        return group
    if msr := find_msr(name):
        return (msr,)
    if len(name.split()) != 1 or "=" in name or len(name) > _SHOWN:
        raise _unrecognised(name.strip())
    return (find_feature(name, (*GROUPS, *(msr.name for msr in MSR_BY_INDEX.values()))),)


def _unrecognised(text: str) -> UsageError:
    from vmxd.pasted.recognise import FORMS

    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return UsageError(f"{shown!r} is nothing that vmxd can explain" if text else "there is nothing to explain", FORMS)
