"""Pages of HTML from templates: one environment, one Content-Security-Policy. The only user of Jinja2."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from vmxd.views.lines import printable

_POLICY: Final = (
    "default-src 'none'; style-src {style}; script-src {script}; img-src data:; base-uri 'none'; form-action 'none'"
)


def render(package: str, name: str, **values: object) -> tuple[str, str]:
    """Render NAME.html of a package's templates, with NAME.css and NAME.js in it, and its Content-Security-Policy.

    The template has the policy, the style sheet and the script as ``policy``, ``style`` and ``script``. The policy
    allows these two by their hashes and nothing else. Every other text is escaped, and holds no control character.
    """
    template, style, script = _read(package, name)
    policy = _POLICY.format(style=_hash(style), script=_hash(script))
    ours = {"policy": Markup(policy), "style": Markup(style), "script": Markup(script)}  # noqa: S704 (our own)
    return template.render(**ours, **values), policy


@functools.cache
def _read(package: str, name: str) -> tuple[Template, str, str]:
    templates = resources.files(package) / "templates"
    page, style, script = ((templates / f"{name}.{suffix}").read_text("utf-8") for suffix in ("html", "css", "js"))
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else printable(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = "{:,}".format
    return environment.from_string(page), style, script


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
