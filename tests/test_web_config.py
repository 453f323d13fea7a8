"""web.yml: what it may say, and real handshakes of curl and openssl with a server that does what it says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.certificates import EXPIRED, RSA, Pair, make_authority, make_pair, openssl
from tests.support import LAKEFIELD, program
from vmxd.errors import VmxdError
from vmxd.export.live import Live
from vmxd.export.render import render
from vmxd.export.server import Server as HttpServer
from vmxd.export.site import Site
from vmxd.export.strict_yaml import SettingsFileError
from vmxd.export.tls import CIPHER_SUITES, TLS13_CIPHER_SUITES, ContextSource, TlsConfig
from vmxd.export.web_config import WebConfig, WebConfigFile, load
from vmxd.scan import scan

PAGE: Final = render(scan(str(LAKEFIELD)), "/metrics")

ALICE: Final = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
"""Of the password "secret"."""
ECDSA_128: Final = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
ECDSA_256: Final = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
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
  prefer_server_cipher_suites: false
  curve_preferences: [X25519]
http_server_config:
  http2: false
  headers:
    Strict-Transport-Security: max-age=31536000; includeSubDomains
    X-Frame-Options: deny
basic_auth_users:
  alice: {ALICE}
  bob: {ALICE}
"""


@pytest.fixture(autouse=True)
def without_listening(caplog: pytest.LogCaptureFixture) -> None:
    """Leave out of the log where the server listens."""
    caplog.set_level(logging.WARNING, "vmxd.export.server")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a directory with certificates of all kinds, to be copied from."""
    directory = tmp_path_factory.mktemp("pki")
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
    return directory


@pytest.fixture
def home(pki: Path, tmp_path: Path) -> Path:
    """Make a directory for a web.yml, with server.crt, server.key and ca.crt in it."""
    for name in ("server.crt", "server.key", "ca.crt"):
        shutil.copy(pki / name, tmp_path)
    return tmp_path


def write(home: Path, text: str | bytes) -> str:
    """Write the web.yml and return its path."""
    path = home / "web.yml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def indented(path: Path) -> str:
    """Return a file as a YAML block."""
    return "|\n" + "".join(f"    {line}\n" for line in path.read_text().splitlines())


class TestLoad:
    """What a web.yml may say."""

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\n# nothing yet\n",
            "---\n",
            "{}",
            "null",
            "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\nrate_limit:\n",
            "tls_server_config: {}\nhttp_server_config: {}\nbasic_auth_users: {}\n",
            "http_server_config:\n  http2:\n  headers:\n",
            "http_server_config:\n  headers:\n    X-Frame-Options: ''\n    Content-Security-Policy:\n",
        ],
    )
    def test_nothing(self, home: Path, text: str) -> None:
        """A file that sets nothing is no error, as with the toolkit: plain HTTP without passwords."""
        config = load(write(home, text))

        assert WebConfig() == config
        assert (None, None, {}, (), True) == (
            config.ssl_context(),
            config.tls,
            config.users,
            config.headers,
            config.http2,
        )

    def test_everything(self, home: Path) -> None:
        """All settings together are read as they are written."""
        config = load(write(home, FULL))

        assert config.tls is not None
        assert (home / "server.crt").read_bytes() == config.tls.cert
        assert (home / "server.key").read_bytes() == config.tls.key
        assert (home / "ca.crt").read_bytes() == config.tls.client_ca
        assert "RequireAndVerifyClientCert" == config.tls.client_auth_type
        assert ("prometheus.example.org", "10.0.0.1") == config.tls.client_allowed_sans
        assert ("TLS12", "TLS13") == (config.tls.min_version, config.tls.max_version)
        assert (ECDSA_256, ECDSA_128) == config.tls.cipher_suites
        assert not config.tls.prefer_server_cipher_suites
        assert ("X25519",) == config.tls.curve_preferences
        assert not config.http2
        assert (
            ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
            ("X-Frame-Options", "deny"),
        ) == config.headers
        assert {"alice": ALICE.encode(), "bob": ALICE.encode()} == config.users
        assert config.warning is None
        assert isinstance(config.ssl_context(), ssl.SSLContext)

    def test_defaults(self, home: Path) -> None:
        """What is left out is as in the toolkit: TLS 1.2 and 1.3, no client certificates, the server's order."""
        config = load(write(home, BASE))

        assert config.tls == TlsConfig(cert=(home / "server.crt").read_bytes(), key=(home / "server.key").read_bytes())
        context = config.ssl_context()
        assert context is not None
        assert (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) == (context.minimum_version, context.maximum_version)
        assert ssl.CERT_NONE == context.verify_mode
        assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE

    def test_inline(self, home: Path) -> None:
        """Certificate, key and authority may stand in the file itself."""
        blocks = {"cert": "server.crt", "key": "server.key", "client_ca": "ca.crt"}
        lines = "".join(f"  {name}: {indented(home / file)}" for name, file in blocks.items())
        config = load(write(home, f"tls_server_config:\n{lines}  client_auth_type: VerifyClientCertIfGiven\n"))

        assert config.tls is not None
        assert (home / "server.key").read_bytes() == config.tls.key

    def test_one_file(self, home: Path) -> None:
        """Certificate and key may be in one file, with other text around them."""
        parts = [(home / name).read_bytes() for name in ("server.key", "server.crt")]
        (home / "both.pem").write_bytes("für alle\n".encode() + b"\n".join(parts))

        assert load(write(home, "tls_server_config: {cert_file: both.pem, key_file: both.pem}")).ssl_context()

    def test_relative_paths(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Relative paths start at the web.yml, wherever vmxd runs and however the web.yml is named."""
        (home / "etc").mkdir()
        text = BASE.replace(": server", ": ../server")
        (home / "etc" / "web.yml").write_text(text)

        assert load(str(home / "etc" / "web.yml")).tls
        monkeypatch.chdir(home)
        assert load("etc/web.yml").tls
        monkeypatch.chdir(home / "etc")
        assert load("web.yml").tls

    def test_absolute_paths(self, home: Path, pki: Path) -> None:
        """Absolute paths are as they are."""
        text = f"tls_server_config: {{cert_file: {pki}/server2.crt, key_file: {pki}/server2.key}}"

        assert load(write(home, text)).tls

    def test_names_of_digits(self, home: Path) -> None:
        """A name that YAML would take for a number, a date or a truth stays what is written."""
        names = ["123", "0x10", "1_000", "yes", "2024-01-01", "1e3", "~", "null"]
        lines = "".join(f"  {name}: {ALICE}\n" for name in names)

        assert names == list(load(write(home, f"basic_auth_users:\n{lines}")).users)

    @pytest.mark.parametrize(
        ("written", "http2"), [("true", True), ("yes", True), ("on", True), ("false", False), ("No", False)]
    )
    def test_flags(self, home: Path, written: str, http2: bool) -> None:
        """True and false may be written in the ways of YAML 1.1."""
        assert http2 is load(write(home, f"http_server_config: {{http2: {written}}}")).http2

    def test_byte_order_mark(self, home: Path) -> None:
        """A byte order mark and the line ends of Windows are no obstacle."""
        assert load(write(home, b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())).tls

    def test_secrets(self, home: Path) -> None:
        """Neither hashes nor keys show where a configuration is printed."""
        printed = repr(load(write(home, FULL)))

        assert ALICE not in printed
        assert "PRIVATE" not in printed
        assert "RequireAndVerifyClientCert" in printed

    def test_frozen(self, home: Path) -> None:
        """A configuration cannot be changed, nor its users."""
        config = load(write(home, FULL))

        with pytest.raises(AttributeError):
            config.tls = None  # type: ignore[misc]
        with pytest.raises(TypeError):
            config.users["eve"] = b""  # type: ignore[index]

    def test_expired(self, home: Path, pki: Path) -> None:
        """An expired certificate is served, since clocks are wrong too, and clients decide; but there is a warning."""
        for suffix in ("crt", "key"):
            shutil.copy(pki / f"expired.{suffix}", home / f"server.{suffix}")

        config = load(write(home, BASE))

        assert "certificate has expired" == config.warning
        assert config.ssl_context()

    def test_certificate_for_clients(self, home: Path, pki: Path) -> None:
        """So is one that may not be used by a server."""
        authority = Pair(pki / "ca.crt", pki / "ca.key")
        make_pair(home, "server", authority, usage="clientAuth")

        assert "unsuitable certificate purpose" == load(write(home, BASE)).warning


ALL_TLS13: Final = ", ".join(TLS13_CIPHER_SUITES)

ERRORS: Final = [
    # YAML and its shape
    ("a: [", 1, "this is no YAML: "),
    ("tls_server_config:\n\tcert_file: a", 2, "this is no YAML: found character '\\t'"),
    ("a: 1\n--- \nb: 2", 2, "this is no YAML: but found another document"),
    ("a: *b", 1, "this is no YAML: found undefined alias"),
    ("a\x01: b", 1, "this is no YAML: special characters are not allowed"),
    ("\n\nä: \udcff", 3, "the file is not UTF-8"),
    ("[" * 1000, 1, "this is no YAML: it is nested too deeply"),
    ("- a", 1, "a web.yml takes keys and values"),
    ("hello", 1, "a web.yml takes keys and values"),
    ("tls_server_config: []", 1, "tls_server_config takes keys and values"),
    ("basic_auth_users: alice", 1, "basic_auth_users takes keys and values"),
    ("? [a]\n: b", 1, "a key takes one plain value"),
    ("http_server_config:\n  http2: !!binary aGVsbG8=", 2, "http2 takes one plain value"),
    # keys
    ("tls_config:\n  cert_file: a", 1, "a web.yml has no setting 'tls_config'"),
    (BASE + "  insecure_skip_verify: true", 4, "tls_server_config has no setting 'insecure_skip_verify'"),
    ("http_server_config:\n  http3: true", 2, "http_server_config has no setting 'http3'"),
    ("http_server_config:\n  headers:\n    Server: x", 3, "headers has no setting 'Server'"),
    ("http_server_config:\n  headers:\n    x-frame-options: deny", 3, "headers has no setting 'x-frame-options'"),
    (BASE + "  cert_file: server.crt", 4, "'cert_file' is there twice"),
    (f"basic_auth_users:\n  a: {ALICE}\n  a: {ALICE}", 3, "'a' is there twice"),
    ("rate_limit:\n  interval: 1s", 2, "vmxd does not limit the rate of requests"),
    # values
    ("http_server_config:\n  http2: maybe", 2, "http2 is neither true nor false"),
    ("http_server_config:\n  http2: 'true'", 2, "http2 is neither true nor false"),
    ("http_server_config:\n  http2: [true]", 2, "http2 takes one plain value"),
    ("http_server_config:\n  headers:\n    X-Frame-Options: DENY", 3, "X-Frame-Options 'DENY' is unknown to browsers"),
    ("http_server_config:\n  headers:\n    X-Content-Type-Options: no", 3, "X-Content-Type-Options 'no' is unknown"),
    (
        'http_server_config:\n  headers:\n    X-XSS-Protection: "0\\r\\nA: b"',
        3,
        "X-XSS-Protection is more than one line",
    ),
    ("http_server_config:\n  headers:\n    X-XSS-Protection: ü", 3, "X-XSS-Protection is more than one line of ASCII"),
    ("basic_auth_users:\n  alice: secret", 2, "the password of 'alice' is no bcrypt hash"),
    ("basic_auth_users:\n  alice:", 2, "the password of 'alice' is no bcrypt hash"),
    ("basic_auth_users:\n  alice: ''", 2, "the password of 'alice' is no bcrypt hash"),
    ("basic_auth_users:\n  alice: [x]", 2, "alice takes one plain value"),
    (
        f"basic_auth_users:\n  alice: {ALICE.replace('05', '31')}",
        2,
        "the password of 'alice' has a cost outside 4 to 18",
    ),
    (f"basic_auth_users:\n  'a:b': {ALICE}", 2, "the user 'a:b' could never log in"),
    # certificates
    ("tls_server_config:\n  min_version: TLS12", 2, "tls_server_config has no cert_file"),
    ("tls_server_config:\n  cert_file: server.crt", 2, "tls_server_config has no key_file"),
    ("tls_server_config:\n  cert_file:\n  key_file:", 2, "tls_server_config has no cert_file"),
    ("tls_server_config:\n  cert_file: ''\n  key_file: ''", 2, "tls_server_config has no cert_file"),
    (BASE + "  cert: x", 4, "cert and cert_file are both there"),
    (BASE.replace("server.crt", "none.crt"), 2, "cert_file {home}/none.crt cannot be read: No such file or directory"),
    (BASE.replace("server.crt", "."), 2, "cert_file {home}/. cannot be read: Is a directory"),
    (BASE.replace("server.crt", "ca.crt/x"), 2, "cert_file {home}/ca.crt/x cannot be read: Not a directory"),
    (BASE.replace("server.crt", '"a\\0b"'), 2, "cert_file has a character that no setting can have"),
    (BASE.replace("server.crt", '"\\ud800"'), 2, "cert_file has a character that no setting can have"),
    (BASE.replace("server.crt", "[a]"), 2, "cert_file takes one plain value"),
    (BASE.replace("server.crt", "server.key"), 2, "cert_file: there is no certificate in it"),
    (BASE.replace("server.key", "server.crt"), 3, "key_file: there is no private key in it"),
    (BASE.replace("server.key", "{pki}/server2.key"), 3, "key_file: the key belongs to another certificate"),
    (BASE.replace("server.key", "{pki}/rsa.key"), 3, "key_file: the key belongs to another certificate"),
    (BASE.replace("server.crt", "{pki}/rsa.crt"), 3, "key_file: the key belongs to another certificate"),
    (BASE.replace("server.key", "{pki}/locked.key"), 3, "key_file: the key is encrypted"),
    (BASE.replace("server.crt", "web.yml"), 2, "cert_file: there is no certificate in it"),
    ("tls_server_config:\n  cert: x\n  key: y", 2, "cert: there is no certificate in it"),
    # clients
    (BASE + "  client_auth_type: RequestClientCert", 4, "client_auth_type: RequestClientCert cannot be had"),
    (BASE + "  client_auth_type: RequireAnyClientCert", 4, "client_auth_type: RequireAnyClientCert cannot be had"),
    (BASE + "  client_auth_type: RequireClientCert", 4, "client_auth_type: RequireClientCert cannot be had"),
    (BASE + "  client_auth_type: Always", 4, "client_auth_type 'Always' does not exist"),
    (BASE + "  client_ca_file: ca.crt", 4, "client_ca_file: the authority for clients is of no use with"),
    (BASE + "  client_auth_type: RequireAndVerifyClientCert", 4, "client_auth_type: RequireAndVerifyClientCert needs"),
    (BASE + "  client_auth_type: VerifyClientCertIfGiven", 4, "client_auth_type: VerifyClientCertIfGiven needs"),
    (MUTUAL.replace("ca.crt", "server.key"), 4, "client_ca_file: there is no certificate in it"),
    (BASE + "  client_allowed_sans: [a]", 4, "client_allowed_sans is of no use with client_auth_type NoClientCert"),
    (
        MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven") + "  client_allowed_sans: [a]",
        6,
        "client_allowed_sans is of no use with client_auth_type VerifyClientCertIfGiven",
    ),
    (MUTUAL + "  client_allowed_sans: []", 6, "client_allowed_sans is empty"),
    (MUTUAL + "  client_allowed_sans: a", 6, "client_allowed_sans takes a list"),
    # versions, cipher suites, curves
    (BASE + "  min_version: TLS10", 4, "min_version TLS10 cannot be had: OpenSSL 3 refuses it as too weak"),
    (BASE + "  max_version: TLS11", 4, "max_version TLS11 cannot be had"),
    (BASE + "  min_version: TLS14", 4, "min_version 'TLS14' is no TLS version"),
    (BASE + "  min_version: 1.2", 4, "min_version '1.2' is no TLS version"),
    (BASE + "  min_version: TLS13\n  max_version: TLS12", 4, "min_version TLS13 is above max_version TLS12"),
    (BASE + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", 4, "cipher_suites: 'TLS_RSA_WITH_RC4_128_SHA' is no cipher"),
    (BASE + "  cipher_suites: [ECDHE-RSA-AES128-SHA]", 4, "cipher_suites: 'ECDHE-RSA-AES128-SHA' is no cipher suite"),
    (BASE + "  cipher_suites: HIGH", 4, "cipher_suites takes a list"),
    (BASE + "  cipher_suites: [[a]]", 4, "cipher_suites takes one plain value"),
    (
        BASE + f"  cipher_suites: [{ECDSA_128}, TLS_AES_256_GCM_SHA384]",
        4,
        "cipher_suites: TLS_AES_128_GCM_SHA256 cannot be left out",
    ),
    (BASE + f"  cipher_suites: [{ALL_TLS13}]", 4, "cipher_suites has none for TLS 1.2, which min_version allows"),
    (
        BASE + "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]",
        2,
        "cert_file: no client can connect with this certificate, these versions, cipher suites and curves: NO_SHARED",
    ),
    (BASE + "  curve_preferences: [secp256k1]", 4, "curve_preferences: 'secp256k1' is no known curve"),
    (
        BASE + "  curve_preferences: [X25519, CurveP256]",
        4,
        "curve_preferences has several curves, and Python's ssl takes",
    ),
    (BASE + "  prefer_server_cipher_suites: 1", 4, "prefer_server_cipher_suites is neither true nor false"),
]


class TestErrors:
    """What a web.yml may not say."""

    @pytest.mark.parametrize(("text", "line", "message"), ERRORS, ids=range(len(ERRORS)))
    def test_error(self, home: Path, pki: Path, text: str, line: int, message: str) -> None:
        """It is refused in one sentence with file and line, and a hint."""
        path = write(home, text.replace("{pki}", str(pki)).encode(errors="surrogateescape"))
        with pytest.raises(SettingsFileError) as error:
            load(path)

        expected = f"{path}:{line}: {message.replace('{home}', str(home))}"
        assert expected == str(error.value)[: len(expected)]
        assert (path, line) == (error.value.path, error.value.line)
        assert error.value.hint
        assert "\n" not in str(error.value) + error.value.hint
        assert "secret" not in str(error.value)

    @pytest.mark.parametrize(("name", "reason"), [("none.yml", "No such file or directory"), ("", "Is a directory")])
    def test_no_file(self, home: Path, name: str, reason: str) -> None:
        """So is a file that is none."""
        path = str(home / name)
        for read in (load, WebConfigFile):
            with pytest.raises(VmxdError) as error:
                read(path)

            assert f"{path} cannot be read: {reason}" == str(error.value)
            assert "--web.config.file" in error.value.hint

    @pytest.mark.parametrize("damage", ["cut", "swapped", "empty"])
    def test_damaged_certificate(self, home: Path, damage: str) -> None:
        """So is a certificate of which not every byte is there."""
        whole = (home / "server.crt").read_bytes()
        damaged = {"cut": whole[: len(whole) // 2], "swapped": whole.swapcase(), "empty": b""}[damage]
        (home / "server.crt").write_bytes(damaged)

        with pytest.raises(SettingsFileError, match=r"web.yml:2: cert_file: "):
            load(write(home, BASE))

    @pytest.mark.parametrize("damage", ["cut", "one of two"])
    def test_damaged_authority(self, home: Path, damage: str) -> None:
        """So is an authority for clients, even if another in the file is whole."""
        whole = (home / "ca.crt").read_bytes()
        half = whole[: len(whole) // 2]
        (home / "ca.crt").write_bytes(half if damage == "cut" else whole + half)

        with pytest.raises(SettingsFileError, match=r"web.yml:4: client_ca_file: "):
            load(write(home, MUTUAL))

    def test_weak_key(self, home: Path, pki: Path) -> None:
        """So is a key that OpenSSL takes for too small."""
        make_pair(home, "server", Pair(pki / "ca.crt", pki / "ca.key"), algorithm=("rsa:1024",))

        with pytest.raises(SettingsFileError, match="EE_KEY_TOO_SMALL"):
            load(write(home, BASE))

    @given(st.binary() | st.text().map(str.encode) | st.text(alphabet="abc:[]{}-&*!|>'\"%#? \n\t").map(str.encode))
    def test_any_bytes(self, tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
        """Whatever bytes a file has, it is read or refused, and nothing else."""
        path = tmp_path_factory.getbasetemp() / "any.yml"
        path.write_bytes(data)

        with contextlib.suppress(SettingsFileError):
            assert WebConfig() == load(str(path))


@dataclass(slots=True)
class Server:
    """A server on loopback that follows a web.yml as vmxd does."""

    port: int
    file: WebConfigFile

    def curl(self, *options: object, scheme: str = "https") -> tuple[int, str]:
        """Return curl's exit code and the body that it got."""
        url = f"{scheme}://127.0.0.1:{self.port}/"
        command = [program("curl", "curl"), "--silent", "--max-time", "10", "--noproxy", "*", *map(str, options), url]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        return result.returncode, result.stdout

    def s_client(self, *options: object) -> str:
        """Return what openssl s_client says of a handshake."""
        connect = ("-connect", f"127.0.0.1:{self.port}", *map(str, options))
        command = [program("openssl", "openssl"), "s_client", "-no-CAfile", "-no-CApath", "-no-CAstore", *connect]
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20
        )
        return result.stdout + result.stderr


@contextlib.contextmanager
def serving(path: str) -> Iterator[Server]:
    """Serve a page that says hello, as a web.yml says, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(listener.getsockname()[1], WebConfigFile(path))
    loop = asyncio.new_event_loop()
    ending = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(listener, server.file, ending)))
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _serve(listener: socket.socket, file: WebConfigFile, ending: asyncio.Event) -> None:
    site = Site(PAGE._replace(page=b"hello"), "/metrics", Live())
    server = HttpServer(site, [listener], file)
    server.start()
    await ending.wait()
    server.stop()


HELLO: Final = (0, "hello")
REFUSED: Final = "401 Unauthorized\n"


class TestHandshake:
    """TLS as clients see it."""

    def test_curl(self, home: Path) -> None:
        """curl verifies the certificate and gets its answer, over HTTP/1.1 also where it would like HTTP/2."""
        with serving(write(home, BASE)) as server:
            assert HELLO == server.curl("--cacert", home / "ca.crt")
            assert HELLO == server.curl("--cacert", home / "ca.crt", "--http2")
            assert "ALPN protocol: http/1.1" in server.s_client("-alpn", "h2,http/1.1")
            assert 60 == server.curl()[0], "an authority that curl does not know"
            assert 0 != server.curl(scheme="http")[0]

    @pytest.mark.parametrize(
        ("settings", "versions"),
        [
            ("", {"TLSv1.2", "TLSv1.3"}),
            ("  min_version: TLS12\n  max_version: TLS12\n", {"TLSv1.2"}),
            ("  min_version: TLS13\n", {"TLSv1.3"}),
            (f"  min_version: TLS13\n  cipher_suites: [{ALL_TLS13}]\n", {"TLSv1.3"}),
            (f"  max_version: TLS12\n  cipher_suites: [{ECDSA_128}, TLS_AES_128_GCM_SHA256]\n", {"TLSv1.2"}),
        ],
    )
    def test_versions(self, home: Path, settings: str, versions: set[str]) -> None:
        """Just the versions between min_version and max_version are spoken, and never TLS 1.1."""
        options = {"TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}
        with serving(write(home, BASE + settings)) as server:
            spoken = {
                version
                for version, option in options.items()
                if f"New, {version}, Cipher is" in server.s_client(option, "-cipher", "DEFAULT@SECLEVEL=0")
            }

        assert versions == spoken

    @pytest.mark.parametrize(
        ("settings", "chosen"),
        [
            (f"cipher_suites: [{ECDSA_256}, {ECDSA_128}]", CIPHER_SUITES[ECDSA_256]),
            (f"cipher_suites: [{ECDSA_128}, {ECDSA_256}]", CIPHER_SUITES[ECDSA_128]),
            (
                f"cipher_suites: [{ECDSA_256}, {ECDSA_128}]\n  prefer_server_cipher_suites: false",
                CIPHER_SUITES[ECDSA_128],
            ),
            ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA]", "(NONE)"),
            ("max_version: TLS13", CIPHER_SUITES[ECDSA_256]),
        ],
    )
    def test_cipher_suites(self, home: Path, settings: str, chosen: str) -> None:
        """Just the cipher suites that are listed are taken, in the server's order or in the client's."""
        client = f"{CIPHER_SUITES[ECDSA_128]}:{CIPHER_SUITES[ECDSA_256]}"
        with serving(write(home, f"{BASE}  {settings}\n")) as server:
            assert f"Cipher is {chosen}\n" in server.s_client("-tls1_2", "-cipher", client)

    @pytest.mark.parametrize("name", CIPHER_SUITES)
    def test_every_cipher_suite(self, home: Path, pki: Path, name: str) -> None:
        """Every suite that can be chosen works with a certificate of its kind."""
        pair = "rsa" if "_RSA_" in name else "server"
        text = (
            f"tls_server_config: {{cert_file: {pki}/{pair}.crt, key_file: {pki}/{pair}.key, cipher_suites: [{name}]}}"
        )
        with serving(write(home, text)) as server:
            assert f"Cipher is {CIPHER_SUITES[name]}\n" in server.s_client("-tls1_2", "-cipher", "ALL")

    @pytest.mark.parametrize(
        ("curve", "key"),
        [
            ("X25519", "X25519, 253"),
            ("CurveP256", "ECDH, prime256v1"),
            ("CurveP384", "ECDH, secp384r1"),
            ("CurveP521", "ECDH, secp521r1"),
        ],
    )
    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    def test_curves(self, home: Path, curve: str, key: str, version: str) -> None:
        """The curve that is listed is the one that is used, and another is not."""
        with serving(write(home, f"{BASE}  curve_preferences: [{curve}]\n")) as server:
            assert f"Server Temp Key: {key}" in server.s_client(version)
            assert "Cipher is (NONE)" in server.s_client(version, "-curves", "X448")

    def test_expired(self, home: Path, pki: Path, caplog: pytest.LogCaptureFixture) -> None:
        """An expired certificate is refused by the client that looks, taken by the one that does not, and warned of."""
        text = f"tls_server_config: {{cert_file: {pki}/expired.crt, key_file: {pki}/expired.key}}"
        with serving(write(home, text)) as server:
            assert 60 == server.curl("--cacert", home / "ca.crt")[0]
            assert HELLO == server.curl("--insecure")

        assert [f"{home}/web.yml: clients will find that the certificate has expired"] == caplog.messages

    def test_sessions_do_not_pile_up(self, home: Path) -> None:
        """However many TLS 1.2 clients without tickets come, a context keeps few of their sessions."""
        config = TlsConfig(cert=(home / "server.crt").read_bytes(), key=(home / "server.key").read_bytes())
        source = ContextSource(config, sessions_max=10)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(home / "ca.crt")
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.options |= ssl.OP_NO_TICKET
        most, contexts = 0, set()
        for _ in range(50):
            context = source.context()
            contexts.add(context)
            shake_hands(client, context)
            most = max(most, context.session_stats()["number"])

        assert 11 == most
        assert 5 == len(contexts)


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Open and close a connection in memory."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(incoming, outgoing, server_hostname="localhost"),
        server.wrap_bio(outgoing, incoming, server_side=True),
    ]
    for step in (ssl.SSLObject.do_handshake, ssl.SSLObject.unwrap):
        waiting = list(ends)
        while waiting:
            end = waiting.pop(0)
            try:
                step(end)
            except ssl.SSLWantReadError:
                waiting.append(end)


class TestClientCertificates:
    """Who may come in."""

    @pytest.mark.parametrize("version", ["1.2", "1.3"])
    @pytest.mark.parametrize(
        ("name", "answered"),
        [
            (None, [False, True, True]),
            ("client", [True, True, True]),
            ("nameless-client", [True, True, True]),
            ("other-client", [False, False, True]),
            ("expired-client", [False, False, True]),
            ("web-site", [False, False, True]),
        ],
    )
    def test_policies(self, home: Path, pki: Path, name: str | None, answered: list[bool], version: str) -> None:
        """Where a certificate is required, it is one of the right authority, for clients and in time."""
        options = ["--cacert", home / "ca.crt", "--tls-max", version]
        if name:
            options += ["--cert", pki / f"{name}.crt", "--key", pki / f"{name}.key"]
        answers = []
        for policy in ("RequireAndVerifyClientCert", "VerifyClientCertIfGiven", "NoClientCert"):
            text = MUTUAL.replace("RequireAndVerifyClientCert", policy)
            if policy == "NoClientCert":
                text = BASE
            with serving(write(home, text)) as server:
                answers.append(server.curl(*options))

        assert answered == [HELLO == answer for answer in answers]
        assert all(HELLO == answer or (0 != answer[0] and not answer[1]) for answer in answers)

    def test_intermediate_authority(self, home: Path, pki: Path) -> None:
        """An authority that another has signed is enough, as in Go, and then that other is not."""
        with serving(write(home, MUTUAL.replace("ca.crt", f"{pki}/middle-ca.crt"))) as server:
            options = ["--cacert", home / "ca.crt"]
            middle = ["--cert", pki / "middle-client.crt", "--key", pki / "middle-client.key"]
            root = ["--cert", pki / "client.crt", "--key", pki / "client.key"]
            assert HELLO == server.curl(*options, *middle)
            assert 0 != server.curl(*options, *root)[0]

    @pytest.mark.parametrize(
        ("sans", "allowed", "comes_in"),
        [
            ("DNS:prometheus.example.org", "prometheus.example.org", True),
            ("DNS:a.example,DNS:b.example", "'b.example', 'c.example'", True),
            ("IP:10.0.0.1", "10.0.0.1", True),
            ("IP:2001:db8:0:0:0:0:0:1", "'2001:db8::1'", True),
            ("IP:2001:db8::1", "'2001:0DB8:0::1'", True),
            ("email:ops@example.org", "ops@example.org", True),
            ("URI:spiffe://example.org/prometheus", "spiffe://example.org/prometheus", True),
            ("DNS:prometheus.example.org", "prometheus.example.com", False),
            ("DNS:prometheus.example.org", "example.org", False),
            ("DNS:prometheus.example.org", "Prometheus.example.org", False),
            ("DNS:*.example.org", "prometheus.example.org", False),
            ("DNS:prometheus.example.org", "'*.example.org'", False),
            ("IP:10.0.0.1", "10.0.0.11", False),
            ("", "visitor", False),
            ("DNS:x", "visitor", False),
        ],
    )
    def test_allowed_sans(self, home: Path, pki: Path, sans: str, allowed: str, comes_in: bool) -> None:
        """With client_allowed_sans one of the certificate's alternative names must be on the list; its CN is none."""
        pair = make_pair(home, "visitor", Pair(pki / "ca.crt", pki / "ca.key"), sans)
        with serving(write(home, f"{MUTUAL}  client_allowed_sans: [{allowed}]\n")) as server:
            trust = ["--cacert", home / "ca.crt"]
            for version in ("1.2", "1.3"):
                answer = server.curl(*trust, "--tls-max", version, "--cert", pair.cert, "--key", pair.key)
                assert comes_in is (HELLO == answer)
                assert comes_in or "" == answer[1]
            assert 0 != server.curl(*trust)[0]

    def test_resumed_session(self, home: Path, pki: Path) -> None:
        """A session that is resumed passes the same check."""
        pair = ["-cert", pki / "client.crt", "-key", pki / "client.key", "-tls1_2"]
        with serving(write(home, f"{MUTUAL}  client_allowed_sans: [prometheus.example.org]\n")) as server:
            server.s_client(*pair, "-sess_out", home / "session")
            assert "Reused, TLSv1.2" in server.s_client(*pair, "-sess_in", home / "session")


class TestPasswords:
    """Names and passwords over TLS, as Prometheus sends them."""

    def test_curl(self, home: Path, pki: Path) -> None:
        """With everything switched on, client certificate and password are both needed, and headers are there."""
        options = ["--cacert", home / "ca.crt", "--cert", pki / "client.crt", "--key", pki / "client.key"]
        with serving(write(home, FULL)) as server:
            assert (0, REFUSED) == server.curl(*options)
            assert (0, REFUSED) == server.curl(*options, "--user", "alice:guess")
            assert (0, REFUSED) == server.curl(*options, "--user", "eve:secret")
            assert HELLO == server.curl(*options, "--user", "alice:secret")
            assert "\nX-Frame-Options: deny\n" in server.curl(*options, "--include", "--user", "bob:secret")[1]
            assert 0 != server.curl("--cacert", home / "ca.crt", "--user", "alice:secret")[0]


class TestRefresh:
    """A web.yml that changes under a running server."""

    def copy(self, pki: Path, home: Path, name: str) -> None:
        """Put another certificate and key in the place of the server's."""
        for suffix in ("crt", "key"):
            shutil.copy(pki / f"{name}.{suffix}", home / f"new.{suffix}")
            (home / f"new.{suffix}").replace(home / f"server.{suffix}")

    def test_nothing_changed(self, home: Path) -> None:
        """Without a change nothing is read, and that is found out within microseconds."""
        file = WebConfigFile(write(home, FULL))
        before, start = file.current, time.perf_counter()
        for _ in range(1000):
            assert not file.refresh()

        assert time.perf_counter() - start < 0.5
        assert before is file.current
        assert file.last_error is None

    def test_new_certificate(self, home: Path, pki: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The next handshake after a rotation gets the new certificate."""
        caplog.set_level(logging.INFO)
        with serving(write(home, BASE)) as server:
            assert "subject=CN = server\n" in server.s_client()
            self.copy(pki, home, "server2")
            assert "subject=CN = server2\n" in server.s_client()
            assert HELLO == server.curl("--cacert", home / "ca.crt")

        assert [f"{home}/web.yml has changed and is in force"] == caplog.messages

    def test_half_a_rotation(self, home: Path, pki: Path) -> None:
        """Between the new certificate and its key the old pair is served, and then the new one."""
        with serving(write(home, BASE)) as server:
            shutil.copy(pki / "server2.crt", home / "server.crt")
            assert "subject=CN = server\n" in server.s_client()
            assert "the key belongs to another certificate" in (server.file.last_error or "")
            shutil.copy(pki / "server2.key", home / "server.key")
            assert "subject=CN = server2\n" in server.s_client()
            assert server.file.last_error is None

    def test_symbolic_link(self, home: Path, pki: Path) -> None:
        """A directory that is swapped by its symbolic link, as Kubernetes does it, is noticed."""
        for name in ("server", "server2"):
            (home / name).mkdir()
            for suffix in ("crt", "key"):
                shutil.copy(pki / f"{name}.{suffix}", home / name / f"tls.{suffix}")
        (home / "data").symlink_to("server")
        path = write(home, "tls_server_config: {cert_file: data/tls.crt, key_file: data/tls.key}")
        with serving(path) as server:
            assert "subject=CN = server\n" in server.s_client()
            (home / "next").symlink_to("server2")
            (home / "next").replace(home / "data")
            assert "subject=CN = server2\n" in server.s_client()

    def test_same_size_and_time(self, home: Path) -> None:
        """A change that keeps size and modification time is noticed too."""
        path = write(home, f"basic_auth_users: {{alice: {ALICE}}}")
        file = WebConfigFile(path)
        before = os.stat(path)
        write(home, f"basic_auth_users: {{clara: {ALICE}}}")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

        assert (before.st_size, before.st_mtime_ns) == (os.stat(path).st_size, os.stat(path).st_mtime_ns)
        assert file.refresh()
        assert ["clara"] == list(file.current.users)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("web.yml", "tls_server_config: ["), "this is no YAML"),
            (("web.yml", ""), "no longer has basic_auth_users and client_auth_type and tls_server_config, which takes"),
            (("web.yml", BASE), "no longer has basic_auth_users and client_auth_type, which takes a restart"),
            (("web.yml", MUTUAL), "no longer has basic_auth_users, which takes a restart"),
            (("web.yml", None), "cannot be read: No such file or directory"),
            (("server.crt", ""), "there is no certificate in it"),
            (("server.crt", None), "cannot be read: No such file or directory"),
            (("server.key", ""), "there is no private key in it"),
            (("ca.crt", ""), "there is no certificate in it"),
            (("ca.crt", None), "cannot be read: No such file or directory"),
        ],
    )
    def test_broken(
        self, home: Path, pki: Path, caplog: pytest.LogCaptureFixture, change: tuple[str, str | None], message: str
    ) -> None:
        """A broken version does not come into force; what was stays, one line is logged, and a repair is noticed."""
        name, content = change
        caplog.set_level(logging.INFO)
        text = f"{MUTUAL}basic_auth_users: {{alice: {ALICE}}}\n"
        pair = ["--cacert", pki / "ca.crt", "--cert", pki / "client.crt", "--key", pki / "client.key"]
        with serving(write(home, text)) as server:
            whole, config = (home / name).read_bytes(), server.file.current
            (home / name).unlink()
            if content is not None:
                (home / name).write_text(content)
            for _ in range(2):
                assert HELLO == server.curl(*pair, "--user", "alice:secret")
                assert (0, REFUSED) == server.curl(*pair)
            assert 0 != server.curl("--cacert", pki / "ca.crt", "--user", "alice:secret")[0]
            assert 0 != server.curl(scheme="http")[0]
            assert config is server.file.current
            assert server.file.last_error is not None
            assert message in server.file.last_error
            assert [f"{server.file.last_error}; what was in force stays so"] == [
                text.partition(" (hint: ")[0] for text in caplog.messages
            ]

            (home / name).write_bytes(whole)
            assert HELLO == server.curl(*pair, "--user", "alice:secret")
            assert config is not server.file.current
            assert server.file.last_error is None
            assert f"{home}/web.yml has changed and is in force" == caplog.messages[-1]
            assert 2 == len(caplog.messages)

    def test_every_beginning(self, home: Path) -> None:
        """However far a web.yml is written, nothing that protects goes before the whole is there."""
        path = write(home, FULL)
        file = WebConfigFile(path)
        whole = file.current.protections()
        ends = [*range(0, len(FULL), 13), *(match.end() for match in re.finditer("\n", FULL))]
        for end in sorted(ends):
            write(home, FULL[:end])
            file.refresh()
            assert whole == file.current.protections()
            assert file.current.ssl_context() is not None

        assert {"basic_auth_users", "tls_server_config", "client_auth_type", "client_allowed_sans"} == whole
        assert file.last_error is None

    def test_another_error(self, home: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Each change that is broken is one line in the log, however often it is looked at."""
        file = WebConfigFile(write(home, BASE))
        for text in (BASE + "  a: b\n", BASE + "  c: d\n"):
            write(home, text)
            assert [False] * 3 == [file.refresh() for _ in range(3)]

        assert ["ERROR", "ERROR"] == [record.levelname for record in caplog.records]
        assert caplog.messages[0].startswith(
            f"{home}/web.yml:4: tls_server_config has no setting 'a'; what was in force"
        )
        assert f"{home}/web.yml:4: tls_server_config has no setting 'c'" == file.last_error

    def test_users(self, home: Path) -> None:
        """Users come and go without a restart, as long as there are any."""
        file = WebConfigFile(write(home, f"basic_auth_users: {{alice: {ALICE}}}"))
        for names in (["alice", "bob"], ["bob"]):
            write(home, "basic_auth_users:\n" + "".join(f"  {name}: {ALICE}\n" for name in names))
            assert file.refresh()
            assert names == list(file.current.users)

        write(home, "basic_auth_users: {}")
        assert not file.refresh()
        assert ["bob"] == list(file.current.users)
        assert f"{home}/web.yml no longer has basic_auth_users, which takes a restart" == file.last_error

    def test_more_protection(self, home: Path) -> None:
        """What was open may be closed without a restart."""
        with serving(write(home, "")) as server:
            assert HELLO == server.curl(scheme="http")
            write(home, f"{BASE}basic_auth_users: {{alice: {ALICE}}}")
            assert 0 != server.curl(scheme="http")[0]
            assert (0, REFUSED) == server.curl("--cacert", home / "ca.crt")

    def test_out_of_files(self, home: Path, pki: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A change that comes while no file can be opened is not lost: it is read as soon as one can."""
        file = WebConfigFile(write(home, BASE))
        before = file.current
        self.copy(pki, home, "server2")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            answers = [file.refresh() for _ in range(3)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert [False] * 3 == answers
        assert before is file.current
        assert f"{home}/web.yml cannot be read: Too many open files" == file.last_error
        assert 1 == len(caplog.messages)
        assert file.refresh()
        assert file.last_error is None


class TestCost:
    """What a host pays that has no web.yml, or a small one."""

    @pytest.mark.parametrize(
        ("text", "loaded"),
        [(None, []), (BASE, ["yaml"]), (f"basic_auth_users: {{alice: {ALICE}}}", ["bcrypt", "yaml"])],
    )
    def test_imports(self, home: Path, text: str | None, loaded: list[str]) -> None:
        """PyYAML is loaded for a web.yml only, and bcrypt for one with users."""
        script = (
            "import sys; from vmxd.export import auth, tls, web_config; sys.argv[1:] and web_config.load(sys.argv[1])"
        )
        arguments = [] if text is None else [write(home, text)]
        command = [
            sys.executable,
            "-c",
            f"{script}; print(*sorted({{'bcrypt', 'yaml'}} & set(sys.modules)))",
            *arguments,
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=True)

        assert loaded == result.stdout.split()
