"""Which targets are one host, and what hosts are called."""

from __future__ import annotations

from vmxd.fleet.model import FleetHost
from vmxd.fleet.targets import name_hosts


def named(*targets: dict[str, str]) -> list[str]:
    """Return the names of hosts that are alike, from their targets' labels."""
    hosts = [FleetHost("", {"instance": "a:1", **labels}, status="usable") for labels in targets]
    return [host.name for host in name_hosts(hosts)]


def test_seen_more_than_once() -> None:
    """By replicas, by jobs, or by a job of one replica and another of none: alike, it is one host."""
    assert ["a:1"] == named({"replica": "0"}, {"replica": "1"})
    assert ["a:1"] == named({"job": "vmxd"}, {"job": "node"})
    assert ["a:1"] == named({"job": "vmxd"}, {"job": "node", "replica": "0"}, {"job": "node", "replica": "1"})


def test_told_apart() -> None:
    """By any other label; and two jobs that say different things of it are not believed to see one host."""
    first, second = ({"job": "vmxd", "cluster": cluster} for cluster in "xy")
    hosts = [FleetHost("", {"instance": "a:1", "job": job}, status="usable", microcode=job) for job in "xy"]

    assert ['a:1{cluster="x"}', 'a:1{cluster="y"}'] == named(first, second)
    assert ['a:1{job="x"}', 'a:1{job="y"}'] == [host.name for host in name_hosts(hosts)]


def test_one_that_is_down_does_not_hide_the_other() -> None:
    """Where one job sees a host and another does not, what is known counts."""
    hosts = [
        FleetHost("", {"instance": "a:1", "job": job}, status=status) for job, status in (("x", None), ("y", "usable"))
    ]

    assert [("a:1", "usable")] == [(host.name, host.status) for host in name_hosts(hosts)]
