"""What pages say beside commands: links, generated pages, names of the tables, counts."""

from __future__ import annotations

import re
from functools import cache
from typing import Final
from urllib.parse import urlsplit

import pytest

from docs.site.generate import generate
from docs.site.metric_reference import NOTES
from tests.helpers.docs import PAGES
from tests.helpers.support import REPOSITORY
from vmxd.model.states import State
from vmxd.tables import FEATURES, MSR_BY_INDEX, find_features

MARKDOWN_LINK: Final = re.compile(r"\]\((?P<target>[^)\s]+)\)|<(?P<bare>https?://[^>]+)>")


def test_external_links_are_addresses() -> None:
    """Links to elsewhere are https, but to the reader's own machine, with a host and no space."""
    for page in [*PAGES, "systemd/README.md"]:
        for match in MARKDOWN_LINK.finditer((REPOSITORY / page).read_text()):
            parts = urlsplit(match["target"] or match["bare"])
            if parts.scheme:
                local = parts.hostname in ("localhost", "127.0.0.1")
                assert parts.hostname, (page, match[0])
                assert parts.scheme == ("http" if local else "https"), (page, match[0])


@cache
def generated() -> dict[str, str]:
    """Return the generated pages by their path."""
    return generate()


@pytest.mark.parametrize("page", ["docs/reference/features.md", "docs/reference/metrics.md", "docs/runbooks/README.md"])
def test_generated_pages_are_in_step(page: str) -> None:
    """A generated page is what tables, collectors and alert rules make of it; make generated writes it."""
    assert generated()[page] == (REPOSITORY / page).read_text()


def test_feature_reference_has_every_name() -> None:
    """Each feature has an anchor, and every name in its row finds it, but one that QEMU has twice."""
    twice = "vmx-invept-single-context"
    rows = re.findall(r'^\| <a id="(\w+)"></a>(.*)\|$', generated()["docs/reference/features.md"], re.MULTILINE)

    assert list(FEATURES) == [name for name, _ in rows]
    for name, row in rows:
        words = [word for word in re.findall(r"`([^`]+)`", row) if word != twice or name == "invept_single_context"]
        found = [find_features(f"VMX_FEATURE_{word}" if word.isupper() else word) for word in words]
        assert all(FEATURES[name] in features for features in found), name


def test_notes_are_of_metrics() -> None:
    """The metric reference has a note on no metric that is not there."""
    listed = re.findall(r"^## (\w+)$", generated()["docs/reference/metrics.md"], re.MULTILINE)

    assert set() == NOTES.keys() - set(listed)


def test_states() -> None:
    """docs/concepts.md explains the states of a control by the names that vmxd gives them."""
    text = (REPOSITORY / "docs/concepts.md").read_text()
    (table,) = re.findall(r"^\| may be 1 .*\n.*\n((?:\|.*\n)+)", text, re.MULTILINE)

    assert {state.value for state in State} - {"differs", "unknown"} == {
        row.split("|")[4].strip() for row in table.splitlines()
    }


def test_sdm_sections() -> None:
    """Where a page names a section of the SDM's Appendix A, it is one that the tables stand on, or A.2 on controls."""
    sections = {"A.2", *(msr.sdm for msr in MSR_BY_INDEX.values())}
    named = {page: re.findall(r"\bA\.\d+(?:\.\d+)?", (REPOSITORY / page).read_text()) for page in PAGES}

    assert {} == {page: wrong for page, found in named.items() if (wrong := set(found) - sections)}
    assert any(named.values())


TEST_NAME: Final = re.compile(r"`(?=tests/|::)(tests/[\w/]+\.py)?(?:::(\w+))?`")


def test_named_tests_are_there() -> None:
    """A test that a page names is there; one without a file is of the file named last before it."""
    for page in PAGES:
        file = ""
        for match in TEST_NAME.finditer((REPOSITORY / page).read_text()):
            file = match[1] or file
            assert (REPOSITORY / file).is_file(), (page, match[0])
            assert not match[2] or f"def {match[2]}(" in (REPOSITORY / file).read_text(), (page, match[0])


def test_the_house_is_as_it_is_shown() -> None:
    """CONTRIBUTING lists every file and package of vmxd/, and none that is not there."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"^```text\n(cli\.py .*?)^```", text, re.MULTILINE | re.DOTALL)
    there = {f"{path.name}/" if path.is_dir() else path.name for path in (REPOSITORY / "vmxd").iterdir()}

    plumbing = {"__init__.py", "__main__.py", "__pycache__/", "py.typed"}

    assert there - plumbing == set(re.findall(r"^\S+", block, re.MULTILINE))
