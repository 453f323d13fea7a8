"""The parameters of the module kvm_intel, in sys/module/kvm_intel/parameters (Linux kernel/params.c)."""

from __future__ import annotations

import os
import re
from typing import Final

from vmxd.errors import RootError
from vmxd.host.files import Files
from vmxd.model.facts import Missing, Parameter

MODULES: Final = "sys/module"
"""A recording of a host without kvm_intel has this directory, empty: so "not loaded" is told from "not recorded"."""
DIRECTORY: Final = f"{MODULES}/kvm_intel/parameters"

_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_BOOLEANS: Final = {"Y": True, "N": False}


def parameter_files(files: Files) -> list[str]:
    """Return the paths of the parameters' files under the root, sorted; none where the module is not loaded."""
    try:
        names = sorted(os.listdir(files.path(DIRECTORY)))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RootError(
            f"cannot read {files.path(DIRECTORY)}: {error.strerror}", "check the directory's mode, or --root"
        ) from error
    return [f"{DIRECTORY}/{name}" for name in names if _NAME.fullmatch(name)]


def read_parameters(files: Files) -> dict[str, Parameter] | Missing:
    """Return the parameters by name: Y and N as booleans, numbers as such, other text as it is. Raises RootError.

    Absent where the module is not loaded, not recorded where the root has no sys/module at all.
    """
    if not os.path.isdir(files.path(DIRECTORY)):
        return Missing.ABSENT if os.path.isdir(files.path(MODULES)) else Missing.NOT_RECORDED
    texts = {os.path.basename(name): files.read_text(name) for name in parameter_files(files)}
    return {name: _parse(text) for name, text in texts.items() if text is not None}


def _parse(text: str) -> Parameter:
    word = text.removesuffix("\n")
    if word in _BOOLEANS:
        return _BOOLEANS[word]
    if _NUMBER.fullmatch(word):
        return int(word)
    return "".join(c if c.isprintable() else "\ufffd" for c in word)
