"""The shape of the house: imports point down its list, pure modules touch nothing outside, every file has a place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from tests.helpers.support import REPOSITORY

LAYERS: Final = (
    "vmxd.cli",
    "vmxd.commands",
    "vmxd.server",
    "vmxd.fleet",
    "vmxd.views",
    "vmxd.pasted",
    "vmxd.host",
    "vmxd.model",
    "vmxd.tables",
    "vmxd.settings",
    "vmxd.cpulist",
    "vmxd.errors",
)
"""Top to bottom, as in CONTRIBUTING: a module imports from its own layer and those below."""
PURE: Final = ("vmxd.views", "vmxd.pasted", "vmxd.model", "vmxd.tables", "vmxd.settings", "vmxd.cpulist", "vmxd.errors")
OUTSIDE: Final = frozenset(
    ("os", "pathlib", "socket", "subprocess", "datetime", "random", "asyncio", "psutil", "logging", "sys")
)
"""What reaches files, the network, the environment or other processes."""
PEERS: Final = frozenset((("vmxd.server", "vmxd.fleet"),))
"""Layers of which neither imports the other, whatever their order."""
MODULES: Final = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
    for path in sorted((REPOSITORY / "vmxd").rglob("*.py"))
}


def layer(module: str) -> str:
    """Return the layer that a module belongs to, "" for none: the package itself and __main__."""
    return next((each for each in LAYERS if module == each or module.startswith(each + ".")), "")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module that a file imports, at its top or in a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_a_layer() -> None:
    """A new module must be given its place in the list."""
    assert ["vmxd", "vmxd.__main__"] == [name for name in MODULES if not layer(name)]


def test_imports_point_down() -> None:
    """A module imports from its own layer and those below; the server and the fleet do not know each other."""
    up = [
        (name, other)
        for name, tree in MODULES.items()
        if (own := layer(name))
        for other in imports(tree)
        if (its := layer(other)) and (LAYERS.index(its) < LAYERS.index(own) or (own, its) in PEERS)
    ]

    assert [] == up


def test_pure_modules_touch_nothing() -> None:
    """A pure module imports nothing that reads files, the network or the environment, and opens no file."""
    pure = {name: tree for name, tree in MODULES.items() if layer(name) in PURE}
    calls = [(name, node.func) for name, tree in pure.items() for node in ast.walk(tree) if isinstance(node, ast.Call)]

    assert [] == [
        (name, other) for name, tree in pure.items() for other in imports(tree) if other.partition(".")[0] in OUTSIDE
    ]
    assert [] == [
        (name, func.id) for name, func in calls if isinstance(func, ast.Name) and func.id in ("open", "print", "input")
    ]


def test_nothing_shells_out() -> None:
    """No module starts another program through a shell."""
    named = {(name, other) for name, tree in MODULES.items() for other in imports(tree)}

    assert not {(name, other) for name, other in named if other.partition(".")[0] in ("pty", "shlex")}
    assert not {(name, other) for name, other in named if other in ("os.system", "os.popen", "os.execv")}
