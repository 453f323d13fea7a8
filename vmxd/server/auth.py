"""HTTP basic authentication against bcrypt hashes: off the event loop, one at a time, and remembered."""

from __future__ import annotations

import asyncio
import binascii
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Final

from vmxd.errors import NotInstalledError

PASSWORD_BYTES_MAX: Final = 72
"""All that bcrypt looks at; a longer password is a wrong one."""
COST_MAX: Final = 18
"""Takes about 20 s already; each step more doubles that."""
REMEMBERED_MAX: Final = 1000
"""How many right credentials are remembered, and how many wrong ones beside them."""
WAITING_MAX: Final = 1000
WAIT_SECONDS: Final = 5.0
"""How many attempts may wait for their turn, and for how long; the others are refused."""

_HASH: Final = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)


def parse_hash(text: str) -> bytes:
    """Return a bcrypt hash as the Authenticator takes it.

    Raises ValueError that says what is wrong, never the hash, and NotInstalledError.
    """
    try:
        import bcrypt  # noqa: F401, PLC0415 (not on hosts without users; here, so that a lack of it shows at the start)
    except ModuleNotFoundError as error:
        raise NotInstalledError("basic_auth_users", error.name, "web") from error
    match = _HASH.fullmatch(text)
    if not match:
        raise ValueError("is no bcrypt hash that starts with $2a$, $2b$ or $2y$")
    if not 4 <= int(match["cost"]) <= COST_MAX:
        raise ValueError(f"has a cost outside 4 to {COST_MAX}")
    return text.encode("ascii")


class Authenticator:
    """Checks Authorization headers; one serves all connections of an event loop.

    One hash is computed at a time, in a thread, and bcrypt lets go of the GIL: a flood of guesses takes one CPU and no
    more. What was found is remembered under a keyed hash of user, bcrypt hash and password: the table gives no password
    away, and a new bcrypt hash is a new question. Right answers are kept apart from wrong ones, so guesses push out
    guesses and never the credentials of a Prometheus, which waits for nobody. Wrong ones are kept for the Prometheus
    that comes every 15 s with its old password.
    """

    def __init__(
        self,
        *,
        remembered_max: int = REMEMBERED_MAX,
        waiting_max: int = WAITING_MAX,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._remembered_max = remembered_max
        self._waiting_max = waiting_max
        self._wait_seconds = wait_seconds
        self.hashes_computed = 0
        """How many times bcrypt was run."""
        self.refused = 0
        """How many attempts were turned away unheard: too many others waited, or the wait was too long."""
        self._secret = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def check(self, authorization_header: str | None, users: Mapping[str, bytes]) -> bool:
        """Return whether a request with this header may be answered; without users every one may.

        An unknown name costs what a known one does: the password is compared with some user's hash, always in vain.
        """
        if not users:
            return True
        credentials = _parse(authorization_header)
        if credentials is None:
            return False
        user, password = credentials
        known = user in users
        hashed = users[user] if known else self._stand_in(user, users)
        key = self._digest(b"known" if known else b"unknown", user.encode(), hashed, password)
        remembered = self._recall(key)
        if remembered is not None:
            return remembered
        if not await self._take_turn():
            self.refused += 1
            return False
        remembered = self._recall(key)
        if remembered is not None:  # somebody with the same credentials was ahead
            self._turn.release()
            return remembered
        self.hashes_computed += 1
        future = asyncio.get_running_loop().run_in_executor(None, _verify, password, hashed, known)
        future.add_done_callback(partial(self._conclude, key))
        return await asyncio.shield(future)  # a client that goes away does not end the thread, nor what it finds out

    async def _take_turn(self) -> bool:
        if self._waiting >= self._waiting_max:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._turn.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True

    def _conclude(self, key: bytes, future: asyncio.Future[bool]) -> None:
        self._turn.release()
        if not future.cancelled() and future.exception() is None:
            memory = self._right if future.result() else self._wrong
            memory[key] = None
            if len(memory) > self._remembered_max:
                memory.popitem(last=False)

    def _recall(self, key: bytes) -> bool | None:
        for memory, verdict in ((self._right, True), (self._wrong, False)):
            if key in memory:
                memory.move_to_end(key)
                return verdict
        return None

    def _stand_in(self, user: str, users: Mapping[str, bytes]) -> bytes:
        """Return the hash of some user, always the same for one name, so that its cost tells nothing of the name."""
        hashes = tuple(users.values())
        return hashes[int.from_bytes(self._digest(b"stand-in", user.encode()), "big") % len(hashes)]

    def _digest(self, *parts: bytes) -> bytes:
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._secret, framed, "sha256")


def _parse(header: str | None) -> tuple[str, bytes] | None:
    """Return user and password of an Authorization header; None where it has none that could be right."""
    scheme, _, value = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = binascii.a2b_base64(value.strip(" "), strict_mode=True)
        user, colon, password = decoded.partition(b":")
        if not colon or len(password) > PASSWORD_BYTES_MAX:
            return None
        return user.decode("utf-8"), password
    except ValueError:
        return None


def _verify(password: bytes, hashed: bytes, known: bool) -> bool:
    import bcrypt  # noqa: PLC0415 (as in parse_hash)

    try:
        return bcrypt.checkpw(password, hashed) and known
    except ValueError:  # bcrypt before 4 for a password with a NUL, which no such hash was made of
        return False
