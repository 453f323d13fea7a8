"""Pools at two times: what differs is counted, and the hosts that changed are named."""

from __future__ import annotations

from tests.helpers.fleet_sets import host
from vmxd.fleet.changes import compare as compare_fleets
from vmxd.fleet.diff import Side, compare
from vmxd.fleet.model import Fleet, FleetHost


def side(*hosts: FleetHost) -> Side:
    """Return a pool."""
    return Side("pool", "a test", 0, hosts)


def pool(*without: int) -> Side:
    """Return a pool of 11 hosts that have ept, and pml but for some; the first never has it."""
    return side(*(host(f"db-{n:02}", "ept", *["pml"] * (n not in (0, *without))) for n in range(11)))


def test_one_host_of_many() -> None:
    """One host of 11 that lost what another lacked before is a difference, and is named."""
    found = compare(pool(), pool(3))

    assert False is found.holds
    assert (("db-03",), ()) == (found.changed["pml"].lost, found.changed["pml"].gained)
    assert ["1 feature is on more or fewer hosts; changed has db-03 (11 hosts and 11 hosts)."] == list(
        found.sentences()
    )
    assert ("pml", "10 of 11", "9 of 11", "-db-03") in [row for table in found.tables() for row in table.rows]


def test_two_hosts_that_change_places() -> None:
    """Equal counts of other hosts are a difference; equal hosts are none."""
    found = compare(pool(3), pool(7))

    assert (("db-07",), ("db-03",)) == (found.changed["pml"].lost, found.changed["pml"].gained)
    assert True is compare(pool(3), pool(3)).holds


def test_other_hosts_in_equal_parts() -> None:
    """Pools of other hosts differ where the parts that have a feature do, not where one is only larger."""
    half = side(host("a", "pml"), host("b"))
    larger = side(host("c", "pml"), host("d"), host("e", "pml"), host("f"))
    less = side(host("c", "pml"), host("d"), host("e"), host("f"))

    assert {} == compare(half, larger).features
    assert ["pml"] == list(compare(half, less).features)


def test_changes_of_a_fleet() -> None:
    """Hosts that changed alike are one group; hosts that came, went or are not known are not among them."""
    then = (host("a", "ept", "pml"), host("b", "ept", "pml"), host("c", "ept"), host("d", "ept"), host("gone", "ept"))
    now = (host("a", "ept"), host("b", "ept"), host("c", "ept", "pml"), FleetHost("d", reason="down"), host("new"))
    found = compare_fleets(Fleet(then, "a test", 0), Fleet(now, "a test", 1), {"c": {"kernel": ("1", "2")}})
    groups = [(each["hosts"], each["lost"], each["gained"]) for each in found.document()["changed"]]

    assert [(["a", "b"], ["pml"], []), (["c"], [], ["pml"])] == groups
    assert ({"d": "now: down"}, ("new",), ("gone",), False) == (found.unknown, found.new, found.gone, found.holds)
