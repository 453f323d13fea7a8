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

from tests.helpers.support import HOSTS, LAKEFIELD, program
from vmxd.host.scan import Scan, scan
from vmxd.model.inventory import take_inventory
from vmxd.server.exposition import Exposition
from vmxd.server.live import CODES, Values, series_of
from vmxd.server.negotiate import Format
from vmxd.server.render import expose
from vmxd.server.self_metrics import LiveCollector, SelfCollector
from vmxd.views.metrics import HostCollector, to_openmetrics, to_text

LAKEFIELD_SCAN: Final = scan(str(LAKEFIELD))
SCANS: Final = {
    "lakefield": LAKEFIELD_SCAN,
    "oldest": scan(str(HOSTS / "yonah-t2600")),
    "hostile": Scan(take_inventory(replace(LAKEFIELD_SCAN.inventory.host, root="\n# EOF\n")), 0.0),
}
EXPOSITIONS: Final = {(name, form): expose(taken, form) for name, taken in SCANS.items() for form in Format}
SERIES: Final = ("vmxd_scan_success", "vmxd_recording_stale", *map(series_of, CODES), "process_open_fds")
VALUES: Final[tuple[Values, ...]] = (
    {},
    dict.fromkeys(SERIES, 1.0),
    {"vmxd_recording_stale": None, series_of(CODES[0]): 12345678, "process_open_fds": 7.5},
)

formats = pytest.mark.parametrize("format_", Format)
hosts = pytest.mark.parametrize("host", SCANS)
lives = pytest.mark.parametrize("values", VALUES)


@formats
@hosts
@lives
def test_gzip_is_the_page(host: str, format_: Format, values: Values) -> None:
    """What Python's gzip unpacks is the page."""
    exposition = EXPOSITIONS[host, format_]

    assert exposition.render(values) == gzip.decompress(exposition.render_gzip(values))


@formats
@hosts
@lives
def test_gzip_is_one_member(host: str, format_: Format, values: Values) -> None:
    """The page is one gzip member and nothing after it: some clients stop at the first."""
    exposition = EXPOSITIONS[host, format_]
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    assert exposition.render(values) == unpacker.decompress(exposition.render_gzip(values))
    assert (True, b"", b"") == (unpacker.eof, unpacker.unused_data, unpacker.unconsumed_tail)


@formats
@hosts
def test_gzip_program(host: str, format_: Format) -> None:
    """The gzip program finds no fault, and unpacks the page."""
    exposition = EXPOSITIONS[host, format_]
    packed = exposition.render_gzip(VALUES[1])
    tested = subprocess.run([program("gzip", "gzip"), "-t"], input=packed, capture_output=True, check=False)
    unpacked = subprocess.run([program("gzip", "gzip"), "-dc"], input=packed, capture_output=True, check=False)

    assert (0, b"") == (tested.returncode, tested.stderr)
    assert (0, exposition.render(VALUES[1])) == (unpacked.returncode, unpacked.stdout)


@given(st.dictionaries(st.sampled_from(SERIES), st.none() | st.floats()), st.sampled_from(Format))
def test_gzip_of_any_values(values: Values, format_: Format) -> None:
    """Whatever the live values are, the compressed page is the page."""
    exposition = EXPOSITIONS["lakefield", format_]

    assert exposition.render(values) == gzip.decompress(exposition.render_gzip(values))


@formats
def test_gzip_is_smaller(format_: Format) -> None:
    """Compression is worth it: the page shrinks to a third at most."""
    exposition = EXPOSITIONS["lakefield", format_]

    assert len(exposition.render_gzip(VALUES[1])) < len(exposition.render(VALUES[1])) / 3


@hosts
@lives
def test_openmetrics_end(host: str, values: Values) -> None:
    """OpenMetrics has one EOF line, the last, whatever the labels say."""
    lines = EXPOSITIONS[host, Format.OPENMETRICS].render(values).decode().split("\n")

    assert ["# EOF", ""] == lines[-2:]
    assert 1 == lines.count("# EOF")


@hosts
def test_text_end(host: str) -> None:
    """The text format has no EOF line, and ends with a newline."""
    page = EXPOSITIONS[host, Format.TEXT].render(VALUES[1])

    assert b"# EOF" not in page.split(b"\n")
    assert page.endswith(b"\n")


@formats
@hosts
def test_page_is_all_metrics(host: str, format_: Format) -> None:
    """With every live value 0, the page is what prometheus_client writes of all collectors."""
    collectors = (HostCollector(SCANS[host].inventory), SelfCollector(SCANS[host]), LiveCollector())
    zeros = {
        f'{sample.name}{{code="{sample.labels["code"]}"}}' if sample.labels else sample.name: 0.0
        for family in LiveCollector().collect()
        for sample in family.samples
    }
    whole = to_text(*collectors) if format_ is Format.TEXT else to_openmetrics(*collectors)

    assert whole == EXPOSITIONS[host, format_].render(zeros)


@formats
def test_values_are_live(format_: Format) -> None:
    """A value changes from one page to the next, and nothing else does."""
    exposition = EXPOSITIONS["lakefield", format_]
    pages = [exposition.render({series_of(CODES[0]): n, series_of(CODES[3]): 5}) for n in (1, 2)]
    one, two = (page.decode().split("\n") for page in pages)

    assert ['vmxd_http_requests_total{code="200"} 1.0'] == [line for line in one if line not in two]
    assert ['vmxd_http_requests_total{code="200"} 2.0'] == [line for line in two if line not in one]


@formats
def test_series_without_value(format_: Format) -> None:
    """A live series without a value is left out, and its HELP with it."""
    page = EXPOSITIONS["lakefield", format_].render({"vmxd_scan_success": 1, "vmxd_recording_stale": None})

    assert b"\nvmxd_scan_success 1.0\n" in page
    assert b"vmxd_recording_stale" not in page


def test_deflated_is_open() -> None:
    """The compressed fixed part ends on a byte and is not the last block, so that the live part may follow."""
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    exposition = Exposition.of(b"fixed\n", (), b"")

    assert (b"fixed\n", False) == (unpacker.decompress(exposition.deflated), unpacker.eof)
