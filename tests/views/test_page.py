"""The page at /: honest about what is served, whole as HTML, and safe whatever the host calls itself."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.support import HOSTS, LAKEFIELD, TYPICAL_HOSTS
from vmxd.commands.profiles import builtin_profiles
from vmxd.host.scan import scan
from vmxd.model.facts import Failed, Host, Reading, Source
from vmxd.model.inventory import Inventory, take_inventory
from vmxd.server.render import render_pages
from vmxd.tables import FEATURES
from vmxd.views import page_view
from vmxd.views.json import inventory_document, to_json
from vmxd.views.page import render_page

LAKEFIELD_HOST: Final = scan(str(LAKEFIELD)).inventory.host
PAGE_BYTES_MAX: Final = 60_000
"""Of a whole page as it is sent, to a browser at the end of a thin line."""
VOID: Final = frozenset(("meta", "link", "br", "hr", "img", "input", "wbr"))
HOSTILE: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></script></dd></dl><h1>",
    "<!-- notice -->",
    "&lt;script&gt;",
    "{{ 7 * 7 }}{% raw %}",
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


def inventory_of(name: str) -> Inventory:
    """Scan a recording as the server does."""
    return scan(str(HOSTS / name), nested=True, profiles=builtin_profiles()).inventory


def page_of(inventory: Inventory, telemetry_path: str = "/metrics") -> Page:
    """Render a page and take it apart."""
    html, _ = render_page(inventory, telemetry_path)
    assert html.startswith(b"<!DOCTYPE html>\n")
    return Page(html.replace(b"<!-- notice -->", b""))


def render(host: Host, telemetry_path: str = "/metrics") -> Page:
    """Render a host's page and take it apart."""
    return page_of(take_inventory(host), telemetry_path)


@pytest.mark.parametrize("name", TYPICAL_HOSTS)
def test_html(name: str) -> None:
    """The page is small and needs no repair; each id is there once, and each link on the page leads somewhere."""
    html, _ = render_page(inventory_of(name), "/metrics")
    page = page_of(inventory_of(name))
    ids = page.attributes("id")

    assert ["DOCTYPE html"] == page.declarations
    assert ([], [], []) == (page.errors, page.unclosed, page.comments)
    assert {"lang": "en"} == dict(page.tags)["html"]
    assert len(set(ids)) == len(ids)
    assert {href[1:] for href in page.attributes("href") if href and href.startswith("#")} <= set(ids)
    assert page.texts["h1"] == page.shape.count("h1") * [inventory_of(name).identity.model_name or "Unknown model"]
    assert page.shape.count("table") == page.shape.count("caption")
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    assert len(gzip.compress(html)) < PAGE_BYTES_MAX


def test_control_states() -> None:
    """A control's state is more than on: Skylake must set some controls, and may clear some that once were always 1."""
    groups = page_view.feature_groups(inventory_of("skylake-6700k"))
    rows = {row.name: row for group in groups for row in group.rows}

    assert "default1-clearable" == rows["cr3_load_exiting"].state
    assert "on" == rows["ept"].state
    assert "off" == rows["tertiary_controls"].state
    assert [("MSR absent",)] == [group.notes for group in groups if rows["ipi_virt"] in group.rows]
    assert () == rows["ipi_virt"].notes
    assert {state.value for state in page_view.STATES} >= {row.state for row in rows.values()}
    assert {"forced"} == {
        row.state
        for row in page_view.feature_groups(inventory_of("yonah-t2600"))[2].rows
        if row.name == "cr3_load_exiting"
    }


def test_lakefield() -> None:
    """The page of Lakefield says which CPU differs, in which MSR and feature, and shows both values."""
    page = render(LAKEFIELD_HOST)

    assert any(
        "CPU 4 differs in IA32_VMX_PROCBASED_CTLS2 (bus_lock_detection): KVM may" in text for text in page.texts["li"]
    )
    assert {"CPUs 0-3 off", "CPU 4 on"} <= set(page.texts["small"])
    assert {"0x035d6fff00000000", "0x435d6fff00000000"} <= set(page.texts["code"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("made-future", "IA32_VMX_BASIC[59,63] set, and no source names it."),
        ("made-unlike", "lacks pml: all 5 Xeon CPUs like it that were seen have it."),
        ("made-unlike", "has bus_lock_detection: none of the 5 Xeon CPUs like it that were seen has it."),
        (
            "made-all-unreadable",
            "could not be read on CPUs 0-3: /dev/cpu/*/msr may not be opened by this user (EACCES).",
        ),
        ("made-nested", "enable_apicv=N leaves off what every CPU has: apicv, vapic_reg, vid, posted_intr."),
    ],
)
def test_findings(name: str, says: str) -> None:
    """What is odd stands at the top."""
    assert any(says in text for _, _, text in page_view.findings(inventory_of(name)))
    assert any(says in text for text in page_of(inventory_of(name)).texts["li"])


def test_guests() -> None:
    """There is a column of what guests get, as KVM answered or as expected; none without VMX."""
    nested, plain = page_of(inventory_of("made-nested")), page_of(inventory_of("made-amd"))
    expected = page_of(inventory_of("lakefield-i5-l16g7"))

    assert "Guests" in nested.texts["th"]
    assert 75 == sum(text.startswith("yes") for text in nested.texts["td"])
    assert 82 == sum(text.startswith("yes") for text in expected.texts["td"])
    assert "Guests" not in plain.texts["th"]


def test_many_values() -> None:
    """A host of which every CPU has values of its own does not make a page of their size."""
    count = 3000
    readings = {index: {cpu: (cpu << 32) + index for cpu in range(count)} for index in LAKEFIELD_HOST.readings}
    host = replace(LAKEFIELD_HOST, online=tuple(range(count)), present=tuple(range(count)), readings=readings)

    assert len(render_pages(take_inventory(host), "/metrics").page) < 2 * PAGE_BYTES_MAX


def test_recording_is_marked() -> None:
    """A page of a recording says so before all else, with its root."""
    page = render(LAKEFIELD_HOST)
    (banner,) = (attributes for tag, attributes in page.tags if attributes.get("class") == "notice")

    assert page.tags.index(("p", banner)) < page.shape.index("h1")
    assert str(LAKEFIELD) in page.texts["code"]


def test_live_host_is_not_marked() -> None:
    """A page of the machine itself, or of a recording that it made since boot, says when it was read and its name."""
    for host in (replace(LAKEFIELD_HOST, source=Source.LIVE, root="/"), replace(LAKEFIELD_HOST, same_boot=True)):
        page = render(replace(host, name="db-03"))

        assert "notice" not in page.attributes("class")
        assert not any("A recording," in text for text in page.texts["p"])
        assert "Read, of this machine" in page.texts["dt"]
        assert (["db-03"], "db-03 · vmxd") == (page.texts["h1"], page.texts["title"][0])
        assert "Intel(R) Core(TM) i5-L16G7 CPU @ 1.40GHz" in page.texts["p"]


def test_no_vmx() -> None:
    """A page of a host without VMX says so once; what is off or absent everywhere is folded away."""
    page = page_of(inventory_of("made-amd"))

    assert [f"All {len(FEATURES)} features are off, as there is no VMX", "No MSR has a value, as there is no VMX"] == [
        text for text in page.texts["summary"] if "no VMX" in text
    ]


def test_notices() -> None:
    """There is a page for a host that has changed since, and one for a scan that failed; they differ in that alone."""
    pages = render_pages(take_inventory(LAKEFIELD_HOST), "/metrics")
    plain, stale, failed = (
        gzip.decompress(each).decode() for each in (pages.page, pages.page_stale, pages.page_failed)
    )
    notice = re.compile(r'<p class="notice bad"><strong>(.*?)</strong>.*?</p>')

    assert None is notice.search(plain)
    assert ["Out of date."] == notice.findall(stale)
    assert ["The last scan failed."] == notice.findall(failed)
    assert {plain} == {notice.sub("", each) for each in (stale, failed)}


@pytest.mark.parametrize("path", ["/metrics", "/vmx/metrics"])
def test_links(path: str) -> None:
    """The page leads to the metrics, the JSON and itself, and nowhere else."""
    links = [
        href for tag, attributes in render(LAKEFIELD_HOST, path).tags if tag == "a" and (href := attributes["href"])
    ]

    assert {path, "/inventory.json"} == {href for href in links if not href.startswith("#")}


def test_policy() -> None:
    """The browser is told to run our style and script, by the hash of their very bytes, and nothing else."""
    html, policy = render_page(take_inventory(LAKEFIELD_HOST), "/metrics")
    page = Page(html)
    directives = dict(each.split(" ", 1) for each in policy.split("; "))

    for tag in ("style", "script"):
        (text,) = page.texts[tag]
        assert (
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" == directives[f"{tag}-src"]
        )
    assert "'none'" == directives["default-src"]
    assert "unsafe" not in policy
    assert not {name for name in ("style", "src") if page.attributes(name)}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_nothing_from_elsewhere() -> None:
    """The page loads nothing: no image, frame, font or stylesheet, from here or elsewhere."""
    html, _ = render_page(take_inventory(LAKEFIELD_HOST), "/metrics")

    assert not {"img", "iframe", "object", "embed", "form", "base"} & set(Page(html).shape)
    assert None is re.search(rb"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", html)


def test_json() -> None:
    """/inventory.json is what ``vmxd show --json`` prints."""
    inventory = take_inventory(LAKEFIELD_HOST)

    assert to_json(inventory_document(inventory)) == gzip.decompress(render_pages(inventory, "/").inventory).decode()


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
    parameters = root / "sys/module/kvm_intel/parameters"
    parameters.mkdir(parents=True)
    (parameters / "ple_gap").write_text(f"{text}\n")
    inventory = scan(str(root)).inventory
    page = page_of(inventory)

    assert ([], [], []) == (page.errors, page.unclosed, page.comments)
    assert f"{text} · vmxd" == page.texts["title"][0]
    assert [text] == page.texts["h1"]
    assert {text, str(root)} <= {*page.texts["dd"], *page.texts["code"]}
    shape = render(replace(inventory.host, root="/", kernel="6", cpus=LAKEFIELD_HOST.cpus)).shape
    assert shape == page.shape


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_path(text: str) -> None:
    """The path of the metrics cannot leave its attribute."""
    page = render(LAKEFIELD_HOST, f"/{text}")

    assert f"/{text}" in page.attributes("href")
    assert render(LAKEFIELD_HOST).shape == page.shape


@settings(max_examples=20)
@given(st.text(), st.text(), st.text())
def test_any_text(model_name: str, root: str, note: str) -> None:
    """Whatever a host says, the page keeps its shape, and its declared encoding."""
    cpus = {cpu: replace(facts, model_name=model_name) for cpu, facts in LAKEFIELD_HOST.cpus.items()}
    page = render(replace(LAKEFIELD_HOST, cpus=cpus, root=root))
    noted = render(replace(LAKEFIELD_HOST, cpus=cpus, root=root, notes=(note,)))

    assert render(LAKEFIELD_HOST).shape == page.shape
    assert page.shape.count("li") + 1 == noted.shape.count("li")


def test_root_that_is_not_utf8(tmp_path: Path) -> None:
    """A directory whose name is no UTF-8 still has a page, and JSON."""
    root = tmp_path / "caf\udce9"
    shutil.copytree(LAKEFIELD, root)
    pages = render_pages(scan(str(root)).inventory, "/metrics")

    assert "caf\N{REPLACEMENT CHARACTER}" in gzip.decompress(pages.page).decode()
    assert gzip.decompress(pages.inventory).decode()


def test_failed_msr() -> None:
    """A feature whose MSR could not be read says so, and where."""
    misc: dict[int, Reading] = {0: Failed("EIO"), **dict.fromkeys(range(1, 5), 1 << 6)}
    readings = {**LAKEFIELD_HOST.readings, 0x485: misc}
    inventory = take_inventory(replace(LAKEFIELD_HOST, readings=readings))
    (group,) = (group for group in page_view.feature_groups(inventory) if group.name == "IA32_VMX_MISC")

    assert ("CPU 0 unknown: failed (EIO)",) == group.notes
    assert all("CPU 0" not in note for row in group.rows for note in row.notes)
    assert "on" in {row.state for row in group.rows if row.name == "activity_hlt"}
    assert len(FEATURES) == sum(page_view.counts(page_view.feature_groups(inventory)).values())


def test_metrics_without_jinja2() -> None:
    """``vmxd metrics`` has no need of Jinja2, and does not wait for it."""
    command = [sys.executable, "-X", "importtime", "-m", "vmxd", "metrics", "--root", str(LAKEFIELD)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert "prometheus_client" in result.stderr
    assert "jinja2" not in result.stderr
