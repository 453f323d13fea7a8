"""deploy/project.toml: the one file that has vmxd's addresses; everything that repeats one is written from it."""

from __future__ import annotations

import pytest

from deploy.addresses import PLACES, PROJECT, rewritten
from tests.helpers.support import REPOSITORY


@pytest.mark.parametrize("name", PLACES)
def test_addresses(name: str) -> None:
    """A file has the project's addresses, and with others nothing of these is left in it."""
    there = {key: value.replace("vmxd.example", "corp.test") for key, value in PROJECT.items()}

    assert (REPOSITORY / name).read_text() == rewritten(name), "python -m deploy.addresses"
    assert [] == [line for line in rewritten(name, there).splitlines() if "vmxd.example" in line and line[:1] != "#"]
