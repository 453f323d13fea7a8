"""The files of profiles: those that come with vmxd, and the administrator's in /etc/vmxd/profiles.d."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Final

from vmxd.errors import ProfileError, VmxdError
from vmxd.model.profiles import Profile, find_profile
from vmxd.pasted.profile import parse_profiles

DEFAULT_DIRECTORY: Final = "/etc/vmxd/profiles.d"
SIZE_MAX: Final = 1 << 16
"""Bytes of a file that is still taken for one of profiles."""


def read_profiles(directories: Sequence[str] | None = None) -> tuple[Profile, ...]:
    """Return the built-in profiles and those of all files *.toml in directories, by file name. Raises VmxdError.

    directories: None for the default one, which need not be there.
    """
    if directories is None:
        directories = [DEFAULT_DIRECTORY] if os.path.lexists(DEFAULT_DIRECTORY) else []
    found = {profile.name: (profile, "vmxd itself") for profile in builtin_profiles()}
    for directory in directories:
        for path in _paths(directory):
            for profile in parse_profiles(_read(path), path):
                if profile.name in found:
                    message = f"profile {profile.name!r} is there already, from {found[profile.name][1]}"
                    raise ProfileError(path, message, "give it another name")
                found[profile.name] = (profile, path)
    return tuple(profile for profile, _ in found.values())


@functools.cache
def builtin_profiles() -> tuple[Profile, ...]:
    """Return the profiles that come with vmxd, by file name."""
    files = sorted((resources.files("vmxd.tables") / "profiles").iterdir(), key=lambda file: file.name)
    return tuple(profile for file in files for profile in parse_profiles(file.read_text("utf-8"), str(file)))


def _paths(directory: str) -> list[str]:
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise VmxdError(
            f"cannot list {directory}: {error.strerror}",
            "name a directory of *.toml files with --profile-dir, or leave it out",
        ) from error
    return [os.path.join(directory, name) for name in sorted(names) if name.endswith(".toml") and name[0] != "."]


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise VmxdError(f"cannot read {path}: {error.strerror}", "check the file's mode") from error
    if len(data) > SIZE_MAX:
        raise ProfileError(path, f"the file is longer than {SIZE_MAX} bytes", "split it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError(f"{path}:{line}", "this is not UTF-8", "TOML is always UTF-8") from error


def chosen_profiles(directories: Sequence[str] | None, names: Iterable[str]) -> tuple[Profile, ...]:
    """Return the profiles of read_profiles(), and those of CPU models among names. Raises VmxdError."""
    profiles = read_profiles(directories)
    return tuple(dict.fromkeys((*profiles, *(find_profile(name, profiles) for name in names))))
