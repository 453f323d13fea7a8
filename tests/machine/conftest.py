"""Guests boot ahead of the tests that look at what they left, a few at a time, and say how far they are."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import pytest

from tests.machine.run import RUNS, Guest, GuestError, Run
from tests.machine.verification import Report

AT_A_TIME: Final = int(os.environ.get("VMXD_MACHINE_JOBS") or os.cpu_count() or 1)

REPORT: Final = pytest.StashKey[Report]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --reuse-guests, for work on the tests themselves."""
    parser.addoption("--reuse-guests", action="store_true", help="look at what guests left last time; boot the others")


def pytest_configure(config: pytest.Config) -> None:
    """Make the place where outcomes are collected."""
    config.stash[REPORT] = Report(reused=bool(config.getoption("--reuse-guests", default=False)))


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Note that not all is run."""
    for item in items:
        item.config.stash[REPORT].left_out += 1


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Note what has passed, and what it shows: a test's docstring is the fact."""
    report = item.config.stash[REPORT]
    if isinstance(item, pytest.Function):
        if call.excinfo is not None:
            report.failed.append(item.nodeid)
        elif call.when == "call":
            report.add_fact(item.module.__name__, item.module.__doc__, item.function.__doc__)


class Guests:
    """The guests of a session, each booted once."""

    def __init__(self, wanted: list[Guest], reuse: bool) -> None:
        self._reuse = reuse
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_A_TIME)
        ordered = sorted(wanted, key=lambda guest: -guest.seconds)
        self._futures: dict[str, Future[Any]] = {str(guest): self._pool.submit(self._run, guest) for guest in ordered}

    def result(self, guest: Guest) -> Any:  # noqa: ANN401 (each guest has results of its own kind)
        """Return what a guest left, as soon as it has ended. Raises GuestError."""
        return self._futures[str(guest)].result()

    def close(self) -> None:
        """End those that still run."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def _run(self, guest: Guest) -> Any:  # noqa: ANN401
        directory = RUNS / str(guest)
        kept = directory / "result.pickle"
        if self._reuse and kept.exists():
            return pickle.loads(kept.read_bytes())
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self._say(guest, "boots")
        try:
            result = guest.run(Run(directory, lambda text: self._say(guest, text), self._stop))
        except GuestError as error:
            self._say(guest, f"FAILED: {str(error).splitlines()[0]}; logs in {directory}")
            raise
        kept.write_bytes(pickle.dumps(result))
        self._say(guest, "done")
        return result

    def _say(self, guest: Guest, text: str) -> None:
        seconds = time.monotonic() - self._start
        with self._lock:
            print(f"[{seconds:6.1f} s] {guest}: {text}", file=sys.__stdout__, flush=True)


@pytest.fixture(scope="session")
def guests(request: pytest.FixtureRequest) -> Iterator[Guests]:
    """Boot all guests that the selected tests ask for."""
    callspecs = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {str(guest): guest for spec in callspecs if spec and (guest := spec.params.get("guest"))}
    booted = Guests(list(wanted.values()), request.config.getoption("--reuse-guests", default=False))
    yield booted
    booted.close()


@pytest.fixture
def guest(request: pytest.FixtureRequest, guests: Guests) -> Any:  # noqa: ANN401
    """Return what the guest left that the test is parametrized with."""
    return guests.result(request.param)


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    """Return what this session has shown so far."""
    return request.config.stash[REPORT]
