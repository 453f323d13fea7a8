"""Options and fixtures that all tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("vmxd", deadline=None, derandomize=True)
settings.load_profile("vmxd")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --update-golden: rewrite the golden files instead of comparing with them."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/hosts/*/metrics.prom")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))
