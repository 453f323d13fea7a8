"""vmxd/views/verdict_words.py: sentences of a status that need no inventory."""

from __future__ import annotations

import pytest

from vmxd.model.decode import Status
from vmxd.views.verdict_words import failed_sentence, status_sentence


def test_status_sentences() -> None:
    """Every status has a sentence of its own; one of a newer vmxd is named as it is."""
    assert len(Status) == len({status_sentence(status.value) for status in Status} - {each.value for each in Status})
    assert "half_usable" == status_sentence("half_usable")


@pytest.mark.parametrize(("count", "where"), [(1, "1 CPU"), (2048, "2,048 CPUs")])
def test_failed_sentence(count: int, where: str) -> None:
    """The number of CPUs is in the sentence."""
    assert f"an MSR could not be read on {where}" == failed_sentence(count)
