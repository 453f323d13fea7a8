"""The page at /: honest about what is served, whole as HTML, and safe whatever the host calls itself."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vmxd
from tests.support import HOSTS, LAKEFIELD, REAL_HOSTS
from vmxd.export.page import render_page
from vmxd.export.text import summary_lines
from vmxd.facts import Host, Source
from vmxd.inventory import Inventory, take_inventory
from vmxd.scan import scan

LAKEFIELD_HOST: Final = scan(str(LAKEFIELD)).inventory.host
VOID: Final = frozenset(("meta", "link", "br", "hr", "img", "input"))
HOSTILE: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></dd></dl><h1>",
    "<!-- ",
    "&lt;script&gt;",
    "&copy; {rows} {0} %s",
    "a & b < c > d",
)


class Page(HTMLParser):
    """A page taken apart: tags in order with their attributes, texts by element, and what does not nest."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.comments: list[str] = []
        self.declarations: list[str] = []
        self.errors: list[str] = []
        self.unclosed: list[str] = []
        self.feed(html.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.unclosed.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last."""
        if not self.unclosed or self.unclosed.pop() != tag:
            self.errors.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        """Give text to the element that it stands in."""
        if self.unclosed:
            self.texts[self.unclosed[-1]][-1] += data
        elif data.strip():
            self.errors.append(f"{data!r} stands outside")

    def handle_comment(self, data: str) -> None:
        """Keep a comment."""
        self.comments.append(data)

    def handle_decl(self, decl: str) -> None:
        """Keep the doctype."""
        self.declarations.append(decl)

    @property
    def shape(self) -> list[str]:
        """The tags alone."""
        return [tag for tag, _ in self.tags]

    def attributes(self, name: str) -> list[str | None]:
        """Return every value of an attribute."""
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def render(host: Host, telemetry_path: str = "/metrics") -> Page:
    """Render a host's page and take it apart."""
    return Page(render_page(take_inventory(host), telemetry_path))


def says(inventory: Inventory) -> list[str]:
    """Return what is to be said of a host, less the words that it is said under."""
    return [text for _, text in summary_lines(inventory)]


@pytest.mark.parametrize("name", REAL_HOSTS)
def test_html(name: str) -> None:
    """The page is HTML5 that needs no repair: every element is closed where it should be."""
    page = render(scan(str(HOSTS / name)).inventory.host)

    assert ["DOCTYPE html"] == page.declarations
    assert [] == page.errors
    assert [] == page.unclosed
    assert [] == page.comments
    assert {"lang": "en"} == dict(page.tags)["html"]
    assert {"charset": "utf-8"} in [attributes for tag, attributes in page.tags if tag == "meta"]


@pytest.mark.parametrize("name", REAL_HOSTS)
def test_summary(name: str) -> None:
    """The page says all that the summary of ``vmxd show`` says, in its order."""
    inventory = scan(str(HOSTS / name)).inventory
    page = Page(render_page(inventory, "/metrics"))

    assert says(inventory) == page.texts["dd"]
    assert [word for word, _ in summary_lines(inventory) if word] == page.texts["dt"]
    assert [f"vmxd: {inventory.identity.model_name}"] == page.texts["title"]
    assert [f"vmxd {vmxd.__version__}"] == page.texts["small"]


def test_lakefield() -> None:
    """The page of Lakefield names the CPU that differs, the MSR and the feature."""
    page = render(LAKEFIELD_HOST)

    assert "no: CPU 4 differs in IA32_VMX_PROCBASED_CTLS2 (bus_lock_detection)" in page.texts["dd"]


def test_recording_is_marked() -> None:
    """A page of a recording says so before all else, with its root."""
    page = render(LAKEFIELD_HOST)
    (banner,) = (text for text in page.texts["p"] if "recording" in text)

    assert ["h1", "p", "dl"] == [tag for tag in page.shape if tag in ("h1", "p", "dl")][:3]
    assert ["recording"] == page.attributes("class")
    assert str(LAKEFIELD) in banner


def test_live_host_is_not_marked() -> None:
    """A page of the machine itself says nothing of a recording."""
    html = render_page(take_inventory(replace(LAKEFIELD_HOST, source=Source.LIVE, root="/")), "/metrics")

    assert [] == Page(html).attributes("class")
    assert ["/"] == Page(html).texts["dd"][:1]
    assert b"recording" not in re.sub(rb"<style>.*</style>", b"", html, flags=re.DOTALL)


@pytest.mark.parametrize("path", ["/metrics", "/vmx/metrics", "/"])
def test_link(path: str) -> None:
    """The page has one link, to the metrics."""
    assert [path] == render(LAKEFIELD_HOST, path).attributes("href")


@pytest.mark.parametrize("name", REAL_HOSTS)
def test_nothing_from_elsewhere(name: str) -> None:
    """The page loads nothing: no script, image, frame, font or stylesheet, from here or elsewhere."""
    html = render_page(scan(str(HOSTS / name)).inventory, "/metrics")

    assert not {"script", "img", "iframe", "link", "object", "embed", "form", "base"} & set(Page(html).shape)
    assert [] == Page(html).attributes("src")
    assert None is re.search(rb"url\(|@import|https?:|//", html)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_recording(text: str, tmp_path: Path) -> None:
    """A recording cannot put markup on the page by what it calls its CPU, kernel or directory: all shows as text."""
    root = tmp_path / text.replace("/", "|")
    shutil.copytree(LAKEFIELD, root)
    cpuinfo = root / "proc/cpuinfo"
    lines = cpuinfo.read_text().splitlines()
    edited = [re.sub(r"^(model name|vendor_id)(\s*): .*", lambda m: f"{m[1]}{m[2]}: {text}", line) for line in lines]
    cpuinfo.write_text("\n".join(edited) + "\n")
    (root / "proc/sys/kernel").mkdir(parents=True)
    (root / "proc/sys/kernel/osrelease").write_text(f"{text}\n")
    inventory = scan(str(root)).inventory
    page = Page(render_page(inventory, "/metrics"))
    shown = text.strip()

    assert (shown, shown, shown) == (inventory.identity.model_name, inventory.identity.vendor, inventory.host.kernel)
    assert render(LAKEFIELD_HOST).shape == page.shape
    assert ([], [], []) == (page.errors, page.unclosed, page.comments)
    assert [f"vmxd: {shown}"] == page.texts["title"]
    assert f"{shown}, {shown}" in page.texts["dd"]
    assert f"recording {root}" in page.texts["dd"]
    assert any(str(root) in paragraph for paragraph in page.texts["p"])
    assert any(f"kernel {shown}" in line for line in page.texts["dd"])


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_path(text: str) -> None:
    """The path of the metrics cannot leave its attribute."""
    page = render(LAKEFIELD_HOST, f"/{text}")

    assert [f"/{text}"] == page.attributes("href")
    assert render(LAKEFIELD_HOST).shape == page.shape


@given(st.text(), st.text(), st.text())
def test_any_text(model_name: str, root: str, note: str) -> None:
    """Whatever a host says, the page keeps its shape, and its declared encoding."""
    cpus = {cpu: replace(facts, model_name=model_name) for cpu, facts in LAKEFIELD_HOST.cpus.items()}
    page = render(replace(LAKEFIELD_HOST, cpus=cpus, root=root))
    noted = render(replace(LAKEFIELD_HOST, cpus=cpus, root=root, notes=(note,)))

    assert render(LAKEFIELD_HOST).shape == page.shape
    assert page.shape.count("dd") + 1 == noted.shape.count("dd")


def test_root_that_is_not_utf8(tmp_path: Path) -> None:
    """A directory whose name is no UTF-8 still has a page."""
    root = tmp_path / "caf\udce9"
    shutil.copytree(LAKEFIELD, root)

    assert "recording" in Page(render_page(scan(str(root)).inventory, "/metrics")).texts["p"][0]
