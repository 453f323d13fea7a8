"""The page as bytes: compressed it is the same page, for every gunzip there is."""

from __future__ import annotations

import gzip
import subprocess
import zlib
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import HOSTS, LAKEFIELD, program
from vmxd.export.exposition import Exposition
from vmxd.export.metrics import HostCollector, Live, SelfCollector, to_openmetrics, to_text
from vmxd.export.negotiate import Format
from vmxd.inventory import take_inventory
from vmxd.scan import Scan, scan

LAKEFIELD_SCAN: Final = scan(str(LAKEFIELD))
HOSTILE_SCAN: Final = Scan(take_inventory(replace(LAKEFIELD_SCAN.inventory.host, root="\n# EOF\n")), 0.0)

EXPOSITIONS: Final = {
    "lakefield": Exposition(LAKEFIELD_SCAN),
    "oldest": Exposition(scan(str(HOSTS / "yonah-t2600"))),
    "hostile": Exposition(HOSTILE_SCAN),
}
LIVES: Final = (Live({}), Live({200: 1}, stale=True), Live({200: 12345678, 404: 3, 405: 1, 431: 2}, scan_failed=True))

formats = pytest.mark.parametrize("format_", Format)
expositions = pytest.mark.parametrize("exposition", EXPOSITIONS.values(), ids=EXPOSITIONS)
lives = pytest.mark.parametrize("live", LIVES)


@formats
@expositions
@lives
def test_gzip_is_the_page(exposition: Exposition, format_: Format, live: Live) -> None:
    """What Python's gzip unpacks is the page."""
    assert exposition.render(format_, live) == gzip.decompress(exposition.render_gzip(format_, live))


@formats
@expositions
@lives
def test_gzip_is_one_member(exposition: Exposition, format_: Format, live: Live) -> None:
    """The page is one gzip member and nothing after it: some clients stop at the first."""
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    page = unpacker.decompress(exposition.render_gzip(format_, live))

    assert exposition.render(format_, live) == page
    assert (True, b"", b"") == (unpacker.eof, unpacker.unused_data, unpacker.unconsumed_tail)


@formats
@expositions
def test_gzip_program(exposition: Exposition, format_: Format) -> None:
    """The gzip program finds no fault, and unpacks the page."""
    packed = exposition.render_gzip(format_, Live({200: 7}))
    tested = subprocess.run([program("gzip", "gzip"), "-t"], input=packed, capture_output=True, check=False)
    unpacked = subprocess.run([program("gzip", "gzip"), "-dc"], input=packed, capture_output=True, check=False)

    assert (0, b"") == (tested.returncode, tested.stderr)
    assert (0, exposition.render(format_, Live({200: 7}))) == (unpacked.returncode, unpacked.stdout)


@given(st.dictionaries(st.integers(100, 599), st.integers(1, 2**53)).map(Live), st.sampled_from(Format))
def test_gzip_of_any_requests(live: Live, format_: Format) -> None:
    """Whatever was answered so far, the compressed page is the page."""
    exposition = EXPOSITIONS["lakefield"]

    assert exposition.render(format_, live) == gzip.decompress(exposition.render_gzip(format_, live))


@formats
def test_gzip_is_smaller(format_: Format) -> None:
    """Compression is worth it: the page shrinks to a third at most."""
    exposition = EXPOSITIONS["lakefield"]

    assert len(exposition.render_gzip(format_)) < len(exposition.render(format_)) / 3


@expositions
@lives
def test_openmetrics_end(exposition: Exposition, live: Live) -> None:
    """OpenMetrics has one EOF line, the last, whatever the labels say."""
    lines = exposition.render(Format.OPENMETRICS, live).decode().split("\n")

    assert ["# EOF", ""] == lines[-2:]
    assert 1 == lines.count("# EOF")


@expositions
def test_text_end(exposition: Exposition) -> None:
    """The text format has no EOF line, and ends with a newline."""
    page = exposition.render(Format.TEXT, Live({200: 1}))

    assert b"# EOF" not in page.split(b"\n")
    assert page.endswith(b"\n")


@lives
def test_page_is_all_metrics(live: Live) -> None:
    """The page is the host's metrics and vmxd's own as one exposition, in either format."""
    collectors = (HostCollector(LAKEFIELD_SCAN.inventory), SelfCollector(LAKEFIELD_SCAN, live))

    assert to_text(*collectors) == EXPOSITIONS["lakefield"].render(Format.TEXT, live)
    assert to_openmetrics(*collectors) == EXPOSITIONS["lakefield"].render(Format.OPENMETRICS, live)


@formats
def test_requests_are_live(format_: Format) -> None:
    """Counts change from one page to the next, and nothing else does."""
    exposition = EXPOSITIONS["lakefield"]
    one = exposition.render(format_, Live({200: 1, 404: 5})).decode().split("\n")
    two = exposition.render(format_, Live({200: 2, 404: 5})).decode().split("\n")

    assert ['vmxd_http_requests_total{code="200"} 1.0'] == [line for line in one if line not in two]
    assert ['vmxd_http_requests_total{code="200"} 2.0'] == [line for line in two if line not in one]
