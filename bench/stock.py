"""The peer that anybody would write: prometheus_client's start_http_server and a collector of ready families."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import REGISTRY, Metric, start_http_server
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


class FileCollector(Collector):
    """The families of a text file, parsed once."""

    def __init__(self, path: Path) -> None:
        self._families = list(text_string_to_metric_families(path.read_text()))

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return self._families


def main() -> None:
    """Serve the file of the first argument on the port of the second until killed.

    With a third and fourth: over HTTPS, with that certificate and key.
    """
    path, port, *pair = sys.argv[1:]
    REGISTRY.register(FileCollector(Path(path)))
    cert, key = pair or (None, None)
    start_http_server(int(port), "127.0.0.1", certfile=cert, keyfile=key)
    threading.Event().wait()


if __name__ == "__main__":
    main()
