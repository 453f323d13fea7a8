"""Serve a fleet on one port: python -m bench.fleet.simulator --hosts 1000 --port 10490.

/targets is what Prometheus' http_sd_configs reads: each host by its name, with its pool in the label cluster.
Relabelling (scrape_config) turns the name into /hosts/NAME/metrics on this port; a host that is down answers 503. The
server says no more HTTP than Prometheus needs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

from bench.fleet.hosts import Fleet
from bench.fleet.kinds import page

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def scrape_config(port: int, interval: str = "15s", refresh: str = "5s") -> dict[str, Any]:
    """Return Prometheus' scrape_config for a fleet served on a port; the job is called vmxd."""
    return {
        "job_name": "vmxd",
        "scrape_interval": interval,
        "scrape_timeout": interval,
        "http_sd_configs": [{"url": f"http://127.0.0.1:{port}/targets", "refresh_interval": refresh}],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "instance"},
            {
                "source_labels": ["__address__"],
                "regex": "([^:]+):.*",
                "target_label": "__metrics_path__",
                "replacement": "/hosts/$1/metrics",
            },
            {"target_label": "__address__", "replacement": f"127.0.0.1:{port}"},
        ],
    }


def targets(fleet: Fleet) -> bytes:
    """Return the fleet as http_sd_configs has it, one group a pool."""
    pools: dict[str, list[str]] = {}
    for host in fleet.hosts.values():
        pools.setdefault(host.cluster, []).append(f"{host.name}:10480")
    return json.dumps([{"targets": names, "labels": {"cluster": pool}} for pool, names in pools.items()]).encode()


def answer(fleet: Fleet, request: bytes) -> bytes:
    """Return the HTTP response to a request: its head, up to and with the empty line."""
    line, _, headers = request.partition(b"\r\n")
    path = line.split(b" ")[1].decode()
    if path == "/targets":
        return _response("200 OK", targets(fleet), "application/json")
    host = fleet.hosts.get(path.removeprefix("/hosts/").removesuffix("/metrics"))
    if host is None:
        return _response("404 Not Found", b"no such host\n", _TEXT)
    if not host.is_up:
        return _response("503 Service Unavailable", b"down\n", _TEXT)
    pages = page(host.kind)
    if b"gzip" in headers:
        return _response("200 OK", pages.gzip, _TEXT + "\r\nContent-Encoding: gzip")
    return _response("200 OK", pages.text, _TEXT)


def _response(status: str, body: bytes, content_type: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _start(fleet: Fleet, port: int) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                writer.write(answer(fleet, await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()

    return await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


@contextlib.contextmanager
def simulated(fleet: Fleet) -> Iterator[int]:
    """Serve a fleet from a thread of this process and yield the port; the fleet may be changed meanwhile."""
    started: queue.Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event, int]] = queue.Queue()

    async def run() -> None:
        server = await _start(fleet, 0)
        stop = asyncio.Event()
        started.put((asyncio.get_running_loop(), stop, _port(server)))
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="simulator")
    thread.start()
    loop, stop, port = started.get(timeout=10)
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _run(fleet: Fleet, port: int, churn_seconds: float) -> None:
    server = await _start(fleet, port)
    print(_port(server), flush=True)
    while True:
        await asyncio.sleep(churn_seconds or 3600)
        if churn_seconds:
            fleet.churn()


def main() -> None:
    """Serve until killed; the first line printed is the port."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet.simulator", description="Serve a simulated fleet.")
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--churn", type=float, default=0, metavar="SECONDS", help="change hosts this often; 0: never")
    parser.add_argument("--changes", type=int, default=0, metavar="N", help="hosts that have changed before the start")
    arguments = parser.parse_args()
    fleet = Fleet(arguments.hosts, arguments.seed)
    for _ in range(arguments.changes):
        fleet.churn()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(fleet, arguments.port, arguments.churn))


if __name__ == "__main__":
    main()
