"""vmxd fleet: questions about many hosts at once; one file a question."""

from __future__ import annotations

from typing import Final

from vmxd.commands.fleet import baseline, changes, collect, diff, history, lacks, pools, report, summary, vms
from vmxd.commands.parser import Commands

_EPILOG: Final = """
examples:
  vmxd fleet summary --recordings hosts
      what is there, and what cannot be told
  vmxd fleet collect hosts --sudo db-1 db-2
      such a directory, by ssh
  vmxd fleet has --prometheus http://prom:9090 "missing features: vmx-pml"
      where a VM can go that did not start
"""

QUESTIONS: Final = (summary, lacks, baseline, pools, vms, diff, changes, history, report, collect)
"""In the order of --help."""


def add(commands: Commands) -> None:
    """Add the command, and one of its own for each question, to the parser."""
    parser = commands.add_parser(
        "fleet",
        usage="%(prog)s [options] QUESTION ...",
        help="ask many hosts at once, through Prometheus or a directory of recordings",
        description="Ask a fleet, through Prometheus' HTTP API or a directory of recordings.",
        epilog=_EPILOG,
    )
    questions = parser.add_subparsers(title="questions", prog=parser.prog, metavar="QUESTION", required=True)
    for question in QUESTIONS:
        question.add(questions)
