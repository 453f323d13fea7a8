"""Start to first scrape, latency, CPU time, memory and sizes of every server, in rounds that take turns."""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from bench import client, report, servers
from bench.report import Goal
from bench.servers import DEFAULT, TEXTFILE, VMXD, Peer, Server

MIB: Final = 1 << 20
_WARM_UP: Final = 10
_KINDS: Final = {"gzip": client.PROMETHEUS_HEADERS, "plain": client.PLAIN_HEADERS}
_TITLES: Final = {"gzip": "asked for as Prometheus does", "plain": "asked for without compression"}
_GOALS: Final = ((TEXTFILE, "CPU", 2, 0.5), (DEFAULT, "CPU", 2, 0.15), (TEXTFILE, "p50", 0, 0.6))
"""Peer, what, column of the table, greatest ratio."""


def run_starts(peers: Sequence[Peer], starts: int) -> list[Goal]:
    """Measure and print start to first scrape."""
    small = [servers.vmxd("vmxd, host of 8 CPUs", servers.OF_8_CPUS)]
    if servers.PYZ.exists():
        small.append(servers.vmxd("vmxd.pyz, host of 8 CPUs", servers.OF_8_CPUS, (sys.executable, str(servers.PYZ))))
    seconds: dict[str, list[float]] = {}
    for _ in range(starts):
        for peer in (*peers, *small):
            with servers.serving(peer) as server:
                seconds.setdefault(peer.name, []).append(server.seconds_to_answer)
    report.print_title(f"Start to first scrape: a new process, {starts} times each in turn; ms")
    measured = {name: [1e3 * f(each) for f in (statistics.median, min, max)] for name, each in seconds.items()}
    of_8_cpus = {peer.name: measured.pop(peer.name) for peer in small}
    rows = [[name, *map(report.number, row)] for name, row in of_8_cpus.items()]
    rows += report.with_ratios(measured, VMXD)
    report.print_table(("", "median", "least", "most"), rows)
    return []


def run_scrapes(peers: Sequence[Peer], rounds: int, scrapes: int) -> list[Goal]:
    """Measure and print what a scrape costs, and what each server uses after all scrapes of the first kind."""
    goals: list[Goal] = []
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(servers.serving(peer)) for peer in peers]
        for kind, headers in _KINDS.items():
            goals += _run_kind(kind, running, client.request(headers), rounds, scrapes)
            if headers is client.PROMETHEUS_HEADERS:
                goals += _run_usage(running, rounds * scrapes + _WARM_UP)
    return goals


def _run_kind(kind: str, running: Sequence[Server], asked: bytes, rounds: int, scrapes: int) -> list[Goal]:
    for server in running:
        for _ in range(_WARM_UP):
            client.scrape(server.port, asked)
    latency: dict[str, list[float]] = {server.peer.name: [] for server in running}
    cpu: dict[str, list[float]] = {server.peer.name: [] for server in running}
    for _ in range(rounds):
        for server in running:
            before = server.cpu_seconds
            latency[server.peer.name] += [client.scrape(server.port, asked) for _ in range(scrapes)]
            cpu[server.peer.name].append((server.cpu_seconds - before) / scrapes)
    measured = {
        name: [1e3 * report.percentile(each, 50), 1e3 * report.percentile(each, 99), 1e3 * statistics.median(cpu[name])]
        for name, each in latency.items()
    }
    title = f"Scrapes, {_TITLES[kind]}: a new connection each, {rounds} rounds of {scrapes} in turn"
    report.print_title(title)
    report.print_table(("", "p50 ms", "p99 ms", "CPU s per 1,000"), report.with_ratios(measured, VMXD))
    goals = [
        Goal(f"{what} vmxd : {peer}, {kind}", _ratio(measured, peer, column), limit)
        for peer, what, column, limit in _GOALS
    ]
    report.print_goals(goals)
    return goals


def _run_usage(running: Sequence[Server], scrapes: int) -> list[Goal]:
    measured: dict[str, list[float]] = {}
    for server in running:
        usage = server.usage()
        sizes = [
            client.body_bytes(server.port, headers) for headers in (client.PLAIN_HEADERS, client.PROMETHEUS_HEADERS)
        ]
        measured[server.peer.name] = [usage.rss / MIB, usage.uss / MIB, usage.threads, usage.files, *sizes]
    report.print_title(f"After {scrapes:,} scrapes with gzip")
    headers = ("", "RSS MiB", "USS MiB", "threads", "open files", "bytes plain", "bytes gzip")
    report.print_table(headers, report.with_ratios(measured, VMXD))
    goals = [Goal(f"RSS vmxd : {DEFAULT}", _ratio(measured, DEFAULT, 0), 1.3)]
    report.print_goals(goals)
    return goals


def _ratio(measured: Mapping[str, Sequence[float]], peer: str, column: int) -> float | None:
    return measured[VMXD][column] / measured[peer][column] if peer in measured else None
