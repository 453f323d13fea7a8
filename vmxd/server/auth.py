"""HTTP basic authentication against bcrypt hashes: one at a time, off the event loop; right logins are remembered."""

from __future__ import annotations

import asyncio
import binascii
import hmac
import re
import secrets
from collections.abc import Awaitable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final

from vmxd.errors import NotInstalledError

PASSWORD_BYTES_MAX: Final = 72
"""All that bcrypt looks at; a longer password is a wrong one."""
COST_MAX: Final = 18
"""Takes about 20 s already; each step more doubles that."""
REMEMBERED_MAX: Final = 100
"""Right logins that are remembered."""
WAIT_SECONDS: Final = 10.0
"""How long a login may wait for its turn."""

_HASH: Final = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)


def parse_hash(text: str) -> bytes:
    """Check a bcrypt hash. Raises ValueError that says what is wrong, never the hash, and NotInstalledError."""
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
    """Checks Authorization headers; one serves all connections.

    One hash is computed at a time, in the order of their coming: a flood of guesses takes one CPU and no more, and a
    right login gets its turn after those that wait already, at most waiting_max. From then on it waits no more: it is
    remembered under a keyed hash of user, bcrypt hash and password, which gives no password away and ends with the
    bcrypt hash.
    """

    def __init__(self, waiting_max: int) -> None:
        self._waiting_max = waiting_max
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1)
        self._secret = secrets.token_bytes(32)
        self._right: dict[bytes, None] = {}  # the most recently used last

    def check(self, header: str, users: Mapping[str, bytes]) -> HTTPStatus | Awaitable[HTTPStatus]:
        """Tell whether a request with this header may be answered: 200, 401, or 503 if too many logins wait.

        Without users every request may.
        """
        if not users:
            return HTTPStatus.OK
        login = _parse(header)
        if login is None:
            return HTTPStatus.UNAUTHORIZED
        user, password = login
        # an unknown user takes the time of a known one: the password is compared with a hash that is not its own
        hashed = users.get(user) or next(iter(users.values()))
        digest = self._digest(user.encode(), hashed, password) if user in users else None
        if digest in self._right:
            self._remember(digest)
            return HTTPStatus.OK
        if self._waiting >= self._waiting_max:
            return HTTPStatus.SERVICE_UNAVAILABLE
        return self._compute(digest, hashed, password)

    async def _compute(self, digest: bytes | None, hashed: bytes, password: bytes) -> HTTPStatus:
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            return HTTPStatus.SERVICE_UNAVAILABLE
        finally:
            self._waiting -= 1
        if digest in self._right:  # the same login was ahead
            self._turn.release()
            return HTTPStatus.OK
        try:
            check = asyncio.get_running_loop().run_in_executor(self._thread, _is_right, password, hashed)
        except RuntimeError:  # no thread can be started
            self._turn.release()
            return HTTPStatus.SERVICE_UNAVAILABLE
        check.add_done_callback(lambda _: self._turn.release())
        is_right = await asyncio.shield(check)  # a client that goes away does not end the thread
        if digest is None or not is_right:
            return HTTPStatus.UNAUTHORIZED
        self._remember(digest)
        return HTTPStatus.OK

    def _remember(self, digest: bytes | None) -> None:
        assert digest is not None
        self._right.pop(digest, None)
        self._right[digest] = None
        if len(self._right) > REMEMBERED_MAX:
            del self._right[next(iter(self._right))]

    def _digest(self, *parts: bytes) -> bytes:
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._secret, framed, "sha256")


def _parse(header: str) -> tuple[str, bytes] | None:
    """Split an Authorization header into user and password; None if it has none that could be right."""
    scheme, _, value = header.partition(" ")
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


def _is_right(password: bytes, hashed: bytes) -> bool:
    import bcrypt  # noqa: PLC0415 (as in parse_hash)

    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # bcrypt before 4 for a password with a NUL, which no such hash was made of
        return False
