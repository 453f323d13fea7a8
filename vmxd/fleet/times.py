"""Times as people type them and as we print them: RFC 3339 and Unix, in UTC. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from vmxd.errors import UsageError

HINT: Final = "as in 2026-11-01, 2026-11-01T12:30:00Z or a Unix time; UTC where no offset is given"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_DURATION: Final = re.compile(r"(?:\d+[smhdwy])+", re.ASCII)
TIME_MAX: Final = 253_402_300_800.0
"""The year 10000."""


def parse_time(text: str) -> float:
    """Return a point in time as Unix time in seconds. Raises UsageError."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise UsageError(f"{text!r} is no time", HINT) from error
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= seconds < TIME_MAX:
        raise UsageError(f"{text!r} is no time", HINT)
    return seconds


def parse_since(text: str, now: float) -> float:
    """Return a point in time that is given as such, or as a duration before now (30d, 1h30m). Raises UsageError."""
    if not _DURATION.fullmatch(text):
        return parse_time(text)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdwy])", text))
    if seconds > now:
        raise UsageError(f"{text!r} is before 1970", "as in --since 30d")
    return now - seconds


def format_time(seconds: float) -> str:
    """Return a Unix time as RFC 3339 has it, in UTC, by whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
