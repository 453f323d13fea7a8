"""Logging as exporters do it: one line a fact on stderr, logfmt or JSON, with priorities that journald understands."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Final

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

_NAMES: Final = {number: name for name, number in LEVELS.items()}
_PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


class _Formatter(logging.Formatter):
    """Writes a record as logfmt or JSON; with a syslog priority in front where journald reads, sd-daemon(3)."""

    def __init__(self, form: str, for_journal: bool) -> None:
        super().__init__()
        self._form = form
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        fields = {"ts": moment, "level": _NAMES.get(record.levelno, "error"), "msg": message}
        line = (
            json.dumps(fields)
            if self._form == "json"
            else " ".join(f"{key}={_quote(text)}" for key, text in fields.items())
        )
        return f"<{_PRIORITIES.get(record.levelno, 3)}>{line}" if self._for_journal else line


def _quote(text: str) -> str:
    plain = text and text.isprintable() and not any(c in text for c in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


def set_up(level: str, form: str) -> None:
    """Send what vmxd and asyncio log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(form, for_journal="JOURNAL_STREAM" in os.environ))
    logging.basicConfig(level=LEVELS[level], handlers=[handler])
