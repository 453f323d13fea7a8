"""vmxd fleet diff: two hosts, two pools, or one host at two times."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Final

from vmxd.commands.fleet.options import (
    ask,
    check_recordings,
    chosen_api,
    chosen_matchers,
    chosen_time,
    fleet_options,
    output_options,
    print_answer,
)
from vmxd.commands.parser import Commands
from vmxd.errors import UsageError
from vmxd.fleet.api import Api
from vmxd.fleet.diff import Side, compare
from vmxd.fleet.prometheus import Asked, NoHostsError, host_matchers, quote
from vmxd.fleet.recordings import Reader
from vmxd.fleet.times import parse_time

_POOL: Final = re.compile(r"([a-zA-Z_]\w*)=(.+)", re.ASCII)

_EPILOG: Final = """what can be compared:
  host-1 host-2:10480         two hosts, by instance label, with or without port
  cluster=a cluster=b         two pools, by any label of their targets
  host-1@2026-11-01 host-1    one host (or pool) then and now
  host-1 ../yesterday/host-1  of --recordings: one there, and one elsewhere

exit codes:
  0  nothing differs
  1  something does
  2  nothing is known to differ, but not everything is known

examples:
  vmxd fleet diff --prometheus http://prom:9090 host-1@2026-11-01 host-1
      what became of a host
  vmxd fleet diff --recordings hosts host-1 host-2
      two recordings of a directory
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "diff",
        usage="%(prog)s [options] (--prometheus URL | --recordings DIR) A B",
        parents=[fleet_options(), output_options()],
        help="what differs between two hosts or pools, or between then and now",
        description="Compare two hosts, two pools, or one of them at two times.",
        epilog=_EPILOG,
    )
    parser.add_argument("a", metavar="A", help="a host or a pool, and a time")
    parser.add_argument("b", metavar="B", help="what to compare it with")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the differences. Raises VmxdError."""
    if arguments.prometheus is None:
        check_recordings(arguments)
        return print_answer(arguments, compare(*(_recorded(arguments, name) for name in (arguments.a, arguments.b))))
    with chosen_api(arguments) as api:
        found = compare(*(_scraped(api, arguments, name) for name in (arguments.a, arguments.b)))
    return print_answer(arguments, found)


def _scraped(api: Api, arguments: argparse.Namespace, name: str) -> Side:
    what, at_sign, time = name.rpartition("@")
    at = parse_time(time) if at_sign else chosen_time(arguments)
    what = what if at_sign else name
    pool = _POOL.fullmatch(what)
    try:
        if pool:
            fleet = ask(api, Asked(chosen_matchers(arguments, f"{pool[1]}={quote(pool[2])}"), at))
        else:
            fleet = ask(api, Asked(chosen_matchers(arguments), at, host=host_matchers(what)))
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
