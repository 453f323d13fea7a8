"""Real handshakes of curl and openssl with a server that does what web.yml says."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
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

from tests.helpers.certificates import Pair, make_pair
from tests.helpers.support import LAKEFIELD, program
from tests.helpers.web_yml import ALICE, ALL_TLS13, BASE, ECDSA_128, ECDSA_256, FULL, MUTUAL, write
from vmxd.host.scan import scan
from vmxd.server.http import Server as HttpServer
from vmxd.server.live import Live
from vmxd.server.render import render
from vmxd.server.site import Pages, Site
from vmxd.server.tls import CIPHER_SUITES, ContextSource, TlsConfig
from vmxd.server.web_config import WebConfigFile

NO_X25519: Final = pytest.mark.skipif(sys.version_info < (3, 11, 3), reason="Debian 12's Python cannot set X25519")
METRICS: Final = render(scan(str(LAKEFIELD)))


@pytest.fixture(autouse=True)
def without_listening(caplog: pytest.LogCaptureFixture) -> None:
    """Leave out of the log where the server listens."""
    caplog.set_level(logging.WARNING, "vmxd.server.http")


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
    site = Site(METRICS, "/metrics", Live())
    hello = gzip.compress(b"hello")
    site.set_pages(Pages(hello, hello, hello, policy="default-src 'none'", inventory=b""))
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
            pytest.param("X25519", "X25519, 253", marks=NO_X25519),
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
            "import sys; from vmxd.server import auth, tls, web_config; sys.argv[1:] and web_config.load(sys.argv[1])"
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
