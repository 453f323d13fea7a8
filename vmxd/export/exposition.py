"""The metrics as ready bytes: the host's are rendered and compressed once per scan, vmxd's own with each scrape."""

from __future__ import annotations

import zlib

from vmxd.export.metrics import HostCollector, Live, SelfCollector, to_openmetrics, to_text
from vmxd.export.negotiate import Format
from vmxd.scan import Scan

_EOF = b"# EOF\n"
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_RAW_DEFLATE = -zlib.MAX_WBITS


class Exposition:
    """The page of one scan, in every format."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        host = HostCollector(scan.inventory)
        self._host = {Format.TEXT: to_text(host), Format.OPENMETRICS: to_openmetrics(host).removesuffix(_EOF)}
        self._deflated = {format_: _deflate_open(data) for format_, data in self._host.items()}

    def render(self, format_: Format, live: Live | None = None) -> bytes:
        """Return the whole page; live: what a server knows beside the scan."""
        return self._host[format_] + self._self_metrics(format_, live)

    def render_gzip(self, format_: Format, live: Live | None = None) -> bytes:
        """Return the whole page as one gzip member (RFC 1952): the host's deflate blocks, then those of vmxd's own."""
        tail = self._self_metrics(format_, live)
        host = self._host[format_]
        compressor = zlib.compressobj(wbits=_RAW_DEFLATE)
        deflated = self._deflated[format_] + compressor.compress(tail) + compressor.flush()
        checksum = zlib.crc32(tail, zlib.crc32(host))
        size = (len(host) + len(tail)) & 0xFFFF_FFFF
        return _GZIP_HEADER + deflated + checksum.to_bytes(4, "little") + size.to_bytes(4, "little")

    def _self_metrics(self, format_: Format, live: Live | None) -> bytes:
        collector = SelfCollector(self._scan, live)
        return to_text(collector) if format_ is Format.TEXT else to_openmetrics(collector)


def _deflate_open(data: bytes) -> bytes:
    """Compress without closing the stream, flushed so that another compressor's blocks may follow (RFC 1951, 3.2.3)."""
    compressor = zlib.compressobj(level=9, wbits=_RAW_DEFLATE)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)
