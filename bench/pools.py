"""What ``vmxd fleet baseline`` and ``fleet pools`` cost beside reading the hosts: python -m bench.pools.

Fleets of 100,000 hosts of 200 kinds, most hosts of few kinds: recordings from which up to three features are hidden,
as firmware and hypervisors do, and, as the worst case, features drawn at random, whose sets share nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import report
from vmxd.fleet.baseline import find_baseline
from vmxd.fleet.model import FleetHost, Kind
from vmxd.fleet.pool_search import differences, find_pools
from vmxd.fleet.recordings import read_recordings

HOSTS: Final = Path(__file__).resolve().parents[1] / "tests" / "hosts"
COUNT: Final = 100_000
KINDS: Final = 200


def main() -> None:
    """Measure and print, in seconds of CPU."""
    report.print_title(f"{COUNT:,} hosts of {KINDS} kinds; s of CPU")
    rows = []
    for name, is_random in (("recordings, up to 3 features hidden", False), ("features at random", True)):
        hosts = list(_fleet(random.Random(1), is_random))  # noqa: S311 (no secret)
        begin = time.process_time()
        find_baseline(hosts)
        after_baseline = time.process_time()
        found = find_pools(hosts)
        for pool in found.pools:
            differences(pool)
        seconds = (after_baseline - begin, time.process_time() - after_baseline)
        facts = (len(found.pools), len(found.choices), "yes" if found.exact else "no")
        rows.append((name, *(report.number(each) for each in seconds), *map(str, facts)))
    report.print_table(("fleet", "baseline", "pools", "pools found", "choices", "exact"), rows)


def _fleet(drawn: random.Random, is_random: bool) -> Iterator[FleetHost]:
    real = [host for host in read_recordings(str(HOSTS), lambda *_: None).hosts if host.kind and not host.failed]
    models = [real[number % len(real)] for number in range(KINDS)]
    kinds = []
    for number, host in enumerate(models):
        assert host.kind is not None
        features = dict(host.kind.features)
        hidden = drawn.sample(sorted(features), drawn.choice((0, 1, 3)))
        features |= {name: drawn.random() < 0.9 for name in features} if is_random else dict.fromkeys(hidden, False)
        kinds.append(Kind(str(number), features, host.kind.values))
    for number in range(COUNT):
        chosen = min(int(drawn.expovariate(0.05)), KINDS - 1)
        yield FleetHost(f"host-{number:06}", status="usable", signature=models[chosen].signature, kind=kinds[chosen])


if __name__ == "__main__":
    main()
