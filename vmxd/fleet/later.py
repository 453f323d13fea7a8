"""Calls that wait for a server, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """A call that has begun, and what comes of it.

    Its thread ends with the process if nobody asks for the result: Ctrl-C and a first error do not wait for a server.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._results.append(call())
        except BaseException as error:  # noqa: BLE001 (result() raises it)
            self._error = error

    def result(self) -> T:
        """Wait, and return what the call returned. Raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Return what calls return, in their order. Raises what the first of them raises that fails."""
    return [begun.result() for begun in [Later(call) for call in calls]]
