"""Work in a process of its own, which hands back what it found and ends.

Where it scans and renders, the process that faces the network holds neither the tables nor the libraries that it takes,
answers while MSRs are read, and tells systemd so.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import traceback
from collections.abc import Callable
from typing import NoReturn

from vmxd.errors import VmxdError


class Child:
    """A process that calls a function; started at once.

    function: returns what marshal can write: built-in types, and no subclass of one.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        self._answers, writing = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            _run(function, writing)
        os.close(writing)

    def kill(self) -> None:
        """End it where it still runs."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()

    async def result(self) -> object:
        """Return what the function returned. Raises the VmxdError that it raised, or one that says how it ended."""
        import asyncio  # noqa: PLC0415 (the first child starts before the parent has it)

        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        chunks: list[bytes] = []

        def read() -> None:
            chunk = os.read(self._answers, 1 << 16)
            chunks.append(chunk)
            if not chunk and not ended.done():
                ended.set_result(None)

        loop.add_reader(self._answers, read)
        try:
            await ended
        finally:
            loop.remove_reader(self._answers)
        code = self._reap()
        if code != 0:
            how = f"signal {-code}" if code < 0 else "the error above"
            raise VmxdError(f"the scan was ended by {how}", "if it was not you, that is a fault of vmxd: report it")
        error, answer = marshal.loads(b"".join(chunks))  # noqa: S302 (our own child's)
        if error is not None:
            raise VmxdError(*error)
        return answer

    def _reap(self) -> int:
        os.close(self._answers)
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return os.waitstatus_to_exitcode(status)


def _run(function: Callable[[], object], writing: int) -> NoReturn:
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
        answer: tuple[tuple[str, str] | None, object]
        try:
            answer = None, function()
        except VmxdError as error:
            answer = (str(error), error.hint), None
        with open(writing, "wb") as pipe:
            pipe.write(marshal.dumps(answer))  # type: ignore[arg-type]
        code = 0
    except BrokenPipeError:
        pass  # the parent is gone
    except Exception:  # noqa: BLE001 (the parent must not run on in the child)
        traceback.print_exc()
    finally:
        os._exit(code)
