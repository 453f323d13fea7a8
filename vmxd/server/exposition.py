"""The metrics as bytes: what a scan fixes is rendered and compressed once, live values are put in with each scrape.

Knows no Prometheus library, so that a server need not hold one; render.py makes expositions with it.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from vmxd.server.live import Values

_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_RAW_DEFLATE = -zlib.MAX_WBITS
_LIVE_LEVEL, _LIVE_WINDOW, _LIVE_MEMORY = 1, -12, 5
"""The live part is some 2 KiB, packed with each scrape: a window to match, not 256 KiB of zlib's memory."""

LiveFamily = tuple[str, tuple[str, ...]]
"""The lines of HELP and TYPE, and the series of one live metric."""


class Exposition(NamedTuple):
    """The page of one scan in one format: what is fixed, the same compressed but not ended, live metrics, last line."""

    fixed: bytes
    deflated: bytes
    live: tuple[LiveFamily, ...]
    end: bytes

    @classmethod
    def of(cls, fixed: bytes, live: tuple[LiveFamily, ...], end: bytes) -> Exposition:
        """Return the exposition of its parts."""
        return cls(fixed, _deflate_open(fixed), live, end)

    def render(self, values: Values) -> bytes:
        """Return the whole page. A series without a value is left out."""
        return self.fixed + self._tail(values)

    def render_gzip(self, values: Values) -> bytes:
        """Return the whole page as one gzip member (RFC 1952): blocks of the fixed part, then of the live one."""
        tail = self._tail(values)
        compressor = zlib.compressobj(_LIVE_LEVEL, zlib.DEFLATED, _LIVE_WINDOW, _LIVE_MEMORY)
        deflated = self.deflated + compressor.compress(tail) + compressor.flush()
        checksum = zlib.crc32(tail, zlib.crc32(self.fixed))
        size = (len(self.fixed) + len(tail)) & 0xFFFF_FFFF
        return _GZIP_HEADER + deflated + checksum.to_bytes(4, "little") + size.to_bytes(4, "little")

    def _tail(self, values: Values) -> bytes:
        lines: list[str] = []
        for head, series in self.live:
            samples = [f"{name} {float(value)}\n" for name in series if (value := values.get(name)) is not None]
            if samples:
                lines += (head, *samples)
        return "".join(lines).encode() + self.end


def _deflate_open(data: bytes) -> bytes:
    """Compress without closing the stream, flushed so that another compressor's blocks may follow (RFC 1951, 3.2.3)."""
    compressor = zlib.compressobj(level=9, wbits=_RAW_DEFLATE)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)
