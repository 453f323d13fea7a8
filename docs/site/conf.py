"""Sphinx' settings (make docs).

The source directory is the repository, so that the Markdown files that a forge shows are the pages of the site, each
link and anchor between them is checked, and none is copied.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx import addnodes

import vmxd
from vmxd.tables import FEATURES

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "vmxd"
author = "the vmxd authors"
copyright = author  # noqa: A001 (Sphinx' name)
version = release = vmxd.__version__

extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "deploy/**.md", "systemd/*.md", "tests/machine/*.md", "bench/*.md"]
exclude_patterns = [".*", "build", "dist", "node_modules", "tests/hosts", "vmxd"]
html_theme = "furo"
html_title = f"vmxd {version}"
html_extra_path = ["root"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["copy.js"]
html_favicon = "static/favicon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_permalinks_icon = "#"
myst_heading_anchors = 3
nitpicky = True
smartquotes = False  # they make one dash of the two in --root

NAVIGATION = {
    "Start": ["docs/install", "docs/first-hour", "docs/concepts", "docs/faq", "docs/comparison"],
    "Questions": ["docs/pasted", "docs/fleet", "docs/platforms", "docs/profiles", "docs/kvm"],
    "Reference": ["docs/reference/features", "docs/reference/metrics", "docs/runbooks/README"],
    "Deploying": ["deploy/README", "systemd/README", "deploy/*/README", "vmxd/README", "docs/monitors", "docs/scaling"],
    "Background": ["docs/security", "docs/linux-feat-ctl", "docs/performance", "bench/*", "tests/machine/verification"],
    "Project": ["CONTRIBUTING", "SECURITY", "docs/conventions", "CHANGELOG"],
    "More": ["docs/*"],
}  # fmt: skip
"""Pages by caption, in order, by name or pattern. One that is not there is left out, one that is named above too."""

_FILE_NAME = re.compile(r"[\w./-]+\.md")
"""A link's text that a forge shows as it is, and the site as the title of the page."""

_ANCHOR = re.compile(r'<a id="([^"]+)">')


def _take_anchors(app: Sphinx, document: nodes.document) -> None:
    """Let links find the anchors that a page has as HTML, as a forge does: rows of a table have no other way."""
    env = app.env
    slugs = dict(env.metadata[env.current_document.docname].get("myst_slugs", {}))
    for raw in document.findall(nodes.raw):
        slugs |= {anchor: (0, anchor, anchor) for anchor in _ANCHOR.findall(raw.astext())}
    env.metadata[env.current_document.docname]["myst_slugs"] = slugs
    if entries := [("single", anchor, anchor, "main", None) for anchor in slugs if anchor in FEATURES]:
        document.insert(0, addnodes.index(entries=entries))  # what the search puts first


def _name_pages(app: Sphinx, document: nodes.document, page: str) -> None:
    """Call pages by their titles where a link's text is the name of a file."""
    for link in document.findall(nodes.reference):
        path = link.get("refuri", "").partition("#")[0].removesuffix(".html")
        title = app.env.titles.get(posixpath.normpath(posixpath.join(posixpath.dirname(page), path)))
        if title is not None and link.get("internal") and _FILE_NAME.fullmatch(link.astext()):
            link.clear()
            link.append(nodes.Text(title.astext()))


def _add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Give two pages the tables of contents that Sphinx wants: in their files, a forge would show them as code."""
    if page == root_doc:
        left = sorted(app.env.found_docs - {root_doc})
        for caption, patterns in NAVIGATION.items():
            found = [each for pattern in patterns for each in left if PurePosixPath(each).match(pattern)]
            found = list(dict.fromkeys(found))
            left = [each for each in left if each not in found]
            entries = "\n".join(f"/{each}" for each in found)
            if found:
                source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"
    elif page == "docs/runbooks/README":
        source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\nVmx*\n```\n"


def setup(app: Sphinx) -> None:
    """Add what is not in Sphinx: anchors of rows, titles in place of file names, a language that Pygments lacks."""
    app.connect("source-read", _add_navigation)
    app.connect("doctree-read", _take_anchors)
    app.connect("doctree-resolved", _name_pages)
    app.add_lexer("promql", TextLexer)
