"""TLS as the tls_server_config of a web.yml asks for it, as far as Python's ssl can do it; the rest is an error.

Versions, cipher suites, curves and policies have the names of Go's crypto/tls, which users of exporter-toolkit know.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

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

CURVES: Final = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
"""Go's name to OpenSSL's."""

CLIENT_AUTH: Final = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED: Final = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")

SESSIONS_MAX: Final = 1000
"""How many sessions a context may keep before a fresh one takes its place."""


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
    prefer_server_cipher_suites: bool = True
    curve_preferences: tuple[str, ...] = ()


class ContextSource:
    """The SSLContext of a TlsConfig, made anew when clients have filled its session cache.

    OpenSSL keeps the sessions of TLS 1.2 clients that take no tickets, up to 20,480 of 1.2 KiB; Python's ssl cannot
    turn that off.
    """

    def __init__(self, config: TlsConfig, sessions_max: int = SESSIONS_MAX) -> None:
        """Raise SettingError if the configuration cannot be had, OSError if the system lacks what it takes."""
        self._config = config
        self._sessions_max = sessions_max
        self._context = _build(config)
        self.warning = _rehearse(config)
        """What clients will find wrong with the certificate, such as its dates; None if nothing."""

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection."""
        if self._context.session_stats()["number"] > self._sessions_max:
            with contextlib.suppress(OSError, SettingError):  # out of files or memory: later, then
                self._context = _build(self._config)
        return self._context


def _build(config: TlsConfig) -> ssl.SSLContext:
    context = _Context(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _set_versions(context, config)
    _set_cipher_suites(context, config)
    _set_curve(context, config)
    _load_certificate(context, config)
    _set_client_auth(context, config)
    return context


def _set_versions(context: ssl.SSLContext, config: TlsConfig) -> None:
    for setting, version in (("min_version", config.min_version), ("max_version", config.max_version)):
        if version in _OLD_VERSIONS:
            raise SettingError(
                setting, f"{setting} {version} cannot be had: OpenSSL 3 refuses it as too weak", "write TLS12 or TLS13"
            )
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
    if config.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
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
            f"{left_out[0]} cannot be left out: neither Go nor Python's ssl can choose among those of TLS 1.3",
            "name all three of TLS 1.3 or none, they are on in both cases; max_version TLS12 turns them off",
        )
    names = [CIPHER_SUITES[name] for name in config.cipher_suites if name in CIPHER_SUITES]
    if names:
        _choose_tls12_ciphers(context, names)
    elif config.min_version == "TLS12":
        raise SettingError(
            "cipher_suites", "cipher_suites has none for TLS 1.2, which min_version allows", "write min_version: TLS13"
        )


def _choose_tls12_ciphers(context: ssl.SSLContext, names: list[str]) -> None:
    with contextlib.suppress(ssl.SSLError):  # raised where OpenSSL has none of them
        context.set_ciphers(":".join(names))
    chosen = {cipher["name"] for cipher in context.get_ciphers()}
    for name in names:
        if name not in chosen:
            raise SettingError(
                "cipher_suites", f"this machine's {ssl.OPENSSL_VERSION} does not offer {name}", "leave it out"
            )


def _set_curve(context: ssl.SSLContext, config: TlsConfig) -> None:
    if not config.curve_preferences:
        return
    for name in config.curve_preferences:
        if name not in CURVES:
            raise SettingError("curve_preferences", f"{name!r} is no known curve", f"it is one of {_list(CURVES)}")
    if len(config.curve_preferences) > 1:
        raise SettingError(
            "curve_preferences",
            "curve_preferences has several curves, and Python's ssl takes one",
            "keep one of them, or leave the setting out for OpenSSL's choice",
        )
    name = config.curve_preferences[0]
    try:
        context.set_ecdh_curve(CURVES[name])
    except (ValueError, ssl.SSLError) as error:
        # Debian 12's Python, 3.11.2, cannot set X25519, which the same OpenSSL offers to 3.11.7
        python = sys.version.split()[0]
        raise SettingError(
            "curve_preferences", f"Python {python} with {ssl.OPENSSL_VERSION} cannot set {name}", "leave it out"
        ) from error


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


def _set_client_auth(context: _Context, config: TlsConfig) -> None:
    policy = config.client_auth_type
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
            "the authority for clients is of no use with client_auth_type NoClientCert",
            "write client_auth_type: RequireAndVerifyClientCert",
        )
    if policy != "NoClientCert" and config.client_ca is None:
        raise SettingError(
            "client_auth_type",
            f"{policy} needs client_ca_file: without one, whoever has a certificate for any web site could come in",
            "name the authority that signs the certificates of your Prometheus",
        )
    if config.client_allowed_sans is not None and policy != "RequireAndVerifyClientCert":
        raise SettingError(
            "client_allowed_sans",
            f"client_allowed_sans is of no use with client_auth_type {policy}: clients may come without a certificate",
            "write client_auth_type: RequireAndVerifyClientCert",
        )
    if config.client_allowed_sans == ():
        raise SettingError("client_allowed_sans", "client_allowed_sans is empty: nobody could come in", "name a client")
    if config.client_ca is not None:
        _load_client_ca(context, config.client_ca)
    if config.client_allowed_sans is not None:
        context.allowed_sans = frozenset(map(_canonical, config.client_allowed_sans))
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


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


class _CheckedSocket(ssl.SSLSocket):
    """The server's end of a connection; its handshake fails for a client whose certificate names nobody allowed in.

    OpenSSL would check that in a callback of the verification, to which Python gives no access. Nothing is read from a
    connection before do_handshake has returned.
    """

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        allowed = self.context.allowed_sans if isinstance(self.context, _Context) else None
        if allowed is None:
            return
        names = (self.getpeercert() or {}).get("subjectAltName", ())
        if allowed.isdisjoint(_canonical(str(name[1])) for name in names):
            raise ssl.SSLCertVerificationError("the client's certificate has none of client_allowed_sans")


class _Context(ssl.SSLContext):
    """A server's context that knows which clients may come in."""

    sslsocket_class = _CheckedSocket
    allowed_sans: frozenset[str] | None = None


def _canonical(name: str) -> str:
    """Return an IP address in its one usual form, and any other name as it is."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            return socket.inet_ntop(family, socket.inet_pton(family, name))
    return name


def _rehearse(config: TlsConfig) -> str | None:
    """Return what a client that trusts the certificate finds wrong with it; raise SettingError if none can connect."""
    server = _build(replace(config, client_auth_type="NoClientCert", client_ca=None, client_allowed_sans=None))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.set_ciphers("ALL")
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with _as_file(config.cert) as path:
        client.load_verify_locations(path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(to_client, to_server)
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        while not _advance(client_end):
            _advance(server_end)
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except ssl.SSLError as error:
        raise SettingError(
            "cert",
            f"no client can connect with this certificate, these versions, cipher suites and curves: {error.reason}",
            "an RSA certificate needs cipher suites with RSA in their names, an elliptic one those with ECDSA",
        ) from error
    return None


def _advance(end: ssl.SSLObject) -> bool:
    """Go on with a handshake; return whether this end is done."""
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
