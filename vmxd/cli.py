"""The command line. The only place that prints errors: one sentence, one hint, exit code 2."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Final

import vmxd
from vmxd.commands import (
    EXIT_CANNOT_TELL,
    check,
    diff,
    explain,
    features,
    fleet,
    metrics,
    platforms,
    record,
    serve,
    show,
)
from vmxd.commands.output import complain
from vmxd.commands.parser import Parser
from vmxd.errors import VmxdError

EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
EXIT_TERMINATED: Final = 128 + signal.SIGTERM

COMMANDS: Final = (serve, record, show, explain, diff, metrics, check, features, platforms, fleet)
"""In the order of --help."""

_EPILOG: Final = """
examples:
  vmxd show                      this machine, as root
  vmxd record /tmp/host          write what was read, to look at it elsewhere
  vmxd show --root /tmp/host     the same from that recording
  vmxd check --require ept,vpid  exit 0 if every CPU has both, 1 if not
  vmxd serve                     serve the metrics on port 10480

exit codes:
  0  fine
  1  the answer is no
  2  could not tell: usage, no access, a damaged recording
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # unwind, so that no scratch file stays behind
    try:
        parsed = build_parser().parse_args(arguments)
        code: int = parsed.run(parsed)
        return code
    except VmxdError as error:
        complain(f"vmxd: {error}\nhint: {error.hint}")
        return EXIT_CANNOT_TELL
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def build_parser() -> Parser:
    """Return the parser of all commands; each sets ``run`` to the function that does it."""
    parser = Parser(
        prog="vmxd",
        description="Read, compare and serve the VMX capabilities of every logical CPU of a host.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"vmxd {vmxd.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser
