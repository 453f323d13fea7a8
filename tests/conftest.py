"""Options and fixtures that all tests share."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

from tests.helpers.http import get
from tests.helpers.server import Server, serving
from tests.helpers.support import LAKEFIELD
from tests.helpers.web_yml import make_pki

OF_THE_REPOSITORY: Final = frozenset(
    f"test_{name}"
    for name in (
        # what is beside the package: documents, what deploy/ and release/ make, the code as text
        *("ansible", "architecture", "completion", "container", "debian", "dist", "docs", "docs_commands", "docs_site"),
        *("extras", "grafana", "kubernetes", "linters", "linux_header", "manpage", "pins", "release", "rpm", "rules"),
        *("scrape_configs", "systemd"),
        # what takes browsers, emulators and servers of other projects
        *("baseline_guest_cpu", "browser", "cpu_models", "first_hour", "fleet_rules", "grafana_queries", "prometheus"),
        *("questions", "report_page", "sources"),
    )
)
"""Modules of tests that are left out where vmxd is tried as it is installed, with --installed."""

settings.register_profile("vmxd", deadline=None, derandomize=True)
settings.load_profile("vmxd")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that rewrite files instead of comparing with them, and the one that leaves out tests."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/hosts/*/metrics.prom")
    parser.addoption("--update-docs", action="store_true", help="rewrite outputs and generated pages in the docs")
    parser.addoption(
        "--installed", action="store_true", help="run the tests of an installed vmxd, not of its repository"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, of a vmxd that is installed, the tests that are about the repository."""
    return True if config.getoption("--installed") and collection_path.stem in OF_THE_REPOSITORY else None


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))


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
def update_docs(request: pytest.FixtureRequest) -> bool:
    """Whether outputs and generated pages in the documentation are to be rewritten."""
    return bool(request.config.getoption("--update-docs"))


@pytest.fixture
def public_path() -> Iterator[Path]:
    """Return a directory that nobody may enter and read, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        if not all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents):
            pytest.skip(f"others may not enter {path.parent}")
        yield path
