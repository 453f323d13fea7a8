"""python -m bench: run the benchmark, print it, and exit with 1 where a goal was missed."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import attacks, https, machine, report, scan, scrapes, servers
from bench.report import Goal


def main() -> int:
    """Run what was asked for and return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwind, so that no server stays behind
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = _parser().parse_args()
        parts = _parts(Path(scratch), arguments.quick)
        machine.print_header()
        goals = [goal for name in arguments.only or parts for goal in parts[name]() or ()]
    report.print_title("All goals")
    report.print_goals(goals)
    missed = sum(not goal.is_met for goal in goals)
    print(f"{len(goals) - missed} of {len(goals)} goals met; {time.monotonic() - begin:.0f} s")
    return 1 if missed else 0


NAMES = ("start", "scrapes", "recordings", "live", "attacks")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure vmxd against its peers on this machine.", allow_abbrev=False
    )
    parser.add_argument("--quick", action="store_true", help="within a minute: fewer rounds, one attack")
    parser.add_argument("--only", action="append", choices=NAMES, help="this part only; may be given more than once")
    return parser


def _parts(scratch: Path, quick: bool) -> dict[str, Callable[[], list[Goal] | None]]:
    peers = servers.peers(scratch)
    attacked = [peer for peer in peers if peer.name in attacks.ATTACKED]
    functions: tuple[Callable[[], list[Goal] | None], ...] = (
        partial(scrapes.run_starts, peers, 3 if quick else 15),
        partial(scrapes.run_scrapes, peers, *((4, 50) if quick else (10, 100))),
        partial(scan.run_recordings, 2 if quick else 15),
        partial(scan.run_live, 2 if quick else 15),
        partial(
            attacks.run,
            attacked,
            https.over_https(attacked, scratch),
            attacks.ATTACKS[:1] if quick else attacks.ATTACKS,
        ),
    )
    return dict(zip(NAMES, functions, strict=True))


if __name__ == "__main__":
    sys.exit(main())
