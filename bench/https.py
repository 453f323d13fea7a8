"""The servers to compare, over HTTPS: a certificate made by the openssl program, and how each peer is told of it."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import client
from bench.servers import STOCK, Peer

_WEB_CONFIG = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"


def over_https(peers: Sequence[Peer], directory: Path) -> list[Peer]:
    """Return the peers as they serve with a certificate that is written to the directory."""
    cert, key, web_config = (directory / name for name in ("server.crt", "server.key", "web.yml"))
    _make_certificate(cert, key)
    web_config.write_text(_WEB_CONFIG)
    context = ssl.create_default_context(cafile=str(cert))
    return [
        _with(peer, (str(cert), str(key)) if peer.name == STOCK else (f"--web.config.file={web_config}",), context)
        for peer in peers
    ]


def _with(peer: Peer, options: tuple[str, ...], context: ssl.SSLContext) -> Peer:
    return replace(peer, command=lambda port: (*peer.command(port), *options), context=context)


def _make_certificate(cert: Path, key: Path) -> None:
    """Write a certificate that signs itself, and its key; both in PEM."""
    command = (
        "openssl",
        "req",
        "-x509",
        "-nodes",
        "-days",
        "2",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    )
    names = ("-subj", "/CN=localhost", "-addext", f"subjectAltName=IP:{client.LOOPBACK}")
    subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
