"""Give up what only reading MSRs needs: run on as another user, without capabilities."""

from __future__ import annotations

import os
import pwd

from vmxd.errors import UsageError


def drop_to(user: str) -> None:
    """Become a user for good: its groups, and no capability, since the kernel clears them. Raises UsageError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise UsageError(
            f"there is no user {user!r}", "--user takes a name from /etc/passwd, such as nobody"
        ) from error
    if os.geteuid() == entry.pw_uid:
        return
    try:
        os.initgroups(user, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except PermissionError as error:
        raise UsageError(f"cannot become {user}", "--user is for root; others have nothing to drop") from error
