"""vmxd fleet collect against a real sshd: hosts that answer, and those that do not, are slow, are killed, or lie."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.support import HOSTS, REAL_HOSTS, REPOSITORY, deploy_program, is_root, program, recorded, tree
from vmxd.errors import UsageError
from vmxd.fleet.recordings import read_recordings
from vmxd.fleet.ssh_targets import read_ansible
from vmxd.host.archive import ARCHIVE_MAX
from vmxd.host.root import read_host

LIKE: Final = REAL_HOSTS[:12]
"""Recordings that hosts answer with, as vmxd record - prints them."""
REAL: Final = tuple(f"real-{number}" for number in range(4))
"""Hosts that are this machine, on which what ssh is told to run is run."""

VMXD: Final = f"PYTHONPATH={REPOSITORY} {shlex.quote(sys.executable)} -m vmxd"
GOOD_TAR: Final = f"cat >/dev/null; {VMXD} record --root {HOSTS}/denverton -"
LINK: Final = "import sys,tarfile; t=tarfile.open(fileobj=sys.stdout.buffer,mode='w|'); i=tarfile.TarInfo('msr.txt')"

FAILING: Final = {
    # host: what its key is made to run, or None, and the reason
    "refusing": (None, "ssh: Connection refused"),
    "no-key": (None, "ssh: root@127.0.0.1: Permission denied (publickey)."),
    "other-key": (None, "ssh: Host key verification failed."),
    "silent": ("cat >/dev/null", "the archive is empty"),
    "killed": ("kill -9 $$", "ssh: it ended without a word: the connection is lost, or a signal ended what ran there"),
    "no-python": ("nosuchpython -", "nosuchpython: command not found"),
    "sudo": ("echo 'sudo: a password is required' >&2; exit 1", "sudo: a password is required"),
    "old-python": (
        "sed s/3,.11/3,99/ | sed s/range.30,.10,.-1./[]/ | python3 -",
        "Python 3.11 or newer is needed, and this is 3.",
    ),
    "no-root": (
        f"cat >/dev/null; {VMXD} record --root /no/such/root -",
        "'/no/such/root' is not a directory",
    ),
    "chatty": ("echo Welcome to this host", "it is no tar archive of a recording: at byte 0 is 'Welcome to this host'"),
    "cut-off": (f"{GOOD_TAR} | head -c 3000", "the archive ends early, after 3,000 bytes"),
    "endless": ("cat /dev/zero", f"it sent more than the {ARCHIVE_MAX >> 20} MiB that a recording can have"),
    "link": (
        f'python3 -c "{LINK}; i.type=tarfile.SYMTYPE; i.linkname=chr(47); t.addfile(i)"',
        "the archive's 'msr.txt' is a link or device, not a file",
    ),
    "absolute": (
        f'python3 -c "{LINK}; i.name=chr(47)+i.name; t.addfile(i)"',
        "the archive has '/msr.txt', which is no file of a recording",
    ),
    "untrue": (f"{GOOD_TAR} | sed 's/: 0=/: 7=/'", "its msr.txt:3: CPU 7 has a value but is not online"),
}


class Sshd:
    """An sshd on loopback that gives each key a command of its own, and an ssh that knows its hosts."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.path = scratch / "bin"
        self.path.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for key in ("host", "other"):
            self.make_key(key)
        settings = [
            f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {scratch}/host", "PidFile none", "UsePAM no",
            "StrictModes no", "MaxStartups 100", f"AuthorizedKeysFile {scratch}/authorized", "PermitRootLogin yes",
            "PasswordAuthentication no", "KbdInteractiveAuthentication no",
        ]  # fmt: skip
        (scratch / "sshd_config").write_text("\n".join(settings) + "\n")
        (scratch / "config").write_text("")
        (scratch / "authorized").write_text("")
        (scratch / "known").write_text("")
        ssh = self.path / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {program("ssh", "openssh-client")} -F {scratch}/config "$@"\n')
        ssh.chmod(0o755)

    def make_key(self, name: str) -> str:
        """Make a key pair; return the public one."""
        keygen = program("ssh-keygen", "openssh-client")
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", self.scratch / name], check=True)
        return (self.scratch / f"{name}.pub").read_text().strip()

    def add(self, host: str, command: str | None, *, known: str = "host", port: int | None = None) -> None:
        """Make a host that runs a command, or what it is told to."""
        public = self.make_key(f"key-{host}")
        script = self.scratch / f"run-{host}"
        script.write_text(command or "")
        options = f'command="bash {script}" ' if command else ""
        with (self.scratch / "authorized").open("a") as file:
            file.write(f"{options}{public}\n" if host != "no-key" else "")
        with (self.scratch / "known").open("a") as file:
            file.write(f"{host} {(self.scratch / f'{known}.pub').read_text()}")
        lines = [
            f"Host {host}", "HostName 127.0.0.1", f"Port {port or self.port}", f"HostKeyAlias {host}",
            f"IdentityFile {self.scratch}/key-{host}", "IdentitiesOnly yes", f"UserKnownHostsFile {self.scratch}/known",
        ]  # fmt: skip
        with (self.scratch / "config").open("a") as file:
            file.write("\n  ".join(lines) + "\n")


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections on a port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Return an sshd with some thirty hosts."""
    server = program("/usr/sbin/sshd", "openssh-server")
    made = Sshd(tmp_path_factory.mktemp("sshd"))
    for name in LIKE:
        made.add(name, f"cat >/dev/null; {VMXD} record --root {HOSTS / name} -")
    for name in REAL:
        made.add(name, None)
    made.add("slow", "sleep 60")
    for name, (command, _) in FAILING.items():
        made.add(
            name, command, known="other" if name == "other-key" else "host", port=1 if name == "refusing" else None
        )
    if is_root():
        Path("/run/sshd").mkdir(exist_ok=True)
    with (made.scratch / "log").open("wb") as log:
        process = subprocess.Popen([server, "-D", "-e", "-f", made.scratch / "sshd_config"], stderr=log)
        try:
            deadline = time.monotonic() + 10
            while not is_listening(made.port):
                assert time.monotonic() < deadline, (made.scratch / "log").read_text()
                time.sleep(0.05)
            yield made
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


def collect(sshd: Sshd, *words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run vmxd fleet collect with the ssh that knows the hosts."""
    path = f"{sshd.path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "-m", "vmxd", "fleet", "collect", *words],
        input=stdin, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "PATH": path},
    )  # fmt: skip


def test_thirty_hosts(sshd: Sshd, tmp_path: Path) -> None:
    """Hosts of an inventory are recorded as they are; of those that fail the reason is, for fleet summary too."""
    deploy_program("ansible-inventory")
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[good]\n" + "\n".join([*LIKE, *REAL]) + "\n[bad]\n" + "\n".join(FAILING) + "\n")
    hosts = tmp_path / "hosts"
    done = collect(sshd, hosts, "--inventory", inventory, "--jobs=8")

    assert (1, "") == (done.returncode, done.stderr), done.stdout
    good = len(LIKE) + len(REAL)
    assert done.stdout.startswith(f"{good} of {good + len(FAILING)} hosts recorded in {hosts}.\n"), done.stdout
    assert {} == {name: tree(hosts / name) for name in LIKE if tree(hosts / name) != recorded(HOSTS / name)}
    here = read_host("/")
    for name in REAL:
        assert (here.kernel, here.online) == ((found := read_host(str(hosts / name))).kernel, found.online)
    told = {host.name: host.reason or "" for host in read_recordings(str(hosts), lambda *_: None).hosts}
    for name, (_, reason) in FAILING.items():
        assert ["failure.txt"] == os.listdir(hosts / name)
        assert told[name].startswith("it could not be recorded: ")
        assert reason in told[name]
        assert reason in done.stdout


def test_an_inventory_says_how_to_reach_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address, port, user, key and Python of an inventory are ssh's options; what a shell might obey is refused."""
    monkeypatch.setenv("PATH", f"{Path(deploy_program('ansible-inventory')).parent}:{os.environ['PATH']}")
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "all: {vars: {ansible_user: ops}, children: {pool: {hosts: {db-1: {ansible_host: 10.0.0.1, ansible_port: 2222,"
        " ansible_python_interpreter: /usr/bin/python3.12}, db-2: {ansible_ssh_private_key_file: /keys/b}}}}}"
    )
    first, second = read_ansible(str(inventory))

    assert ("db-1", "/usr/bin/python3.12") == (first.name, first.python)
    assert ["HostName=10.0.0.1", "User=ops", "Port=2222"] == [word for word in first.options if word != "-o"]
    assert ["User=ops", "IdentityFile=/keys/b"] == [word for word in second.options if word != "-o"]
    for variable, value in (("ansible_python_interpreter", "/bin/sh; x"), ("ansible_host", "-oProxyCommand=x")):
        inventory.write_text(f"all: {{hosts: {{db-1: {{{variable}: '{value}'}}}}}}")
        with pytest.raises(UsageError, match=re.escape(value)):
            read_ansible(str(inventory))


def test_a_second_run_only_renews(sshd: Sshd, tmp_path: Path) -> None:
    """A host that is slow now keeps its older recording; a failure gives way; other directories are left alone."""
    copies = {"slow": "denverton", "other": "broadwell-e"}
    for name, like in copies.items():
        shutil.copytree(HOSTS / like, tmp_path / name, ignore=shutil.ignore_patterns("about.txt", "metrics.prom"))
    (tmp_path / "denverton").mkdir()
    (tmp_path / "denverton" / "failure.txt").write_text("# vmxd failure 1\nssh: Connection refused\n")
    start = time.monotonic()
    slow = collect(sshd, tmp_path, "slow", "--timeout=1")

    assert 1 == slow.returncode
    assert re.search(r"^ +1  no answer within 1 s +yes +slow$", slow.stdout, re.MULTILINE)
    assert time.monotonic() - start < 20
    assert 0 == collect(sshd, tmp_path, "-", stdin="# one\ndenverton\n\ndenverton  # again\n").returncode
    assert {**copies, "denverton": "denverton"}.keys() == set(os.listdir(tmp_path))
    assert {} == {
        name: like
        for name, like in {**copies, "denverton": "denverton"}.items()
        if tree(tmp_path / name) != recorded(HOSTS / like)
    }
