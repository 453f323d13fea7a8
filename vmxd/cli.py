"""The command line. The only place that prints errors: one sentence, one hint, and the exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Final

from vmxd.commands import EXIT_CANNOT_TELL, EXIT_FAULT
from vmxd.commands.output import complain
from vmxd.commands.parser import Parser, Version
from vmxd.errors import VmxdError

EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
EXIT_TERMINATED: Final = 128 + signal.SIGTERM

COMMANDS: Final = ("serve", "record", "show", "explain", "diff", "metrics", "check", "features", "platforms", "fleet")
"""In the order of --help; each is a module of vmxd.commands, and imported if it is asked for."""
DEBUG: Final = "VMXD_DEBUG"
"""The environment variable that shows where a fault of vmxd happened."""

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
  2  could not tell: no access, a damaged recording, nothing known
  2  wrong usage: an unknown command, option or name
  3  a fault of vmxd itself
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # unwind, so that no scratch file stays behind
    given = sys.argv[1:] if arguments is None else arguments
    try:
        parsed = build_parser(given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS).parse_args(given)
        code: int = parsed.run(parsed)
        return code
    except VmxdError as error:
        complain(f"vmxd: {error}\nhint: {error.hint}")
        return EXIT_CANNOT_TELL
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 (a fault must not look like the answer "no", which is exit code 1)
        if os.environ.get(DEBUG):
            complain(traceback.format_exc())
        complain(
            f"vmxd: a fault of vmxd: {type(error).__name__}: {error}\n"
            f"hint: please report it, with the command and what {DEBUG}=1 shows"
        )
        return EXIT_FAULT


def build_parser(commands: Iterable[str] = COMMANDS) -> Parser:
    """Make the parser of commands, by default of all; each sets ``run`` to the function that does it."""
    parser = Parser(
        prog="vmxd",
        usage="%(prog)s [options] COMMAND ...",
        description="Read, compare and serve the VMX capabilities of every logical CPU of a host.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version")
    added = parser.add_subparsers(title="commands", prog=parser.prog, metavar="COMMAND", required=True)
    for command in commands:
        importlib.import_module(f"vmxd.commands.{command}").add(added)
    return parser
