"""vmxd show: print the host at a glance, and features with their state."""

from __future__ import annotations

import argparse

from vmxd.commands import EXIT_FINE
from vmxd.commands.output import terminal_width, write, write_lines
from vmxd.commands.parser import Commands, host_options, profile_options
from vmxd.commands.profiles import chosen_profiles
from vmxd.commands.scanning import scan_chosen
from vmxd.model.profiles import find_profile
from vmxd.tables.find import find_rows, split_names
from vmxd.views.json import inventory_document, to_json
from vmxd.views.overview import overview_lines
from vmxd.views.show import choose, show_lines

_EPILOG = """groups, beside MSRs by name or index (misc, IA32_VMX_EXIT_CTLS, 0x48b):
  pin, primary, secondary, tertiary   pin-based and processor-based controls
  exit, entry                         VM-exit and VM-entry controls
  controls                            all of these
  fixed                               CR0 and CR4 fixed bits
  derived                             features that are no single bit
states:
  on, off                 software can set it, or cannot
  default1-clearable      a control that only the TRUE MSR lets be 0
  forced                  a control that must be 1
  invalid                 must be 0 and must be 1: a fault
  unknown                 not recorded, or could not be read: not off
  differs                 software can set it on some CPUs and not on others

without NAME and options that choose features:
  on a terminal  the host, and which of the features that matter most it lacks
  elsewhere      every feature, in a form that scripts may rely on; also --all

examples:
  vmxd show --all                 every feature, on a terminal too
  vmxd show ept vpid              two features
  vmxd show exit --only missing   VM-exit controls that the CPUs do not have
  vmxd show --root DIR --long     a recording, with all names of each feature
"""
_ONLY = ("missing", "present", "inconsistent", "unknown")


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "show",
        usage="%(prog)s [options] [NAME ...]",
        parents=[host_options(), profile_options()],
        help="print the host at a glance, and features with their state",
        description="Print the host, and VMX features by MSR in the order of the SDM, with their state.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="features by any name, MSRs or groups to show (default: all)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=_ONLY,
        metavar="STATE",
        help="features that are missing on some CPU, present on every CPU, not known on some (unknown), or on which "
        "CPUs disagree (inconsistent); may be given more than once",
    )
    parser.add_argument("--all", "-a", action="store_true", help="all features, also on a terminal")
    parser.add_argument("--long", "-l", action="store_true", help="also the SDM's words, bits, and names elsewhere")
    parser.add_argument(
        "--json", action="store_true", help="print JSON (docs/schema/show-1.json), of the features that are shown"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the host. Raises VmxdError."""
    chosen = frozenset().union(*map(find_rows, split_names(arguments.names))) if arguments.names else None
    width = terminal_width()
    chooses = arguments.names or arguments.only or arguments.all or arguments.long or arguments.json
    is_overview = width is not None and not chooses
    wanted = []
    if is_overview or arguments.profiles or arguments.profile_dirs:
        profiles = chosen_profiles(arguments.profile_dirs, arguments.profiles)
        wanted = [find_profile(name, profiles) for name in arguments.profiles] or list(profiles)
    inventory = scan_chosen(arguments, wanted).inventory
    if arguments.only:
        found = choose(inventory, arguments.only)
        chosen = found if chosen is None else chosen & found
    if arguments.json:
        write(to_json(inventory_document(inventory, chosen)).encode())
    elif is_overview and width is not None:
        write_lines(overview_lines(inventory, width))
    else:
        write_lines(show_lines(inventory, chosen, long=arguments.long, width=width))
    return EXIT_FINE
