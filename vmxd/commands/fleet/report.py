"""vmxd fleet report: every host and every feature, as a page, as CSV or as JSON."""

from __future__ import annotations

import argparse
from typing import Final

from vmxd.commands import EXIT_FINE
from vmxd.commands.fleet.options import fleet_options, read_fleet
from vmxd.commands.output import replace_file, write
from vmxd.commands.parser import Commands
from vmxd.errors import UsageError
from vmxd.fleet.answer import to_csv
from vmxd.fleet.report import Report
from vmxd.views.json import to_json

STDOUT: Final = "-"

_EPILOG: Final = """
examples:
  vmxd fleet report --recordings hosts -o report.html
      a page to search, mail or print
  vmxd fleet report --recordings hosts --csv | grep -c ,unlocked,
      hosts whose firmware left VMX unlocked
"""


def add(questions: Commands) -> None:
    """Add the question to the parser."""
    parser = questions.add_parser(
        "report",
        usage="%(prog)s [options] (--prometheus URL | --recordings DIR)",
        parents=[fleet_options()],
        help="every host and every feature: one HTML page, CSV or JSON",
        description=(
            "Write every host and every feature, hosts with equal capability MSRs as one group. The form is what --csv "
            "or --json says; without them CSV or JSON if FILE ends in .csv or .json, else an HTML page that needs "
            "nothing beside it."
        ),
        epilog=_EPILOG,
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="replace FILE in one step; - is standard output (default for --csv and --json)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_const", const="csv", dest="form", help="a row for each host")
    form.add_argument("--json", action="store_const", const="json", dest="form", help="docs/schema/fleet-report-1.json")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the report. Raises VmxdError."""
    if arguments.output is None and arguments.form is None:
        raise UsageError("the page needs a file to go to", "vmxd fleet report -o report.html, or -o - to print it")
    output: str = arguments.output or STDOUT
    data = _rendered(arguments, arguments.form or _form_of(output))
    if output == STDOUT:
        write(data)
    else:
        replace_file(output, data)
    return EXIT_FINE


def _form_of(output: str) -> str:
    suffix = output.casefold().rpartition(".")[2]
    return suffix if suffix in ("csv", "json") else "html"


def _rendered(arguments: argparse.Namespace, form: str) -> bytes:
    fleet = read_fleet(arguments)
    if form == "html":
        from vmxd.commands.profiles import builtin_profiles
        from vmxd.fleet.report_page import render_report

        return render_report(fleet, builtin_profiles())
    text = to_csv(Report(fleet).csv()) if form == "csv" else to_json(Report(fleet).document())
    return text.encode(errors="replace")
