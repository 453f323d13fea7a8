"""Listening addresses: the forms that Go's exporters take, and sockets that really listen."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmxd.errors import UsageError, VmxdError
from vmxd.server.listen import describe, open_sockets, parse_address

ADDRESSES = [
    (":10480", ("", 10480)),
    (":0", ("", 0)),
    (":65535", ("", 65535)),
    ("127.0.0.1:10480", ("127.0.0.1", 10480)),
    ("0.0.0.0:1", ("0.0.0.0", 1)),
    ("localhost:9100", ("localhost", 9100)),
    ("node-1.example.org:9100", ("node-1.example.org", 9100)),
    ("[::1]:10480", ("::1", 10480)),
    ("[::]:10480", ("::", 10480)),
    ("[fe80::1%eth0]:10480", ("fe80::1%eth0", 10480)),
    ("[]:10480", ("", 10480)),
]

ERRORS = [
    "",
    ":",
    "10480",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:http",
    "127.0.0.1:-1",
    "127.0.0.1:+1",
    "127.0.0.1:65536",
    "127.0.0.1:123456",
    "127.0.0.1:80 ",
    "127.0.0.1:80\n",
    ":٨٠",
    "::1:80",
    "::1",
    "[::1]",
    "[::1:80",
    "::1]:80",
    "[[::1]]:80",
    "a:1:2",
    "http://127.0.0.1:80",
    "127.0.0.1:80/metrics",
]


@contextlib.contextmanager
def listening(address: str) -> Iterator[list[socket.socket]]:
    """Open the sockets of an address, and close them in the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(listener) for listener in open_sockets(address)]


def port_of(listener: socket.socket) -> int:
    """Return the port that a socket listens on."""
    return int(listener.getsockname()[1])


def link_local_address() -> str | None:
    """Return this machine's link-local IPv6 address with its interface, None if it has none."""
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            digits, *_, interface = line.split()
            if digits.startswith("fe80"):
                return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))}%{interface}"
    return None


@pytest.mark.parametrize(("text", "parsed"), ADDRESSES)
def test_parse_address(text: str, parsed: tuple[str, int]) -> None:
    """Host and port are read as Go's exporters read them; no host is every address."""
    assert parsed == parse_address(text)


@pytest.mark.parametrize("text", ERRORS)
def test_parse_address_error(text: str) -> None:
    """What is no address is refused, with examples of what is."""
    with pytest.raises(UsageError) as error:
        parse_address(text)

    assert f"{text!r} is no address to listen on" == str(error.value)
    assert "[::1]:10480" in error.value.hint


@given(st.text(alphabet="[]:%.0123456789abz \n") | st.text())
def test_parse_any_text(text: str) -> None:
    """Any text is either refused or gives a port that exists and a host that stands in it."""
    try:
        host, port = parse_address(text)
    except UsageError:
        return

    assert 0 <= port <= 65535
    assert host in text


@pytest.mark.parametrize(
    ("address", "family"),
    [("127.0.0.1:0", socket.AF_INET), ("0.0.0.0:0", socket.AF_INET), ("[::1]:0", socket.AF_INET6)],
)
def test_open_sockets(address: str, family: socket.AddressFamily) -> None:
    """An address is one socket of its family, on the port that was asked for or a free one, and takes connections."""
    with listening(address) as (listener,):
        assert family is listener.family
        with socket.create_connection(listener.getsockname()[:2], timeout=5) as client:
            connection, peer = listener.accept()
            with connection:
                assert client.getsockname() == peer


def test_no_host_is_both_families() -> None:
    """Without a host, IPv4 and IPv6 clients reach the same socket, as with Go's exporters."""
    with listening(":0") as (listener,):
        for loopback in ("127.0.0.1", "::1"):
            with socket.create_connection((loopback, port_of(listener)), timeout=5):
                connection, _ = listener.accept()
                connection.close()


def test_host_name() -> None:
    """A host name means every address that it has."""
    found = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    with listening("localhost:0") as listeners:
        assert {sockaddr[0] for *_, sockaddr in found} == {listener.getsockname()[0] for listener in listeners}


def test_link_local_address() -> None:
    """A link-local address may name its interface, without which it means nothing."""
    address = link_local_address()
    if address is None:
        pytest.skip("this machine has no link-local IPv6 address")

    with listening(f"[{address}]:0") as (listener,), socket.create_connection((address, port_of(listener)), timeout=5):
        connection, _ = listener.accept()
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_describe(host: str) -> None:
    """A socket is described so that a URL can be made of it."""
    with listening(f"{host}:0") as (listener,):
        assert f"https://{host}:{port_of(listener)}/" == describe(listener, "https")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", ""])
def test_port_in_use(host: str) -> None:
    """A port that another program has is a plain error."""
    with listening(f"{host}:0") as (listener,):
        address = f"{host}:{port_of(listener)}"
        with pytest.raises(VmxdError) as error:
            open_sockets(address)

    assert str(error.value).startswith(f"cannot listen on {address}: Address already in use")
    assert "--web.listen-address" in error.value.hint


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.1:0",  # TEST-NET-1: nobody's
        "[2001:db8::1]:0",
        "[127.0.0.1.1]:0",
        "no such host:0",
        "a..b:0",
        f"{'a' * 64}.example:0",
    ],
)
def test_impossible_host(address: str) -> None:
    """A host that this machine does not have, or that is none, is a plain error."""
    with pytest.raises(VmxdError, match=r"cannot listen on|is no address"):
        open_sockets(address)


def test_restart() -> None:
    """A port can be listened on again at once, although old connections linger in TIME_WAIT."""
    with listening("127.0.0.1:0") as (listener,):
        port = port_of(listener)
        client = socket.create_connection(("127.0.0.1", port), timeout=5)
        connection, _ = listener.accept()
        connection.close()  # our side first, so that ours is the one that lingers
        client.close()

    with listening(f"127.0.0.1:{port}") as (again,):
        assert port == port_of(again)


def unix_address(path: Path) -> str:
    """Return the address of a socket in the file system."""
    return f"unix:{path}"


def test_unix(tmp_path: Path) -> None:
    """A unix socket takes connections, is named in full, and is gone when it is closed."""
    path = tmp_path / "vmxd.sock"
    with listening(unix_address(path)) as (listener,), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        listener.accept()[0].close()
        assert unix_address(path) == describe(listener, "http")

    assert not path.exists()


def test_unix_left_over(tmp_path: Path) -> None:
    """A socket that its program left behind is replaced; one that is in use, or another file, is not touched."""
    path = tmp_path / "vmxd.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with listening(unix_address(path)), pytest.raises(VmxdError, match="Address already in use"):
        open_sockets(unix_address(path))
    path.write_text("data")
    with pytest.raises(VmxdError, match="Address already in use"):
        open_sockets(unix_address(path))

    assert "data" == path.read_text()


@pytest.mark.parametrize("path", ["", "no/such/directory/vmxd.sock", "x" * 200, "nul\0byte"])
def test_unix_impossible(path: str, tmp_path: Path) -> None:
    """A path that no socket can have is a plain error."""
    with pytest.raises(VmxdError, match="cannot listen on unix:"):
        open_sockets(unix_address(tmp_path / path) if path else "unix:")


@pytest.mark.parametrize("slash", ["", "/"])
def test_unix_directory(tmp_path: Path, slash: str) -> None:
    """A directory in a socket's place is not to be removed: a socket in it is what may be meant."""
    with pytest.raises(VmxdError, match="cannot listen on unix:") as error:
        open_sockets(unix_address(tmp_path) + slash)

    assert f"that is a directory; name a socket in it, as in unix:{tmp_path}/vmxd.sock" == error.value.hint
