"""A real ``vmxd serve`` whose recording is replaced or damaged under it, or goes out of date."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.helpers.server import SECONDS, Manager, Server, get, managing, port_of, serving_one, until
from tests.helpers.support import HOSTS, LAKEFIELD, vmxd
from vmxd.commands.profiles import builtin_profiles
from vmxd.host.changes import BOOT_ID
from vmxd.host.files import Files
from vmxd.host.record import write_recording
from vmxd.host.recording_text import MSR_FILE
from vmxd.host.root import read_host
from vmxd.host.scan import scan
from vmxd.views.metrics import HostCollector, to_text

OLD: Final = HOSTS / "skylake-6700k"
NEW: Final = HOSTS / "kabylake-8550u"
"""Two that have the same CPUs online, so that a mixture of them would be no error."""


def value(page: str, name: str) -> float | None:
    """Return the value of the one series of a name, None where there is none."""
    samples = [sample for family in parse_text(page) for sample in family.samples if sample.name == name]
    assert len(samples) < 2
    return samples[0].value if samples else None


def host_lines(page: str) -> list[str]:
    """Return what a page says of the host, less what it says of vmxd."""
    return [line for line in page.splitlines() if line.startswith("vmx_")]


def lines_of(root: Path) -> list[str]:
    """Return what a page must say of a recording."""
    taken = scan(str(root), profiles=builtin_profiles())
    return host_lines(to_text(HostCollector(taken.inventory)).decode())


def missing(page: str) -> dict[str, float]:
    """Return how many features of each profile are missing."""
    samples = [sample for family in parse_text(page) for sample in family.samples]
    return {each.labels["profile"]: each.value for each in samples if each.name == "vmx_profile_missing_features"}


def record(root: Path, destination: Path) -> None:
    """Write or replace a recording as ``vmxd record`` does, without the start of a program."""
    write_recording(Files(str(root)), read_host(str(root)), str(destination))


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease on a file (fcntl(2), F_SETLEASE): whoever opens the file waits until it ends."""

    file: int

    def is_wanted(self) -> bool:
        """Whether somebody waits."""
        return fcntl.fcntl(self.file, fcntl.F_GETLEASE) != fcntl.F_WRLCK

    def end(self) -> None:
        """Let them in."""
        fcntl.fcntl(self.file, fcntl.F_SETLEASE, fcntl.F_UNLCK)


@contextlib.contextmanager
def leased(path: Path) -> Iterator[Lease]:
    """Hold a lease on a file until the block ends."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # the kernel's word that somebody waits
    try:
        with path.open("rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            yield Lease(file.fileno())
    finally:
        signal.signal(signal.SIGIO, before)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Be told by vmxd what systemd would be."""
    with managing(tmp_path, monkeypatch) as listening:
        yield listening


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make vmxd look about often: a short watchdog shortens all its turns."""
    monkeypatch.setenv("WATCHDOG_USEC", "40000")


def rescan(server: Server, manager: Manager) -> None:
    """Have a server scan again, and wait until it has."""
    server.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")


class TestProfiles:
    """Files of profiles that change while a server runs."""

    def test_read_again(self, tmp_path: Path, manager: Manager) -> None:
        """SIGHUP reads them anew; a mistake is logged with file and key, and the last good scan stays."""
        file = tmp_path / "profiles" / "pool.toml"
        file.parent.mkdir()
        file.write_text('[pool]\nrequires = ["ept", "pml"]\n')
        with serving_one(HOSTS / "denverton", f"--profile-dir={file.parent}", "--profile=qemu-Penryn") as server:
            assert {"pool": 1.0, "qemu-Penryn-v1": 0.0}.items() <= missing(get(port_of(server))).items()

            file.write_text('[pool]\nrequires = ["etp"]\n')
            rescan(server, manager)
            assert 1.0 == missing(get(port_of(server)))["pool"]
            assert re.search(
                rf"{file}: pool\.requires\S*: no feature is called 'etp'; the last good scan stays", server.log
            )

            file.write_text('[puddle]\nrequires = ["ept"]\n')
            rescan(server, manager)
            assert {"pool": None, "puddle": 0.0} == {
                name: missing(get(port_of(server))).get(name) for name in ("pool", "puddle")
            }


class TestNewRecording:
    """A recording that is replaced while it is served."""

    def test_record(self, tmp_path: Path) -> None:
        """What vmxd record writes is served within seconds, with nobody asking for it."""
        root = tmp_path / "recording"
        record(OLD, root)
        with serving_one(root) as server:
            assert lines_of(OLD) == host_lines(get(port_of(server)))
            assert 0 == vmxd("record", "--root", NEW, root).returncode

            until(lambda: lines_of(NEW) == host_lines(get(port_of(server))))

    @pytest.mark.usefixtures("quick")
    def test_never_half(self, tmp_path: Path) -> None:
        """In 30 replacements every answer is all old or all new."""
        root = tmp_path / "recording"
        record(OLD, root)
        pages = [lines_of(OLD), lines_of(NEW)]
        with serving_one(root) as server:
            port, answers = port_of(server), 0
            for number in range(30):
                record((NEW, OLD)[number % 2], root)
                deadline = time.monotonic() + SECONDS
                while pages[(number + 1) % 2] != (lines := host_lines(get(port))):
                    assert lines in pages
                    assert time.monotonic() < deadline
                    answers += 1
            assert answers > 30

    @pytest.mark.usefixtures("quick")
    def test_replaced_while_it_is_read(self, tmp_path: Path) -> None:
        """A recording that is replaced between two reads of one scan is not mixed with the next, which is served."""
        root, slow = tmp_path / "recording", tmp_path / "slow"
        root.symlink_to(OLD)
        record(OLD, slow)

        def point_to(directory: Path) -> None:
            (tmp_path / "link").symlink_to(directory)
            (tmp_path / "link").replace(root)

        with serving_one(root) as server, leased(slow / "proc/cpuinfo") as lease:
            port = port_of(server)
            point_to(slow)
            until(lease.is_wanted)
            point_to(NEW)
            lease.end()

            deadline = time.monotonic() + SECONDS
            while lines_of(NEW) != (lines := host_lines(get(port))):
                assert lines_of(OLD) == lines
                assert time.monotonic() < deadline

    @pytest.mark.usefixtures("quick")
    @pytest.mark.parametrize("damage", ["truncated", "without-msr.txt", "gone"])
    def test_damaged(self, tmp_path: Path, manager: Manager, damage: str) -> None:
        """A recording that is damaged leaves the last good answer in force, and one line in the log."""
        root = tmp_path / "recording"
        record(OLD, root)
        with serving_one(root) as server:
            port = port_of(server)
            manager.wait_for("READY=1")
            if damage == "truncated":
                text = (root / MSR_FILE).read_text()
                (tmp_path / "new").write_text(text[: len(text) // 2])
                (tmp_path / "new").replace(root / MSR_FILE)
            elif damage == "without-msr.txt":
                (root / MSR_FILE).unlink()
            else:
                root.rename(tmp_path / "elsewhere")
            until(lambda: "the last good scan stays" in server.log)
            for _ in range(2):
                rescan(server, manager)

            assert lines_of(OLD) == host_lines(get(port))
            assert 1 == server.log.count("the last good scan stays")

            shutil.rmtree(root, ignore_errors=True)
            record(NEW, root)
            until(lambda: lines_of(NEW) == host_lines(get(port)))


class TestStale:
    """vmxd_recording_stale: whether this machine has changed since it was recorded."""

    def test_this_machine(self, tmp_path: Path, manager: Manager) -> None:
        """A recording of this machine is up to date, until it is of another boot: then a new one is asked for."""
        root, request = tmp_path / "recording", tmp_path / "request"
        assert 0 == vmxd("record", root).returncode
        with serving_one(root, f"--rescan-request={request}") as server:
            manager.wait_for("READY=1")
            rescan(server, manager)
            assert 0 == value(get(port_of(server)), "vmxd_recording_stale")
            assert not request.exists()

            (root / BOOT_ID).write_text("00000000-0000-4000-8000-000000000000\n")
            rescan(server, manager)
            assert 1 == value(get(port_of(server)), "vmxd_recording_stale")
            until(request.exists)

    def test_unknown(self, manager: Manager) -> None:
        """Of a recording without boot_id nothing tells, so there is no series."""
        with serving_one(LAKEFIELD) as server:
            manager.wait_for("READY=1")
            rescan(server, manager)

            assert value(get(port_of(server)), "vmxd_recording_stale") is None
