"""--selector: label matchers of PromQL ("Querying Prometheus", time series selectors), checked before use."""

from __future__ import annotations

import re
from typing import Final

from vmxd.errors import UsageError

_MATCHER: Final = re.compile(
    r"""\s*(?P<label>[a-zA-Z_]\w*)\s*(?P<operator>=~|!~|!=|=)\s*
    (?P<value>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)\s*(?P<comma>,|$)""",
    re.VERBOSE | re.ASCII,
)
OWN_LABELS: Final = frozenset(
    (
        "__name__",
        "vendor",
        "model_name",
        "signature",
        "microcode",
        "hypervisor",
        "fingerprint",
        "status",
        "state",
        "msr",
        "value",
        "feature",
        "parameter",
        "release",
    )
)
"""Labels of vmxd's metrics that are not of the target."""


def parse_selector(text: str) -> str:
    """Return matchers as they stand in braces, without these. Raises UsageError."""
    inner = text.strip()
    if inner.startswith("{") and inner.endswith("}"):
        inner = inner[1:-1].strip()
    at = 0
    while at < len(inner):
        match = _MATCHER.match(inner, at)
        if match is None:
            raise UsageError(
                f"--selector {text!r} is no list of label matchers from {inner[at:].strip()[:40]!r} on",
                """as in --selector 'cluster="a",job=~"vmxd.*"'""",
            )
        if match["label"] in OWN_LABELS:
            raise UsageError(
                f"--selector takes labels of targets, as cluster and job are, and {match['label']} is none",
                "vmxd fleet summary counts hosts by what they are",
            )
        at = match.end()
    return inner.removesuffix(",")
