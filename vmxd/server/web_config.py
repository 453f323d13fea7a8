"""--web.config.file: the web.yml of Prometheus' exporter-toolkit (docs/web-configuration.md there): TLS and passwords.

What vmxd cannot do as it is written is an error and never passed over in silence: a setting that is not in force looks
just like one that is.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import ssl
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from vmxd.errors import NotInstalledError, VmxdError
from vmxd.server.auth import parse_hash
from vmxd.server.tls import SettingError, TlsConfig, make_context

if TYPE_CHECKING:
    from vmxd.pasted.strict_yaml import Value

log = logging.getLogger(__name__)

SIZE_MAX: Final = 1024 * 1024
"""Bytes of a web.yml, or of a file that it names."""

_SECTIONS: Final = ("tls_server_config", "http_server_config", "basic_auth_users")
_TLS_WORDS: Final = ("client_auth_type", "min_version", "max_version")
_TLS_LISTS: Final = ("client_allowed_sans", "cipher_suites")
_TLS_PEMS: Final = ("cert", "key", "client_ca")
_TLS: Final = (*(name for pem in _TLS_PEMS for name in (f"{pem}_file", pem)), *_TLS_WORDS, *_TLS_LISTS)

_HEADERS: Final[Mapping[str, Collection[str] | None]] = {
    "Content-Security-Policy": None,
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": None,
    "Strict-Transport-Security": None,
}
"""The headers that may be set, and their values if only some make sense."""
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


@dataclass(frozen=True, slots=True)
class WebConfig:
    """A web.yml with the files that it names, all found good.

    users: names and bcrypt hashes; none: no password is asked for. context: None for plain HTTP.
    """

    tls: TlsConfig | None = None
    users: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    context: ssl.SSLContext | None = field(default=None, repr=False, compare=False)

    def protections(self) -> frozenset[str]:
        """Name the settings in force that keep somebody out or something secret."""
        settings = {"basic_auth_users": bool(self.users)}
        if self.tls:
            settings |= {
                "tls_server_config": True,
                "client_auth_type": self.tls.client_auth_type == "RequireAndVerifyClientCert",
                "client_allowed_sans": self.tls.client_allowed_sans is not None,
            }
        return frozenset(name for name, is_set in settings.items() if is_set)


class WebConfigFile:
    """A web.yml that is read again when it or a file that it names has changed.

    A version that is broken, or that would silently let in more than the one in force (as a file does that is only half
    written), does not come into force.
    """

    def __init__(self, path: str) -> None:
        """Raise VmxdError, as a rule with file and line, if the first version is broken."""
        self._path = path
        self._files = _Files()
        self._last_error = ""
        try:
            self.current = _load(path, self._files)
        except OSError as error:
            raise _system_error(path, error) from error
        if not self.current.protections():
            log.warning("%s sets neither TLS nor passwords: everybody who can connect may read everything", path)

    def refresh(self) -> None:
        """Read the files again if one has changed. Never raises."""
        if self._files.are_unchanged():
            return
        files = _Files()
        try:
            config = _load(self._path, files)
            if missing := self.current.protections() - config.protections():
                raise VmxdError(
                    f"{self._path} no longer has {' and '.join(sorted(missing))}, which takes a restart",
                    "if the file is as it should be, restart vmxd",
                )
        except VmxdError as error:
            self._files = files  # to be read again only after another change
            self._fail(error)
        except OSError as error:  # out of files or memory: the next call tries again
            self._fail(_system_error(self._path, error))
        else:
            self._files, self.current, self._last_error = files, config, ""
            log.info("%s has changed and is in force", self._path)

    def _fail(self, error: VmxdError) -> None:
        if str(error) != self._last_error:
            log.error("%s; what was in force stays so (hint: %s)", error, error.hint)
        self._last_error = str(error)


class _Files:
    """Reads files and remembers what they were like just before."""

    def __init__(self) -> None:
        self._stamps: dict[str, tuple[int, ...]] = {}

    def read(self, path: str) -> bytes:
        """Read a regular file, without waiting for anybody. Raises OSError."""
        self._stamps[path] = _stamp(path)
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _NoFileError(errno.ENODEV, "it is no regular file")
            data = file.read(SIZE_MAX + 1)
        if len(data) > SIZE_MAX:
            raise _NoFileError(errno.EFBIG, f"it has more than {SIZE_MAX} bytes")
        return data

    def are_unchanged(self) -> bool:
        """Tell whether all files still are what was read, or what could not be."""
        return all(_stamp(path) == stamp for path, stamp in self._stamps.items())


class _NoFileError(OSError):
    """Raised for what cannot be a settings file."""


def _stamp(path: str) -> tuple[int, ...]:
    """Read what changes with the content of a file, its place or (ctime) who may read it."""
    try:
        status = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _system_error(path: str, error: OSError) -> VmxdError:
    return VmxdError(f"{path} cannot be read: {error.strerror or error}", "see to it, and it is tried again")


_LASTING: Final = (_NoFileError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
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
    tls, context = _read_tls(sections["tls_server_config"], files) if "tls_server_config" in sections else (None, None)
    headers = _read_headers(sections["http_server_config"]) if "http_server_config" in sections else ()
    users = _read_users(sections["basic_auth_users"]) if "basic_auth_users" in sections else {}
    return WebConfig(tls, MappingProxyType(users), headers, context)


def _read_tls(section: Value, files: _Files) -> tuple[TlsConfig | None, ssl.SSLContext | None]:
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
    }
    try:
        config = TlsConfig(cert=cert, key=key, client_ca=pems["client_ca"], **others)
        return config, make_context(config)
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


def _read_headers(section: Value) -> tuple[tuple[str, str], ...]:
    settings = section.section(("headers",))
    headers = settings["headers"].section(_HEADERS) if "headers" in settings else {}
    return tuple((name, _header(value)) for name, value in headers.items() if not value.is_unset)


def _header(value: Value) -> str:
    text, choice = value.text(), _HEADERS[value.key]
    if choice and text not in choice:
        raise value.error(f"{value.key} {text!r} is unknown to browsers", f"it is {' or '.join(choice)}")
    if not _HEADER_VALUE.fullmatch(text):
        raise value.error(f"{value.key} is more than one line of ASCII", "write it in one line")
    return text


def _read_users(section: Value) -> dict[str, bytes]:
    """Read names and hashes. No error repeats either: who swaps them has a hash or a password in the name's place."""
    from vmxd.pasted.strict_yaml import SettingsFileError  # noqa: PLC0415 (as in _load)

    try:
        written = section.section()
        hashes = {name: value.text() for name, value in written.items()}
    except SettingsFileError as error:
        hint = "write NAME: HASH, one a line, each name once"
        raise SettingsFileError(error.path, error.line, "this is no user with one bcrypt hash", hint) from None
    users = {}
    for name, text in hashes.items():
        if ":" in name:
            raise written[name].error("this user could never log in: no name may have a colon", "choose another name")
        try:
            users[name] = parse_hash(text)
        except ValueError as error:
            raise written[name].error(
                f"the password of this user {error}", 'write NAME: HASH; htpasswd -nBC 10 "" makes a hash'
            ) from None
    return users
