"""The answers of ``vmxd check`` as a plugin of Nagios and Icinga prints them.

Monitoring Plugins Development Guidelines, "Plugin Output for Nagios", "Plugin Return Codes", "Performance data".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmxd.model.answers import Answer, overall
from vmxd.views.finding_words import told
from vmxd.views.words import count

UNKNOWN: Final = 3
CODES: Final = {True: 0, False: 2, None: UNKNOWN}
"""Exit codes: OK, CRITICAL, UNKNOWN. WARNING is not used: what was asked for holds or does not."""

_STATUS: Final = {True: "OK", False: "CRITICAL", None: "UNKNOWN"}


def nagios_text(answers: Sequence[Answer]) -> str:
    """Lay out the status line with its first reason, performance data, then a line for each reason."""
    holds = overall(answers)
    failed, unknown = (sum(answer.holds is state for answer in answers) for state in (False, None))
    reasons = [
        f"{answer.question} {answer.subject}".rstrip() + f": {told(reason)}"
        for answer in sorted(answers, key=lambda answer: answer.holds is None)  # what fails comes first
        for reason in answer.reasons
    ]
    first = reasons[0] if reasons else f"{count(len(answers), 'check')} passed"
    total = len(answers)
    data = f"checks={total};;;0 failed={failed};;0;0;{total} unknown={unknown};;;0;{total}"
    return "\n".join([f"VMX {_STATUS[holds]} - {_plain(first)} | {data}", *map(_plain, reasons), ""])


def nagios_error(message: str) -> str:
    """Lay out why nothing could be asked."""
    return f"VMX UNKNOWN - {_plain(message)}\n"


def _plain(text: str) -> str:
    """Keep a text on its line, and without a bar, which would begin performance data."""
    return text.replace("|", "/").replace("\n", " ")
