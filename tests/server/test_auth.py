"""Basic authentication: real bcrypt against hashes of other programs, headers good and bad, and real floods."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import subprocess
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.server import port_of, serving_one
from tests.helpers.support import LAKEFIELD, program
from tests.helpers.web_yml import ALICE, write
from vmxd.server.auth import REMEMBERED_MAX, Authenticator, parse_hash

SALT: Final = "abcdefghijklmnopqrstuu"
OK, NO, BUSY = HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE


def hash_of(password: bytes, cost: int = 4) -> bytes:
    """Return a bcrypt hash of a password, by default of the least cost."""
    return bcrypt.hashpw(password, bcrypt.gensalt(cost))


def header(user: str | bytes, password: bytes, scheme: str = "Basic") -> str:
    """Return the Authorization header of a user with a password."""
    name = user.encode() if isinstance(user, str) else user
    return f"{scheme} {base64.b64encode(name + b':' + password).decode()}"


async def ask(authenticator: Authenticator, text: str, users: Mapping[str, bytes]) -> HTTPStatus:
    """Return the answer to a header, as soon as it is known."""
    verdict = authenticator.check(text, users)
    return verdict if isinstance(verdict, HTTPStatus) else await verdict


def check(users: Mapping[str, bytes], *headers: str) -> list[HTTPStatus]:
    """Check headers one after the other."""

    async def run() -> list[HTTPStatus]:
        authenticator = Authenticator(100)
        return [await ask(authenticator, each, users) for each in headers]

    return asyncio.run(run())


USERS: Final = {"alice": hash_of(b"wonderland"), "bob": hash_of(b"builder")}


@pytest.mark.parametrize("prefix", ["$2a$04$", "$2b$04$", "$2y$04$"])
def test_second_opinion(prefix: str) -> None:
    """Hashes of the C library's bcrypt are accepted, of any prefix and password."""
    for password in ("secret", "", "with: colons:", "pässwörd", "x" * 72):
        command = [program("perl", "perl"), "-e", "print crypt($ARGV[0], $ARGV[1])", password, prefix + SALT]
        hashed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

        assert [OK, NO] == check(
            {"alice": parse_hash(hashed)}, header("alice", password.encode()), header("alice", b"Secret")
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wonderland", "is no bcrypt hash"),
        ("$apr1$abcdefgh$0123456789012345678901", "is no bcrypt hash"),
        ("$2x$04$" + SALT + "OQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", "is no bcrypt hash"),
        (ALICE[:-1], "is no bcrypt hash"),
        (ALICE + "\n", "is no bcrypt hash"),
        (ALICE.replace("$05$", "$\u0660\u0665$"), "is no bcrypt hash"),
        (ALICE.replace("$05$", "$03$"), "has a cost outside 4 to 18"),
        (ALICE.replace("$05$", "$19$"), "has a cost outside 4 to 18"),
    ],
)
def test_no_hash(text: str, message: str) -> None:
    """What is no such hash is refused, without repeating it."""
    with pytest.raises(ValueError, match=message) as error:
        parse_hash(text)

    assert text not in str(error.value)


def test_scheme() -> None:
    """The scheme may be written in any case, with spaces after it."""
    schemes = ("Basic", "basic", "BASIC", "Basic  ")

    assert [OK] * 4 == check(USERS, *(header("alice", b"wonderland", scheme) for scheme in schemes))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Basic",
        "Basic =",
        "Basic !!!!",
        "Basic YWxpY2U6d29uZGVybGFuZA",
        "Basic YWxpY2U6d29uZGVybGFuZA==,Basic YWxpY2U6d29uZGVybGFuZA==",
        "Basic alice:wonderland",
        "Basic " + base64.b64encode(b"alice").decode(),
        "Bearer YWxpY2U6d29uZGVybGFuZA==",
        "YWxpY2U6d29uZGVybGFuZA==",
        header(b"\xff\xfe", b""),
        header("alice", b"x" * 73),
    ],
)
def test_malformed(text: str) -> None:
    """What is no name and password is refused at once, without work: more than bcrypt looks at is no password."""
    assert NO is Authenticator(100).check(text, USERS)


@given(st.text() | st.text().map(lambda text: f"Basic {text}") | st.binary().map(lambda data: header(data, b"")))
def test_any_text(text: str) -> None:
    """Whatever a client sends, it is answered, and not let in."""
    assert [NO] == check(USERS, text)


def test_passwords() -> None:
    """Any bytes may be a password; who has another's, or a name that is not quite the same, is not let in."""
    for password in (b"", b":", b"a:b:c", "pässwörd".encode(), b"\xff\xfe\x80", b"x" * 72):
        assert [OK, NO] == check({"é": hash_of(password)}, header("é", password), header("e\u0301", password))
    wrong = (("alice", b"builder"), ("Alice", b"wonderland"), ("alice ", b"wonderland"), ("eve", b"wonderland"))

    assert [NO] * 4 == check(USERS, *(header(*each) for each in wrong))
    assert [NO, NO] == check({"a": hash_of(b"secret")}, header("a", b"secret\0"), header("a", b"\0"))
    assert [OK] == check({}, "")


def test_unknown_user() -> None:
    """An unknown name costs as much as a known one: one hash, of the cost that users have."""
    users = {"alice": hash_of(b"wonderland", 9)}
    seconds = {}
    for name in ("alice", "mallory"):
        start = time.process_time()
        assert [NO] == check(users, header(name, b"guess"))
        seconds[name] = time.process_time() - start

    assert 0.5 < seconds["mallory"] / seconds["alice"] < 2


def test_remembered() -> None:
    """A right login waits once; a new hash or the end of a user ends it, and guesses push nothing out."""
    right = header("alice", b"wonderland")

    async def run() -> list[object]:
        authenticator = Authenticator(100)
        first = await ask(authenticator, right, USERS)
        for number in range(REMEMBERED_MAX + 10):
            await ask(authenticator, header(f"user{number}", b"wonderland"), USERS)
        at_once = authenticator.check(right, USERS)
        changed = await ask(authenticator, right, USERS | {"alice": hash_of(b"looking-glass")})
        removed = await ask(authenticator, right, {"bob": USERS["bob"]})
        return [first, at_once, changed, removed]

    assert [OK, OK, NO, NO] == asyncio.run(run())


def test_too_many() -> None:
    """So many logins wait for the one whose hash is computed; more are told at once, and those that wait are served."""

    async def run() -> tuple[list[HTTPStatus], HTTPStatus]:
        authenticator = Authenticator(20)
        crowd = [asyncio.create_task(ask(authenticator, header("alice", b"%d" % n), USERS)) for n in range(100)]
        answers = await asyncio.gather(*crowd)
        return answers, await ask(authenticator, header("alice", b"wonderland"), USERS)

    answers, after = asyncio.run(run())

    assert (21, 79, OK) == (answers.count(NO), answers.count(BUSY), after)


def test_clients_go_away() -> None:
    """Clients that leave, while they wait or while their hash is computed, hold up nobody."""

    async def run() -> HTTPStatus:
        authenticator = Authenticator(50)
        tasks = [asyncio.create_task(ask(authenticator, header("alice", b"%d" % n), USERS)) for n in range(50)]
        await asyncio.sleep(0.002)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await ask(authenticator, header("alice", b"wonderland"), USERS)

    assert OK is asyncio.run(run())


def status_of(port: int, headers: Mapping[str, str]) -> int:
    """Return the status of a request for /healthz on a new connection; 0 if there is none."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(client):
        try:
            client.request("GET", "/healthz", headers=dict(headers))
            return client.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0


@pytest.mark.parametrize("guess", [None, "wrong"])
def test_right_login_in_a_flood(tmp_path: Path, guess: str | None) -> None:
    """While crowds ask without a password, or with wrong ones, a right login that is not known yet gets in."""
    names = [f"user{number}" for number in range(5)]
    lines = "".join(f"  {name}: {hash_of(b'secret', 8).decode()}\n" for name in names)
    with serving_one(LAKEFIELD, f"--web.config.file={write(tmp_path, f'basic_auth_users:{chr(10)}{lines}')}") as server:
        port, ends = port_of(server), threading.Event()

        def flood(number: int) -> None:
            while not ends.is_set():
                number += 1000
                status_of(port, {"Authorization": header("user0", b"%d" % number)} if guess else {})

        crowd = [threading.Thread(target=flood, args=(number,)) for number in range(40)]
        for each in crowd:
            each.start()
        try:
            answers = [status_of(port, {"Authorization": header(name, b"secret")}) for name in names]
        finally:
            ends.set()
            for each in crowd:
                each.join()

    assert [200] * len(names) == answers


def test_waiting_is_not_idle(tmp_path: Path) -> None:
    """A login that waits for its hash is not thrown out for those that come meanwhile and say nothing."""
    users = f"basic_auth_users:\n  alice: {hash_of(b'secret', 13).decode()}\n"
    with (
        serving_one(LAKEFIELD, f"--web.config.file={write(tmp_path, users)}") as server,
        contextlib.ExitStack() as stack,
    ):
        port = port_of(server)
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        stack.callback(asking.close)
        asking.request("GET", "/healthz", headers={"Authorization": header("alice", b"secret")})
        for _ in range(400):
            idle = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            idle.connect()
            stack.callback(idle.close)

        assert 200 == asking.getresponse().status
