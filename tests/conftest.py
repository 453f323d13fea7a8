"""Options and fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.helpers.http import get
from tests.helpers.server import Server, serving
from tests.helpers.support import LAKEFIELD
from tests.helpers.web_yml import make_pki

if "PYTEST_XDIST_WORKER" in os.environ:  # programs that workers start would take twice as long
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

settings.register_profile("vmxd", deadline=None, derandomize=True)
settings.register_profile("few", settings.get_profile("vmxd"), max_examples=5)
settings.load_profile("vmxd")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that rewrites files instead of comparing with them."""
    parser.addoption("--update", action="store_true", help="rewrite golden files and the outputs that pages show")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether files are to be rewritten instead of compared with."""
    return bool(request.config.getoption("--update"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One vmxd for most tests of a module, on Lakefield; in the end it must still live, and not have stumbled."""
    with serving(LAKEFIELD) as running:
        yield running
        reply = get(running, "/healthz")
        assert (200, b"ok\n") == (reply.status, reply.body)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a directory with certificates of all kinds, to be copied from."""
    directory = tmp_path_factory.mktemp("pki")
    make_pki(directory)
    return directory


@pytest.fixture
def home(pki: Path, tmp_path: Path) -> Path:
    """Make a directory for a web.yml, with server.crt, server.key and ca.crt in it."""
    for name in ("server.crt", "server.key", "ca.crt"):
        shutil.copy(pki / name, tmp_path)
    return tmp_path


@pytest.fixture
def public_path() -> Iterator[Path]:
    """Return a directory that nobody may enter and read, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        if not all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents):
            pytest.skip(f"others may not enter {path.parent}")
        yield path
