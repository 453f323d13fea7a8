"""Work in a process of its own, which hands back what it found, piece by piece, and ends.

Where it scans and renders, the process that faces the network holds neither the tables nor the libraries that it takes,
answers while MSRs are read, and tells systemd so.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import traceback
from collections.abc import Callable, Iterable
from typing import IO, TYPE_CHECKING, Final, NoReturn

from vmxd.errors import VmxdError

if TYPE_CHECKING:
    import asyncio

_LENGTH: Final = 8
"""Bytes before each message that say how long it is."""


class Child:
    """A process that calls a function; started at once.

    function: yields what marshal can write: built-in types, and no subclass of one.
    """

    def __init__(self, function: Callable[[], Iterable[object]]) -> None:
        self._answers, writing = os.pipe()
        self._read = bytearray()
        self._pid = os.fork()
        if not self._pid:
            _run(function, writing)
        os.close(writing)

    def kill(self) -> None:
        """End it where it still runs."""
        if self._pid:
            with contextlib.suppress(PermissionError):  # the parent was root and is no more; it ends with the pipe
                os.kill(self._pid, signal.SIGKILL)
            self._reap()

    async def receive(self) -> object:
        """Return what the function yielded next. Raises the VmxdError that it raised, or one that says how it ended."""
        import asyncio  # noqa: PLC0415 (the first child starts before the parent has it)

        loop = asyncio.get_running_loop()
        while (message := self._take()) is None:
            readable: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._answers, _wake, readable)
            try:
                await readable
            finally:
                loop.remove_reader(self._answers)
            chunk = os.read(self._answers, 1 << 16)
            if not chunk:
                code = self._reap()
                how = f"signal {-code}" if code < 0 else "the error above" if code else "nothing more to say"
                raise VmxdError(f"the scan was ended by {how}", "if it was not you, that is a fault of vmxd: report it")
            self._read += chunk
        error, answer = marshal.loads(message)  # noqa: S302 (our own child's)
        if error is not None:
            raise VmxdError(*error)
        return answer

    def _take(self) -> bytes | None:
        """Take the first message of what was read; None where it is not all there."""
        end = _LENGTH + int.from_bytes(self._read[:_LENGTH], "little")
        if len(self._read) < max(end, _LENGTH + 1):
            return None
        message = bytes(self._read[_LENGTH:end])
        del self._read[:end]
        return message

    def _reap(self) -> int:
        os.close(self._answers)
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return os.waitstatus_to_exitcode(status)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _run(function: Callable[[], Iterable[object]], writing: int) -> NoReturn:
    """Be the child: hold nothing of the parent's but standard streams and the pipe."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) != writing:
                with contextlib.suppress(OSError):  # the one that listed them
                    os.close(int(name))
        with open(writing, "wb") as pipe:
            try:
                for answer in function():
                    _send(pipe, None, answer)
            except VmxdError as error:
                _send(pipe, (str(error), error.hint), None)
        code = 0
    except BrokenPipeError:
        pass  # the parent is gone
    except Exception:  # noqa: BLE001 (the parent must not run on in the child)
        traceback.print_exc()
    finally:
        os._exit(code)


def _send(pipe: IO[bytes], error: tuple[str, str] | None, answer: object) -> None:
    message = marshal.dumps((error, answer))  # type: ignore[arg-type]
    pipe.write(len(message).to_bytes(_LENGTH, "little") + message)
    pipe.flush()
