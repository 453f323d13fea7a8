"""vmxd explain: say what a feature is and how it stands here, and what errors, MSR values and log lines mean."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Final

from vmxd.commands import EXIT_FINE
from vmxd.commands.input import standard_input
from vmxd.commands.output import say, terminal_width, write, write_lines
from vmxd.commands.parser import Commands, host_options
from vmxd.commands.scanning import scan_chosen
from vmxd.errors import UsageError
from vmxd.model.inventory import Inventory
from vmxd.pasted.findings import Finding, Lacking, Named
from vmxd.pasted.formats import FORMS, glean
from vmxd.tables import MSR_BY_INDEX, Feature
from vmxd.tables.find import GROUPS, find_feature, find_group, find_msr, find_uses, split_names
from vmxd.tables.rows import Msr
from vmxd.views.explain import WIDTH, block_lines, name_lines
from vmxd.views.explain_json import explain_document
from vmxd.views.json import to_json
from vmxd.views.pasted import needs_host, pasted_blocks

_SHOWN: Final = 60

_EPILOG: Final = """what can be pasted, as one argument or with - on standard input:
  0x48b=0x035d6fff00000000         values of MSRs: rdmsr, VBox.log, ...
  missing features: vmx-pml        errors of libvirt, QEMU, KubeVirt
  failed to set MSR 0x48b to 0x1   a value that KVM refused
  vmx flags : vnmi ...             lists: cpuinfo, vmxcap, Xen, ...
  VMX (...) disabled by BIOS       a kernel log, whole or in part
  <cpu> or -cpu Haswell,vmx=on     the CPU of a VM

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
    piped = arguments.names == ["-"]
    names = _standard_input() if piped else arguments.names
    width = min(WIDTH, terminal_width() or WIDTH)
    findings = _understood(names)
    if findings and not piped:
        _refuse_both(names)
    if arguments.json:
        if findings:
            raise UsageError("what was pasted has no JSON", "--json is for features and MSRs by name")
        subjects = _subjects(names, piped=piped)
        write(to_json(explain_document(subjects, _scan(arguments))).encode())
    elif not findings:
        subjects = _subjects(names, piped=piped)
        write_lines(name_lines(subjects, _scan(arguments), width))
    else:
        arguments.nested = True  # what libvirt and QEMU ask KVM for
        inventory = _scan(arguments) if needs_host(findings) else None
        write_lines(block_lines(pasted_blocks(findings, inventory), inventory, width))
    return EXIT_FINE


def _understood(names: Sequence[str]) -> Sequence[Finding]:
    """Return what is understood of a pasted text, nothing of what is names."""
    if [name.casefold() for name in names] in (["vmx"], ["vt-x"]):
        return (Lacking((Named("vmx", None),)),)
    return glean("\n".join(names)) or (glean(" ".join(names)) if len(names) > 1 else ())


def _refuse_both(names: Sequence[str]) -> None:
    """Raise UsageError if some arguments are pasted texts and others names: neither is to be lost."""
    alone = [name for name in names if glean(name)]
    if alone and any(find_uses(name) or find_group(name) or find_msr(name) for name in names if name not in alone):
        raise UsageError("feature names and what was pasted stand side by side", "explain them one after the other")


def _standard_input() -> list[str]:
    lines = standard_input().splitlines()
    if not any(line.strip() for line in lines):
        raise _unrecognised("", piped=True)
    return [line for line in lines if line.strip()]


def _scan(arguments: argparse.Namespace) -> Inventory:
    inventory = scan_chosen(arguments).inventory
    say(inventory.host.notes)
    return inventory


def _subjects(names: Sequence[str], *, piped: bool) -> list[Feature | Msr]:
    """Find the features and MSRs of names, each once; of a name that several features have, all."""
    if piped and any(_is_text(name) for name in names):
        raise _unrecognised(" ".join(names), piped=True)
    return list(dict.fromkeys(subject for name in split_names(names) for subject in _called(name)))


def _is_text(name: str) -> bool:
    return len(name.split()) != 1 or "=" in name or len(name) > _SHOWN


def _called(name: str) -> Iterable[Feature | Msr]:
    if found := find_uses(name):
        return found
    if group := find_group(name):
        return group
    if msr := find_msr(name):
        return (msr,)
    if _is_text(name):
        raise _unrecognised(name.strip(), piped=False)
    return (find_feature(name, (*GROUPS, *(msr.name for msr in MSR_BY_INDEX.values()))),)


def _unrecognised(text: str, *, piped: bool) -> UsageError:
    shown = "what was pasted" if piped else repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
    return UsageError(f"{shown} has nothing about VMX in it" if text else "there is nothing to explain", FORMS)
