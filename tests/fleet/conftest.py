"""A Prometheus, once for all tests of the fleet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.fleet.simulator import simulated
from tests.helpers.served import Served, changed_fleet, served_by_prometheus


@pytest.fixture(scope="package")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run a Prometheus that has the past and has scraped every host of a simulated fleet."""
    fleet = changed_fleet()
    with (
        simulated(fleet) as port,
        served_by_prometheus(tmp_path_factory.mktemp("prometheus"), fleet, port) as served,
    ):
        yield served
