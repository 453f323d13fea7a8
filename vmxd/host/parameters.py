"""The parameters of the module kvm_intel, in sys/module/kvm_intel/parameters (Linux kernel/params.c)."""

from __future__ import annotations

import re
from typing import Final

from vmxd.host.files import Files
from vmxd.model.facts import Missing, Parameter

MODULES: Final = "sys/module"
"""A recording of a host without kvm_intel has this directory, empty: so "not loaded" is told from "not recorded"."""
DIRECTORY: Final = f"{MODULES}/kvm_intel/parameters"

_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_BOOLEANS: Final = {"Y": True, "N": False}


def parameter_files(files: Files) -> list[str]:
    """List the parameters' files, sorted; none if the module is not loaded. Raises RootError."""
    return [f"{DIRECTORY}/{name}" for name in files.list_directory(DIRECTORY) or () if _NAME.fullmatch(name)]


def is_parameter_file(name: str) -> bool:
    """Whether a path is one that a parameter may have."""
    directory, _, parameter = name.rpartition("/")
    return directory == DIRECTORY and _NAME.fullmatch(parameter) is not None


def read_parameters(files: Files) -> dict[str, Parameter] | Missing:
    """Read the parameters by name: Y and N as booleans, numbers as such, other text as it is. Raises RootError.

    Absent if the module is not loaded, not recorded if the root has no sys/module at all.
    """
    if files.list_directory(DIRECTORY) is None:
        return Missing.NOT_RECORDED if files.list_directory(MODULES) is None else Missing.ABSENT
    lines = {name.rpartition("/")[2]: files.read_line(name) for name in parameter_files(files)}
    return {name: _parse(line) for name, line in lines.items() if line is not None}


def _parse(line: str) -> Parameter:
    if line in _BOOLEANS:
        return _BOOLEANS[line]
    return int(line) if _NUMBER.fullmatch(line) else line
