"""What commands print as JSON, held against its schema."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

from tests.helpers.support import REPOSITORY
from vmxd.host.scan import scan
from vmxd.views.json import inventory_document, to_json

Json = dict[str, Any]

FLEET: Final = ("fleet-summary", "fleet-lacks", "fleet-diff", "fleet-history")
SCHEMAS: Final = {name: f"{name}-1.json" for name in ("show", "features", "check", "diff", "explain", *FLEET)}


def schema(name: str) -> Json:
    """Return the schema of a command's JSON."""
    document: Json = json.loads((REPOSITORY / "docs/schema" / SCHEMAS[name]).read_text())
    return document


@functools.cache
def validator(name: str) -> Draft202012Validator:
    """Return what checks documents against a schema."""
    return Draft202012Validator(schema(name))


def complaints(name: str, document: Json) -> list[str]:
    """Return what a schema finds wrong with a document, as an outsider reads it: from its text."""
    errors = validator(name).iter_errors(json.loads(to_json(document)))
    return [f"{error.json_path}: {error.message}" for error in errors]


def show(root: Path) -> Json:
    """Return what ``vmxd show --json`` prints of a root."""
    document: Json = json.loads(to_json(inventory_document(scan(str(root)).inventory)))
    return document
