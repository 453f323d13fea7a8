"""Give up what only reading MSRs needs: run on as another user, without capabilities."""

from __future__ import annotations

import os
import pwd
import re
from typing import Final

from vmxd.errors import UsageError

_CAPABILITIES: Final = re.compile(rb"^Cap(?:Prm|Eff|Amb):\s*0*[1-9a-f]", re.MULTILINE)


def drop_to(user: str) -> None:
    """Become a user for good: its groups, and no capability, since the kernel clears them. Raises UsageError.

    Who is not root can drop nothing, so that nothing must be there to be dropped.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise UsageError(
            f"there is no user {user!r}", "--user takes a name from /etc/passwd, such as nobody"
        ) from error
    groups = os.getgrouplist(user, entry.pw_gid)
    try:
        if os.getresuid() != (entry.pw_uid,) * 3:
            os.setgroups(groups)
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except PermissionError as error:
        raise UsageError(f"cannot become {user}", "--user is for root; others have nothing to drop") from error
    with open("/proc/self/status", "rb") as file:  # bytes: the user may not be able to import a codec
        has_capabilities = _CAPABILITIES.search(file.read()) is not None
    if (has_capabilities and entry.pw_uid != 0) or not {*os.getgroups(), *os.getresgid()} <= set(groups):
        raise UsageError(
            f"running as {user} already, with capabilities or groups that only root could drop",
            "start vmxd as root, or without them and without --user",
        )
