"""``vmxd serve --web.config.file`` from end to end: curl, openssl and a real Prometheus, with TLS and passwords."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.certificates import Pair, make_authority, make_pair
from tests.helpers.prometheus import labels, running_prometheus, series, until
from tests.helpers.server import Server, port_of, serving_one
from tests.helpers.support import LAKEFIELD, program, vmxd
from tests.helpers.web_yml import ALICE, BASE, MUTUAL

TLS13: Final = BASE + "  min_version: TLS13\n"
USERS: Final = f"basic_auth_users:\n  alice: {ALICE}\n"

PROMETHEUS: Final = """
scrape_configs:
  - job_name: {job}
    scrape_interval: 500ms
    scrape_timeout: 500ms
    scheme: https
    basic_auth: {{username: alice, password: {password}}}
    tls_config: {{ca_file: {ca}, cert_file: {cert}, key_file: {key}}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority, two certificates for the server, and one each for a client and a stranger."""
    directory = tmp_path_factory.mktemp("pki")
    authority, other = make_authority(directory, "ca"), make_authority(directory, "other-ca")
    for name in ("server", "server-2", "client"):
        make_pair(directory, name, authority)
    make_pair(directory, "stranger", other)
    return directory


@dataclass(frozen=True, slots=True)
class Web:
    """A directory with a web.yml and what it names."""

    directory: Path

    @property
    def option(self) -> str:
        """What vmxd is given."""
        return f"--web.config.file={self.directory / 'web.yml'}"

    def write(self, text: str) -> None:
        """Replace the web.yml in one step."""
        (self.directory / "new").write_text(text)
        (self.directory / "new").replace(self.directory / "web.yml")

    def pair(self, name: str) -> Pair:
        """Return a certificate and its key."""
        return Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")


@pytest.fixture
def web(pki: Path, tmp_path: Path) -> Web:
    """Copy the certificates, to be changed at will; there is no web.yml yet."""
    return Web(Path(shutil.copytree(pki, tmp_path / "web")))


@dataclass(frozen=True, slots=True)
class Answer:
    """What curl got: its exit code, and of the last answer the status (0 for none), the headers and the body."""

    code: int
    status: int
    headers: str
    body: str


Curl = Callable[..., Answer]


@pytest.fixture
def curl(web: Web, tmp_path: Path) -> Curl:
    """Return a function that gets /metrics with curl, which trusts our authority and nobody else."""

    def get(server: Server, *options: str | Path, scheme: str = "https") -> Answer:
        (tmp_path / "headers").write_text("")
        url = f"{scheme}://127.0.0.1:{port_of(server)}/metrics"
        command = [program("curl", "curl"), "-sS", "--max-time", "10", "--cacert", web.pair("ca").cert, url, *options]
        command += ["-D", tmp_path / "headers", "-w", "\n%{http_code}"]
        result = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, timeout=60, env={"LC_ALL": "C"}
        )
        body, _, status = result.stdout.rpartition("\n")
        return Answer(result.returncode, int(status), (tmp_path / "headers").read_text().lower(), body)

    return get


def serial(server: Server) -> str:
    """Return the certificate that a server shows to a new client."""
    command = [program("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{port_of(server)}"]
    result = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=30)
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----\n"
    return begin + result.stdout.partition(begin)[2].partition(end)[0] + end


def test_tls(web: Web, curl: Curl) -> None:
    """Curl gets the metrics over TLS 1.3; a client of TLS 1.2 is refused where that is asked for; so is plain HTTP."""
    web.write(TLS13)
    with serving_one(LAKEFIELD, web.option) as server:
        found = curl(server)
        assert (0, 200) == (found.code, found.status)
        assert "vmx_feature{" in found.body
        assert (35, 0) == ((old := curl(server, "--tls-max", "1.2")).code, old.status)
        assert curl(server, scheme="http").status != 200
        assert f"listening on https://127.0.0.1:{port_of(server)}/" in server.log


def test_password(web: Web, curl: Curl) -> None:
    """Who has the password gets the metrics; everybody else 401 and what to do about it, on every path alike."""
    web.write(BASE + USERS)
    with serving_one(LAKEFIELD, web.option) as server:
        assert [200] * 3 == [curl(server, "--user", "alice:secret").status for _ in range(3)]
        for options in ((), ("--user", "alice:wrong"), ("--user", "mallory:secret"), ("--user", "alice:")):
            refused = curl(server, *options)
            assert (401, "401 Unauthorized\n") == (refused.status, refused.body)
            assert "\nwww-authenticate: basic" in refused.headers


def test_client_certificate(web: Web, curl: Curl) -> None:
    """With client certificates asked for, one of our authority is let in; a stranger's and none at all are not."""
    web.write(MUTUAL)
    client, stranger = web.pair("client"), web.pair("stranger")
    with serving_one(LAKEFIELD, web.option) as server:
        assert 200 == curl(server, "--cert", client.cert, "--key", client.key).status
        for refused in (curl(server), curl(server, "--cert", stranger.cert, "--key", stranger.key)):
            assert 0 == refused.status
            assert 0 != refused.code


def test_rotation(web: Web, curl: Curl) -> None:
    """A certificate that is replaced on disk is what the next connection sees, with no restart and no signal."""
    web.write(BASE)
    first, second = web.pair("server"), web.pair("server-2")
    with serving_one(LAKEFIELD, web.option) as server:
        assert serial(server) in first.cert.read_text()
        second.key.replace(first.key)
        second.cert.replace(first.cert)
        assert serial(server) in first.cert.read_text()
        assert 200 == curl(server).status


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param("tls_server_config: [\n", id="no-yaml"),
        pytest.param(BASE.replace("server.key", "missing.key") + USERS, id="no-key"),
        pytest.param("", id="empty"),
        pytest.param(USERS, id="without-tls"),
        pytest.param(BASE, id="without-users"),
        pytest.param(None, id="gone"),
    ],
)
def test_broken_while_in_force(web: Web, curl: Curl, broken: str | None) -> None:
    """A web.yml that breaks, or no longer protects, changes nothing but the log, one line; mended, it is in force."""
    web.write(BASE + USERS)
    with serving_one(LAKEFIELD, web.option) as server:
        assert 200 == curl(server, "--user", "alice:secret").status
        if broken is None:
            (web.directory / "web.yml").unlink()
        else:
            web.write(broken)
        for _ in range(2):
            assert 200 == curl(server, "--user", "alice:secret").status
            assert 401 == curl(server).status
            assert curl(server, "--user", "alice:secret", scheme="http").status != 200
        assert 1 == server.log.count("what was in force stays so")

        web.write(BASE + USERS.replace("alice", "bob"))
        assert [200, 401] == [curl(server, "--user", f"{name}:secret").status for name in ("bob", "alice")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tls_server_config: [\n", "web.yml"),
        (BASE + "  min_version: TLS9\n", "web.yml:4"),
        (BASE.replace("server.crt", "missing.crt"), "missing.crt"),
        ("basic_auth_users:\n  alice: secret\n", "web.yml:2"),
    ],
)
def test_broken_at_the_start(web: Web, text: str, line: str) -> None:
    """Started with a web.yml that is broken, vmxd says where and what to do, in two lines, and does not listen."""
    web.write(text)
    result = vmxd("serve", "--root", LAKEFIELD, "--web.listen-address=127.0.0.1:0", web.option)
    said, hint = result.stderr.splitlines()

    assert (2, "", "vmxd: ", "hint: ") == (result.returncode, result.stdout, said[:6], hint[:6])
    assert line in said
    assert "secret" not in result.stderr


@pytest.fixture
def mutual(web: Web) -> Iterator[Server]:
    """Serve with everything asked for: a client certificate and a password."""
    web.write(MUTUAL + USERS)
    with serving_one(LAKEFIELD, web.option) as server:
        yield server


@pytest.mark.parametrize(("password", "up"), [("secret", 1), ("wrong", 0)])
def test_prometheus(web: Web, mutual: Server, tmp_path: Path, password: str, up: int) -> None:
    """A real Prometheus with client certificate and password finds vmxd up; with a wrong password, down."""
    client = web.pair("client")
    config = PROMETHEUS.format(
        job="mutual",
        password=password,
        ca=web.pair("ca").cert,
        cert=client.cert,
        key=client.key,
        port=port_of(mutual),
    )
    with running_prometheus(tmp_path, config) as prometheus:
        found = until(lambda: series(prometheus, "up"), lambda found: up in found.values())
        (target,) = prometheus.get("targets")["activeTargets"]

    assert {labels(metric="up", job="mutual"): up} == found
    assert ("" if up else "server returned HTTP status 401 Unauthorized") == target["lastError"]
