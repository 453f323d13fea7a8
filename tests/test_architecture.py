"""The shape of the code: imports point down the list in DESIGN's layout, and the pure modules touch nothing outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support import REPOSITORY

LAYERS: Final = (
    "vmxd.cli",
    "vmxd.commands",
    "vmxd.fleet",
    "vmxd.export",
    "vmxd.privilege",
    "vmxd.scan",
    "vmxd.profiles.files",
    "vmxd.answers",
    "vmxd.difference",
    "vmxd.pasted",
    "vmxd.inventory",
    "vmxd.kvm",
    "vmxd.status",
    "vmxd.checks",
    "vmxd.compare",
    "vmxd.decode",
    "vmxd.host",
    "vmxd.profiles",
    "vmxd.existence",
    "vmxd.facts",
    "vmxd.cpulist",
    "vmxd.tables",
    "vmxd.errors",
)
"""Top to bottom: a module imports from its own layer and those below."""

IMPURE: Final = (
    "vmxd.cli",
    "vmxd.commands",
    "vmxd.fleet",
    "vmxd.export",
    "vmxd.privilege",
    "vmxd.scan",
    "vmxd.profiles.files",
    "vmxd.host",
)
PURE: Final = tuple(layer for layer in LAYERS if layer not in IMPURE)
IMPURE_MODULES: Final = frozenset(
    ("os", "io", "pathlib", "socket", "subprocess", "time", "datetime", "random", "asyncio", "psutil", "logging", "sys")
)
SOURCES: Final = sorted((REPOSITORY / "vmxd").rglob("*.py"))


def module_name(path: Path) -> str:
    """Return a source file's dotted name."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def layer(module: str) -> str | None:
    """Return the layer that a module belongs to; the package itself and __main__ belong to none."""
    return next((each for each in LAYERS if module == each or module.startswith(each + ".")), None)


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_down(path: Path) -> None:
    """A module imports from its own layer and those below, never from above."""
    own = layer(module_name(path))
    above = LAYERS[: LAYERS.index(own)] if own else ()

    assert [] == [name for name in imports(path) if layer(name) in above]


@pytest.mark.parametrize("path", [path for path in SOURCES if layer(module_name(path)) in PURE], ids=module_name)
def test_pure_modules_touch_nothing(path: Path) -> None:
    """A pure module imports nothing that reads files, clocks, the network or the environment, and opens no file."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]

    assert [] == [name for name in imports(path) if name.partition(".")[0] in IMPURE_MODULES]
    assert [] == [
        node for node in calls if isinstance(node.func, ast.Name) and node.func.id in ("open", "print", "input")
    ]


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_shells_out(path: Path) -> None:
    """No module starts another program."""
    names = set(imports(path))

    assert not {name for name in names if name.partition(".")[0] in ("subprocess", "pty", "shlex")}
    assert not {"os.system", "os.popen", "os.execv", "os.posix_spawn"} & names


def test_every_module_has_a_layer() -> None:
    """A new module must be given its place in the list."""
    modules = [module_name(path) for path in SOURCES]

    assert ["vmxd", "vmxd.__main__"] == [name for name in modules if layer(name) is None]
