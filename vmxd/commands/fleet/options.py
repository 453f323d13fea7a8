"""What every question about a fleet shares: where the hosts come from, and how the answer is printed."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import TYPE_CHECKING, Final

from vmxd.commands.output import complain, write
from vmxd.commands.parser import Parser
from vmxd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmxd.fleet.api import Api
    from vmxd.fleet.model import Fleet
    from vmxd.fleet.table import Table
    from vmxd.views.json import Json

_PROMETHEUS_ONLY: Final = ("http_config_file", "headers", "selector", "at", "timeout")
_FLAGS: Final = {"http_config_file": "--http.config.file", "headers": "--header"}
_TIMEOUT: Final = 60.0


def fleet_options() -> Parser:
    """Return the options that choose a fleet, as a parent for a question's parser."""
    options = Parser(add_help=False)
    source = options.add_mutually_exclusive_group(required=True)
    prometheus_options(source, options)
    source.add_argument("--recordings", metavar="DIR", help="a directory that has one recording in each of its own")
    return options


def prometheus_options(source: argparse._ActionsContainer, options: Parser, *, required: bool = False) -> None:
    """Add the options for a Prometheus: its URL to a group, the others to the parser."""
    source.add_argument(
        "--prometheus",
        metavar="URL",
        required=required,
        help="a Prometheus, Thanos, Mimir or VictoriaMetrics that scrapes vmxd, as http://prom:9090",
    )
    options.add_argument(
        "--http.config.file",
        dest="http_config_file",
        metavar="FILE",
        help="how to reach it, as promtool takes it: basic_auth, authorization, tls_config, http_headers, proxy_url",
    )
    options.add_argument(
        "--header",
        dest="headers",
        action="append",
        metavar="'NAME: VALUE'",
        help="a header of each request, as X-Scope-OrgID for Mimir; may be given more than once",
    )
    options.add_argument(
        "--selector", metavar="MATCHERS", help="""hosts whose targets have these labels: 'cluster="a",job="vmxd"'"""
    )
    options.add_argument("--at", metavar="TIME", help="as of then: 2026-11-01T12:30:00Z or a Unix time (default: now)")
    options.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help=f"of the whole answer (default: {_TIMEOUT:g})"
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 3600")
    return seconds


def output_options() -> Parser:
    """Return the options that choose the form of an answer, as a parent for a question's parser."""
    options = Parser(add_help=False)
    form = options.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON (docs/schema)")
    form.add_argument("--csv", action="store_true", help="print CSV")
    return options


def read_fleet(
    arguments: argparse.Namespace,
    matchers: str = "",
    *,
    at: float | None = None,
    nested: Sequence[str] | None = None,
    host: str = "",
) -> Fleet:
    """Read the fleet that fleet_options() chose, and say on a terminal what is going on. Raises VmxdError.

    matchers: label matchers beside those of --selector. at: Unix time instead of --at. nested: features of which it is
    asked whether KVM offers them to guests. host: matchers of one host.
    """
    if arguments.prometheus is None:
        from vmxd.fleet.recordings import read_recordings

        check_recordings(arguments)
        with _status():
            return read_recordings(arguments.recordings, _progress)
    from vmxd.fleet.prometheus import Asked, all_of, read_prometheus

    api = chosen_api(arguments)
    if at is None:
        at = chosen_time(arguments)
    with asking(api):
        matchers = all_of(chosen_selector(arguments), matchers)
        fleet = read_prometheus(api, Asked(matchers, at, tuple(nested or ()), host))
    for warning in fleet.warnings:
        complain(f"vmxd: warning: {warning}; hosts may be missing")
    return fleet


def check_recordings(arguments: argparse.Namespace) -> None:
    """Raise UsageError where an option was given that is about a Prometheus alone."""
    for name in _PROMETHEUS_ONLY:
        if getattr(arguments, name) is not None:
            raise UsageError(
                f"{_FLAGS.get(name, f'--{name}')} is about a Prometheus, not about recordings",
                "give --prometheus URL instead of --recordings, or leave it out",
            )


def chosen_api(arguments: argparse.Namespace) -> Api:
    """Return the API of the Prometheus that was chosen. Raises VmxdError."""
    from vmxd.fleet.api import Api
    from vmxd.fleet.http_config import HttpConfig, load, parse_headers

    config = load(arguments.http_config_file) if arguments.http_config_file else HttpConfig()
    config = config.with_headers(parse_headers(arguments.headers or ()))
    return Api(arguments.prometheus, config, arguments.timeout or _TIMEOUT)


def chosen_selector(arguments: argparse.Namespace) -> str:
    """Return the label matchers that were given. Raises UsageError."""
    from vmxd.fleet.selector import parse_selector

    return parse_selector(arguments.selector) if arguments.selector else ""


def chosen_time(arguments: argparse.Namespace) -> float | None:
    """Return the time that was given, as Unix time in seconds. Raises UsageError."""
    from vmxd.fleet.times import parse_time

    return parse_time(arguments.at) if arguments.at is not None else None


@contextlib.contextmanager
def asking(api: Api) -> Iterator[None]:
    """Say on a terminal that a server is being asked, as long as the block lasts; then close its connections."""
    with _status(f"asking {api.url} …"):
        try:
            yield
        finally:
            api.close()


def _progress(done: int, count: int) -> None:
    _show(f"{done} of {count} hosts")


@contextlib.contextmanager
def _status(text: str = "") -> Iterator[None]:
    """Have a line on a terminal for as long as the block lasts, however it ends."""
    _show(text)
    try:
        yield
    finally:
        _show("")


def _show(text: str) -> None:
    """Put a text into the line of a terminal, in place of what is there."""
    if os.isatty(2):
        with contextlib.suppress(OSError):
            os.write(2, f"\r\x1b[K{text}".encode())


def print_answer(
    arguments: argparse.Namespace, document: Json, tables: Sequence[Table], csv: Table | None = None, text: str = ""
) -> None:
    """Print an answer in the form that output_options() chose.

    csv: the table for CSV, the first one unless given. text: what people read above the tables.
    """
    from vmxd.fleet.table import printable, to_csv, to_text
    from vmxd.views.json import to_json

    text = "\n".join(map(printable, text.rstrip("\n").split("\n")))
    if arguments.json:
        write(to_json(document).encode(errors="replace"))
    elif arguments.csv:
        write(to_csv(csv or tables[0]).encode(errors="replace"))
    elif not os.isatty(1) or not _print_rich(tables, text):
        parts = [f"{text}\n"] if text else []
        write("\n".join([*parts, *([to_text(tables)] if tables else [])]).encode(errors="replace"))


def _print_rich(tables: Sequence[Table], text: str) -> bool:
    """Print tables as a terminal shows them best; return whether that could be done."""
    try:
        from vmxd.fleet.terminal import print_tables
    except ModuleNotFoundError:  # rich is not installed
        return False
    print_tables(tables, text)
    return True
