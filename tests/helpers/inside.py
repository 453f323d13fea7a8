"""vmxd's command line within this process: what a program of its own prints, in a hundredth of the time."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator

from vmxd.cli import main


def vmxd(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed, as text."""
    words = [os.fspath(argument) for argument in arguments]
    errors = io.StringIO()
    with tempfile.TemporaryFile() as output, _standard_output(output.fileno()), contextlib.redirect_stderr(errors):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        output.seek(0)
        return subprocess.CompletedProcess(words, code, output.read().decode(), errors.getvalue())


@contextlib.contextmanager
def _standard_output(descriptor: int) -> Iterator[None]:
    """Have a file as standard output, and the signal that main() handles as it was before."""
    before, handler = os.dup(1), signal.getsignal(signal.SIGTERM)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
        signal.signal(signal.SIGTERM, handler)
