"""web.yml: what it may say, and what is said of its mistakes."""

from __future__ import annotations

import contextlib
import os
import ssl
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.certificates import Pair, make_pair
from tests.helpers.support import LAKEFIELD, vmxd
from tests.helpers.web_yml import ALICE, ALL_TLS13, BASE, ECDSA_128, ECDSA_256, FULL, MUTUAL, indented, write
from vmxd.errors import VmxdError
from vmxd.pasted.strict_yaml import SettingsFileError
from vmxd.server.tls import TlsConfig
from vmxd.server.web_config import WebConfig, WebConfigFile


def load(path: str) -> WebConfig:
    """Read a web.yml."""
    return WebConfigFile(path).current


class TestLoad:
    """What a web.yml may say."""

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "---\n",
            "{}",
            "null",
            "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\n",
            "http_server_config:\n  headers:\n    X-Frame-Options: ''\n    Content-Security-Policy:\n",
        ],
    )
    def test_nothing(self, home: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
        """A file that sets nothing is no error, as with the toolkit, but a warning: everybody may read."""
        path = write(home, text)

        assert WebConfig() == load(path)
        assert [
            f"{path} sets neither TLS nor passwords: everybody who can connect may read everything"
        ] == caplog.messages

    def test_everything(self, home: Path) -> None:
        """All settings together are read as they are written; neither hashes nor keys show where they are printed."""
        config = load(write(home, FULL))

        assert config.tls is not None
        assert (home / "server.crt").read_bytes() == config.tls.cert
        assert (home / "server.key").read_bytes() == config.tls.key
        assert (home / "ca.crt").read_bytes() == config.tls.client_ca
        assert "RequireAndVerifyClientCert" == config.tls.client_auth_type
        assert ("prometheus.example.org", "10.0.0.1") == config.tls.client_allowed_sans
        assert ("TLS12", "TLS13") == (config.tls.min_version, config.tls.max_version)
        assert (ECDSA_256, ECDSA_128) == config.tls.cipher_suites
        assert (
            ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
            ("X-Frame-Options", "deny"),
        ) == config.headers
        assert {"alice": ALICE.encode(), "bob": ALICE.encode()} == config.users
        assert ALICE not in repr(config)
        assert "PRIVATE" not in repr(config)

    def test_defaults(self, home: Path, caplog: pytest.LogCaptureFixture) -> None:
        """What is left out is as in the toolkit: TLS 1.2 and 1.3, no client certificates, the server's order."""
        config = load(write(home, BASE))

        assert config.tls == TlsConfig(cert=(home / "server.crt").read_bytes(), key=(home / "server.key").read_bytes())
        context = config.context
        assert context is not None
        assert (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) == (context.minimum_version, context.maximum_version)
        assert ssl.CERT_NONE == context.verify_mode
        assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
        assert [] == caplog.messages

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

        assert load(write(home, "tls_server_config: {cert_file: both.pem, key_file: both.pem}")).context

    def test_relative_paths(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Relative paths start at the web.yml, wherever vmxd runs and however the web.yml is named."""
        (home / "etc").mkdir()
        (home / "etc" / "web.yml").write_text(BASE.replace(": server", ": ../server"))

        assert load(str(home / "etc" / "web.yml")).tls
        monkeypatch.chdir(home)
        assert load("etc/web.yml").tls

    def test_names_of_digits(self, home: Path) -> None:
        """A name that YAML would take for a number, a date or a truth stays what is written."""
        names = ["123", "0x10", "1_000", "yes", "2024-01-01", "1e3", "~", "null"]
        lines = "".join(f"  {name}: {ALICE}\n" for name in names)

        assert names == list(load(write(home, f"basic_auth_users:\n{lines}")).users)

    def test_byte_order_mark(self, home: Path) -> None:
        """A byte order mark and the line ends of Windows are no obstacle."""
        assert load(write(home, b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())).tls


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
    ("basic_auth_users: alice", 1, "this is no user with one bcrypt hash"),
    ("? [a]\n: b", 1, "a key takes one plain value"),
    # keys
    ("tls_config:\n  cert_file: a", 1, "a web.yml has no setting 'tls_config'"),
    (BASE + "  insecure_skip_verify: true", 4, "tls_server_config has no setting 'insecure_skip_verify'"),
    ("http_server_config:\n  http2: true", 2, "http_server_config has no setting 'http2'"),
    (BASE + "  curve_preferences: [X25519]", 4, "tls_server_config has no setting 'curve_preferences'"),
    (BASE + "  prefer_server_cipher_suites: true", 4, "tls_server_config has no setting 'prefer_server_cipher_suites'"),
    ("rate_limit:\n  interval: 1s", 1, "a web.yml has no setting 'rate_limit'"),
    ("http_server_config:\n  headers:\n    Server: x", 3, "headers has no setting 'Server'"),
    ("http_server_config:\n  headers:\n    x-frame-options: deny", 3, "headers has no setting 'x-frame-options'"),
    (BASE + "  cert_file: server.crt", 4, "'cert_file' is there twice"),
    (f"basic_auth_users:\n  a: {ALICE}\n  a: {ALICE}", 3, "this is no user with one bcrypt hash"),
    # values
    ("http_server_config:\n  headers:\n    X-Frame-Options: DENY", 3, "X-Frame-Options 'DENY' is unknown to browsers"),
    ("http_server_config:\n  headers:\n    X-Content-Type-Options: no", 3, "X-Content-Type-Options 'no' is unknown"),
    (
        'http_server_config:\n  headers:\n    X-XSS-Protection: "0\\r\\nA: b"',
        3,
        "X-XSS-Protection is more than one line",
    ),
    ("http_server_config:\n  headers:\n    X-XSS-Protection: ü", 3, "X-XSS-Protection is more than one line of ASCII"),
    ("basic_auth_users:\n  alice: secret", 2, "the password of this user is no bcrypt hash"),
    ("basic_auth_users:\n  alice:", 2, "the password of this user is no bcrypt hash"),
    ("basic_auth_users:\n  alice: ''", 2, "the password of this user is no bcrypt hash"),
    ("basic_auth_users:\n  alice: [x]", 2, "this is no user with one bcrypt hash"),
    (
        f"basic_auth_users:\n  alice: {ALICE.replace('05', '31')}",
        2,
        "the password of this user has a cost outside 4 to 18",
    ),
    (f"basic_auth_users:\n  'a:b': {ALICE}", 2, "this user could never log in"),
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
    (BASE + "  client_ca_file: ca.crt", 4, "client_ca_file: the authority for clients has no effect with"),
    (BASE + "  client_auth_type: RequireAndVerifyClientCert", 4, "client_auth_type: RequireAndVerifyClientCert needs"),
    (BASE + "  client_auth_type: VerifyClientCertIfGiven", 4, "client_auth_type: VerifyClientCertIfGiven needs"),
    (MUTUAL.replace("ca.crt", "server.key"), 4, "client_ca_file: there is no certificate in it"),
    (BASE + "  client_allowed_sans: [a]", 4, "client_allowed_sans has no effect with client_auth_type NoClientCert"),
    (
        MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven") + "  client_allowed_sans: [a]",
        6,
        "client_allowed_sans has no effect with client_auth_type VerifyClientCertIfGiven",
    ),
    (MUTUAL + "  client_allowed_sans: []", 6, "client_allowed_sans is empty"),
    (MUTUAL + "  client_allowed_sans: a", 6, "client_allowed_sans takes a list"),
    # versions, cipher suites, curves
    (BASE + "  min_version: TLS10", 4, "min_version TLS10 is refused by OpenSSL 3"),
    (BASE + "  max_version: TLS11", 4, "max_version TLS11 is refused by OpenSSL 3"),
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
        with pytest.raises(VmxdError) as error:
            load(path)

        assert f"{path} cannot be read: {reason}" == str(error.value)
        assert "--web.config.file" in error.value.hint

    @pytest.mark.parametrize("name", ["web.yml", "server.crt"])
    def test_no_regular_file(self, home: Path, name: str) -> None:
        """So is a pipe, or a device without end: nobody waits for what it might say."""
        path = write(home, BASE)
        (home / name).unlink()
        os.mkfifo(home / name)
        with pytest.raises(VmxdError, match="cannot be read: it is no regular file"):
            load(path)
        (home / name).unlink()
        (home / name).symlink_to("/dev/zero")
        with pytest.raises(VmxdError, match="cannot be read: it is no regular file"):
            load(path)

    @pytest.mark.parametrize(
        "users",
        [
            f"  {ALICE}: alice\n",
            "  hunter22: alice\n",
            f"  hunter22: {ALICE}\n  hunter22: {ALICE}\n",
            f"  ? [hunter22]\n  : {ALICE}\n",
            "  hunter22: [a]\n",
            f"  'hunter22:': {ALICE}\n",
        ],
        ids=range(6),
    )
    def test_swapped(self, home: Path, users: str) -> None:
        """A name may be a hash or a password that is at the wrong place, and is not repeated."""
        done = vmxd(
            "serve", "--root", LAKEFIELD, f"--web.config.file={write(home, f'basic_auth_users:{chr(10)}{users}')}"
        )

        assert 2 == done.returncode
        assert "web.yml:" in done.stderr
        assert [] == [text for text in ("hunter22", ALICE) if text in done.stderr]

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
