"""Calls that wait for a server, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def later(call: Callable[[], T]) -> Future[T]:
    """Begin a call.

    Its thread ends with the process if nobody asks for the result: Ctrl-C and a first error do not wait for a server,
    as they would for those of concurrent.futures' executor, which Python joins before it exits.
    """
    begun: Future[T] = Future()

    def run() -> None:
        try:
            begun.set_result(call())
        except BaseException as error:  # noqa: BLE001 (result() raises it)
            begun.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return begun


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at the same time; return their results in order. Raises the first error in that order."""
    return [begun.result() for begun in [later(call) for call in calls]]
