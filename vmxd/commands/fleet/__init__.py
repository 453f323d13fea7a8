"""vmxd fleet: questions about many hosts at once; one file a question."""

from __future__ import annotations

from typing import Final

from vmxd.commands.fleet import baseline, diff, history, lacks, pools, report, summary
from vmxd.commands.parser import Commands

QUESTIONS: Final = (summary, lacks, baseline, pools, diff, history, report)
"""In the order of --help."""


def add(commands: Commands) -> None:
    """Add the command, and one of its own for each question, to the parser."""
    parser = commands.add_parser(
        "fleet",
        help="ask many hosts at once, through Prometheus or a directory of recordings",
        description="Ask a fleet, through Prometheus' HTTP API or a directory of recordings.",
    )
    questions = parser.add_subparsers(title="questions", metavar="QUESTION", required=True)
    for question in QUESTIONS:
        question.add(questions)
