"""Which format a client gets, and whether compressed: headers as real clients send them, and such as none should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmxd.server.negotiate import Format, accepts_gzip, choose_format

OPENMETRICS = [
    # Prometheus 2.42, without and with native histograms
    (
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    ),
    (
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
        "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    ),
    # Prometheus 2 since it has scrape_protocols
    (
        "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    ),
    # Prometheus 3, two releases, and one with native histograms
    (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    ),
    (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    ),
    (
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3"
    ),
    # by hand
    "application/openmetrics-text",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
    'application/openmetrics-text; version="1.0.0"',
    "Application/OpenMetrics-Text; VERSION=1.0.0",
    "  application/openmetrics-text ; version = 1.0.0 ; q = 0.1  ",
    "text/html, application/openmetrics-text;q=0.001",
    "application/openmetrics-text;q=0.5,text/plain;q=0.5",
    "application/openmetrics-text;q=0.5,/;q=0.9",
    "application/openmetrics-text;q=1.000,*/*;q=0.999",
    "text/plain;version=1.0.0,application/openmetrics-text;version=1.0.0;q=0.2",
]

TEXT = [
    "",
    "*/*",  # curl, wget, Python
    "text/plain",
    "text/*",
    "text/plain;version=0.0.4",
    "text/plain;version=0.0.4;q=1,*/*;q=0.1",
    # Firefox, Chrome
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    (
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
        "application/signed-exchange;v=b3;q=0.7"
    ),
    # Prometheus 3 with scrape_protocols that put text first
    (
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,"
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.3"
    ),
    # Prometheus 2.30 and older; Telegraf
    "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3",
    # OpenMetrics refused, or liked less
    "application/openmetrics-text;q=0",
    "application/openmetrics-text;q=0.000,*/*",
    "application/openmetrics-text;q=0.5,text/plain",
    "application/openmetrics-text;q=0.5,*/*;q=0.6",
    "application/openmetrics-text;version=2.0.0",
    # nothing that we have
    "application/json",
    "image/png, text/html",
    # garbage
    ",",
    ";",
    ",,,;;;===",
    "application/openmetrics-text;q=",
    "application/openmetrics-text;q=high",
    "application/openmetrics-text;q=nan",
    "application/openmetrics-text;q=inf",
    "application/openmetrics-text;q=-1",
    "application/openmetrics-text;q=2",
    "application/openmetrics-textual",
    "xapplication/openmetrics-text",
    "\x00\xff",
]

GZIP = [
    "gzip",  # Prometheus, Go's http.Client
    "deflate, gzip, br, zstd",  # curl --compressed
    "gzip, deflate, br",
    "gzip;q=1.0, identity; q=0.5, *;q=0",
    "GZIP",
    " gzip ; q=0.001 ",
    "*",
    "br;q=1.0, *;q=0.1",
]

NO_GZIP = [
    "",
    "identity",
    "deflate",
    "br, zstd",
    "gzip;q=0",
    "gzip; q=0.0, *",
    "*;q=0",
    "identity, *;q=0",
    "gzip;q=nan",
    "gzip;q=yes",
    "gzipped",
    ",;=",
]


@pytest.mark.parametrize("accept", OPENMETRICS)
def test_openmetrics(accept: str) -> None:
    """A client that takes OpenMetrics 1.0, and likes it at least as well as text, gets it."""
    assert Format.OPENMETRICS is choose_format(accept)


@pytest.mark.parametrize("accept", TEXT)
def test_text(accept: str) -> None:
    """Every other client gets text, whatever it sent."""
    assert Format.TEXT is choose_format(accept)


@pytest.mark.parametrize("accept_encoding", GZIP)
def test_gzip(accept_encoding: str) -> None:
    """A client that takes gzip by name, or anything at all, gets it."""
    assert accepts_gzip(accept_encoding)


@pytest.mark.parametrize("accept_encoding", NO_GZIP)
def test_no_gzip(accept_encoding: str) -> None:
    """A client that does not ask for gzip, or refuses it, does not get it."""
    assert not accepts_gzip(accept_encoding)


def test_content_types() -> None:
    """The two formats have the content types that Prometheus' own libraries send."""
    assert "text/plain; version=0.0.4; charset=utf-8" == Format.TEXT.value
    assert "application/openmetrics-text; version=1.0.0; charset=utf-8" == Format.OPENMETRICS.value


PIECES = st.sampled_from(
    (
        "application/openmetrics-text",
        "text/plain",
        "*/*",
        "gzip",
        "*",
        ";",
        ",",
        "=",
        '"',
        "q",
        "version",
        "1.0.0",
        "0.5",
        " ",
    )
)


@given(st.text() | st.lists(PIECES).map("".join))
def test_any_header(header: str) -> None:
    """Any header is answered, and OpenMetrics and gzip are given only to those that name them."""
    if choose_format(header) is Format.OPENMETRICS:
        assert "application/openmetrics-text" in header.lower()
    if accepts_gzip(header):
        assert "gzip" in header.lower() or "*" in header


@given(
    st.lists(st.sampled_from(sorted({part for header in OPENMETRICS[:6] for part in header.split(",")})), unique=True),
    st.data(),
)
def test_order(parts: list[str], data: st.DataObject) -> None:
    """The order of media ranges decides nothing: their q values do."""
    shuffled = data.draw(st.permutations(parts))

    assert choose_format(",".join(parts)) is choose_format(",".join(shuffled))
