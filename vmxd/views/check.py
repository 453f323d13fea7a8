"""The answers of ``vmxd check`` as lines and as JSON (docs/schema/check-1.json)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import vmxd
from vmxd.cpulist import format_cpus
from vmxd.model.answers import Answer, Reason, View, overall
from vmxd.model.inventory import Inventory
from vmxd.tables import FEATURES
from vmxd.views.json import Json

CHECK_SCHEMA: Final = "vmxd.check/1"

_WORD: Final = {True: "yes", False: "no", None: "unknown"}


def to_text(answers: Sequence[Answer]) -> str:
    """Return the status line, then a line for each reason against and each that leaves something unknown."""
    failing, unknown = (sum(answer.holds is state for answer in answers) for state in (False, None))
    checks = "1 check" if len(answers) == 1 else f"{len(answers)} checks"
    counts = [text for count, text in ((failing, f"{failing} failed"), (unknown, f"{unknown} not known")) if count]
    status = {True: "OK", False: "FAILED", None: "UNKNOWN"}[overall(answers)]
    lines = [f"{status}: {checks}{', ' + ', '.join(counts) if counts else ' passed'}"]
    for answer in answers:
        name = f"{answer.question} {answer.subject}".rstrip()
        lines += [f"{name}: {reason.text}" for reason in (*answer.against, *answer.unknown)]
    return "\n".join(lines) + "\n"


def answers_document(inventory: Inventory, view: View, answers: Sequence[Answer]) -> Json:
    """Return what ``vmxd check --json`` prints."""
    return {
        "schema": CHECK_SCHEMA,
        "vmxd": vmxd.__version__,
        "source": inventory.host.source.value,
        "view": view.value,
        "answer": _WORD[overall(answers)],
        "checks": [
            {
                "check": answer.question,
                "name": answer.subject or None,
                "answer": _WORD[answer.holds],
                "against": [_reason(reason) for reason in answer.against],
                "unknown": [_reason(reason) for reason in answer.unknown],
            }
            for answer in answers
        ],
    }


def _reason(reason: Reason) -> Json:
    return {
        "reason": reason.text,
        "cpus": format_cpus(reason.cpus),
        "features": [
            {
                "name": name,
                "location": FEATURES[name].location,
                "qemu": FEATURES[name].row.qemu,
                "libvirt": FEATURES[name].row.libvirt,
            }
            for name in reason.features
        ],
    }
