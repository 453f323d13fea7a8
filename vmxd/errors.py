"""The errors that end a command: one sentence, one hint, an exit code; caught in cli.py only.

A failed read of one MSR on one CPU is no exception but a fact (facts.Failed).
"""

from __future__ import annotations

from typing import Final

import vmxd

_PROJECTS: Final = {"yaml": "PyYAML"}
"""Names of modules in the Python Package Index, where those differ."""


class VmxdError(Exception):
    """Raised when a command cannot do what it was asked for; ``hint`` is the next step, exit code 2."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(VmxdError):
    """Raised when an argument cannot be used: an unknown name, a bad CPU list."""


class NotInstalledError(VmxdError):
    """Raised when what was asked for takes a Python module that is not there: an extra of vmxd brings it.

    The hint fits how vmxd was installed: Debian's package, one file (vmxd.pyz), or pip.
    """

    def __init__(self, what: str, module: str | None, extra: str) -> None:
        super().__init__(
            f"{what} takes the Python module {module}, which is not installed", _how_to_install(module or "", extra)
        )


def _how_to_install(module: str, extra: str) -> str:
    place = vmxd.__file__
    if place.startswith("/usr/lib/python3/dist-packages/"):
        return f"apt install python3-{module}"
    if ".pyz" in place:
        return f"vmxd.pyz is without it: install vmxd's wheel with its extra [{extra}], or a package"
    return f"pip install {_PROJECTS.get(module, module)}, into the environment that vmxd runs in"


class RootError(VmxdError):
    """Raised when --root is no host: missing, not a directory, or without CPUs."""


class MalformedFileError(VmxdError):
    """Raised when a file under --root does not read as it should; ``path`` and ``line`` (from 1) say where."""

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(
            f"{path}:{line}: {message}", "if this is a recording it is damaged: make a new one with vmxd record DIR"
        )
        self.path = path
        self.line = line


class ProfileError(VmxdError):
    """Raised when a file of profiles does not say what it should; ``where`` is its path, with the key or line."""

    def __init__(self, where: str, message: str, hint: str) -> None:
        super().__init__(f"{where}: {message}", hint)
