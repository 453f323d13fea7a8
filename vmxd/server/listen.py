"""Listening sockets from --web.listen-address: ":10480", "127.0.0.1:10480", "[::1]:10480", "unix:/run/vmxd.sock"."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from typing import Final

from vmxd.errors import UsageError, VmxdError

BACKLOG: Final = 1024
PRIVILEGED_PORTS: Final = 1024
"""Ports below take CAP_NET_BIND_SERVICE."""
_LISTEN_FDS_START: Final = 3
_UNIX: Final = "unix:"

_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5})", re.ASCII)


def parse_address(text: str) -> tuple[str, int]:
    """Split an address into host ("" for every address of the machine) and port. Raises UsageError."""
    match = _ADDRESS.fullmatch(text)
    if not match or int(match["port"]) > 65535:
        raise UsageError(
            f"{text!r} is no address to listen on",
            "write [HOST]:PORT, as in :10480, 127.0.0.1:10480 or [::1]:10480, or unix:PATH",
        )
    return match["v6"] or match["host"] or "", int(match["port"])


def open_sockets(address: str) -> list[socket.socket]:
    """Listen on one address, by one socket or more; no host means IPv6 and IPv4, as in Go. Raises VmxdError."""
    if address.startswith(_UNIX):
        return [_UnixListener(address.removeprefix(_UNIX))]
    host, port = parse_address(address)
    any_host = host or "0.0.0.0"  # noqa: S104 (asked for)
    try:
        if not host and socket.has_dualstack_ipv6():
            both = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
            return [_without_delay(both)]
        found = socket.getaddrinfo(any_host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [
            _without_delay(socket.create_server(sockaddr, family=family, backlog=BACKLOG))
            for family, *_, sockaddr in found
        ]
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(address, error, port) from error


def _cannot_listen(address: str, error: Exception, port: int | None = None) -> VmxdError:
    """Say why; port: None of a unix socket."""
    another = "choose another with --web.listen-address"
    if not isinstance(error, OSError) or isinstance(error, socket.gaierror):
        return VmxdError(f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}", another)
    hints = {
        (errno.EADDRINUSE, True): f"look who has it, ss -ltnp 'sport = :{port}', or {another}",
        (errno.EADDRINUSE, False): f"look what is there, or {another}",
        (errno.ENOENT, False): f"make its directory, or {another}",
    }
    hint = hints.get((error.errno or 0, port is not None), another)
    if port is None and os.path.isdir(path := address.removeprefix(_UNIX)):
        hint = f"that is a directory; name a socket in it, as in {_UNIX}{os.path.join(path, 'vmxd.sock')}"
    if error.errno == errno.EACCES and port is not None and port < PRIVILEGED_PORTS:
        hint = f"{another}, from {PRIVILEGED_PORTS} on, or have systemd listen: vmxd.socket and --web.systemd-socket"
    reason = os.strerror(error.errno) if error.errno else str(error)
    return VmxdError(f"cannot listen on {address}: {reason}", hint)


class _UnixListener(socket.socket):
    """A socket in the file system, with the mode that the umask leaves; it is gone when it is closed."""

    def __init__(self, path: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        try:
            if not path:
                raise ValueError("it has no path")
            if _is_left_over(path):
                os.unlink(path)
            self.bind(path)
            self.listen(BACKLOG)
        except (OSError, ValueError) as error:
            super().close()
            raise _cannot_listen(f"{_UNIX}{path}", error) from error

    def close(self) -> None:
        """Close it, and take it out of the file system where this user may."""
        if self.fileno() >= 0:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        super().close()


def _is_left_over(path: str) -> bool:
    """Tell whether there is a socket that nobody listens on any more, as after SIGKILL. Raises OSError."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    return False


def systemd_sockets() -> list[socket.socket]:
    """Take the sockets of socket activation, sd_listen_fds(3). Raises UsageError if there is none."""
    count = os.environ.get("LISTEN_FDS", "0") if os.environ.get("LISTEN_PID") == str(os.getpid()) else "0"
    if not count.isascii() or not count.isdecimal() or count == "0":
        raise UsageError(
            "systemd has handed over no socket",
            "systemctl start vmxd.socket does; without it, leave --web.systemd-socket out",
        )
    found = [socket.socket(fileno=_LISTEN_FDS_START + number) for number in range(int(count))]
    return [listener if listener.family == socket.AF_UNIX else _without_delay(listener) for listener in found]


def _without_delay(listener: socket.socket) -> socket.socket:
    """Switch Nagle's algorithm off for the connections to come; asyncio does so for sockets of its own making only."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def describe(listener: socket.socket, scheme: str) -> str:
    """Write the URL of a listening socket; of a unix socket, its address."""
    if listener.family == socket.AF_UNIX:
        return f"{_UNIX}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
