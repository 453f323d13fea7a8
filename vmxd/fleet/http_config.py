"""--http.config.file: the http_config of Prometheus, as promtool and amtool take it, for who asks a Prometheus.

Secrets come from files, never from the command line. A setting that would not be in force is an error.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmxd.errors import NotInstalledError, UsageError, VmxdError

if TYPE_CHECKING:
    from vmxd.pasted.strict_yaml import Value

_SECTIONS: Final = ("basic_auth", "authorization", "bearer_token_file", "tls_config", "http_headers", "proxy_url")
_TLS: Final = ("ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """How to reach an HTTP server.

    headers: of each request, Authorization among them. tls: for https, None for the system's defaults.
    server_name: whose certificate is expected where that is not the URL's host. proxy: its URL.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    proxy: str | None = None

    def with_headers(self, headers: Mapping[str, str]) -> HttpConfig:
        """Return it with more headers, which count where both have one."""
        return replace(self, headers={**self.headers, **headers})


def parse_headers(lines: Iterable[str]) -> dict[str, str]:
    """Return headers from lines as curl's --header takes them. Raises UsageError."""
    headers = {}
    for line in lines:
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not _HEADER_NAME.fullmatch(name) or not value or not value.isprintable():
            raise UsageError(f"--header {line!r} is no header", "as in --header 'X-Scope-OrgID: team-a'")
        if name.casefold() == "authorization":
            raise UsageError(
                "--header Authorization would show its secret to everyone on this host",
                "put it into the file of --http.config.file",
            )
        headers[name] = value
    return headers


def load(path: str) -> HttpConfig:
    """Return the configuration of a file, with the files that it names. Raises VmxdError, with file and line."""
    try:
        from vmxd.pasted.strict_yaml import parse  # noqa: PLC0415 (PyYAML is needed for this file alone)
    except ModuleNotFoundError as error:
        raise NotInstalledError("--http.config.file", error.name, "fleet") from error
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise VmxdError(
            f"{path} cannot be read: {error.strerror}", "give --http.config.file an http_config of Prometheus"
        ) from error
    document = parse(path, data, "an http_config")
    sections = document.section(_SECTIONS) if document else {}
    headers = _headers(sections["http_headers"]) if "http_headers" in sections else {}
    if authorization := _authorization(sections):
        headers["Authorization"] = authorization
    tls, server_name = _tls(sections["tls_config"]) if "tls_config" in sections else (None, None)
    proxy = sections["proxy_url"].text() if "proxy_url" in sections else None
    return HttpConfig(headers, tls, server_name, proxy)


def _authorization(sections: Mapping[str, Value]) -> str | None:
    ways = [sections[name] for name in ("basic_auth", "authorization", "bearer_token_file") if name in sections]
    if not ways:
        return None
    if len(ways) > 1:
        raise ways[1].error(f"{ways[0].key} and {ways[1].key} are both there", "keep one of them")
    (way,) = ways
    if way.key == "bearer_token_file":
        return f"Bearer {_secret_file(way)}"
    if way.key == "basic_auth":
        settings = way.section(("username", "password", "password_file"))
        if "username" not in settings:
            raise way.error("basic_auth has no username", "write username: NAME")
        pair = f"{settings['username'].text()}:{_secret(way, settings, 'password')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"
    settings = way.section(("type", "credentials", "credentials_file"))
    scheme = settings["type"].text() if "type" in settings else "Bearer"
    return f"{scheme} {_secret(way, settings, 'credentials')}"


def _secret(section: Value, settings: Mapping[str, Value], name: str) -> str:
    inline, file = settings.get(name), settings.get(f"{name}_file")
    if inline and file:
        raise file.error(f"{name} and {name}_file are both there", "keep one of them")
    if file:
        return _secret_file(file)
    if not inline:
        raise section.error(f"{section.key} has no {name}", f"write {name}_file: FILE")
    return _one_line(inline, inline.text())


def _secret_file(value: Value) -> str:
    return _one_line(value, _read(value).strip())


def _one_line(value: Value, text: str) -> str:
    if not text.isprintable() or not text:
        raise value.error(f"{value.key} does not hold one line of text", "keep the secret alone in it, in one line")
    return text


def _read(value: Value) -> str:
    try:
        return Path(_path(value)).read_text(encoding="utf-8")
    except OSError as error:
        raise value.error(
            f"{value.key} {_path(value)} cannot be read: {error.strerror}",
            "relative paths start where the file with the settings is",
        ) from error
    except UnicodeDecodeError as error:
        raise value.error(f"{value.key} {_path(value)} is not UTF-8", "keep the secret alone in it") from error


def _path(value: Value) -> str:
    return os.path.join(os.path.dirname(value.path), value.text())


def _headers(section: Value) -> dict[str, str]:
    headers = {}
    for name, value in section.section().items():
        settings = value.section(("values", "secrets", "files"))
        if len(settings) != 1:
            raise value.error(f"{name} has not one of values, secrets and files", f"write {name}: {{values: [VALUE]}}")
        (key, given) = next(iter(settings.items()))
        texts = given.texts()
        if key == "files":
            texts = tuple(_secret_file(type(given)(given.path, "files", node)) for node in given.node.value)
        headers[name] = ", ".join(_one_line(value, text) for text in texts)
    return headers


def _tls(section: Value) -> tuple[ssl.SSLContext, str | None]:
    settings = {name: value for name, value in section.section(_TLS).items() if not value.is_unset}
    context = ssl.create_default_context()
    ca, cert, key = (settings.get(name) for name in ("ca_file", "cert_file", "key_file"))
    if ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load(ca, lambda: context.load_verify_locations(_path(ca)))
    if cert:
        _load(cert, lambda: context.load_cert_chain(_path(cert), _path(key) if key else None))
    elif key:
        raise key.error("key_file has no cert_file", "name both")
    if "insecure_skip_verify" in settings and settings["insecure_skip_verify"].flag():
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context, settings["server_name"].text() if "server_name" in settings else None


def _load(value: Value, load: Callable[[], object]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise value.error(
            f"{value.key} {_path(value)} is no PEM that fits: {error.reason or error}", "look at it with openssl x509"
        ) from error
    except OSError as error:
        raise value.error(
            f"{value.key} {_path(value)} cannot be read: {error.strerror}",
            "relative paths start where the file with the settings is",
        ) from error
