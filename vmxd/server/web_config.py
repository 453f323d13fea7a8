"""--web.config.file: the web.yml of Prometheus' exporter-toolkit (docs/web-configuration.md there): TLS and passwords.

What vmxd cannot do as it is written is an error and never passed over in silence: a setting that is not in force looks
just like one that is.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from vmxd.errors import NotInstalledError, VmxdError
from vmxd.server.auth import parse_hash
from vmxd.server.tls import ContextSource, SettingError, TlsConfig

if TYPE_CHECKING:
    from vmxd.pasted.strict_yaml import Value

log = logging.getLogger(__name__)

_SECTIONS: Final = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
_TLS_WORDS: Final = ("client_auth_type", "min_version", "max_version")
_TLS_LISTS: Final = ("client_allowed_sans", "cipher_suites", "curve_preferences")
_TLS_FLAGS: Final = ("prefer_server_cipher_suites",)
_TLS_PEMS: Final = ("cert", "key", "client_ca")
_TLS: Final = (*(name for pem in _TLS_PEMS for name in (f"{pem}_file", pem)), *_TLS_WORDS, *_TLS_LISTS, *_TLS_FLAGS)

_HEADERS: Final[Mapping[str, Collection[str] | None]] = {
    "Content-Security-Policy": None,
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": None,
    "Strict-Transport-Security": None,
}
"""The headers that may be set, and their values where only some make sense."""
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

_Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WebConfig:
    """A web.yml with the files that it names, all found good."""

    tls: TlsConfig | None = None
    users: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """User names and bcrypt hashes; none: no password is asked for."""
    headers: tuple[tuple[str, str], ...] = ()
    http2: bool = True
    """As written; vmxd speaks HTTP/1.1 either way, and a client that would like more takes that."""
    warning: str | None = None
    """What clients will find wrong with the certificate, such as its dates."""
    _contexts: ContextSource | None = field(default=None, repr=False, compare=False)

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the context for a new connection; None for plain HTTP. It is for sockets (wrap_socket)."""
        return self._contexts.context() if self._contexts else None

    def protections(self) -> frozenset[str]:
        """Return the settings in force that keep somebody out or something secret."""
        settings = {"basic_auth_users": bool(self.users)}
        if self.tls:
            settings |= {
                "tls_server_config": True,
                "client_auth_type": self.tls.client_auth_type == "RequireAndVerifyClientCert",
                "client_allowed_sans": self.tls.client_allowed_sans is not None,
            }
        return frozenset(name for name, is_set in settings.items() if is_set)


def load(path: str) -> WebConfig:
    """Return the configuration of a web.yml. Raises VmxdError, as a rule with file and line."""
    try:
        return _load(path, _Files())
    except OSError as error:
        raise _system_error(path, error) from error


class WebConfigFile:
    """A web.yml that is read again when it or a file that it names has changed.

    A version that is broken, or that would silently let in more than the one in force (as a file does that is only half
    written), does not come into force.
    """

    def __init__(self, path: str) -> None:
        """Raise VmxdError where the first version is broken."""
        self._path = path
        self._files = _Files()
        self.last_error: str | None = None
        """Why the newest version is not in force; None where it is."""
        try:
            self.current = _load(path, self._files)
        except OSError as error:
            raise _system_error(path, error) from error
        self._warn()

    def refresh(self) -> bool:
        """Read the files again if one has changed; return whether a new version is in force. Never raises."""
        if self._files.are_unchanged():
            return False
        files = _Files()
        try:
            config = _load(self._path, files)
            self._refuse_weaker(config)
        except VmxdError as error:
            self._files = files  # to be read again only after another change
            self._fail(error)
            return False
        except OSError as error:  # out of files or memory: the next call tries again
            self._fail(_system_error(self._path, error))
            return False
        self._files = files
        self.current = config
        self.last_error = None
        log.info("%s has changed and is in force", self._path)
        self._warn()
        return True

    def _refuse_weaker(self, config: WebConfig) -> None:
        missing = self.current.protections() - config.protections()
        if missing:
            raise VmxdError(
                f"{self._path} no longer has {' and '.join(sorted(missing))}, which takes a restart",
                "if the file is as it should be, restart vmxd",
            )

    def _fail(self, error: VmxdError) -> None:
        if str(error) != self.last_error:
            log.error("%s; what was in force stays so (hint: %s)", error, error.hint)
        self.last_error = str(error)

    def _warn(self) -> None:
        if self.current.warning:
            log.warning("%s: clients will find that the %s", self._path, self.current.warning)


class _Files:
    """Reads files and remembers what they were like just before."""

    def __init__(self) -> None:
        self._stamps: dict[str, _Stamp] = {}

    def read(self, path: str) -> bytes:
        """Return the content of a file. Raises OSError."""
        self._stamps[path] = _stamp(path)
        return Path(path).read_bytes()

    def are_unchanged(self) -> bool:
        """Return whether all files still are what was read, or what could not be."""
        return all(_stamp(path) == stamp for path, stamp in self._stamps.items())


def _stamp(path: str) -> _Stamp:
    """Return what changes with the content of a file, its place or (ctime) who may read it."""
    try:
        status = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _system_error(path: str, error: OSError) -> VmxdError:
    return VmxdError(f"{path} cannot be read: {error.strerror or error}", "see to it, and it is tried again")


_LASTING: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""The errors that end with a change of the file, unlike those of a system without free memory or descriptors."""


def _load(path: str, files: _Files) -> WebConfig:
    try:
        from vmxd.pasted.strict_yaml import parse  # noqa: PLC0415 (PyYAML is not for hosts without a web.yml)
    except ModuleNotFoundError as error:
        raise NotInstalledError("--web.config.file", error.name, "web") from error
    try:
        data = files.read(path)
    except _LASTING as error:
        raise VmxdError(
            f"{path} cannot be read: {error.strerror}", "give --web.config.file a web.yml that vmxd may read"
        ) from error
    document = parse(path, data, "a web.yml")
    sections = document.section(_SECTIONS) if document else {}
    if "rate_limit" in sections and not sections["rate_limit"].is_unset:
        raise sections["rate_limit"].error("vmxd does not limit the rate of requests", "leave rate_limit out")
    tls, contexts = _read_tls(sections["tls_server_config"], files) if "tls_server_config" in sections else (None, None)
    http2, headers = _read_http(sections["http_server_config"]) if "http_server_config" in sections else (True, ())
    users = _read_users(sections["basic_auth_users"]) if "basic_auth_users" in sections else {}
    return WebConfig(tls, MappingProxyType(users), headers, http2, contexts.warning if contexts else None, contexts)


def _read_tls(section: Value, files: _Files) -> tuple[TlsConfig | None, ContextSource | None]:
    written = section.section(_TLS)
    if not written:
        return None, None
    settings = {name: value for name, value in written.items() if not value.is_unset}
    pems = {name: _read_pem(name, settings, files) for name in _TLS_PEMS}
    cert, key = pems["cert"], pems["key"]
    if cert is None or key is None:
        missing = "cert_file" if cert is None else "key_file"
        raise section.error(
            f"tls_server_config has no {missing}", "name a certificate and its key, or leave the section out"
        )
    others: dict[str, Any] = {
        **{name: settings[name].text() for name in _TLS_WORDS if name in settings},
        **{name: settings[name].texts() for name in _TLS_LISTS if name in settings},
        **{name: settings[name].flag() for name in _TLS_FLAGS if name in settings},
    }
    try:
        config = TlsConfig(cert=cert, key=key, client_ca=pems["client_ca"], **others)
        return config, ContextSource(config)
    except SettingError as error:
        at = settings.get(error.setting) or settings.get(f"{error.setting}_file") or section
        raise at.error(f"{at.key}: {error}" if not str(error).startswith(at.key) else str(error), error.hint) from error


def _read_pem(name: str, settings: Mapping[str, Value], files: _Files) -> bytes | None:
    inline, file = settings.get(name), settings.get(f"{name}_file")
    if inline and file:
        raise inline.error(f"{name} and {file.key} are both there", "keep one of them")
    if inline:
        return inline.text().encode()
    if not file:
        return None
    path = os.path.join(os.path.dirname(file.path), file.text())
    try:
        return files.read(path)
    except _LASTING as error:
        raise file.error(
            f"{file.key} {path} cannot be read: {error.strerror}",
            "relative paths start where the web.yml is; the user that vmxd runs as must be able to read it",
        ) from error


def _read_http(section: Value) -> tuple[bool, tuple[tuple[str, str], ...]]:
    settings = section.section(("http2", "headers"))
    http2 = settings["http2"].flag() if "http2" in settings and not settings["http2"].is_unset else True
    headers = settings["headers"].section(_HEADERS) if "headers" in settings else {}
    return http2, tuple((name, _header(value)) for name, value in headers.items() if not value.is_unset)


def _header(value: Value) -> str:
    text, choice = value.text(), _HEADERS[value.key]
    if choice and text not in choice:
        raise value.error(f"{value.key} {text!r} is unknown to browsers", f"it is {' or '.join(choice)}")
    if not _HEADER_VALUE.fullmatch(text):
        raise value.error(f"{value.key} is more than one line of ASCII", "write it in one line")
    return text


def _read_users(section: Value) -> dict[str, bytes]:
    users = {}
    for name, value in section.section().items():
        if ":" in name:
            raise value.error(f"the user {name!r} could never log in: no name may have a colon", "choose another name")
        try:
            users[name] = parse_hash(value.text())
        except ValueError as error:
            raise value.error(f"the password of {name!r} {error}", 'make one with htpasswd -nBC 10 ""') from error
    return users
