"""Tell systemd how the service does: the datagrams of sd_notify(3), where NOTIFY_SOCKET asks for them."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import deque
from typing import Final

log = logging.getLogger(__name__)

WATCHDOG: Final = ("WATCHDOG=1",)

_UNSENT: Final[deque[bytes]] = deque(maxlen=16)
"""Messages that systemd has had no room for yet."""


def notify(*assignments: str) -> None:
    """Send assignments like READY=1; without NOTIFY_SOCKET, do nothing. Never waits, never raises.

    If systemd is behind with reading, they are sent with the next call, but for WATCHDOG=1. A socket that fails is
    logged.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    if not (_UNSENT and assignments == WATCHDOG):
        _UNSENT.append("\n".join(assignments).encode())
    try:
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        ) as connection:
            while _UNSENT:
                connection.sendto(_UNSENT[0], address)
                _UNSENT.popleft()
    except BlockingIOError:
        if _UNSENT[-1] == WATCHDOG[0].encode():
            _UNSENT.pop()
    except OSError as error:
        _UNSENT.clear()
        log.warning("systemd cannot be notified: %s", error.strerror or error)


def reloading() -> tuple[str, str]:
    """Make the assignments that begin a reload; READY=1 ends it."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def watchdog_seconds() -> float | None:
    """Read how often systemd wants to hear WATCHDOG=1 at the latest; None if it does not watch this process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isascii() and text.isdecimal() and int(text) else None
