"""The options that questions about a fleet share, and what is done with them: read the fleet, print the answer."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from vmxd.commands import EXIT_CANNOT_TELL, EXIT_FINE, EXIT_NO
from vmxd.commands.output import complain, say, terminal_width, write, write_lines
from vmxd.commands.parser import Parser, what_if_options
from vmxd.errors import UsageError
from vmxd.fleet.answer import Answer, to_csv
from vmxd.fleet.api import Api
from vmxd.fleet.groups import Grouped, group
from vmxd.fleet.guests import fleet_as_guests
from vmxd.fleet.http_config import HttpConfig, load, parse_headers
from vmxd.fleet.model import Fleet
from vmxd.fleet.prometheus import Asked, all_of, read_prometheus
from vmxd.fleet.recordings import read_recordings
from vmxd.fleet.selector import parse_selector
from vmxd.fleet.times import parse_since, parse_time
from vmxd.model.answers import View
from vmxd.model.offer import WhatIf
from vmxd.tables import FEATURES
from vmxd.views.json import to_json

_PROMETHEUS_ONLY: Final = ("http_config_file", "headers", "selector", "at", "timeout")
_FLAGS: Final = {"http_config_file": "--http.config.file", "headers": "--header"}
_TIMEOUT: Final = 60.0
_NAMED: Final = 10
"""Hosts of a group that are named on a terminal."""


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
        "--timeout", type=seconds, metavar="SECONDS", help=f"of the whole answer (default: {_TIMEOUT:g})"
    )


def seconds(text: str) -> float:
    """Read a number of seconds, as the type of an option. Raises ArgumentTypeError."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 3600")
    return number


def group_options() -> Parser:
    """Return the options that choose hosts and group them, as a parent for a question's parser."""
    options = Parser(add_help=False)
    options.add_argument(
        "--by",
        metavar="LABEL",
        help="answer for each value of a label of the hosts' targets, or of vendor, model_name, signature, microcode "
        "or kernel",
    )
    options.add_argument(
        "--usable",
        action="store_true",
        help="leave out hosts on which VMX is known not to be usable: no_vmx, disabled_by_firmware, unlocked, smx_only",
    )
    return options


def view_options() -> Parser:
    """Return the options that choose whose features are meant, as a parent for a question's parser."""
    options = Parser(add_help=False, parents=[what_if_options()])
    view_option(options)
    return options


def view_option(options: argparse._ActionsContainer) -> None:
    """Add the option that chooses whose features are meant."""
    options.add_argument(
        "--view",
        choices=(View.GUEST.value, View.HARDWARE.value),
        help="features that a guest gets, as KVM answered (vmxd serve --collector.nested), else as MSRs, kernel and "
        "parameters lead to expect; or those of the CPUs (default: guest)",
    )


def output_options() -> Parser:
    """Return the options that choose the form of an answer, as a parent for a question's parser."""
    options = Parser(add_help=False)
    form = options.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON (docs/schema)")
    form.add_argument("--csv", action="store_true", help="print CSV")
    return options


def read_fleet(arguments: argparse.Namespace, nested: Sequence[str] = ()) -> Fleet:
    """Read the fleet that fleet_options() chose, and say on a terminal what is going on. Raises VmxdError.

    nested: features of which it is asked what a guest gets.
    """
    if arguments.prometheus is None:
        check_recordings(arguments)
        with status_line():
            return read_recordings(arguments.recordings, lambda done, count: show_status(f"{done} of {count} hosts"))
    with chosen_api(arguments) as api:
        asked = Asked(chosen_matchers(arguments), chosen_time(arguments), tuple(nested), parameters=bool(nested))
        return ask(api, asked)


def chosen_view(arguments: argparse.Namespace) -> View:
    """Return the view that view_options() chose. Raises UsageError."""
    view = View(arguments.view or View.GUEST)
    if view is View.HARDWARE and (arguments.kernel or arguments.kvm_parameters):
        raise UsageError("--kernel and --kvm-parameter are about guests", "leave out --view hardware")
    return view


def read_viewed(arguments: argparse.Namespace, features: Sequence[str] = tuple(FEATURES)) -> Fleet:
    """Read the fleet by the view that view_options() chose. features: those that matter. Raises VmxdError."""
    if chosen_view(arguments) is View.HARDWARE:
        return read_fleet(arguments)
    what_if = WhatIf(arguments.kernel, dict(arguments.kvm_parameters) or None)
    return fleet_as_guests(read_fleet(arguments, features), what_if)


def read_groups(arguments: argparse.Namespace) -> Grouped:
    """Read the fleet, grouped as group_options() say. Raises VmxdError."""
    return group(read_viewed(arguments), arguments.by, usable=arguments.usable)


def ask(api: Api, asked: Asked) -> Fleet:
    """Ask a Prometheus for hosts, and warn if some may be missing. Raises PrometheusError."""
    fleet = read_prometheus(api, asked)
    warn(fleet.warnings, "hosts")
    return fleet


def warn(warnings: Sequence[str], what: str) -> None:
    """Say that something may be missing, and why."""
    for warning in warnings:
        complain(f"vmxd: warning: {warning}; {what} may be missing")


def check_recordings(arguments: argparse.Namespace) -> None:
    """Raise UsageError if an option was given that is about a Prometheus alone."""
    for name in _PROMETHEUS_ONLY:
        if getattr(arguments, name) is not None:
            raise UsageError(
                f"{_FLAGS.get(name, f'--{name}')} is about a Prometheus, not about recordings",
                "give --prometheus URL instead of --recordings, or leave it out",
            )


@contextlib.contextmanager
def chosen_api(arguments: argparse.Namespace) -> Iterator[Api]:
    """Yield the API of the chosen Prometheus, and say on a terminal that it is being asked. Raises VmxdError."""
    config = load(arguments.http_config_file) if arguments.http_config_file else HttpConfig()
    config = replace(config, headers={**config.headers, **parse_headers(arguments.headers or ())})
    api = Api(arguments.prometheus, config, arguments.timeout or _TIMEOUT)
    with contextlib.closing(api), status_line(f"asking {api.url} …"):
        yield api


def chosen_matchers(arguments: argparse.Namespace, *more: str) -> str:
    """Return the label matchers that were given, and more of them. Raises UsageError."""
    return all_of(parse_selector(arguments.selector) if arguments.selector else "", *more)


def chosen_time(arguments: argparse.Namespace) -> float | None:
    """Return the time that was given, as Unix time in seconds. Raises UsageError."""
    return parse_time(arguments.at) if arguments.at is not None else None


def since_option(parser: Parser, default: str) -> None:
    """Add the option that says since when."""
    parser.add_argument("--since", default=default, metavar="TIME", help="a time, or 30d, 12h (default: %(default)s)")


def chosen_span(arguments: argparse.Namespace) -> tuple[float, float]:
    """Return the times of --since and --at, Unix time in seconds. Raises UsageError."""
    at = chosen_time(arguments)
    end = time.time() if at is None else at
    start = parse_since(arguments.since, end)
    if start >= end:
        raise UsageError(f"--since {arguments.since} is not before --at, or in the future", "as in --since 30d")
    return start, end


@contextlib.contextmanager
def status_line(text: str = "") -> Iterator[None]:
    """Have a line on a terminal for as long as the block lasts, however it ends."""
    show_status(text)
    try:
        yield
    finally:
        show_status("")


def show_status(text: str) -> None:
    """Put a text into the line of a terminal, in place of the last."""
    if os.isatty(2):
        with contextlib.suppress(OSError):
            os.write(2, f"\r\x1b[K{text}".encode())


def print_answer(arguments: argparse.Namespace, answer: Answer) -> int:
    """Print an answer in the form that output_options() chose, and return the exit code."""
    if arguments.json:
        write(to_json(answer.document()).encode(errors="replace"))
    elif arguments.csv:
        write(to_csv(answer.csv()).encode(errors="replace"))
    else:
        width = terminal_width()
        write_lines(answer.lines(width, _NAMED if width else None))
    say(answer.notes())
    return {True: EXIT_FINE, False: EXIT_NO, None: EXIT_CANNOT_TELL}[answer.holds]
