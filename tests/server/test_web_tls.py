"""Real handshakes of curl and openssl with a vmxd that does what its web.yml says, also when that changes."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.certificates import Pair, make_pair
from tests.helpers.server import Server, port_of, serving_one
from tests.helpers.support import LAKEFIELD, program
from tests.helpers.web_yml import ALICE, ALL_TLS13, BASE, ECDSA_128, ECDSA_256, FULL, MUTUAL, write
from vmxd.server.tls import CIPHER_SUITES
from vmxd.server.web_config import WebConfigFile

HELLO: Final = (0, "ok\n")
REFUSED: Final = "401 Unauthorized\n"


def curl(server: Server, *options: object, scheme: str = "https") -> tuple[int, str]:
    """Return curl's exit code and the body that it got."""
    url = f"{scheme}://127.0.0.1:{port_of(server)}/healthz"
    command = [program("curl", "curl"), "--silent", "--max-time", "10", "--noproxy", "*", *map(str, options), url]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return result.returncode, result.stdout


def s_client(server: Server, *options: object) -> str:
    """Return what openssl s_client says of a handshake."""
    connect = ("-connect", f"127.0.0.1:{port_of(server)}", *map(str, options))
    command = [program("openssl", "openssl"), "s_client", "-no-CAfile", "-no-CApath", "-no-CAstore", *connect]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20)
    return result.stdout + result.stderr


def serving(path: str) -> contextlib.AbstractContextManager[Server]:
    """Serve as a web.yml says until the block ends."""
    return serving_one(LAKEFIELD, f"--web.config.file={path}")


def copy(pki: Path, home: Path, name: str) -> None:
    """Put another certificate and key in the place of the server's."""
    for suffix in ("crt", "key"):
        shutil.copy(pki / f"{name}.{suffix}", home / f"new.{suffix}")
        (home / f"new.{suffix}").replace(home / f"server.{suffix}")


class TestHandshake:
    """TLS as clients see it."""

    def test_curl(self, home: Path) -> None:
        """curl verifies the certificate and gets its answer, over HTTP/1.1 also if it would like HTTP/2."""
        with serving(write(home, BASE)) as server:
            assert HELLO == curl(server, "--cacert", home / "ca.crt")
            assert HELLO == curl(server, "--cacert", home / "ca.crt", "--http2")
            assert "ALPN protocol: http/1.1" in s_client(server, "-alpn", "h2,http/1.1")
            assert 60 == curl(server)[0], "an authority that curl does not know"
            assert 0 != curl(server, scheme="http")[0]

    @pytest.mark.parametrize(
        ("settings", "versions"),
        [
            ("", {"TLSv1.2", "TLSv1.3"}),
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
                if f"New, {version}, Cipher is" in s_client(server, option, "-cipher", "DEFAULT@SECLEVEL=0")
            }

        assert versions == spoken

    def test_cipher_suites(self, home: Path, pki: Path) -> None:
        """Just the cipher suites that are listed are taken, in the server's order; each that can be listed works."""
        client = f"{CIPHER_SUITES[ECDSA_128]}:{CIPHER_SUITES[ECDSA_256]}"
        path = write(home, f"{BASE}  cipher_suites: [{ECDSA_256}, {ECDSA_128}]\n")
        with serving(path) as server:
            assert f"Cipher is {CIPHER_SUITES[ECDSA_256]}\n" in s_client(server, "-tls1_2", "-cipher", client)
            for name, of_openssl in CIPHER_SUITES.items():
                pair = "rsa" if "_RSA_" in name else "server"
                files = f"cert_file: {pki}/{pair}.crt, key_file: {pki}/{pair}.key"
                write(home, f"tls_server_config: {{{files}, cipher_suites: [{name}]}}")
                assert f"Cipher is {of_openssl}\n" in s_client(server, "-tls1_2", "-cipher", "ALL")
            assert "Cipher is (NONE)" in s_client(server, "-tls1_2", "-cipher", client)


class TestClientCertificates:
    """Who may come in."""

    @pytest.mark.parametrize(
        ("policy", "welcome"),
        [
            ("RequireAndVerifyClientCert", {"client", "nameless-client"}),
            ("VerifyClientCertIfGiven", {None, "client", "nameless-client"}),
        ],
    )
    def test_policies(self, home: Path, pki: Path, policy: str, welcome: set[str | None]) -> None:
        """A certificate that is required, or given, is one of the right authority, for clients and in time."""
        names = (None, "client", "nameless-client", "other-client", "expired-client", "web-site")
        with serving(write(home, MUTUAL.replace("RequireAndVerifyClientCert", policy))) as server:
            for version in ("1.2", "1.3"):
                options = ["--cacert", home / "ca.crt", "--tls-max", version]
                pairs = {
                    name: ["--cert", pki / f"{name}.crt", "--key", pki / f"{name}.key"] if name else []
                    for name in names
                }
                assert welcome == {name for name in names if HELLO == curl(server, *options, *pairs[name])}

    def test_intermediate_authority(self, home: Path, pki: Path) -> None:
        """An authority that another has signed is enough, as in Go, and then that other is not."""
        with serving(write(home, MUTUAL.replace("ca.crt", f"{pki}/middle-ca.crt"))) as server:
            options = ["--cacert", home / "ca.crt"]
            middle = ["--cert", pki / "middle-client.crt", "--key", pki / "middle-client.key"]
            root = ["--cert", pki / "client.crt", "--key", pki / "client.key"]
            assert HELLO == curl(server, *options, *middle)
            assert 0 != curl(server, *options, *root)[0]

    def test_allowed_sans(self, home: Path, pki: Path) -> None:
        """With client_allowed_sans a DNS, email, IP or URI name of the certificate must be on the list; no other."""
        path = write(home, MUTUAL)
        trust = ["--cacert", home / "ca.crt"]
        with serving(path) as server:
            for sans, allowed, comes_in in (
                ("DNS:prometheus.example.org", "prometheus.example.org", True),
                ("DNS:a.example,DNS:b.example", "'b.example', 'c.example'", True),
                ("IP:2001:db8:0:0:0:0:0:1", "'2001:0DB8:0::1'", True),
                ("email:ops@example.org", "ops@example.org", True),
                ("URI:spiffe://example.org/prometheus", "spiffe://example.org/prometheus", True),
                ("DNS:prometheus.example.org", "Prometheus.example.org", False),
                ("DNS:*.example.org", "prometheus.example.org", False),
                ("IP:10.0.0.1", "10.0.0.11", False),
                ("RID:1.2.3.4", "1.2.3.4", False),
                ("", "visitor", False),
            ):
                pair = make_pair(home, "visitor", Pair(pki / "ca.crt", pki / "ca.key"), sans)
                write(home, f"{MUTUAL}  client_allowed_sans: [{allowed}]\n")
                for version in ("1.2", "1.3"):
                    answer = curl(server, *trust, "--tls-max", version, "--cert", pair.cert, "--key", pair.key)
                    assert (comes_in, sans) == (HELLO == answer, sans)
            assert 0 != curl(server, *trust)[0]

    def test_everything(self, home: Path, pki: Path) -> None:
        """With everything switched on, client certificate and password are both needed, and headers are there."""
        options = ["--cacert", home / "ca.crt", "--cert", pki / "client.crt", "--key", pki / "client.key"]
        with serving(write(home, FULL)) as server:
            assert (0, REFUSED) == curl(server, *options)
            assert (0, REFUSED) == curl(server, *options, "--user", "alice:guess")
            assert HELLO == curl(server, *options, "--user", "alice:secret")
            assert "\nX-Frame-Options: deny\n" in curl(server, *options, "--include", "--user", "bob:secret")[1]
            assert 0 != curl(server, "--cacert", home / "ca.crt", "--user", "alice:secret")[0]


class TestRefresh:
    """A web.yml that changes under a running server."""

    def test_rotation(self, home: Path, pki: Path) -> None:
        """Between a new certificate and its key the old pair is served, and then the new one; also behind a link."""
        (home / "data").symlink_to(".")
        path = write(home, BASE.replace(": server", ": data/server"))
        with serving(path) as server:
            assert "subject=CN = server\n" in s_client(server)
            shutil.copy(pki / "server2.crt", home / "server.crt")
            assert "subject=CN = server\n" in s_client(server)
            assert "the key belongs to another certificate; what was in force stays so" in server.log
            shutil.copy(pki / "server2.key", home / "server.key")
            assert "subject=CN = server2\n" in s_client(server)
            (home / "next").symlink_to(pki)
            (home / "next").replace(home / "data")
            assert "subject=CN = server\n" in s_client(server)

    def test_same_size_and_time(self, home: Path) -> None:
        """A change that keeps size and modification time is noticed too."""
        path = write(home, f"basic_auth_users: {{alice: {ALICE}}}")
        file = WebConfigFile(path)
        before = os.stat(path)
        write(home, f"basic_auth_users: {{clara: {ALICE}}}")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        file.refresh()

        assert ["clara"] == list(file.current.users)

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("web.yml", "tls_server_config: [", "this is no YAML"),
            ("web.yml", "", "no longer has basic_auth_users and client_auth_type and tls_server_config, which takes"),
            ("web.yml", MUTUAL, "no longer has basic_auth_users, which takes a restart"),
            ("web.yml", None, "cannot be read: No such file or directory"),
            ("server.crt", "", "there is no certificate in it"),
            ("ca.crt", None, "cannot be read: No such file or directory"),
        ],
    )
    def test_broken(
        self, home: Path, caplog: pytest.LogCaptureFixture, name: str, content: str | None, message: str
    ) -> None:
        """A broken version does not come into force: what was stays, one line is logged, and a repair is noticed."""
        text = f"{MUTUAL}basic_auth_users: {{alice: {ALICE}}}\n"
        file = WebConfigFile(write(home, text))
        whole, config = (home / name).read_bytes(), file.current
        (home / name).unlink()
        if content is not None:
            (home / name).write_text(content)
        for _ in range(3):
            file.refresh()

        assert config is file.current
        assert 1 == len(caplog.messages)
        assert message in caplog.messages[0]
        (home / name).write_bytes(whole)
        file.refresh()
        assert config is not file.current

    def test_every_beginning(self, home: Path) -> None:
        """However far a web.yml is written, nothing that protects goes before the whole is there."""
        file = WebConfigFile(write(home, FULL))
        whole = file.current.protections()
        for end in sorted([*range(0, len(FULL), 37), *(match.end() for match in re.finditer("\n", FULL))]):
            write(home, FULL[:end])
            file.refresh()
            assert whole == file.current.protections()

        assert {"basic_auth_users", "tls_server_config", "client_auth_type", "client_allowed_sans"} == whole

    def test_more_protection(self, home: Path) -> None:
        """What was open may be closed without a restart."""
        with serving(write(home, "")) as server:
            assert HELLO == curl(server, scheme="http")
            assert "sets neither TLS nor passwords" in server.log
            write(home, f"{BASE}basic_auth_users: {{alice: {ALICE}}}")
            assert 0 != curl(server, scheme="http")[0]
            assert (0, REFUSED) == curl(server, "--cacert", home / "ca.crt")

    def test_out_of_files(self, home: Path, pki: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A change that comes while no file can be opened is not lost: it is read as soon as one can."""
        file = WebConfigFile(write(home, BASE))
        before = file.current
        copy(pki, home, "server2")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            for _ in range(3):
                file.refresh()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert before is file.current
        assert [f"{home}/web.yml cannot be read: Too many open files"] == [
            text.partition(";")[0] for text in caplog.messages
        ]
        file.refresh()
        assert before is not file.current

    def test_pipe(self, home: Path) -> None:
        """A web.yml that becomes a pipe holds up nobody."""
        path = write(home, BASE)
        with serving(path) as server:
            assert HELLO == curl(server, "--cacert", home / "ca.crt")
            os.unlink(path)
            os.mkfifo(path)
            assert HELLO == curl(server, "--cacert", home / "ca.crt")
            assert "it is no regular file; what was in force stays so" in server.log


def test_clients_that_are_gone(home: Path, pki: Path) -> None:
    """For clients that left before their turn no handshake is signed: a flood of them costs next to nothing."""
    make_pair(home, "server", Pair(pki / "ca.crt", pki / "ca.key"), algorithm=("rsa:4096",))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    with serving(write(home, BASE)) as server:
        port = port_of(server)
        seconds = {}
        for stays in (True, False):
            before = _cpu_seconds(server)
            server.process.send_signal(signal.SIGSTOP)  # so that they come at once
            clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(60)]
            for each in clients:
                each.sendall(hello)
                if not stays:
                    each.close()
            server.process.send_signal(signal.SIGCONT)
            assert HELLO == curl(server, "--cacert", home / "ca.crt")
            seconds[stays] = _cpu_seconds(server) - before
            for each in clients:
                each.close()

    assert seconds[False] < seconds[True] / 3


def _cpu_seconds(server: Server) -> float:
    """Return how much CPU time a server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
