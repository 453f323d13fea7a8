"""Work in a child: its answers come one by one, and its faults as errors."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from vmxd.errors import UsageError, VmxdError
from vmxd.server.child import Child

BIG = b"x" * 1_000_000
"""More than a pipe holds, so that it comes in pieces."""


def answers(function: Callable[[], Iterator[object]], count: int) -> list[object]:
    """Start a child and take some answers; then nothing of it is left."""
    child = Child(function)
    pid = child._pid

    async def take() -> list[object]:
        return [await child.receive() for _ in range(count)]

    try:
        return asyncio.run(take())
    finally:
        child.kill()
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_answers() -> None:
    """Each answer is what was yielded, small or big."""

    def work() -> Iterator[object]:
        yield (1, "a", b"b", None)
        yield BIG
        yield {}

    assert [(1, "a", b"b", None), BIG, {}] == answers(work, 3)


def test_first_does_not_wait() -> None:
    """An answer is there while the child is still at the next."""

    def work() -> Iterator[object]:
        yield "first"
        signal.pause()

    assert ["first"] == answers(work, 1)


def test_error() -> None:
    """An error of vmxd's own comes after the answers before it, with its hint."""

    def work() -> Iterator[object]:
        yield "first"
        raise UsageError("no", "do otherwise")

    assert ["first"] == answers(work, 1)
    with pytest.raises(VmxdError, match=r"^no$") as caught:
        answers(work, 2)
    assert "do otherwise" == caught.value.hint


def fault() -> Iterator[object]:
    """Fail in a way that nobody meant."""
    yield "first"
    raise ZeroDivisionError


def killed() -> Iterator[object]:
    """Be killed."""
    yield "first"
    os.kill(os.getpid(), signal.SIGKILL)


def short() -> Iterator[object]:
    """Yield less than is asked for."""
    yield "first"


@pytest.mark.parametrize(
    ("function", "how"), [(fault, "the error above"), (killed, "signal 9"), (short, "nothing more to say")]
)
def test_end(function: Callable[[], Iterator[object]], how: str) -> None:
    """A child that ends before it has answered is an error that says how."""
    with pytest.raises(VmxdError, match=f"^the scan was ended by {how}$"):
        answers(function, 2)
