"""What a client asks for: Accept and Accept-Encoding (RFC 9110, 12.5), and whether it has it (13.1.2)."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

EOF: Final = b"# EOF\n"
"""The last line of OpenMetrics."""


class Format(enum.Enum):
    """The formats of the metrics; the value is the Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@lru_cache(maxsize=32)
def choose_format(accept: str) -> Format:
    """Choose OpenMetrics 1.0 if the client takes it and likes it at least as well as text, else text.

    No header, or one that takes neither, gets text: it is what every scraper reads.
    """
    openmetrics = text = 0.0
    for media_type, parameters in _parse(accept):
        quality = _quality(parameters)
        if media_type == "application/openmetrics-text" and parameters.get("version", "1.0.0") == "1.0.0":
            openmetrics = max(openmetrics, quality)
        elif media_type in ("text/plain", "text/*", "*/*") and parameters.get("version", "0.0.4") == "0.0.4":
            text = max(text, quality)
    return Format.OPENMETRICS if openmetrics > 0 and openmetrics >= text else Format.TEXT


@lru_cache(maxsize=32)
def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether the client takes gzip."""
    qualities = {coding: _quality(parameters) for coding, parameters in _parse(accept_encoding)}
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def has_copy(if_none_match: str, tag: str) -> bool:
    """Tell whether a client that sends this If-None-Match has a copy of what the entity tag names; compared weakly."""
    tags = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return tag.removeprefix("W/") in tags or tags == ["*"]


def _parse(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    for part in header.split(","):
        name, *parameters = part.split(";")
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name.strip().lower(), {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}


def _quality(parameters: dict[str, str]) -> float:
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
