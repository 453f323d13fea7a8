"""TLS as the tls_server_config of a web.yml asks for it, as far as Python's ssl can do it; the rest is an error.

Versions, cipher suites and policies have the names of Go's crypto/tls, which users of exporter-toolkit know.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SSLProtocol.max_size = 16 * 1024
"""asyncio's read buffer of each connection: one TLS record (RFC 8446, 5.1). It would have 256 KiB, which became 88 MiB
when 32 clients sent garbage."""

VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS: Final = ("TLS10", "TLS11")

CIPHER_SUITES: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""TLS 1.2: Go's name (IANA's) to OpenSSL's."""
TLS13_CIPHER_SUITES: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")

CLIENT_AUTH: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED: Final = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")
_NAME_TYPES: Final = ("DNS", "email", "IP Address", "URI")
"""The alternative names, as Python's ssl calls them, that client_allowed_sans is about."""


class SettingError(Exception):
    """Raised when a setting cannot be used; ``setting`` is its key in tls_server_config."""

    def __init__(self, setting: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.setting = setting
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """The tls_server_config of a web.yml under its own names and in its own words; the files are read (PEM)."""

    cert: bytes = field(repr=False)
    key: bytes = field(repr=False)
    client_auth_type: str = "NoClientCert"
    client_ca: bytes | None = field(default=None, repr=False)
    client_allowed_sans: tuple[str, ...] | None = None
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: tuple[str, ...] = ()

    def allows(self, certificate: Mapping[str, Any] | None) -> bool:
        """Tell whether a client whose certificate was verified may come in; certificate: as getpeercert() has it."""
        if self.client_allowed_sans is None:
            return True
        names = (certificate or {}).get("subjectAltName", ())
        found = {_canonical(str(value)) for kind, value in names if kind in _NAME_TYPES}
        return not found.isdisjoint(map(_canonical, self.client_allowed_sans))


def make_context(config: TlsConfig) -> ssl.SSLContext:
    """Make the context of a server. Raises SettingError, and OSError if the system lacks files or memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _set_versions(context, config)
    _set_cipher_suites(context, config)
    _load_certificate(context, config)
    _set_client_auth(context, config)
    return context


def _set_versions(context: ssl.SSLContext, config: TlsConfig) -> None:
    for setting, version in (("min_version", config.min_version), ("max_version", config.max_version)):
        if version in _OLD_VERSIONS:
            raise SettingError(setting, f"{setting} {version} is refused by OpenSSL 3", "write TLS12 or TLS13")
        if version not in VERSIONS:
            raise SettingError(setting, f"{setting} {version!r} is no TLS version", f"it is one of {_list(VERSIONS)}")
    if VERSIONS[config.min_version] > VERSIONS[config.max_version]:
        raise SettingError(
            "min_version",
            f"min_version {config.min_version} is above max_version {config.max_version}",
            "no client could connect; change one of them",
        )
    context.minimum_version = VERSIONS[config.min_version]
    context.maximum_version = VERSIONS[config.max_version]


def _set_cipher_suites(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Choose those of TLS 1.2; Python's ssl, as Go, cannot choose among those of TLS 1.3."""
    if not config.cipher_suites:
        return
    for name in config.cipher_suites:
        if name not in CIPHER_SUITES and name not in TLS13_CIPHER_SUITES:
            raise SettingError(
                "cipher_suites",
                f"{name!r} is no cipher suite that can be chosen",
                f"those are {_list(CIPHER_SUITES)}, and for TLS 1.3 {_list(TLS13_CIPHER_SUITES)}",
            )
    left_out = [name for name in TLS13_CIPHER_SUITES if name not in config.cipher_suites]
    if config.max_version == "TLS13" and 0 < len(left_out) < len(TLS13_CIPHER_SUITES):
        raise SettingError(
            "cipher_suites",
            f"{left_out[0]} cannot be left out: those of TLS 1.3 are on or off together",
            "name all three of TLS 1.3 or none, they are on in both cases; max_version TLS12 turns them off",
        )
    names = [CIPHER_SUITES[name] for name in config.cipher_suites if name in CIPHER_SUITES]
    if not names:
        if config.min_version == "TLS12":
            hint = "write min_version: TLS13"
            raise SettingError("cipher_suites", "cipher_suites has none for TLS 1.2, which min_version allows", hint)
        return
    with contextlib.suppress(ssl.SSLError):  # raised if OpenSSL has none of them
        context.set_ciphers(":".join(names))
    chosen = {cipher["name"] for cipher in context.get_ciphers()}
    for name in names:
        if name not in chosen:
            message = f"this machine's {ssl.OPENSSL_VERSION} does not offer {name}"
            raise SettingError("cipher_suites", message, "leave it out")


def _load_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    def refuse_passphrase() -> str:
        raise SettingError(
            "key",
            "the key is encrypted, and nobody is there to type its passphrase",
            "decrypt it with openssl pkey -in KEY -out PLAIN, readable by vmxd only",
        )

    with _as_file(config.cert) as cert, _as_file(config.key) as key:
        try:
            context.load_cert_chain(cert, key, refuse_passphrase)
        except ssl.SSLError as error:
            raise _certificate_error(config, error) from error


def _certificate_error(config: TlsConfig, error: ssl.SSLError) -> SettingError:
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return SettingError("key", "the key belongs to another certificate", "give the one it was made of")
    if b"-----BEGIN CERTIFICATE-----" not in config.cert:
        return SettingError("cert", "there is no certificate in it", "give one or more in PEM, the server's own first")
    if b"PRIVATE KEY-----" not in config.key:
        return SettingError("key", "there is no private key in it", "give it in PEM")
    reason = error.reason or "it is damaged"
    return SettingError("cert", f"OpenSSL does not take certificate and key: {reason}", "make them anew")


def _set_client_auth(context: ssl.SSLContext, config: TlsConfig) -> None:
    policy = config.client_auth_type
    requires = policy == "RequireAndVerifyClientCert"
    if policy in _UNVERIFIED:
        raise SettingError(
            "client_auth_type",
            f"{policy} cannot be had: Python's ssl asks for no certificate that it does not verify",
            "write RequireAndVerifyClientCert with a client_ca_file, or NoClientCert",
        )
    if policy not in CLIENT_AUTH:
        raise SettingError(
            "client_auth_type", f"client_auth_type {policy!r} does not exist", f"it is one of {_list(CLIENT_AUTH)}"
        )
    if policy == "NoClientCert" and config.client_ca is not None:
        raise SettingError(
            "client_ca",
            "the authority for clients has no effect with client_auth_type NoClientCert",
            "write client_auth_type: RequireAndVerifyClientCert",
        )
    if policy != "NoClientCert" and config.client_ca is None:
        raise SettingError(
            "client_auth_type",
            f"{policy} needs client_ca_file: without one, whoever has a certificate for any web site could come in",
            "name the authority that signs the certificates of your Prometheus",
        )
    if config.client_allowed_sans is not None and not requires:
        raise SettingError(
            "client_allowed_sans",
            f"client_allowed_sans has no effect with client_auth_type {policy}: clients may come without a certificate",
            "write client_auth_type: RequireAndVerifyClientCert",
        )
    if config.client_allowed_sans == ():
        raise SettingError("client_allowed_sans", "client_allowed_sans is empty: nobody could come in", "name a client")
    if config.client_ca is not None:
        _load_client_ca(context, config.client_ca)
    context.verify_mode = CLIENT_AUTH[policy]


def _load_client_ca(context: ssl.SSLContext, client_ca: bytes) -> None:
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as in Go, an intermediate authority may be the anchor
    with _as_file(client_ca) as path:
        try:
            context.load_verify_locations(path)
        except ssl.SSLError as error:
            raise SettingError(
                "client_ca", "there is no certificate in it, or one that is damaged", "give one or more in PEM"
            ) from error


@contextlib.contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Give bytes a path in memory: Python's ssl takes certificates and keys from files only."""
    with os.fdopen(os.memfd_create("pem"), "wb") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _list(names: Collection[str]) -> str:
    return ", ".join(names)


def _canonical(name: str) -> str:
    """Write an IP address in its one usual form; leave any other name as it is."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            return socket.inet_ntop(family, socket.inet_pton(family, name))
    return name
