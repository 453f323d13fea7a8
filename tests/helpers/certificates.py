"""Certificates made by the openssl program: authorities, servers, clients, and some that are not as they should be."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.helpers.support import program

ELLIPTIC: Final = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA: Final = ("rsa:2048",)
EXPIRED: Final = -1
"""As the number of days: over since yesterday."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both files in PEM."""

    cert: Path
    key: Path


def openssl(*arguments: str | Path) -> str:
    """Run openssl and return what it prints."""
    command = [program("openssl", "openssl"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert 0 == result.returncode, result.stderr
    return result.stdout


def make_authority(directory: Path, name: str) -> Pair:
    """Return a new authority, whose certificate it signs itself."""
    pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
    usage = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    subject = ("-subj", f"/CN={name}", "-days", "2")
    openssl("req", "-x509", "-nodes", "-newkey", *ELLIPTIC, "-keyout", pair.key, "-out", pair.cert, *subject, *usage)
    return pair


def make_pair(
    directory: Path,
    name: str,
    authority: Pair,
    sans: str = "DNS:localhost,IP:127.0.0.1",
    *,
    usage: str = "serverAuth,clientAuth",
    algorithm: tuple[str, ...] = ELLIPTIC,
    days: int = 2,
    may_sign: bool = False,
) -> Pair:
    """Return a new key and its certificate, signed by an authority.

    name: of the files and the common name; sans: alternative names as openssl writes them, "" for none.
    """
    pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
    request, extensions = directory / f"{name}.csr", directory / f"{name}.ext"
    lines = [f"extendedKeyUsage={usage}", f"basicConstraints=critical,CA:{'TRUE' if may_sign else 'FALSE'}"]
    extensions.write_text("\n".join(lines + [f"subjectAltName={sans}"] * bool(sans)))
    openssl(
        "req", "-new", "-nodes", "-newkey", *algorithm, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}"
    )
    signer = ("-CA", authority.cert, "-CAkey", authority.key, "-CAcreateserial", "-days", str(days))
    openssl("x509", "-req", "-in", request, "-out", pair.cert, "-extfile", extensions, *signer)
    return pair
