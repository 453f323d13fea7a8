"""tests/machine/verification.md is what these tests have shown."""

from __future__ import annotations

from tests.machine.run import RUNS
from tests.machine.verification import DOCUMENT, Report, lasting, versions


def test_document(report: Report) -> None:
    """The document says what a whole run has shown, times and versions apart; make verification copies it."""
    assert ([], 0) == (report.failed, report.left_out), "it takes a run of everything, without a failure"
    assert not report.reused, "it takes guests that were booted by this run"
    document = report.document(versions())
    (RUNS / DOCUMENT.name).write_text(document)

    assert lasting(DOCUMENT.read_text()) == lasting(document)
