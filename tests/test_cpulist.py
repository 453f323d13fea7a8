"""CPU lists as the kernel reads and prints them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.strategies import cpu_sets
from vmxd.cpulist import describe, format_cpus, parse

LISTS = [
    ("", ()),
    ("\n", ()),
    ("0", (0,)),
    ("0-3\n", (0, 1, 2, 3)),
    ("0-3,8,10-11", (0, 1, 2, 3, 8, 10, 11)),
    ("8,0-1", (0, 1, 8)),
    ("0-2,1-3,2", (0, 1, 2, 3)),
    (" 1 , 3 ", (1, 3)),
    ("5-5", (5,)),
    ("007", (7,)),
    ("0-9:2/4", (0, 1, 4, 5, 8, 9)),
    ("1-9:1/3", (1, 4, 7)),
    ("0-3:4/4", (0, 1, 2, 3)),
    ("65535", (65535,)),
]

ERRORS = [
    ("x", "'x' is no CPU list"),
    ("0,,1", "'' is no CPU list"),
    ("0,", "'' is no CPU list"),
    ("0-", "'0-' is no CPU list"),
    ("-1", "'-1' is no CPU list"),
    ("0 1", "'0 1' is no CPU list"),
    ("0-3:2", "'0-3:2' is no CPU list"),
    ("3:1/2", "'3:1/2' is no CPU list"),
    ("٣", "'٣' is no CPU list"),
    ("0x1", "'0x1' is no CPU list"),
    ("all", "'all' is no CPU list"),
    ("3-1", "'3-1' is an empty range"),
    ("0-3:0/2", "'0-3:0/2' is an empty range"),
    ("0-3:3/2", "'0-3:3/2' is an empty range"),
    ("0-3:0/0", "'0-3:0/0' is an empty range"),
    ("65536", "CPU 65536 is above 65535"),
    ("0-4000000000", "CPU 4000000000 is above 65535"),
    ("9" * 5000, f"'{'9' * 40}' is no CPU list"),
]

FORMATS = [
    ((), ""),
    ((7,), "7"),
    ((0, 1), "0-1"),
    ((0, 1, 2, 3, 8, 10, 11), "0-3,8,10-11"),
    ((3, 1, 2), "1-3"),
]


@pytest.mark.parametrize(("text", "cpus"), LISTS)
def test_parse(text: str, cpus: tuple[int, ...]) -> None:
    """A list reads as its CPUs, ascending, each once."""
    assert cpus == parse(text)


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_parse_error(text: str, message: str) -> None:
    """What is no CPU list is refused in a short sentence that says why."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse(text)


@pytest.mark.parametrize(("cpus", "text"), FORMATS)
def test_format(cpus: Iterable[int], text: str) -> None:
    """CPUs print as the kernel prints them, in whichever order they come."""
    assert text == format_cpus(cpus)


def test_describe() -> None:
    """In a sentence CPUs have their noun, one or many."""
    assert "CPU 4" == describe((4,))
    assert "CPUs 0-1" == describe((0, 1))


@given(cpu_sets)
def test_round_trip(cpus: frozenset[int]) -> None:
    """What is printed reads back as the same CPUs."""
    assert tuple(sorted(cpus)) == parse(format_cpus(cpus))


@given(cpu_sets)
def test_format_is_shortest(cpus: frozenset[int]) -> None:
    """A list has one part for each run of neighbours, and no more."""
    runs = sum(cpu - 1 not in cpus for cpu in cpus)

    assert runs == len([part for part in format_cpus(cpus).split(",") if part])


@given(st.text(alphabet="0123456789-,:/ x", max_size=12))
def test_any_text(text: str) -> None:
    """Any text is either refused with ValueError or read as CPUs that a list can say again."""
    try:
        cpus = parse(text)
    except ValueError:
        return

    assert cpus == parse(format_cpus(cpus))


def test_a_list_that_repeats_without_end() -> None:
    """A list that names all CPUs ten thousand times is refused before it has cost much."""
    with pytest.raises(ValueError, match="again and again"):
        parse(",".join(["0-65535"] * 10_000))
