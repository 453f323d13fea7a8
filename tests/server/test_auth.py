"""Basic authentication: real bcrypt against hashes of other programs, real floods, and headers good and bad."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.support import program
from vmxd.server.auth import Authenticator, parse_hash

VECTORS: Final = [
    (b"secret", "$2a$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
    (b"secret", "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
    (b"secret", "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"),
]
"""Made by libxcrypt."""
SALT: Final = "abcdefghijklmnopqrstuu"


def hash_of(password: bytes, cost: int = 4) -> bytes:
    """Return a bcrypt hash of a password, by default of the least cost."""
    return bcrypt.hashpw(password, bcrypt.gensalt(cost))


def header(user: str | bytes, password: bytes, scheme: str = "Basic") -> str:
    """Return the Authorization header of a user with a password."""
    name = user.encode() if isinstance(user, str) else user
    return f"{scheme} {base64.b64encode(name + b':' + password).decode()}"


def check(
    users: Mapping[str, bytes], *headers: str | None, by: Authenticator | None = None
) -> tuple[list[bool], Authenticator]:
    """Check headers one after the other; return the answers and who gave them."""
    authenticator = by or Authenticator()

    async def run() -> list[bool]:
        return [await authenticator.check(each, users) for each in headers]

    return asyncio.run(run()), authenticator


def crypt(password: str, setting: str) -> str:
    """Return a hash as libxcrypt computes it, asked through perl."""
    script = "print crypt($ARGV[0], $ARGV[1])"
    command = [program("perl", "perl"), "-e", script, password, setting]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


ALICE: Final = hash_of(b"wonderland")
BOB: Final = hash_of(b"builder")
USERS: Final = {"alice": ALICE, "bob": BOB}


class TestHashes:
    """What stands behind a name in basic_auth_users."""

    @pytest.mark.parametrize(("password", "hashed"), VECTORS, ids=["2a", "2b", "2y"])
    def test_vectors(self, password: bytes, hashed: str) -> None:
        """All three prefixes are one algorithm; the right password is right and another is wrong."""
        users = {"alice": parse_hash(hashed)}

        assert [True, False] == check(users, header("alice", password), header("alice", b"Secret"))[0]

    @pytest.mark.parametrize("prefix", ["$2a$04$", "$2b$04$", "$2y$04$"])
    @pytest.mark.parametrize("password", ["secret", "", "with: colons:", "pässwörd", "x" * 72])
    def test_second_opinion(self, prefix: str, password: str) -> None:
        """Hashes of the C library's bcrypt are accepted, of any prefix and password."""
        users = {"alice": parse_hash(crypt(password, prefix + SALT))}

        assert [True] == check(users, header("alice", password.encode()))[0]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is no bcrypt hash"),
            ("wonderland", "is no bcrypt hash"),
            ("$apr1$abcdefgh$0123456789012345678901", "is no bcrypt hash"),
            ("$2x$04$" + SALT + "OQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", "is no bcrypt hash"),
            ("$2$04$" + SALT + "OQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a", "is no bcrypt hash"),
            (VECTORS[0][1][:-1], "is no bcrypt hash"),
            (VECTORS[0][1] + "a", "is no bcrypt hash"),
            (VECTORS[0][1] + "\n", "is no bcrypt hash"),
            (VECTORS[0][1].replace("$05$", "$\u0660\u0665$"), "is no bcrypt hash"),
            (VECTORS[0][1].replace("$05$", "$03$"), "has a cost outside 4 to 18"),
            (VECTORS[0][1].replace("$05$", "$19$"), "has a cost outside 4 to 18"),
            (VECTORS[0][1].replace("$05$", "$99$"), "has a cost outside 4 to 18"),
        ],
    )
    def test_no_hash(self, text: str, message: str) -> None:
        """What is no such hash is refused, without repeating it."""
        with pytest.raises(ValueError, match=message) as error:
            parse_hash(text)

        assert not text or text not in str(error.value)


class TestHeader:
    """The Authorization header."""

    @pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
    def test_scheme(self, scheme: str) -> None:
        """The scheme may be written in any case."""
        assert [True] == check(USERS, header("alice", b"wonderland", scheme))[0]

    def test_spaces(self) -> None:
        """Several spaces may stand before the credentials."""
        assert [True] == check(USERS, header("alice", b"wonderland", "Basic  "))[0]

    @pytest.mark.parametrize(
        "text",
        [
            None,
            "",
            " ",
            "Basic",
            "Basic ",
            "Basic =",
            "Basic a",
            "Basic !!!!",
            "Basic YWxpY2U6d29uZGVybGFuZA",
            "Basic YWxpY2U6d29uZGVybGFuZA=",
            "Basic YWxpY2U6d29uZGVybGFuZA==YQ==",
            "Basic YWxpY2U6\td29uZGVybGFuZA==",
            "Basic YWxpY2U6d29uZGVybGFuZA==,Basic YWxpY2U6d29uZGVybGFuZA==",
            "Basic ÄÖÜ=",
            "Basic alice:wonderland",
            "Basic " + base64.b64encode(b"alice").decode(),
            "Bearer YWxpY2U6d29uZGVybGFuZA==",
            "BasicYWxpY2U6d29uZGVybGFuZA==",
            "YWxpY2U6d29uZGVybGFuZA==",
            header(b"alic\xe9", b"wonderland"),
            header(b"\xff\xfe", b""),
        ],
    )
    def test_malformed(self, text: str | None) -> None:
        """What is no name and password gets in nowhere and makes no work."""
        answers, authenticator = check(USERS, text)

        assert [False] == answers
        assert (0, 0) == (authenticator.hashes_computed, authenticator.refused)

    @given(st.text() | st.text().map(lambda text: f"Basic {text}") | st.binary().map(lambda data: header(data, b"")))
    def test_any_text(self, text: str) -> None:
        """Whatever a client sends, it is answered, and not let in."""
        assert [False] == check(USERS, text)[0]


class TestPasswords:
    """Right ones and wrong ones."""

    @pytest.mark.parametrize("password", [b"", b":", b"a:b:c", "pässwörd".encode(), b"\xff\xfe\x80", b"x" * 72])
    def test_right(self, password: bytes) -> None:
        """Any bytes may be a password, up to the 72 that bcrypt looks at."""
        users = {"alice": hash_of(password)}

        assert [True, False] == check(users, header("alice", password), header("alice", b"wrong"))[0]

    def test_longer_than_bcrypt_looks(self) -> None:
        """A password of 73 bytes or more is wrong for everybody, although its first 72 are right, and makes no work."""
        users = {"alice": hash_of(b"x" * 72)}
        long = [header(user, b"x" * length) for user in ("alice", "nobody") for length in (73, 10_000)]
        answers, authenticator = check(users, *long)

        assert [False] * 4 == answers
        assert 0 == authenticator.hashes_computed

    def test_nul(self) -> None:
        """A NUL does not end a password: what follows it counts, or it is refused, whatever the bcrypt package does."""
        users = {"alice": hash_of(b"secret")}

        assert [False, False] == check(users, header("alice", b"secret\0"), header("alice", b"\0"))[0]

    def test_other_users_password(self) -> None:
        """The password of one is no password of another."""
        assert [False, False] == check(USERS, header("alice", b"builder"), header("bob", b"wonderland"))[0]

    def test_names_are_exact(self) -> None:
        """Names differ by case, spaces and normal form."""
        users = {"é": ALICE, "alice": ALICE}
        names = ("é", "e\u0301", "Alice", "alice ", " alice", "")

        assert [True, *[False] * 5] == check(users, *(header(name, b"wonderland") for name in names))[0]

    def test_empty_name(self) -> None:
        """A user may have no name, as in Go."""
        assert [True] == check({"": ALICE}, header("", b"wonderland"))[0]

    def test_no_users(self) -> None:
        """Without users no password is asked for."""
        assert [True, True] == check({}, None, header("alice", b"x"))[0]


class TestWork:
    """How much bcrypt an attempt costs."""

    def test_unknown_user(self) -> None:
        """An unknown name costs as much as a known one: one hash, of the cost that users have."""
        users = {"alice": hash_of(b"wonderland", 9)}
        seconds = {}
        for name in ("alice", "mallory"):
            start = time.process_time()
            answers, authenticator = check(users, header(name, b"guess"))
            seconds[name] = time.process_time() - start
            assert ([False], 1) == (answers, authenticator.hashes_computed)

        assert 0.5 < seconds["mallory"] / seconds["alice"] < 2

    def test_unknown_user_with_a_right_password(self) -> None:
        """An unknown name does not get in with a password that is right for somebody."""
        names = ("mallory", "trent", "peggy", "victor")
        guesses = [header(name, password) for name in names for password in (b"wonderland", b"builder")]

        assert [False] * 8 == check(USERS, *guesses)[0]

    def test_unknown_users_are_like_known_ones(self) -> None:
        """Where costs differ, those of unknown names do so too, each name always with the same."""
        users = {"alice": ALICE, "bob": BOB}
        authenticator = Authenticator()
        stand_ins = [authenticator._stand_in(f"user{number}", users) for number in range(100)]

        assert {ALICE, BOB} == set(stand_ins)
        assert stand_ins == [authenticator._stand_in(f"user{number}", users) for number in range(100)]

    def test_remembered(self) -> None:
        """What was checked once is not computed again, right or wrong, known or not."""
        right, wrong, unknown = header("alice", b"wonderland"), header("alice", b"guess"), header("eve", b"guess")
        answers, authenticator = check(USERS, *[right, wrong, unknown] * 5)

        assert [True, False, False] * 5 == answers
        assert 3 == authenticator.hashes_computed

    def test_nothing_readable_is_remembered(self) -> None:
        """The memory holds keyed digests only: another process, another key."""
        memories = [check(USERS, header("alice", b"wonderland"))[1]._right for _ in range(2)]

        assert [32, 32] == [len(key) for memory in memories for key in memory]
        assert memories[0] != memories[1]

    def test_new_hash(self) -> None:
        """A changed hash is asked anew: the old password ends with it at once, and comes back with it."""
        authenticator = Authenticator()
        old, new = header("alice", b"wonderland"), header("alice", b"looking-glass")
        changed = {"alice": hash_of(b"looking-glass")}

        async def run() -> list[bool]:
            configurations = [USERS, USERS, changed, changed, USERS]
            return [
                await authenticator.check(text, users)
                for users, text in zip(configurations, [old, new, old, new, old], strict=True)
            ]

        assert [True, False, False, True, True] == asyncio.run(run())
        assert 4 == authenticator.hashes_computed

    def test_removed_user(self) -> None:
        """A user who is removed is out at once, also when another has the very same hash."""
        authenticator = Authenticator()
        text = header("alice", b"wonderland")

        async def run() -> list[bool]:
            configurations = ({"alice": ALICE, "anna": ALICE}, {"anna": ALICE}, {"alice": ALICE})
            return [await authenticator.check(text, users) for users in configurations]

        assert [True, False, True] == asyncio.run(run())

    def test_same_question_at_once(self) -> None:
        """Many connections with the same new credentials cost one hash."""
        authenticator = Authenticator()

        async def run() -> list[bool]:
            text = header("alice", b"wonderland")
            return await asyncio.gather(*(authenticator.check(text, USERS) for _ in range(50)))

        assert [True] * 50 == asyncio.run(run())
        assert 1 == authenticator.hashes_computed

    def test_memory_is_bounded(self) -> None:
        """However many guesses come, so many are remembered and no more, and they push out no right answer."""
        right = header("alice", b"wonderland")
        guesses = [header(f"user{number}", b"guess") for number in range(50)]
        answers, authenticator = check(USERS, right, *guesses, right, by=Authenticator(remembered_max=10))

        assert [True, *[False] * 50, True] == answers
        assert 51 == authenticator.hashes_computed
        assert (1, 10) == (len(authenticator._right), len(authenticator._wrong))

    def test_oldest_is_forgotten(self) -> None:
        """What was asked for last is remembered longest."""
        first, second, third = (header("alice", guess) for guess in (b"1", b"2", b"3"))
        asked = [first, second, first, third, first]
        _, authenticator = check(USERS, *asked, by=Authenticator(remembered_max=2))
        assert 3 == authenticator.hashes_computed

        check(USERS, second, by=authenticator)
        assert 4 == authenticator.hashes_computed


class TestFlood:
    """Many wrong passwords at once."""

    def test_others_go_on(self) -> None:
        """While guesses keep bcrypt busy, known credentials pass at once, and the loop runs on."""
        users = {"alice": hash_of(b"wonderland", 10)}
        authenticator = Authenticator()
        right = header("alice", b"wonderland")

        async def run() -> list[float]:
            assert await authenticator.check(right, users)
            flood = [asyncio.create_task(authenticator.check(header("alice", b"%d" % n), users)) for n in range(500)]
            waits = []
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                await asyncio.sleep(0.005)
                start = time.perf_counter()
                assert await authenticator.check(right, users)
                waits.append(time.perf_counter() - start)
            assert not all(task.done() for task in flood)
            for task in flood:
                task.cancel()
            await asyncio.gather(*flood, return_exceptions=True)
            return waits

        waits = asyncio.run(run())

        assert len(waits) > 20
        assert sorted(waits)[len(waits) // 2] < 0.02, "a hash takes three times as long"
        assert 1 < authenticator.hashes_computed < 100

    def test_too_many(self) -> None:
        """No more than so many attempts wait for the one that is computed; others are refused at once, and counted."""
        authenticator = Authenticator(waiting_max=20)

        async def run() -> list[bool]:
            return await asyncio.gather(*(authenticator.check(header("alice", b"%d" % n), USERS) for n in range(100)))

        assert [False] * 100 == asyncio.run(run())
        assert (79, 21) == (authenticator.refused, authenticator.hashes_computed)
        assert 0 == authenticator._waiting

    def test_wait_is_bounded(self) -> None:
        """Who would have to wait too long is refused, with the right password too, and may try again."""
        users = {"alice": hash_of(b"wonderland", 11)}
        authenticator = Authenticator(wait_seconds=0.02)

        async def run() -> tuple[list[bool], bool]:
            guess = asyncio.create_task(authenticator.check(header("alice", b"guess"), users))
            await asyncio.sleep(0)
            late = await authenticator.check(header("alice", b"wonderland"), users)
            return [await guess, late], await authenticator.check(header("alice", b"wonderland"), users)

        assert ([False, False], True) == asyncio.run(run())
        assert (1, 2) == (authenticator.refused, authenticator.hashes_computed)

    def test_client_goes_away(self) -> None:
        """A client that leaves while its hash is computed holds up nobody, and what was found is remembered."""
        users = {"alice": hash_of(b"wonderland", 9)}
        authenticator = Authenticator()
        text = header("alice", b"wonderland")

        async def run() -> list[bool]:
            first = asyncio.create_task(authenticator.check(text, users))
            await asyncio.sleep(0.002)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            return [await authenticator.check(each, users) for each in (text, header("alice", b"guess"))]

        assert [True, False] == asyncio.run(run())
        assert 2 == authenticator.hashes_computed

    def test_client_goes_away_while_it_waits(self) -> None:
        """A client that leaves while it waits costs no hash and leaves no place taken."""
        authenticator = Authenticator()

        async def run() -> bool:
            tasks = [asyncio.create_task(authenticator.check(header("alice", b"%d" % n), USERS)) for n in range(50)]
            await asyncio.sleep(0)
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return await authenticator.check(header("alice", b"wonderland"), USERS)

        assert asyncio.run(run())
        assert (2, 0, False) == (
            authenticator.hashes_computed,
            authenticator._waiting,
            authenticator._turn.locked(),
        )

    def test_end_of_the_program(self) -> None:
        """A program that ends while a hash is computed ends without a word."""
        script = """
import asyncio, base64, bcrypt
from vmxd.server.auth import Authenticator
users = {"alice": bcrypt.hashpw(b"x", bcrypt.gensalt(4)).replace(b"$04$", b"$11$")}
async def main():
    authenticator = Authenticator()
    text = "Basic " + base64.b64encode(b"alice:guess").decode()
    tasks = [asyncio.create_task(authenticator.check(text, users)) for _ in range(3)]
    await asyncio.sleep(0.01)
    print(authenticator.hashes_computed)
asyncio.run(main())
"""
        result = run_python(script)

        assert (0, "1\n", "") == (result.returncode, result.stdout, result.stderr)


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
