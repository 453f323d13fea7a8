"""vmxd check: ask whether a host has features, fits profiles and CPU models, is consistent and usable."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Final

from vmxd.commands import EXIT_CANNOT_TELL, EXIT_FINE, EXIT_NO
from vmxd.commands.output import say, terminal_width, write, write_lines
from vmxd.commands.parser import Commands, host_options, profile_options, what_if_options
from vmxd.commands.profiles import chosen_profiles
from vmxd.commands.scanning import scan_chosen
from vmxd.commands.vms import chosen_vms, vm_option
from vmxd.errors import UsageError, VmxdError
from vmxd.model import answers
from vmxd.model.answers import View
from vmxd.model.offer import WhatIf
from vmxd.model.profiles import QEMU_PREFIX, Profile, cpu_model_profile, find_profile
from vmxd.model.starts import starts
from vmxd.tables.cpu_models import CPU_MODELS, features_of
from vmxd.tables.find import find_feature
from vmxd.views.check import answers_document, check_lines
from vmxd.views.json import to_json
from vmxd.views.lines import table
from vmxd.views.nagios import CODES, UNKNOWN, nagios_error, nagios_text

_EPILOG: Final = """
examples:
  vmxd check
      may VMX be used, and do all CPUs agree?
  vmxd check --require ept,vmx-vpid,VMX_FEATURE_PML
      has every CPU these, by whatever name?
  vmxd check --cpu-model Skylake-Server-v4
      can a guest get what this CPU model of QEMU asks for?
  vmxd check --vm web-1.xml
      can this host start a VM? also --vm '-cpu Haswell,vmx=on'
  vmxd check --cpu-model SapphireRapids-v8 --kernel 7.2 --kvm-parameter eptad=N
      could it with another kernel, and a parameter of kvm_intel?
  vmxd check --root DIR --profile kvm-fast --json
      the same of a recording and a profile, for a program

exit codes:
  0  everything that was asked for holds
  1  something does not
  2  nothing is known not to hold, but something could not be told
  0, 2, 3  with --format nagios: OK, CRITICAL, UNKNOWN
"""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        parents=[host_options(), profile_options(), what_if_options()],
        help="ask whether a host has features, fits profiles or CPU models",
        description="Print a status line, then one line for each reason against or unknown. "
        "Where nothing is asked for, --consistent and --usable are meant.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="FEATURES",
        help="features by any name, joined by commas: ept,vmx-vpid; may be given more than once",
    )
    parser.add_argument(
        "--cpu-model",
        dest="cpu_models",
        action="append",
        default=[],
        metavar="MODEL[-vN]",
        help="a CPU model of QEMU, its first version unless another is given; may be given more than once",
    )
    vm_option(parser)
    parser.add_argument("--consistent", action="store_true", help="all CPUs have the same values")
    parser.add_argument("--usable", action="store_true", help="VMXON may be executed on every CPU")
    parser.add_argument(
        "--view",
        choices=("hardware", "guest", "nested"),
        help="features of the hardware, or those that a guest gets: as KVM answered, else as its kernel and parameters "
        "lead to expect; nested: as KVM answers, and nothing else (default: guest for --cpu-model, else hardware)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON (docs/schema/check-1.json)")
    form.add_argument(
        "--format",
        choices=("text", "nagios"),
        default="text",
        help="nagios: print and exit as a plugin of Nagios or Icinga does (default: %(default)s)",
    )
    parser.add_argument("--list-profiles", action="store_true", help="list all profiles and stop")
    parser.add_argument("--list-cpu-models", action="store_true", help="list QEMU's CPU models and stop")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the answers. Raises VmxdError; a monitor is told on standard output, as by its own plugins."""
    if arguments.format != "nagios":
        return _run(arguments)

    try:
        return _run(arguments)
    except VmxdError as error:
        write(nagios_error(str(error)).encode())
        return UNKNOWN


def _run(arguments: argparse.Namespace) -> int:
    """Print the answers, and return the exit code of their form. Raises VmxdError."""
    if arguments.list_profiles or arguments.list_cpu_models:
        return _list(arguments)

    asked = list(_asked(arguments))
    vms = chosen_vms(arguments.vms)
    view = answers.View(arguments.view) if arguments.view else None
    what_if = WhatIf(arguments.kernel, dict(arguments.kvm_parameters) or None)
    if what_if.asked and view is None:
        view = answers.View.GUEST
    if what_if.asked and view is not answers.View.GUEST:
        raise UsageError("--kernel and --kvm-parameter are about guests", "ask with --view guest")
    if vms and view not in (None, answers.View.GUEST):
        raise UsageError("--vm is about guests", "ask with --view guest, or leave --view out")
    views = [view or _view_of(question) for question, _ in asked]
    arguments.nested = arguments.nested or bool(vms) or any(each is not answers.View.HARDWARE for each in views)
    inventory = scan_chosen(arguments).inventory
    say(inventory.host.notes)
    found = [
        answers.has_features(inventory, each, question, profile, what_if)
        for each, (question, profile) in zip(views, asked, strict=True)
    ]
    found += [starts(inventory, vm, what_if) for vm in vms]
    both = not (asked or vms or arguments.consistent or arguments.usable)
    if arguments.consistent or both:
        found.append(answers.consistent(inventory))
    if arguments.usable or both:
        found.append(answers.usable(inventory))
    if arguments.format == "nagios":
        write(nagios_text(found).encode())
        return CODES[answers.overall(found)]
    if arguments.json:
        write(to_json(answers_document(inventory, found)).encode())
    else:
        write_lines(check_lines(found, terminal_width()))
    return {True: EXIT_FINE, False: EXIT_NO, None: EXIT_CANNOT_TELL}[answers.overall(found)]


def _view_of(question: str) -> View:
    """Choose whose features a question is about: a CPU model is what a guest is to be."""
    return View.GUEST if question == "cpu-model" else View.HARDWARE


def _asked(arguments: argparse.Namespace) -> Iterator[tuple[str, Profile]]:
    """Yield what is asked for as sets of features, each with the flag's name; a feature is a set of its own."""
    for text in ",".join(arguments.require).split(",") if arguments.require else ():
        if not text.strip():
            raise UsageError("--require names nothing between two commas", "as in --require ept,vpid")
        name = find_feature(text).name
        yield "require", Profile(name, "", (name,))
    if arguments.profiles or arguments.profile_dirs:
        profiles = chosen_profiles(arguments.profile_dirs, arguments.profiles)
        yield from (("profile", find_profile(name, profiles)) for name in arguments.profiles)
    for text in arguments.cpu_models:
        profile = cpu_model_profile(text)
        named = Profile(profile.name.removeprefix(QEMU_PREFIX), "", profile.features)
        yield "cpu-model", named


def _list(arguments: argparse.Namespace) -> int:
    lines: list[tuple[str, str]] = []
    if arguments.list_profiles:
        profiles: Iterable[Profile] = chosen_profiles(arguments.profile_dirs, arguments.profiles)
        lines += [
            (each.name, f"{len(each.features)} features; {each.description or 'no description'}") for each in profiles
        ]
    if arguments.list_cpu_models:
        for model in CPU_MODELS:
            counts = dict.fromkeys(str(len(features_of(model, version))) for version in range(1, model.versions + 1))
            also = "".join(f", -v{version} also {alias}" for alias, version in model.aliases.items())
            last = f"-v1 to -v{model.versions}" if model.versions > 1 else "-v1"
            lines.append(
                (model.name, f"{last}, {' to '.join(list(counts)[:: max(1, len(counts) - 1)])} features{also}")
            )
    write_lines(table((), lines, terminal_width()))
    return EXIT_FINE
