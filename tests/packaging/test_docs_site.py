"""The documentation as a site: it builds without a warning, needs no network, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import pytest

from tests.helpers.browser import chromium
from tests.helpers.support import REPOSITORY, deploy_module

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MARKDOWN_LINK: Final = re.compile(r"\]\((?P<target>[^)\s]+)\)|<(?P<bare>https?://[^>]+)>")
LOADED: Final = {"link": "href", "script": "src", "img": "src", "source": "srcset", "iframe": "src", "object": "data"}


class Page(HTMLParser):
    """What a page links to, what it loads, and the anchors in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of a tag."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if LOADED.get(tag) in values and values.get("rel") not in ("canonical", "index", "search", "next", "prev"):
            self.loads.append(values[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built as make docs does."""
    for module in ("sphinx", "myst_parser", "furo"):
        deploy_module(module)
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(target / ".doctrees")]
    result = subprocess.run(
        [*command, "-c", "docs/site", ".", str(target)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (0, "") == (result.returncode, result.stderr)
    return target


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Return every page of the site by its path."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Links within the site name a file that is there, and an anchor that it has; others are whole addresses."""
    wrong = defaultdict(list)
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                if not parts.netloc:
                    wrong[str(path.relative_to(site))].append(link)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else set()
            if parts.scheme or not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                wrong[str(path.relative_to(site))].append(link)

    assert {} == wrong


def test_nothing_comes_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    """The pages, and the styles that they load, load what is in the site and nothing else."""
    loads = {load for page in pages.values() for load in page.loads}
    styles = [path.read_text() for path in site.rglob("*.css")]
    imported = {url for text in styles for url in re.findall(r"(?:url\(|@import\s+)[\"']?([^\"')]+)", text)}

    assert loads
    assert [] == [url for url in loads | imported if urlsplit(url).scheme not in ("", "data") or url.startswith("//")]


def test_search_and_names(site: Path, browser: Browser) -> None:
    """A feature's name is found first where it is explained; a link is called by its page's title, not by a file."""
    page = browser.new_page()
    page.goto(f"{(site / 'search.html').as_uri()}?q=posted_intr")
    first = page.locator("#search-results li a").first
    first.wait_for()

    assert "docs/reference/features.html#posted_intr" == first.get_attribute("href")
    page.goto((site / "README.html").as_uri())
    texts = page.locator("article a").all_inner_texts()
    assert ("Install" in texts, []) == (True, [text for text in texts if text.endswith(".md")])
    page.close()


def test_every_page_can_be_reached(site: Path, pages: dict[Path, Page]) -> None:
    """From / every page can be reached, and the front page comes first."""
    found = {site / "index.html"}
    while True:
        links = ((path.parent / urlsplit(link).path).resolve() for path in found for link in pages[path].links)
        more = {link for link in links if link in pages} - found
        if not more:
            break
        found |= more

    assert [str(site / "README.html")] == [str((site / link).resolve()) for link in pages[site / "index.html"].links]
    assert {"genindex.html", "search.html"} >= {str(path.relative_to(site)) for path in pages.keys() - found}
