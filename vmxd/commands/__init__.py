"""The commands, one a file: add() gives a command its place in the parser, run() does it and returns the exit code."""

from typing import Final

EXIT_FINE: Final = 0
EXIT_NO: Final = 1
"""The answer is no: a check fails, a difference exists."""
EXIT_CANNOT_TELL: Final = 2
EXIT_FAULT: Final = 3
"""vmxd itself is wrong."""
