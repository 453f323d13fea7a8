"""One scan as the server hands it out, and how it crosses from the process that scans: as JSON, bytes in base64."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmxd.host.changes import Witness


@dataclass(frozen=True, slots=True)
class Pages:
    """The answers for people and other tools, compressed with gzip.

    page: HTML; page_stale, page_failed: the same with a notice that the host has changed since, or that the last scan
    failed. policy: Content-Security-Policy of the pages. inventory: JSON.
    """

    page: bytes
    page_stale: bytes
    page_failed: bytes
    policy: str
    inventory: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    """All that a scan fixes.

    metrics: text by name of its Format, without "# EOF". witness: marks of the host from just before the scan, None if
    they could not be read. is_comparable: whether any capability MSR has a value. status, reason, hint: the verdict on
    the host.
    """

    metrics: Mapping[str, bytes]
    pages: Pages
    witness: Witness | None
    kind: str
    root: str
    is_live: bool
    is_usable: bool
    is_comparable: bool
    status: str
    reason: str
    hint: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A scan that could not be made: the sentence and the hint of its VmxdError."""

    message: str
    hint: str


def dump(result: Rendered | Refusal) -> bytes:
    """Write what load() reads."""
    return json.dumps(dataclasses.asdict(result), default=lambda data: base64.b64encode(data).decode()).encode()


def load(data: bytes) -> Rendered | Refusal:
    """Read what the process that scans wrote."""
    fields: dict[str, Any] = json.loads(data)
    if fields.keys() == {"message", "hint"}:
        return Refusal(**fields)
    policy = fields["pages"].pop("policy")
    pages = {name: base64.b64decode(text) for name, text in fields["pages"].items()}
    witness = fields["witness"]
    fields |= {
        "metrics": {name: base64.b64decode(text) for name, text in fields["metrics"].items()},
        "pages": Pages(policy=policy, **pages),
        "witness": None if witness is None else Witness(tuple(witness["marks"])),
        "warnings": tuple(fields["warnings"]),
    }
    return Rendered(**fields)
