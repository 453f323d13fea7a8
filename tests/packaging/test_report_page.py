"""The report's page in Chromium: what it says, what its filters find, and that it harms and is harmed by nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.helpers.browser import chromium, opened, violations
from tests.helpers.fleets import recorded, simulated
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.report import HAS, WORDS, groups_of
from vmxd.fleet.report_page import COLUMNS_MAX, names_of, render_report
from vmxd.tables import FEATURES, find_features

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "</style></title></table>",
    "' onmouseover='alert(1)",
    "{{ 7*7 }} ${7*7} &copy; \u2028",
)
DARK: Final = "dark"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a running Chromium."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Fleet], Path]:
    """Return what writes a fleet's page to a file."""
    directory = tmp_path_factory.mktemp("pages")
    files: dict[int, Path] = {}

    def write(fleet: Fleet) -> Path:
        if id(fleet) not in files:
            files[id(fleet)] = directory / f"{len(files)}.html"
            files[id(fleet)].write_bytes(render_report(fleet))
        return files[id(fleet)]

    return write


@pytest.fixture
def page(browser: Browser, written: Callable[[Fleet], Path]) -> Iterator[Page]:
    """Return the page of 5,000 simulated hosts."""
    with opened(browser, written(simulated(5000))) as opened_page:
        yield opened_page


def settle(page: Page) -> None:
    """Wait until the page has drawn what was asked of it."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def search(page: Page, **fields: str) -> None:
    """Fill search fields by their names."""
    for name, text in fields.items():
        page.fill(f"[name={name}]", text)
    settle(page)


def hosts_shown(page: Page) -> int:
    """Return how many hosts the page says it shows, which its groups must add up to."""
    said = page.inner_text("[role=status]").replace(",", "")
    counts = page.locator("#group-table tr[id]:visible summary b").all_inner_texts()

    assert int(said.split()[0]) == sum(int(count.replace(",", "")) for count in counts)
    return int(said.split()[0])


def features_shown(page: Page) -> list[str]:
    """Return the names of the rows that are shown."""
    rows = page.locator("#matrix [data-feature]:visible > th").all_inner_texts()
    return [text.split()[0] for text in rows]


def marks_shown(page: Page, number: int) -> list[str]:
    """Return the words in a feature's row, a word for each column."""
    return [text.strip() for text in page.locator(f"[data-feature='{number}'] > td:not(.n)").all_text_contents()]


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_matrix(browser: Browser, written: Callable[[Fleet], Path], javascript: bool) -> None:
    """With and without JavaScript the table says of each group, in order, what is true of it, and counts its hosts."""
    fleet = simulated(5000)
    groups = groups_of(fleet)
    with opened(browser, written(fleet), java_script_enabled=javascript) as page:
        shown = features_shown(page)
        heads = page.locator("#matrix thead th.g").all_text_contents()

        assert [f"{len(group.hosts):,}" for group in groups] == [text.split()[-1] for text in heads]
        assert [name for name in FEATURES if name in shown] == shown
        for name in shown:
            number = list(FEATURES).index(name)
            assert [WORDS[group.marks[number]] for group in groups] == marks_shown(page, number)
            counts = page.locator(f"[data-feature='{number}'] > td.n").all_inner_texts()
            has = [host.has(name) for host in fleet.hosts]
            assert [f"{has.count(value):,}" for value in (True, False, None)] == counts


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_fold(browser: Browser, written: Callable[[Fleet], Path], javascript: bool) -> None:
    """Features on which all hosts with VMX agree are folded away behind a line that counts them, and named there."""
    with opened(browser, written(simulated(5000)), java_script_enabled=javascript) as page:
        shown = features_shown(page)
        page.click("#agreed summary")
        folded = page.locator("#agreed p span").all_inner_texts()
        counts = [int(text) for text in page.locator("#agreed summary b").all_inner_texts()]

        assert sorted(FEATURES) == sorted(shown + folded)
        assert len(folded) == sum(counts)
        assert str(len(shown)) == page.inner_text(".figures dd").split()[0]


def test_hosts_without_vmx_make_nothing_differ(browser: Browser, written: Callable[[Fleet], Path]) -> None:
    """Beside a host without VMX, hosts that are alike still have no feature that differs; unreadable ones the same."""
    names = {"sapphirerapids", "made-amd", "made-all-unreadable"}
    fleet = Fleet(tuple(host for host in recorded().hosts if host.name in names), "a test", 0)
    with opened(browser, written(fleet)) as page:
        assert [] == features_shown(page)
        assert "The hosts shown agree on every feature." == page.inner_text(".none")
        assert "features all hosts with VMX have" in page.inner_text("#agreed summary")


def test_hosts_unfold(browser: Browser, written: Callable[[Fleet], Path]) -> None:
    """Without JavaScript a group opens to the names of its hosts; with it to a table of so many at a time."""
    fleet = simulated(5000)
    first = [host.name for host in groups_of(fleet)[0].hosts]
    with opened(browser, written(fleet), java_script_enabled=False) as page:
        page.click("#g1 summary")
        assert ", ".join(first) == page.inner_text("#g1 + .members p")
        assert not page.is_visible("#g2 + .members")
    with opened(browser, written(fleet)) as page:
        page.click("#g1 summary")
        page.wait_for_selector(".members table")
        rows = page.locator(".members tbody tr")
        assert first[0] in rows.locator("td:first-child").all_inner_texts()
        assert 200 == rows.count()
        page.click(".members button")
        assert 400 == rows.count()


def test_search_hosts(page: Page) -> None:
    """Every word must be in a host's name, model, microcode, fingerprint, status or labels; case does not count."""
    fleet = simulated(5000)
    for text in ("host-0012", "POOL-03 8160", "0x2b000571", "disabled by firmware", "xeon pool-01 host-004"):
        search(page, host=text)
        expected = [
            host
            for host in fleet.hosts
            if all(
                word
                in " ".join(
                    (
                        host.name,
                        host.model_name or "",
                        host.microcode or "",
                        *host.labels.values(),
                        (host.status or "").replace("_", " "),
                    )
                ).lower()
                for word in text.lower().split()
            )
        ]
        assert len(expected) == hosts_shown(page)
        assert expected

    search(page, host=groups_of(fleet)[1].fingerprint or "")
    assert len(groups_of(fleet)[1].hosts) == hosts_shown(page)
    assert [str(len(groups_of(fleet)[1].hosts))] == page.locator("#matrix thead th.g small").all_inner_texts()

    search(page, host="no such host")
    assert (0, "No host is like that.") == (hosts_shown(page), page.inner_text(".none"))

    page.click("[type=reset]")
    settle(page)
    assert 5000 == hosts_shown(page)


def test_found_host_is_listed(page: Page) -> None:
    """A host that was found by its name is the only one in its group's list, with its facts."""
    fleet = simulated(5000)
    host = next(host for host in fleet.hosts if host.status == "unlocked")
    search(page, host=host.name)
    page.locator("#group-table summary:visible").click()
    page.wait_for_selector(".members table")
    cells = page.locator(".members:visible tbody td").all_inner_texts()

    assert [host.name, "unlocked", host.labels["cluster"], host.model_name, host.microcode] == cells[:5]
    assert host.reason == cells[-1]


def test_filters(page: Page) -> None:
    """Status, model and a label choose hosts, together; features that no longer differ are folded away."""
    hosts = simulated(5000).hosts
    before = features_shown(page)
    page.select_option("[name=status]", "usable")
    page.select_option("[data-label=cluster]", label="pool-02")
    settle(page)
    assert sum(host.status == "usable" and host.labels["cluster"] == "pool-02" for host in hosts) == hosts_shown(page)

    model = next(host.model_name for host in hosts if host.labels["cluster"] == "pool-02" and host.status == "usable")
    page.select_option("[name=model]", label=model)
    settle(page)
    chosen = [h for h in hosts if (h.status, h.labels["cluster"], h.model_name) == ("usable", "pool-02", model)]
    differing = [name for name in FEATURES if {True, False} <= {host.has(name) for host in chosen}]
    assert len(chosen) == hosts_shown(page)
    assert differing == features_shown(page)
    assert set(differing) < set(before)
    names = sorted(host.name for host in chosen)
    assert page.inner_text(".left").startswith(", ".join(names[:20]))
    assert f"Copy {len(names)} names" == page.inner_text(".copy")
    page.reload()
    assert (len(chosen), differing) == (hosts_shown(page), features_shown(page))

    page.uncheck("[name=differing]")
    settle(page)
    assert list(FEATURES) == features_shown(page)


def test_lacking(page: Page) -> None:
    """How many hosts lack a feature is a button that leaves just these; unreadable hosts are not among them."""
    hosts = simulated(5000).hosts
    number = list(FEATURES).index("pml")
    page.click(f"[data-feature='{number}'] .lack button")
    settle(page)

    assert sum(host.has("pml") is False for host in hosts) == hosts_shown(page)
    assert "only hosts that lack pml" in page.inner_text(".lacking")

    page.keyboard.press("Enter")
    settle(page)
    assert 5000 == hosts_shown(page)


def test_names_are_those_of_the_command_line() -> None:
    """What the page searches are names that the command line takes too, and they mean the same feature there."""
    for feature in FEATURES.values():
        assert [] == [name for name in names_of(feature) if feature not in find_features(name)]
        assert {n for n in (feature.name, *feature.aliases) if feature in find_features(n)} <= set(names_of(feature))


def test_search_features(page: Page) -> None:
    """One text finds every name that it is part of; of a list, a whole name finds its feature only, as pasted."""
    for text in ("missing features: vmx-pml, VMX_FEATURE_EPT,0x48b[57]", "PML,ia32_vmx_procbased_ctls2[33],0x48B[25]"):
        search(page, feature=text)
        assert {"ept", "pml", "tsc_scaling"} == set(features_shown(page))

    for text in ("Posted", "vmx-ept", "0x48d[", "SPEC_CTRL"):
        search(page, feature=text)
        expected = [f.name for f in FEATURES.values() if any(text.lower() in name.lower() for name in names_of(f))]
        assert expected == features_shown(page)
        assert expected

    search(page, feature="nothing")
    assert "No feature has such a name." == page.inner_text(".none")


def test_sorting(page: Page) -> None:
    """A column's heading sorts groups by it, both ways, and the table's columns with them; unknown ones stay last."""

    def numbers() -> list[str]:
        return page.locator("#group-table tr[id]:visible > th").all_inner_texts()

    groups = groups_of(simulated(5000))
    before = numbers()
    page.click("[data-sort=has] button")
    after = numbers()
    counts = [groups[int(number) - 1].marks.count(HAS) for number in after]

    assert before != after
    assert sorted(counts[:-2], reverse=True) == counts[:-2]
    assert before[-2:] == after[-2:]
    assert after == [text.split()[0] for text in page.locator("#matrix thead th.g").all_inner_texts()]
    assert "descending" == page.get_attribute("[data-sort=has]", "aria-sort")

    page.click("[data-sort=has] button")
    assert "ascending" == page.get_attribute("[data-sort=has]", "aria-sort")


def test_keyboard(page: Page) -> None:
    """Tab reaches the searches, the filters and a group, and Enter opens its hosts."""
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.tagName"))
        if reached[-1] == "SUMMARY":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#g1 + .members table")

    assert ["host", "feature", "status", "model"] == reached[:4]


def mixed() -> Fleet:
    """Return a small fleet that has a host of every sort."""
    made = [host for host in recorded().hosts if host.name.startswith(("made-", "lakefield", "sapphire", "skylake-sp"))]
    return Fleet(tuple(made), "a test", 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_accessible(browser: Browser, written: Callable[[Fleet], Path], scheme: str, width: int) -> None:
    """axe-core finds nothing wrong, as it opens, with hosts unfolded, and with a filter set; nothing overflows."""
    viewport = {"width": width, "height": 900}
    with opened(browser, written(mixed()), color_scheme=scheme, viewport=viewport) as page:
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        channels = [int(channel) for channel in re.findall(r"\d+", background)]

        assert (sum(channels) < 3 * 128) is (scheme == DARK)
        assert width >= page.evaluate("document.documentElement.scrollWidth")
        assert [] == violations(page)
        page.click("#g1 summary")
        page.click("#agreed summary")
        search(page, host="xeon")
        page.locator(".lack button:visible").first.click()
        settle(page)
        assert [] == violations(page)
        assert width >= page.evaluate("document.documentElement.scrollWidth")


def test_marks_without_colour(browser: Browser, written: Callable[[Fleet], Path]) -> None:
    """The four marks differ in shape, so also where colours are forced or are none."""
    with opened(browser, written(recorded()), forced_colors="active") as page:
        shapes = page.evaluate(
            """() => ["has", "lacks", "differs", "unknown"].map(name => {
                const style = getComputedStyle(document.querySelector(`#matrix td.${name}`), "::before");
                return [style.content, style.borderTopWidth, style.clipPath].join();
            })"""
        )
        assert 4 == len(set(shapes))


def hostile() -> Fleet:
    """Return a fleet whose hosts try to script in every text of theirs."""
    plain = next(host for host in recorded().hosts if host.name == "sapphirerapids")
    hosts = [
        replace(
            plain,
            name=f"{text}{number}",
            labels={"cluster": text},
            model_name=text,
            signature=text,
            microcode=text,
            kernel=text,
            reason=text,
            status="unlocked",
        )
        for number, text in enumerate(HOSTILE)
    ]
    return Fleet((*hosts, FleetHost("lost\udce9", reason=HOSTILE[0])), HOSTILE[2], 0)


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_hostile_texts(browser: Browser, written: Callable[[Fleet], Path], javascript: bool) -> None:
    """Whatever hosts and labels call themselves is shown as text: no dialog, no request, no element of theirs."""
    fleet = hostile()
    with opened(browser, written(fleet), java_script_enabled=javascript) as page:
        page.click("#g1 summary")
        if javascript:
            page.wait_for_selector(".members table")
        text = page.inner_text("#g1 + .members")

        assert [] == [each for each in HOSTILE if " ".join(each.split()) not in " ".join(text.split())]
        assert 0 == page.locator("img, body style, [onmouseover], [onerror]").count()
        assert 2 == page.locator("script").count()
        if javascript:
            choices = page.locator("[data-label=cluster] option").evaluate_all("all => all.map(one => one.value)")
            assert ["", "=", *(f"={text}".replace("\u2028", "?") for text in sorted(HOSTILE))] == choices


def test_policy(browser: Browser, written: Callable[[Fleet], Path]) -> None:
    """The page's own policy lets no other script run, and says so."""
    add = """() => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        return window.ran ?? null;
    }"""

    def attack() -> None:
        with opened(browser, written(recorded())) as page:
            policy = page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content") or ""
            if not policy.startswith("default-src 'none'; style-src 'sha256-") or page.evaluate(add) is not None:
                pytest.fail(policy)

    with pytest.raises(AssertionError, match="violates the following Content Security Policy"):
        attack()


def test_size(page: Page, written: Callable[[Fleet], Path]) -> None:
    """5,000 hosts are less than 2 MB and fewer elements than hosts; 500 more hosts of the same kinds add only names."""
    hosts = simulated(5000).hosts
    more = Fleet((*hosts, *(replace(host, name=f"more-{host.name}") for host in hosts[:500])), "a simulation", 0)
    size = written(simulated(5000)).stat().st_size
    elements = page.evaluate("document.querySelectorAll('*').length")

    assert size < 2_000_000
    assert elements < 5000
    assert written(more).stat().st_size - size < 500 * 40


def many_kinds(count: int) -> Fleet:
    """Return a fleet in which every host is of a kind of its own."""
    plain = next(host for host in recorded().hosts if host.name == "sapphirerapids")
    assert plain.kind
    names = list(FEATURES)[:12]
    return Fleet(
        tuple(
            replace(
                plain,
                name=f"host-{number:04}",
                kind=replace(
                    plain.kind,
                    fingerprint=f"{number:012x}",
                    features={**plain.kind.features, **{name: bool(number >> at & 1) for at, name in enumerate(names)}},
                ),
            )
            for number in range(count)
        ),
        "a test",
        0,
    )


def test_many_groups(browser: Browser, written: Callable[[Fleet], Path]) -> None:
    """Where there are more groups than columns, they come a page at a time, and the table stays as small."""
    with opened(browser, written(many_kinds(100))) as page:
        heads = page.locator("#matrix thead th.g")

        assert COLUMNS_MAX == heads.count()
        assert f"groups 1 to {COLUMNS_MAX} of 100" == page.inner_text(".pages span")
        page.click("[data-step='1']")
        page.click("[data-step='1']")
        assert [str(number) for number in range(81, 101)] == [text.split()[0] for text in heads.all_inner_texts()]
        assert page.is_disabled("[data-step='1']")
        search(page, host="host-0099")
        assert ["100"] == [text.split()[0] for text in heads.all_inner_texts()]
        assert not page.is_visible(".pages")
    with opened(browser, written(many_kinds(100)), java_script_enabled=False) as page:
        assert "The table has the 40 largest of 100 groups" in page.inner_text("noscript p")


def test_print(browser: Browser, written: Callable[[Fleet], Path]) -> None:
    """On paper there are no controls, nothing is cut off, and headings stand on every page."""
    with opened(browser, written(recorded()), viewport={"width": 1040, "height": 720}) as page:
        page.emulate_media(media="print")

        assert not page.is_visible(".tools")
        assert ["visible", "visible"] == page.locator(".scroll").evaluate_all(
            "all => all.map(e => getComputedStyle(e).overflowX)"
        )
        assert page.is_visible("#g1 + .members")
        assert "table-header-group" == page.eval_on_selector("#matrix thead", "e => getComputedStyle(e).display")
        assert page.eval_on_selector("#matrix", "e => e.getBoundingClientRect().right") <= 1040


def test_empty_fleet(browser: Browser, written: Callable[[Fleet], Path]) -> None:
    """A fleet without hosts is a page that says so."""
    with opened(browser, written(Fleet((), "nothing", 0))) as page:
        assert "VMX capabilities of 0 hosts" == page.inner_text("h1")
        assert "No host is like that." == page.inner_text(".none")
        assert [] == violations(page)
