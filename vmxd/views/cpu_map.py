"""CPUs as a small map: one cell a CPU, neighbours of one kind one rectangle, so that its size follows variety. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from vmxd import cpulist
from vmxd.model.facts import Host
from vmxd.model.inventory import Inventory

AGREES, DIFFERS, FAILED, SILENT, EXCLUDED, OFFLINE = "agrees", "differs", "failed", "silent", "excluded", "offline"
KINDS: Final = {
    AGREES: "the most common values",
    EXCLUDED: "no reading: left alone",
    OFFLINE: "no reading: offline",
    SILENT: "nothing recorded",
    DIFFERS: "other values",
    FAILED: "a read that failed",
}
"""What a CPU can be, and in words; a cell that stands for several CPUs is the last of theirs."""

RECTANGLES_MAX: Final = 2048
"""Of all maps together; if there would be more, a cell is several CPUs."""
PACKAGES_MAX: Final = 32
_RANK: Final = {kind: rank for rank, kind in enumerate(KINDS)}
_SIZES: Final = ((24, 12, 28), (64, 16, 28), (512, 32, 14), (1 << 30, 128, 7))
"""Up to how many CPUs: how many cells in a row, and their size in CSS pixels."""
_NUMBERED: Final = 28
"""The size of a cell that has room for its CPU's number."""
_LISTED: Final = 40
"""Characters of a list of CPUs that a map's title has room for."""


class Rectangle(NamedTuple):
    """Neighbouring CPUs of one kind; position and size in CSS pixels."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    cpus: str


class CpuMap(NamedTuple):
    """The CPUs of one package, or of all, in ascending order, row by row.

    each: how many CPUs a cell stands for. lines: the grid, as an SVG path. numbers: x, y and CPU number
    of cells that have room for it.
    """

    package: int | None
    cpus: str
    each: int
    width: int
    height: int
    rectangles: tuple[Rectangle, ...]
    lines: str
    numbers: tuple[tuple[int, int, int], ...]


def kinds_of(inventory: Inventory) -> dict[int, str]:
    """Map each CPU, ascending, to its kind."""
    host = inventory.host
    kinds = dict.fromkeys(host.offline, OFFLINE) | dict.fromkeys(host.excluded, EXCLUDED)
    for group in inventory.groups:
        kind = FAILED if group.decoded.failed else AGREES if group.decoded.readable else SILENT
        for cpu in group.cpus:
            kinds[cpu] = DIFFERS if kind is AGREES and cpu in inventory.inconsistent else kind
    return dict(sorted(kinds.items()))


def draw(inventory: Inventory) -> tuple[CpuMap, ...]:
    """Draw a map for each package, or one of all CPUs if the packages are not known or too many."""
    kinds = kinds_of(inventory)
    packages = _packages(inventory.host, kinds)
    most = RECTANGLES_MAX // max(1, len(packages))
    return tuple(_draw(package, cpus, kinds, most) for package, cpus in packages.items())


def _packages(host: Host, kinds: Mapping[int, str]) -> dict[int | None, list[int]]:
    packages: dict[int | None, list[int]] = {}
    for cpu in kinds:
        packages.setdefault(host.cpus[cpu].package if cpu in host.cpus else None, []).append(cpu)
    if len(packages) > PACKAGES_MAX:
        return {None: list(kinds)}
    return dict(sorted(packages.items(), key=lambda item: (item[0] is None, item[0] or 0)))


def _draw(package: int | None, cpus: Sequence[int], kinds: Mapping[int, str], most: int) -> CpuMap:
    columns, size = next((columns, size) for count, columns, size in _SIZES if len(cpus) <= count)
    columns = min(columns, len(cpus))
    each = 1
    while True:
        cells = [cpus[at : at + each] for at in range(0, len(cpus), each)]
        cell_kinds = [max((kinds[cpu] for cpu in cell), key=_RANK.__getitem__) for cell in cells]
        spans = _spans(cell_kinds, columns)
        if len(spans) <= most:
            break
        each *= 2
    rows = -(-len(cells) // columns)
    rectangles = []
    for first, last in spans:
        (top, left), (bottom, right) = divmod(first, columns), divmod(last, columns)
        covered = [cpu for cell in cells[first : last + 1] for cpu in cell]
        box = (left * size, top * size, (right - left + 1) * size, (bottom - top + 1) * size)
        rectangles.append(Rectangle(*box, cell_kinds[first], cpulist.describe(covered)))
    width, height = columns * size, rows * size
    lines = "".join(f"M{x} 0V{height}" for x in range(size, width, size))
    lines += "".join(f"M0 {y}H{width}" for y in range(size, height, size))
    numbers = [
        (at % columns * size + size // 2, at // columns * size + size // 2, cell[0])
        for at, cell in enumerate(cells)
        if size == _NUMBERED and each == 1 and cell[0] < 1000
    ]
    text = cpulist.format_cpus(cpus)
    short = cpulist.describe(cpus) if len(text) <= _LISTED else f"{len(cpus):,} CPUs"
    return CpuMap(package, short, each, width, height, tuple(rectangles), lines, tuple(numbers))


def _spans(kinds: Sequence[str], columns: int) -> list[tuple[int, int]]:
    """Find the first and last cell of each rectangle: a part of one row, or several whole ones."""
    spans: list[tuple[int, int]] = []
    start = 0
    while start < len(kinds):
        end = start
        while end < len(kinds) and kinds[end] == kinds[start]:
            end += 1
        row_end = start - start % columns + columns
        if start % columns == 0 and end >= row_end:
            end -= end % columns  # whole rows
        else:
            end = min(end, row_end)
        spans.append((start, end - 1))
        start = end
    return spans
