"""The answers of ``vmxd check`` as lines and as JSON (docs/schema/check-1.json)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import vmxd
from vmxd.cpulist import format_cpus
from vmxd.model.answers import Answer, overall
from vmxd.model.findings import Finding
from vmxd.model.inventory import Inventory
from vmxd.tables import FEATURES
from vmxd.views.finding_words import told
from vmxd.views.guest_words import source_text
from vmxd.views.json import Json
from vmxd.views.lines import Line, Tone, beside
from vmxd.views.words import count

CHECK_SCHEMA: Final = "vmxd.check/1"

_WORD: Final = {True: "yes", False: "no", None: "unknown"}


def check_lines(answers: Sequence[Answer], width: int | None = None) -> list[Line]:
    """Lay out the status line, then a line for each reason against and each that leaves something unknown."""
    failing, unknown = (sum(answer.holds is state for answer in answers) for state in (False, None))
    counts = [text for number, text in ((failing, f"{failing} failed"), (unknown, f"{unknown} not known")) if number]
    holds = overall(answers)
    status, tone = {True: ("OK", Tone.GOOD), False: ("FAILED", Tone.BAD), None: ("UNKNOWN", Tone.DOUBT)}[holds]
    said = f": {count(len(answers), 'check')}{', ' + ', '.join(counts) if counts else ' passed'}"
    lines: list[Line] = [((status, tone), (said, Tone.PLAIN))]
    offers = dict.fromkeys(source_text(each.offer) for each in answers if each.offer and each.offer.expected)
    for text in offers:
        lines += beside([], (f"guests: {text}", Tone.PLAIN), 0, width)
    for answer in answers:
        name = f"{answer.question} {answer.subject}".rstrip()
        for reason in answer.reasons:
            lines += beside([], (f"{name}: {told(reason)}", Tone.PLAIN), 0, width)
    return lines


def answers_document(inventory: Inventory, answers: Sequence[Answer]) -> Json:
    """Make what ``vmxd check --json`` prints."""
    return {
        "schema": CHECK_SCHEMA,
        "vmxd": vmxd.__version__,
        "source": inventory.host.source.value,
        "answer": _WORD[overall(answers)],
        "checks": [
            {
                "check": answer.question,
                "name": answer.subject or None,
                "answer": _WORD[answer.holds],
                "layer": "hardware" if answer.offer is None else "guest",
                "known": None if answer.offer is None else source_text(answer.offer),
                "against": [_reason(reason) for reason in answer.against],
                "unknown": [_reason(reason) for reason in answer.unknown],
            }
            for answer in answers
        ],
    }


def _reason(reason: Finding) -> Json:
    return {
        "reason": told(reason),
        "cpus": format_cpus(reason.cpus),
        "features": [
            {
                "name": name,
                "location": FEATURES[name].location,
                "qemu": FEATURES[name].row.qemu,
                "libvirt": FEATURES[name].row.libvirt,
            }
            for name in reason.features
            if name in FEATURES  # not a bit of IA32_FEATURE_CONTROL
        ],
    }
