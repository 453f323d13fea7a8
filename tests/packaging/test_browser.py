"""The page in a browser, as people meet it: Debian's Chromium, headless, on a real ``vmxd serve``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, expect, sync_playwright

from tests.helpers.server import Server, serving
from tests.helpers.support import HOSTS, program
from vmxd.host.changes import BOOT_ID
from vmxd.tables import FEATURES

NAMES: Final = ("lakefield-i5-l16g7", "sapphirerapids", "made-future", "made-all-unreadable", "made-amd", "made-nested")
WIDTHS: Final = (360, 1440)
ALL: Final = len(FEATURES)
AXE: Final = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
HOSTILE: Final = '"><img src=x onerror=alert(1)><script>alert(2)</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium once."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program("chromium", "chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a recording that calls its CPU, kernel and a parameter what a browser must not believe."""
    root = tmp_path_factory.mktemp("hostile") / HOSTILE.replace("/", "|")
    shutil.copytree(HOSTS / "made-nested", root)
    cpuinfo = root / "proc/cpuinfo"
    cpuinfo.write_text(re.sub(r"(?m)^(model name\s*: ).*$", lambda match: match[1] + HOSTILE, cpuinfo.read_text()))
    (root / "proc/sys/kernel").mkdir(parents=True, exist_ok=True)
    (root / "proc/sys/kernel/osrelease").write_text(HOSTILE)
    (root / "sys/module/kvm_intel/parameters/ple_gap").write_text(HOSTILE)
    return root


@pytest.fixture(scope="module")
def servers(hostile: Path) -> Iterator[dict[str, Server]]:
    """Serve each recording as it is asked for."""

    class Servers(dict[str, Server]):
        def __missing__(self, name: str) -> Server:
            context = serving(hostile if name == "hostile" else HOSTS / name, "--collector.nested")
            running.append(context)
            self[name] = context.__enter__()
            return self[name]

    running: list[Any] = []
    yield Servers()
    for context in running:
        context.__exit__(None, None, None)


class Visit:
    """A page in a window of its own, and what the console says of it; dialogs are dismissed and remembered."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:  # noqa: ANN401 (Playwright's)
        self.said: list[str] = []
        self._context = browser.new_context(**options)
        self.page = self._context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", self._dismiss)
        self.page.on("requestfailed", lambda request: self.said.append(request.url))
        self.page.goto(url)

    def _dismiss(self, dialog: Dialog) -> None:
        self.said.append(dialog.message)
        dialog.dismiss()

    def __enter__(self) -> Page:
        return self.page

    def __exit__(self, *failure: object) -> None:
        self._context.close()
        if failure[0] is None:
            assert [] == self.said


def visit(browser: Browser, server: Server, width: int = 1440, **options: Any) -> Visit:  # noqa: ANN401
    """Open the page of a server; in the end nobody may have complained on the console."""
    return Visit(browser, server.urls[0], viewport={"width": width, "height": 800}, **options)


def shown(page: Page) -> Locator:
    """Return the rows of features that can be seen."""
    return page.locator("#features tbody tr:visible")


def is_reachable(page: Page, target: Locator, presses: int = 40) -> bool:
    """Return whether Tab comes to an element."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return True
    return False


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1440, "light")])
@pytest.mark.parametrize("name", [*NAMES, "hostile"])
def test_accessible(browser: Browser, servers: dict[str, Server], name: str, width: int, scheme: str) -> None:
    """axe finds nothing to object to, contrast and structure included, open details too; nothing scrolls sideways."""
    with visit(browser, servers[name], width, color_scheme=scheme) as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        page.evaluate(AXE)
        found = page.evaluate("axe.run({resultTypes: ['violations']})")

        assert [] == [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]]
        assert len(found["passes"]) > 20
        assert width == page.evaluate("document.documentElement.scrollWidth")


def test_dark(browser: Browser, servers: dict[str, Server]) -> None:
    """The page is dark where the reader wants it so: light text on a dark ground, and the reverse."""
    light: dict[str, tuple[int, int]] = {}
    for scheme in ("light", "dark"):
        with visit(browser, servers["sapphirerapids"], color_scheme=scheme) as page:
            colours = page.evaluate(
                "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
            )
            ground, text = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
            light[scheme] = ground, text

    assert (True, True) == (light["light"][0] > 700, light["light"][1] < 100)
    assert (True, True) == (light["dark"][0] < 100, light["dark"][1] > 600)


def test_forced_colours(browser: Browser, servers: dict[str, Server]) -> None:
    """Where the reader's colours replace the page's, on still looks unlike off, and what is chosen unlike the rest."""
    with visit(browser, servers["lakefield-i5-l16g7"], forced_colors="active") as page:
        marks = {
            state: page.locator(f".tally .state.{state}").evaluate(
                "e => getComputedStyle(e, '::before').backgroundColor"
            )
            for state in ("on", "off")
        }
        chosen, other = (
            page.locator(f"fieldset input[value='{value}'] + span").evaluate("e => getComputedStyle(e).backgroundColor")
            for value in ("", "on")
        )

        assert marks["on"] != marks["off"]
        assert chosen != other
        assert "0px" != page.locator(".findings li").first.evaluate("e => getComputedStyle(e).borderTopWidth")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("bus_lock_detection", ["bus_lock_detection"]),
        ("VMX_FEATURE_PAGE_MOD_LOGGING", ["pml"]),
        ("vmx-apicv-vid", ["vid"]),
        ("0x48b[62]", ["bus_lock_detection"]),
        ("ia32_vmx_vmfunc[0]", ["eptp_switching"]),
        ("  Posted   INTERRUPTS ", ["posted_intr", "apicv"]),
        ("0x491", ["eptp_switching"]),
        ("missing features: vmx-pml,vmx-posted-intr", ["posted_intr", "pml"]),
    ],
)
def test_search(browser: Browser, servers: dict[str, Server], width: int, text: str, names: list[str]) -> None:
    """A feature is found by any name, by the manual's words and by MSR[bit]; the count is announced."""
    with visit(browser, servers["lakefield-i5-l16g7"], width) as page:
        expect(page.get_by_role("searchbox", name="Search features")).to_be_in_viewport()
        expect(page.get_by_role("status")).to_have_text(f"{ALL} features")
        page.get_by_role("searchbox", name="Search features").fill(text)

        assert names == [row.get_attribute("id") for row in shown(page).all()]
        assert len(names) == page.locator("#features table:visible").count()
        expect(page.get_by_role("status")).to_contain_text(f"{len(names)} of {ALL} features")
        page.reload()
        assert names == [row.get_attribute("id") for row in shown(page).all()]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("place", ["host", "pml", "msrs"])
def test_what_is_found_is_seen(browser: Browser, servers: dict[str, Server], width: int, place: str) -> None:
    """Wherever the reader is, / and a few letters bring what is found below the search; so does a state."""
    with visit(browser, servers["lakefield-i5-l16g7"], width) as page:
        page.evaluate(f"document.getElementById('{place}').scrollIntoView()")
        page.keyboard.press("/")
        page.keyboard.type("posted")

        expect(page.get_by_role("searchbox")).to_be_in_viewport()
        expect(page.locator("#posted_intr")).to_be_in_viewport()
        page.get_by_role("searchbox").press("Escape")
        page.get_by_role("radio", name="differs", exact=True).check()
        expect(page.locator("#bus_lock_detection")).to_be_in_viewport()


def test_nothing_found(browser: Browser, servers: dict[str, Server]) -> None:
    """Where nothing matches the page says so; Escape brings all back."""
    with visit(browser, servers["lakefield-i5-l16g7"]) as page:
        search = page.get_by_role("searchbox")
        search.fill("nested pizza")
        expect(page.get_by_role("status")).to_have_text(f"0 of {ALL} features")
        expect(page.get_by_text("No feature matches.")).to_be_visible()
        search.press("Escape")

        assert (ALL, "") == (shown(page).count(), search.input_value())
        expect(page.get_by_text("No feature matches.")).to_be_hidden()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("state", "count"), [("on", 100), ("off", 47), ("differs", 1), ("unknown", 1), ("all", ALL)])
def test_filter(browser: Browser, servers: dict[str, Server], width: int, state: str, count: int) -> None:
    """The features of a state are shown alone, as many as the tally says."""
    with visit(browser, servers["lakefield-i5-l16g7"], width) as page:
        page.get_by_role("radio", name=state, exact=True).check()

        assert count == shown(page).count()
        assert state == "all" or page.locator(".tally li", has_text=state).inner_text().startswith(str(count))


def test_search_and_filter(browser: Browser, servers: dict[str, Server]) -> None:
    """Both narrow down together; a link to a feature that they hide shows all again."""
    with visit(browser, servers["lakefield-i5-l16g7"]) as page:
        page.get_by_role("searchbox").fill("ept")
        page.get_by_role("radio", name="off", exact=True).check()
        both = shown(page).count()
        page.get_by_role("radio", name="all", exact=True).check()
        assert 0 < both < shown(page).count() < ALL

        page.locator("#profiles").get_by_role("link", name="pml").click()
        assert ALL == shown(page).count()
        expect(page.locator("#pml")).to_be_in_viewport()


def test_keyboard(browser: Browser, servers: dict[str, Server]) -> None:
    """Everything is within reach of the keyboard: skip link, search, states, links and the bits of a value."""
    with visit(browser, servers["made-nested"]) as page:
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the features")).to_be_focused()
        assert is_reachable(page, page.get_by_role("searchbox"), 5)
        page.keyboard.type("tsc")
        assert shown(page).count() < 10
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("radio", name="on", exact=True)).to_be_checked()
        page.keyboard.press("/")
        expect(page.get_by_role("searchbox")).to_be_focused()
        assert "tsc" == page.get_by_role("searchbox").input_value()

        bits = page.locator("#msrs details").first
        assert is_reachable(page, bits.locator("summary"), 90)
        page.keyboard.press("Enter")
        expect(bits.get_by_text("vmx_outside_smx")).to_be_visible()


def test_bits_on_hover(browser: Browser, servers: dict[str, Server]) -> None:
    """The bit that Lakefield's CPU 4 has alone is named where the pointer rests on it."""
    with visit(browser, servers["lakefield-i5-l16g7"]) as page:
        titles = [text for text in page.locator("#msrs svg title").all_text_contents() if "bus_lock" in text]

        assert ["62 bus_lock_detection"] == titles


@pytest.mark.parametrize("width", WIDTHS)
def test_touch(browser: Browser, servers: dict[str, Server], width: int) -> None:
    """A tap opens the bits of a value."""
    with visit(browser, servers["made-nested"], width, has_touch=True) as page:
        bits = page.locator("#msrs details").first
        bits.locator("summary").tap()
        expect(bits.get_by_text("locked")).to_be_visible()


def test_without_javascript(browser: Browser, servers: dict[str, Server]) -> None:
    """Without JavaScript all is there but the search, which does not pretend to work."""
    with visit(browser, servers["lakefield-i5-l16g7"], java_script_enabled=False) as page:
        assert ALL == shown(page).count()
        expect(page.get_by_role("searchbox")).to_be_hidden()
        page.locator("#msrs summary").first.click()
        expect(page.locator("#msrs details li").first).to_be_visible()


def test_hostile(browser: Browser, servers: dict[str, Server]) -> None:
    """What a recording calls its CPU, kernel, parameter and directory is text: nothing runs, nothing is loaded."""
    with visit(browser, servers["hostile"]) as page:
        assert HOSTILE == page.get_by_role("heading", level=1).inner_text()
        assert f"{HOSTILE} · vmxd" == page.title()
        assert 0 == page.locator("img").count()
        assert 1 == page.locator("script").count()


def test_policy(browser: Browser, servers: dict[str, Server]) -> None:
    """A script that comes onto the page by other ways does not run."""
    visited = visit(browser, servers["sapphirerapids"])
    visited.page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )

    assert visited.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in visited.said)


def test_stale(browser: Browser, tmp_path: Path) -> None:
    """A recording of a boot that is over is marked as out of date; one of another machine is not."""
    root = tmp_path / "recording"
    shutil.copytree(HOSTS / "skylake-6700k", root)
    (root / BOOT_ID).parent.mkdir(parents=True)
    (root / BOOT_ID).write_text("00000000-0000-0000-0000-000000000000\n")
    with serving(root) as server, visit(browser, server) as page:
        expect(page.get_by_text("Out of date.")).to_be_visible()
    with serving(HOSTS / "skylake-6700k") as server, visit(browser, server) as page:
        expect(page.get_by_text("Out of date.")).to_have_count(0)
        expect(page.locator(".notice")).to_contain_text("A recording,")


def test_print(browser: Browser, servers: dict[str, Server]) -> None:
    """On paper are the facts, dark on white whatever the screen is, and none of the controls; it is few pages."""
    with visit(browser, servers["sapphirerapids"], color_scheme="dark") as page:
        pages = page.pdf().count(b"/Type /Page\n")
        page.emulate_media(media="print")

        assert 5 < pages < 20
        assert ALL == shown(page).count()
        for hidden in ("#tools", ".contents", "header nav"):
            expect(page.locator(hidden)).to_be_hidden()
        assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
