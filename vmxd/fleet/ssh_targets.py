"""Which hosts to reach by ssh: names as people give them, lists, and inventories of Ansible."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from vmxd.errors import UsageError, VmxdError

_DESTINATION: Final = re.compile(r"(?:[A-Za-z0-9_][\w.+-]*@)?([A-Za-z0-9_:][\w.:%-]{0,252})", re.ASCII)
_PYTHON: Final = re.compile(r"[\w/][\w./+-]*", re.ASCII)
"""Words that a shell takes as they are."""
_PROGRAM: Final = "ansible-inventory"
_SECONDS: Final = 120
_OPTIONS: Final = {"ansible_host": "HostName", "ansible_user": "User", "ansible_port": "Port"}
"""Variables of Ansible's ssh connection, and the options of ssh_config(5) that they are."""
_KEY_FILE: Final = "ansible_ssh_private_key_file"
_INTERPRETER: Final = "ansible_python_interpreter"


@dataclass(frozen=True, slots=True)
class Target:
    """A host: its name, which is its directory's; what ssh is told; the Python there, None for the default."""

    name: str
    destination: str
    options: tuple[str, ...] = ()
    python: str | None = None


def parse_target(text: str) -> Target:
    """Read HOST or USER@HOST. Raises UsageError on anything that ssh or a directory could take for something else."""
    match = _DESTINATION.fullmatch(text)
    if not match:
        raise UsageError(f"{text[:60]!r} is no host", "HOST or USER@HOST; a port is --ssh-option Port=2222")
    return Target(match[1], text)


def parse_list(text: str) -> list[Target]:
    """Read a host a line; empty lines, and what follows a #, are left out. Raises UsageError."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [parse_target(line) for line in lines if line]


def once(targets: Iterable[Target]) -> list[Target]:
    """Return each target once, in order. Raises UsageError if two would have one directory."""
    by_name: dict[str, Target] = {}
    for target in targets:
        if by_name.setdefault(target.name, target) != target:
            raise UsageError(
                f"{by_name[target.name].destination} and {target.destination} are both to be recorded as {target.name}",
                "give each host once",
            )
    return list(by_name.values())


def check_python(text: str) -> str:
    """Return the name or path of a Python. Raises UsageError if a shell would take it for more."""
    if not _PYTHON.fullmatch(text):
        raise UsageError(f"{text[:60]!r} is no name of a program", "as in python3.12 or /usr/bin/python3.12")
    return text


def read_ansible(path: str) -> list[Target]:
    """Read an inventory as Ansible does, whatever its form: ansible-inventory is asked. Raises VmxdError."""
    if not os.path.exists(path):
        raise UsageError(f"there is no inventory {path}", f"{_PROGRAM} --list says where Ansible looks")
    hint = f"try {_PROGRAM} --list -i {path}"
    try:
        done = subprocess.run(  # noqa: S603 (no shell)
            [_PROGRAM, "--list", "--inventory", path], capture_output=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise VmxdError(
            f"{_PROGRAM}, which comes with Ansible, is not installed",
            "give hosts by name, or a host a line on standard input: vmxd fleet collect DIR - < hosts.txt",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise VmxdError(f"{_PROGRAM} was not done within {_SECONDS} s", hint) from error
    try:
        found = json.loads(done.stdout) if done.returncode == 0 else {}
    except ValueError:
        found = {}
    if not found:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise VmxdError(f"{_PROGRAM} cannot read {path}: {said}", hint)
    variables = found.get("_meta", {}).get("hostvars", {})
    groups = (group for name, group in found.items() if name != "_meta")
    names = dict.fromkeys([*variables, *(name for group in groups for name in group.get("hosts", ()))])
    return [_ansible_target(name, variables.get(name, {})) for name in names]


def _ansible_target(name: str, variables: dict[str, Any]) -> Target:
    """Return a host of an inventory. Raises UsageError."""
    target = parse_target(name)
    options = []
    for variable, option in _OPTIONS.items():
        if variable in variables:
            parse_target(str(variables[variable]))
            options += ["-o", f"{option}={variables[variable]}"]
    if _KEY_FILE in variables:
        options += ["-o", f"IdentityFile={variables[_KEY_FILE]}"]
    python = str(variables.get(_INTERPRETER, ""))
    return Target(target.name, name, tuple(options), check_python(python) if python.startswith("/") else None)
