"""What is installed with each extra alone, and without any: what each brings works, and what is missing is named."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import bcrypt
import pytest
from packaging.requirements import Requirement

from tests.helpers.support import HOSTS, LAKEFIELD, REPOSITORY, vmxd

EXTRAS: Final = ("", "web", "fleet", "terminal")
LISTEN: Final = "--web.listen-address=127.0.0.1:0"
YAML: Final = ("vmxd: --web.config.file takes the Python module yaml, which is not installed", "PyYAML")
BCRYPT: Final = ("vmxd: basic_auth_users takes the Python module bcrypt, which is not installed", "bcrypt")
REFUSED: Final = "vmxd: http://127.0.0.1:1 cannot be reached: Connection refused"


def requirements(extra: str) -> set[str]:
    """Return the names of what this environment has of vmxd's requirements and an extra's, and what these require."""
    names: set[str] = set()
    waiting = [("vmxd", extra)]
    while waiting:
        name, of = waiting.pop()
        for requirement in map(Requirement, metadata.requires(name) or ()):
            if requirement.name in names or (requirement.marker and not requirement.marker.evaluate({"extra": of})):
                continue
            names.add(requirement.name)
            waiting.append((requirement.name, ""))
    return names


def install(extra: str, directory: Path) -> None:
    """Make a directory of modules: vmxd, and what pip would install with it and an extra."""
    (directory / "vmxd").symlink_to(REPOSITORY / "vmxd")
    for name in requirements(extra):
        for file in metadata.files(name) or ():
            top = directory / file.parts[0]
            if file.parts[0] != ".." and not top.exists():
                top.symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / file.parts[0])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a directory for each extra, with what it brings."""
    directories = {extra: tmp_path_factory.mktemp(f"extra-{extra}") for extra in EXTRAS}
    for extra, directory in directories.items():
        install(extra, directory)
    return directories


def start(directory: Path, *words: str | Path, **options: Any) -> subprocess.Popen[str]:  # noqa: ANN401
    """Start vmxd with the modules of a directory and those of Python itself."""
    base = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "PYTHONHOME")}
    return subprocess.Popen(
        [sys.executable, "-S", "-P", "-m", "vmxd", *words],
        env={**base, "PYTHONPATH": str(directory), "TERM": "xterm"}, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def run(directory: Path, *words: str | Path) -> tuple[int, str, str]:
    """Run vmxd to its end, and return its exit code and what it printed."""
    with start(directory, *words, stdout=subprocess.PIPE) as process:
        stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    "words",
    [
        ("show", "--root", LAKEFIELD),
        ("explain", "pml", "--root", LAKEFIELD),
        ("check", "--profile", "kvm-fast", "--root", LAKEFIELD),
        ("fleet", "summary", "--recordings", HOSTS),
        ("fleet", "baseline", "--recordings", HOSTS, "--json"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_needs_none(installed: dict[str, Path], words: tuple[str | Path, ...]) -> None:
    """Commands about this host and about recordings print without any extra what they print with all of them."""
    expected = vmxd(*words)

    assert (expected.returncode, expected.stdout, expected.stderr) == run(installed[""], *words)


@pytest.mark.parametrize(
    ("extra", "settings", "expected"),
    [
        ("", "tls_server_config: {}", YAML),
        ("terminal", "tls_server_config: {}", YAML),
        ("fleet", "basic_auth_users: {alice: x}", BCRYPT),
    ],
)
def test_web_is_missing(
    installed: dict[str, Path], extra: str, settings: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    """A web.yml without what it takes: the server does not start, and one sentence and a hint say why."""
    (tmp_path / "web.yml").write_text(f"{settings}\n")
    message, module = expected
    words = ("serve", "--root", LAKEFIELD, LISTEN, f"--web.config.file={tmp_path / 'web.yml'}")

    hint = f"hint: pip install {module}, into the environment that vmxd runs in"
    assert (2, "", f"{message}\n{hint}\n") == run(installed[extra], *words)


def test_web(installed: dict[str, Path], tmp_path: Path) -> None:
    """With the extra web, a server with passwords starts."""
    hashed = bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{alice: {hashed}}}\n")
    words = ("serve", "--root", LAKEFIELD, LISTEN, f"--web.config.file={tmp_path / 'web.yml'}")
    with start(installed["web"], *words) as server:
        assert server.stderr
        is_listening = any("listening on" in line for line in server.stderr)
        server.terminate()

    assert is_listening


@pytest.mark.parametrize("words", [("summary",), ("history", "host")], ids=" ".join)
def test_fleet_without_extras(installed: dict[str, Path], words: tuple[str, ...]) -> None:
    """A Prometheus can be asked after a plain installation."""
    code, _, stderr = run(installed[""], "fleet", *words, "--prometheus", "http://127.0.0.1:1")

    assert (2, REFUSED) == (code, stderr.splitlines()[0])


def test_fleet(installed: dict[str, Path], tmp_path: Path) -> None:
    """With the extra fleet, a Prometheus is asked with the settings of a file."""
    (tmp_path / "http.yml").write_text("authorization: {credentials: secret}\n")
    words = ("--prometheus", "http://127.0.0.1:1", f"--http.config.file={tmp_path / 'http.yml'}")
    code, _, stderr = run(installed["fleet"], "fleet", "summary", *words)

    assert (2, REFUSED) == (code, stderr.splitlines()[0])


@pytest.mark.parametrize("extra", EXTRAS)
def test_terminal(installed: dict[str, Path], extra: str) -> None:
    """On a terminal there is colour, whatever is installed beside vmxd."""
    leader, follower = pty.openpty()
    with start(installed[extra], "show", "pml", "--root", LAKEFIELD, stdout=follower) as process:
        os.close(follower)
        printed = b""
        with contextlib.suppress(OSError):  # the other end is closed: EIO
            while chunk := os.read(leader, 65536):
                printed += chunk
        os.close(leader)

    assert 0 == process.returncode
    assert b"IA32_VMX_PROCBASED_CTLS2" in printed
    assert b"\x1b[" in printed
