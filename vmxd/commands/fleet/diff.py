"""vmxd fleet diff: two hosts, two pools, one of them at two times, or with another kernel or other parameters."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from vmxd.commands.fleet.options import (
    ask,
    check_recordings,
    chosen_api,
    chosen_matchers,
    chosen_time,
    chosen_view,
    fleet_options,
    output_options,
    print_answer,
    read_fleet,
    view_option,
)
from vmxd.commands.output import say
from vmxd.commands.parser import Commands, parameter_option
from vmxd.errors import UsageError, VmxdError
from vmxd.fleet.api import Api
from vmxd.fleet.diff import Side, compare
from vmxd.fleet.guests import as_guests
from vmxd.fleet.prometheus import Asked, NoHostsError, host_matchers, quote
from vmxd.fleet.recordings import Reader
from vmxd.fleet.times import parse_time
from vmxd.fleet.words import hosts_text, some
from vmxd.model.answers import View
from vmxd.model.offer import AS_IT_IS, WhatIf
from vmxd.model.release import is_release
from vmxd.tables import FEATURES
from vmxd.views.guest_words import what_if_text

_POOL: Final = re.compile(r"([a-zA-Z_]\w*)=(.+)", re.ASCII)

_EPILOG: Final = """what can be compared:
  host-1 host-2:10480         two hosts, by instance label, with or without port
  cluster=a cluster=b         two pools, by any label of their targets
  host-1@2026-11-01 host-1    one host (or pool) then and now
  host-1 ../yesterday/host-1  of --recordings: one there, and one elsewhere
  --kernel 6.12 7.3           what guests gain or lose by that, on all or A
  --kernel 7.3                the same, from each host's own; of A and B, both's
  --kvm-parameter eptad=N     what guests gain or lose by a parameter

exit codes:
  0  nothing differs
  1  something does
  2  nothing is known to differ, but not everything is known

examples:
  vmxd fleet diff --prometheus http://prom:9090 host-1@2026-11-01 host-1
      what became of a host
  vmxd fleet diff --recordings hosts host-1 host-2
      two recordings of a directory
  vmxd fleet diff --prometheus http://prom:9090 cluster=a --kernel 7.3
      what a pool's guests would gain or lose by a new kernel
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "diff",
        usage="%(prog)s [options] (--prometheus URL | --recordings DIR) [A [B]]",
        parents=[fleet_options(), output_options()],
        help="what differs between two hosts or pools, then and now, or with another kernel or parameters",
        description="Compare two hosts, two pools, or one of them at two times; or what guests get on all hosts, or "
        "some, with another kernel or other parameters of kvm_intel.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "names", nargs="*", metavar="A", help="a host or a pool, and a time; and what to compare it with"
    )
    view_option(parser)
    parser.add_argument(
        "--kernel",
        nargs="+",
        default=[],
        metavar="RELEASE",
        help="what guests would get with this release of Linux; two: from the first to the second",
    )
    parameter_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the differences. Raises VmxdError."""
    view, names = chosen_view(arguments), list(arguments.names)
    names += [text for text in arguments.kernel if not is_release(text)]  # argparse has them all for --kernel
    kernels = [text for text in arguments.kernel if is_release(text)]
    if arguments.kernel and not kernels:
        raise UsageError(f"{names[-1]!r} is no release of Linux", "as in --kernel 6.12 7.3")
    parameters = dict(arguments.kvm_parameters) or None
    if len(names) > 2 or len(kernels) > 2 or (len(names) == 2 and len(kernels) == 2):
        raise UsageError(
            "vmxd fleet diff compares two", "as in A B, or A --kernel 6.12 7.3; see vmxd fleet diff --help"
        )
    if len(names) == 2:
        what_if = WhatIf(kernels[0] if kernels else None, parameters)
        return print_answer(arguments, compare(*_named(arguments, names, view, what_if)))
    if not kernels and not parameters:
        raise UsageError(
            "vmxd fleet diff needs A and B, or --kernel or --kvm-parameter", "as in vmxd fleet diff --kernel 6.12 7.3"
        )
    before = WhatIf(kernels[0]) if len(kernels) == 2 else AS_IT_IS
    after = WhatIf(kernels[-1] if kernels else None, parameters)
    side = _named(arguments, names, View.HARDWARE)[0] if names else _everyone(arguments)
    return print_answer(arguments, compare(*_asked(side, before, after)))


def _asked(side: Side, *asked: WhatIf) -> list[Side]:
    """Return what a VM gets on hosts if these were otherwise; hosts of which too little is known are left out."""
    sides = [(what_if, as_guests(side.hosts, what_if)) for what_if in asked]
    dark = {host.name for _, hosts in sides for host in hosts if host.kind is None or host.failed}
    if len(dark) == len(side.hosts):
        reason = next((host.reason for _, hosts in sides for host in hosts if host.kind is None and host.reason), "")
        hint = reason or "vmxd fleet summary says why"
        raise VmxdError("nothing, or too little, is known of what guests get on any of these hosts", hint)
    if dark:
        say([f"nothing, or too little, is known of {hosts_text(len(dark))}, left out: {some(sorted(dark), 3)}"])
    return [
        replace(
            side,
            name=what_if_text(what_if),
            hosts=tuple(host for host in hosts if host.name not in dark),
            view=View.GUEST,
            is_asked=True,
        )
        for what_if, hosts in sides
    ]


def _everyone(arguments: argparse.Namespace) -> Side:
    fleet = read_fleet(arguments, tuple(FEATURES))
    return Side("", fleet.source, fleet.taken_at, fleet.hosts)


def _named(arguments: argparse.Namespace, names: list[str], view: View, what_if: WhatIf = AS_IT_IS) -> list[Side]:
    """Read the sides that were named, by a view."""
    if arguments.prometheus is None:
        check_recordings(arguments)
        return [_viewed(_recorded(arguments, name), view, what_if) for name in names]
    with chosen_api(arguments) as api:
        return [_viewed(_scraped(api, arguments, name), view, what_if) for name in names]


def _viewed(side: Side, view: View, what_if: WhatIf) -> Side:
    return side if view is View.HARDWARE else replace(side, hosts=as_guests(side.hosts, what_if), view=view)


def _scraped(api: Api, arguments: argparse.Namespace, name: str) -> Side:
    what, at_sign, time = name.rpartition("@")
    at = parse_time(time) if at_sign else chosen_time(arguments)
    what = what if at_sign else name
    pool = _POOL.fullmatch(what)
    try:
        if pool:
            asked = Asked(chosen_matchers(arguments, f"{pool[1]}={quote(pool[2])}"), at)
        else:
            asked = Asked(chosen_matchers(arguments), at, host=host_matchers(what))
        if chosen_view(arguments) is View.GUEST:
            asked = replace(asked, nested=tuple(FEATURES), parameters=True)
        fleet = ask(api, asked)
    except NoHostsError as error:
        hint = "vmxd fleet report --csv lists hosts and their labels" if pool else "vmxd fleet summary --csv lists them"
        raise UsageError(f"no {'hosts have' if pool else 'host is called'} {name}", hint) from error
    if not pool and len(fleet.hosts) > 1:
        names = ", ".join(host.name for host in fleet.hosts)
        raise UsageError(f"several hosts are called {what}", f"name one as it is listed: {names}")
    return Side(name, fleet.source, fleet.taken_at, fleet.hosts)


def _recorded(arguments: argparse.Namespace, name: str) -> Side:
    path = Path(name) if "/" in name else Path(arguments.recordings, name)
    if not path.is_dir():
        hint = (
            f"{arguments.recordings} has those that vmxd fleet summary --csv lists; one elsewhere is named by its path"
        )
        raise UsageError(f"there is no recording {path}", hint)
    host = Reader().read(path.name, str(path))
    return Side(name, str(path.parent), path.stat().st_mtime, (host,))
