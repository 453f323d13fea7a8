"""vmxd/views/words.py: names and sentences that need no inventory."""

from __future__ import annotations

import pytest

from vmxd.model.decode import Status
from vmxd.views.words import failed_sentence, short_model_name, status_sentence


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz", "Xeon Platinum 8160"),
        ("INTEL(R) XEON(R) GOLD 5520+", "XEON GOLD 5520+"),
        ("12th Gen Intel(R) Core(TM) i7-12700K", "Core i7-12700K"),
        ("Intel(R) Core(TM)2 Duo CPU E8400 @ 3.00GHz", "Core 2 Duo E8400"),
        ("AMD EPYC 9354 32-Core Processor", "AMD EPYC 9354 32-Core"),
        ("Intel", "Intel"),
        ("CPU", "CPU"),
    ],
)
def test_short_model_name(name: str, short: str) -> None:
    """A model name loses what most names have, and is never empty."""
    assert short == short_model_name(name)


def test_status_sentences() -> None:
    """Every status has a sentence of its own; one of a newer vmxd is named as it is."""
    assert len(Status) == len({status_sentence(status.value) for status in Status} - {each.value for each in Status})
    assert "half_usable" == status_sentence("half_usable")


@pytest.mark.parametrize(("count", "where"), [(1, "1 CPU"), (2048, "2,048 CPUs")])
def test_failed_sentence(count: int, where: str) -> None:
    """The number of CPUs is in the sentence."""
    assert f"an MSR could not be read on {where}" == failed_sentence(count)
