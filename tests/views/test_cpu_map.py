"""The map of the CPUs: every CPU once, in its colour, and small however many there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.support import HOSTS, LAKEFIELD
from vmxd import cpulist
from vmxd.host.scan import scan
from vmxd.model.facts import Cpu, Failed, Host
from vmxd.model.inventory import Inventory, take_inventory
from vmxd.views.cpu_map import RECTANGLES_MAX, CpuMap, draw, kinds_of

HOST: Final = scan(str(LAKEFIELD)).inventory.host
MSR: Final = 0x48B


def host_of(values: list[int | str], packages: list[int | None] | None = None) -> Host:
    """Return a host with a CPU for each value of 0x48B; an errno's name is a failed read, "offline" no CPU."""
    online = tuple(cpu for cpu, value in enumerate(values) if value != "offline")
    readings = {
        index: dict.fromkeys(online, column[0]) if index != MSR else {} for index, column in HOST.readings.items()
    }
    for cpu in online:
        value = values[cpu]
        readings[MSR][cpu] = value if isinstance(value, int) else Failed(value)
    cpus = {cpu: replace(HOST.cpus[0], package=packages[cpu] if packages else None) for cpu in online}
    return replace(HOST, online=online, present=tuple(range(len(values))), cpus=cpus, readings=readings)


def cells(drawn: CpuMap, size: int) -> dict[tuple[int, int], str]:
    """Return the kind of each cell by column and row; no cell is covered twice."""
    found: dict[tuple[int, int], str] = {}
    for each in drawn.rectangles:
        for x in range(each.x // size, (each.x + each.width) // size):
            for y in range(each.y // size, (each.y + each.height) // size):
                assert (x, y) not in found
                found[x, y] = each.kind
    return found


def test_lakefield() -> None:
    """Lakefield is four CPUs that agree and one that differs, each with its number."""
    (drawn,) = draw(scan(str(LAKEFIELD)).inventory)

    assert [("agrees", "CPUs 0-3"), ("differs", "CPU 4")] == [(each.kind, each.cpus) for each in drawn.rectangles]
    assert [0, 1, 2, 3, 4] == [number for _, _, number in drawn.numbers]


@given(st.lists(st.sampled_from((0x1FF_0000_0000, 0x3FF_0000_0000, "EIO", "offline")), min_size=1, max_size=90))
def test_every_cpu_once(values: list[int | str]) -> None:
    """Each CPU has one cell, in ascending order row by row, and the cell is of its kind."""
    inventory = take_inventory(host_of([0x1FF_0000_0000, *values]))
    kinds = kinds_of(inventory)
    (drawn,) = draw(inventory)
    columns = drawn.width // (size := 28 if len(kinds) <= 64 else 14)

    assert list(range(len(values) + 1)) == list(kinds)
    assert set(inventory.inconsistent) == {cpu for cpu, kind in kinds.items() if kind == "differs"}
    assert {divmod(at, columns)[::-1]: kind for at, kind in enumerate(kinds.values())} == cells(drawn, size)


def test_packages() -> None:
    """Each package has a map of its own; CPUs that are offline belong to none that is known."""
    inventory = take_inventory(host_of([1 << 33] * 5 + ["offline"], [0, 1, 0, 1, 0, None]))

    assert [(0, "CPUs 0,2,4"), (1, "CPUs 1,3"), (None, "CPU 5")] == [
        (each.package, each.cpus) for each in draw(inventory)
    ]


def test_too_many_packages() -> None:
    """Where every CPU claims a package of its own, there is one map."""
    assert [None] == [each.package for each in draw(take_inventory(host_of([1 << 33] * 100, list(range(100)))))]


def big(odd: int) -> Inventory:
    """Return a host of 8,192 CPUs of which every odd-th differs."""
    return take_inventory(host_of([1 << 33 if cpu % odd else 3 << 33 for cpu in range(8192)]))


def test_size_follows_variety() -> None:
    """8,192 equal CPUs are one rectangle, and some that differ a few; every other one is bounded."""
    assert 1 == len(draw(take_inventory(host_of([1 << 33] * 8192)))[0].rectangles)
    assert 8 * 3 == len(draw(big(1024))[0].rectangles)
    assert RECTANGLES_MAX >= len(draw(big(2))[0].rectangles)


def test_worst_of_several() -> None:
    """A cell that stands for several CPUs shows the worst, so that no CPU that differs is hidden."""
    inventory = big(3)
    (drawn,) = draw(inventory)

    assert drawn.each > 1
    assert {"differs"} == {each.kind for each in drawn.rectangles}


def test_none() -> None:
    """Without a CPU there is no map."""
    assert () == draw(take_inventory(replace(host_of([]), cpus={0: Cpu()})))


def test_excluded() -> None:
    """CPUs that were left alone, and those that are offline, are neither equal nor different."""
    excluded = take_inventory(replace(host_of([1 << 33] * 4), excluded=(1,)))
    offline = scan(str(HOSTS / "made-cpu-offline")).inventory

    assert "excluded" == kinds_of(excluded)[1]
    assert {"offline"} == {kinds_of(offline)[cpu] for cpu in offline.host.offline}
    assert cpulist.format_cpus(kinds_of(offline)) == cpulist.format_cpus(offline.host.present)
