"""web.yml as tests write it, and the certificates that it names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.helpers.certificates import EXPIRED, RSA, make_authority, make_pair, openssl
from vmxd.server.tls import TLS13_CIPHER_SUITES

ALICE: Final = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
"""Of the password "secret"."""
ECDSA_128: Final = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
ECDSA_256: Final = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
ALL_TLS13: Final = ", ".join(TLS13_CIPHER_SUITES)
BASE: Final = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
MUTUAL: Final = BASE + "  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n"
FULL: Final = f"""\
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans:
    - prometheus.example.org
    - 10.0.0.1
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [{ECDSA_256}, {ECDSA_128}]
http_server_config:
  headers:
    Strict-Transport-Security: max-age=31536000; includeSubDomains
    X-Frame-Options: deny
basic_auth_users:
  alice: {ALICE}
  bob: {ALICE}
"""


def make_pki(directory: Path) -> None:
    """Make certificates of all kinds in a directory."""
    authority, other = make_authority(directory, "ca"), make_authority(directory, "other-ca")
    make_pair(directory, "server", authority)
    make_pair(directory, "server2", authority)
    make_pair(directory, "rsa", authority, algorithm=RSA)
    make_pair(directory, "expired", authority, days=EXPIRED)
    make_pair(directory, "client", authority, "DNS:prometheus.example.org")
    make_pair(directory, "nameless-client", authority, "")
    make_pair(directory, "other-client", other, "DNS:prometheus.example.org")
    make_pair(directory, "expired-client", authority, "DNS:prometheus.example.org", days=EXPIRED)
    make_pair(directory, "web-site", authority, "DNS:prometheus.example.org", usage="serverAuth")
    middle = make_pair(directory, "middle-ca", authority, may_sign=True)
    make_pair(directory, "middle-client", middle)
    openssl(
        "pkey", "-in", directory / "server.key", "-aes128", "-passout", "pass:secret", "-out", directory / "locked.key"
    )


def write(home: Path, text: str | bytes) -> str:
    """Write the web.yml and return its path."""
    path = home / "web.yml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def indented(path: Path) -> str:
    """Return a file as a YAML block."""
    return "|\n" + "".join(f"    {line}\n" for line in path.read_text().splitlines())
