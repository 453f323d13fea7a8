"""Which format a client gets, and whether compressed: headers as real clients send them, and such as none should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmxd.server.negotiate import Format, accepts_gzip, choose_format, has_copy

OPENMETRICS = [
    # Prometheus 2.42, with native histograms; 3
    (
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
        "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    ),
    (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    ),
    'application/openmetrics-text; version="1.0.0"',
    "  Application/OpenMetrics-Text ; VERSION = 1.0.0 ; q = 0.1  ",
    "application/openmetrics-text;q=0.5,text/plain;q=0.5",
]
TEXT = [
    "",
    "*/*",  # curl
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",  # Firefox
    # Prometheus 3 with scrape_protocols that put text first; 2.30
    (
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,"
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.3"
    ),
    "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "application/openmetrics-text;q=0",
    "application/openmetrics-text;q=0.5,*/*;q=0.6",
    "application/openmetrics-text;version=2.0.0",
    "application/json",
    ",,,;;;===",
    "application/openmetrics-text;q=nan",
    "application/openmetrics-text;q=2",
]
GZIP = ["gzip", "deflate, gzip, br, zstd", "*", "GZip;q=0.001", "identity, gzip;q=1.0"]
NO_GZIP = ["", "identity", "br", "gzip;q=0", "*;q=0", "gzip;q=0, *", "gzip;q=-1", "xgzip", ",;="]


@pytest.mark.parametrize("accept", OPENMETRICS)
def test_openmetrics(accept: str) -> None:
    """A client that takes OpenMetrics 1.0 and likes nothing better gets it."""
    assert Format.OPENMETRICS is choose_format(accept)


@pytest.mark.parametrize("accept", TEXT)
def test_text(accept: str) -> None:
    """Every other client gets text, which every scraper reads."""
    assert Format.TEXT is choose_format(accept)


def test_gzip() -> None:
    """gzip is what the client says it takes, by name or by *, with a quality above 0."""
    assert [True] * len(GZIP) == list(map(accepts_gzip, GZIP))
    assert [False] * len(NO_GZIP) == list(map(accepts_gzip, NO_GZIP))


@given(st.text() | st.text(alphabet="gzip*/,;=q01. \t"))
def test_any_text(text: str) -> None:
    """Whatever a client sends is understood as something."""
    assert choose_format(text) in Format
    assert accepts_gzip(text) in (True, False)
    assert has_copy(text, 'W/"a"') in (True, False)
