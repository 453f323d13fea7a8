"""vmxd/fleet/pools.py and the command: hosts by equal features, and the best baselines that dropping hosts can give."""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.helpers.fleet_sets import SOME, fleets, host, kind_of, recorded
from tests.helpers.inside import vmxd
from tests.helpers.support import HOSTS, REPOSITORY
from vmxd.fleet.alike import Alike, common, in_order
from vmxd.fleet.baseline import find_baseline
from vmxd.fleet.model import FleetHost, Kind
from vmxd.fleet.pool_search import Pools, differences, find_pools
from vmxd.tables import FEATURES


def kept(found: Pools, numbers: Sequence[int]) -> list[FleetHost]:
    """Return the hosts of some pools."""
    return [each for number in numbers for each in found.pools[number].hosts]


def best_of_all(pools: Sequence[Alike]) -> dict[int, int]:
    """Return, by trying every set of pools, the number of hosts -> most features, where fewer hosts give more."""
    found: dict[int, int] = {}
    for count in range(1, len(pools) + 1):
        for members in itertools.combinations(pools, count):
            hosts = sum(len(pool.hosts) for pool in members)
            found[hosts] = max(found.get(hosts, 0), len(common(members)))
    return {
        hosts: features
        for hosts, features in found.items()
        if all(features > other for more, other in found.items() if more > hosts)
    }


@given(fleets())
def test_pools_are_hosts_with_equal_features(hosts: Sequence[FleetHost]) -> None:
    """Every host is in one pool or in unknown; within a pool all values are equal, between two some value is not."""
    found = find_pools(hosts)
    placed = [each.name for pool in found.pools for each in pool.hosts]
    values = [{tuple(each.has(name) for name in FEATURES) for each in pool.hosts} for pool in found.pools]

    assert sorted(each.name for each in hosts) == sorted([*placed, *found.known.unknown])
    assert all(len(each) == 1 for each in values)
    assert len(found.pools) == len({value for each in values for value in each})
    assert sorted(placed) == sorted(each.name for each in hosts if each.kind and not each.failed)


@given(fleets(strange=False))
def test_choices_are_the_best_of_all(hosts: Sequence[FleetHost]) -> None:
    """They are what trying every set of pools finds."""
    found = find_pools(hosts)

    assert found.exact
    assert best_of_all(found.pools) == {choice.hosts: choice.features for choice in found.choices}


@given(fleets(strange=False), st.integers(0, 8))
def test_choices_can_be_had(hosts: Sequence[FleetHost], limit: int) -> None:
    """Also where the search is cut: each has what it says, fewer hosts give more features, and the first has all."""
    found = find_pools(hosts, limit=limit)

    for choice in found.choices:
        members = kept(found, choice.keep)
        assert (choice.hosts, choice.features) == (len(members), len(find_baseline(members).features))
    for more, fewer in itertools.pairwise(found.choices):
        assert more.hosts > fewer.hosts
        assert more.features < fewer.features
    assert len(hosts) == found.choices[0].hosts


@given(fleets(strange=False))
def test_steps_gain_what_they_say(hosts: Sequence[FleetHost]) -> None:
    """Each drops the hosts that lack its features, and the baseline of the others is larger by its gain."""
    found = find_pools(hosts)
    before = len(find_baseline(hosts).features)

    for step in found.steps:
        dropped = kept(found, step.without)
        rest = [each for each in hosts if each not in dropped]
        assert [each for each in hosts if each.has(step.features[0]) is False] == sorted(dropped, key=hosts.index)
        assert (step.hosts, step.gain) == (len(dropped), len(find_baseline(rest).features) - before)
    assert {name for step in found.steps for name in step.features} == find_baseline(hosts).lacking.keys()
    worth = [step.gain / step.hosts for step in found.steps]
    assert sorted(worth, reverse=True) == worth


@given(fleets(strange=False), st.data())
def test_not_known_is_not_lacking(hosts: Sequence[FleetHost], data: st.DataObject) -> None:
    """Where what a host lacks were not known, no feature would be lost, and nothing would lack it."""
    name = data.draw(st.sampled_from(SOME))
    blind = [FleetHost(each.name, kind=_without(each.kind, name)) for each in hosts]

    assert all(name not in step.features for step in find_pools(blind).steps)
    assert set(find_baseline(hosts).features) - {name} <= set(find_baseline(blind).features)


def _without(kind: Kind | None, name: str) -> Kind:
    assert kind is not None
    return Kind(kind.fingerprint, {each: value for each, value in kind.features.items() if each != name or value})


def test_kinds_with_equal_features_are_one_pool() -> None:
    """What else differs is said: number of values of facts, of fields, and of bits that no row explains."""
    old = Kind("a", {"ept": True}, {0x480: 4 << 0 | 1024 << 32, 0x485: 5})
    new = Kind("b", {"ept": True}, {0x480: 5 << 0 | 1024 << 32, 0x485: 5}, unknown={0x480: 1 << 57})
    hosts = [
        FleetHost("1", kind=old, microcode="0x1", kernel="6.1"),
        FleetHost("2", kind=new, microcode="0x2"),
    ]

    (pool,) = find_pools(hosts).pools

    assert {"microcode": 2, "vmcs_revision_id": 2, "unknown_bits": 2} == differences(pool)


def test_a_host_whose_cpu_has_it_elsewhere_is_fixable() -> None:
    """Hosts that lack what others of their CPU model have can be fixed, by what tells them from these."""
    gold, core = (
        {"vendor": "GenuineIntel", "signature": "06-55-04", "model_name": f"Intel(R) {name}"}
        for name in ("Xeon(R) Gold 6130 CPU @ 2.10GHz", "Core(TM) i7-7800X CPU @ 3.50GHz")
    )
    hosts = [
        host("good", "ept", "pml", **gold, microcode="0x2007006"),
        host("masked", "ept", **gold, microcode="0x2007006"),
        host("old", "ept", **gold, microcode="0x2000050"),
        host("new", "ept", **gold, microcode="0x2007008"),
        host("other product", "ept", **core, microcode="0x2007006"),
        host("guest", "ept", **core, hypervisor=True),
        host("nameless", "ept", signature="06-55-04"),
        replace(host("blind", **gold), kind=Kind(None, {"ept": True})),
    ]

    (step,) = find_pools(hosts).steps
    fixable = {"configuration": 1, "microcode": 1, "configuration or microcode": 1, "hypervisor": 1}

    assert (("pml",), 6, 1, fixable) == (step.features, step.hosts, step.gain, step.fixable)


def test_what_the_kernel_takes_is_fixable_by_the_kernel() -> None:
    """What a parameter leaves off is fixable for guests; no more hosts are than lack it."""
    (group,) = json.loads(vmxd("fleet", "pools", "--json", "--recordings", HOSTS).stdout)["groups"]
    steps = {name: step for step in group["steps"] for name in step["features"]}

    assert "parameter" in steps["ept"]["fixable_by"]
    assert all(step["fixable"] == sum(step["fixable_by"].values()) <= step["hosts"] for step in steps.values())


def test_the_search_is_cut() -> None:
    """200 kinds that share nothing: choices are not called exact, and dropping step by step still finds some."""
    drawn = random.Random(1)
    kinds = [kind_of(*(name for name in FEATURES if drawn.random() < 0.9)) for _ in range(200)]
    hosts = [FleetHost(f"h{number:05}", kind=kinds[number % 200]) for number in range(1000)]

    found = find_pools(hosts, limit=1000)

    assert (False, 200) == (found.exact, len(found.pools))
    assert len(found.choices) > 5
    assert found.choices[-1].features == max(len(pool.has) for pool in found.pools)


def test_nobody_is_no_pool() -> None:
    """No host, and hosts of which nothing is known, are no pool and no choice."""
    for hosts in ((), (FleetHost("dark", reason="down"),)):
        found = find_pools(hosts)

        assert ((), (), (), True) == (found.pools, found.choices, found.steps, found.exact)


def test_real_hosts() -> None:
    """The recorded hosts: without the five oldest the baseline is more than doubled, and all choices were looked at."""
    found = find_pools(recorded())
    best = {choice.hosts: choice.features for choice in found.choices}

    assert (True, 33) == (found.exact, found.choices[0].hosts)
    assert best[28] > 2.5 * best[33]
    assert in_order(found.baseline) == find_baseline(recorded()).features


# The command ------------------------------------------------------------------------------------------------------


def ask(*arguments: str) -> dict[str, Any]:
    """Return what the command prints as JSON of the recorded hosts."""
    document: dict[str, Any] = json.loads(vmxd("fleet", "pools", "--recordings", HOSTS, "--json", *arguments).stdout)
    return document


def schema() -> Draft202012Validator:
    """Return the validator of the document."""
    return Draft202012Validator(json.loads((REPOSITORY / "docs/schema/fleet-pools-1.json").read_text()))


@pytest.mark.parametrize("arguments", [(), ("--by", "signature"), ("--usable", "--view", "hardware")])
def test_json_obeys_its_schema(arguments: tuple[str, ...]) -> None:
    """Every host is in one pool, unknown, or left out; numbers of pools are those of the document."""
    document = ask(*arguments)
    groups = document["groups"]
    named = [name for group in groups for pool in group["pools"] for name in pool["hosts"]]
    named += [*document["left_out"], *(name for group in groups for name in group["unknown"])]

    assert [] == [f"{error.json_path}: {error.message}" for error in schema().iter_errors(document)]
    assert sorted(path.name for path in HOSTS.iterdir() if path.is_dir()) == sorted(named)
    for group in groups:
        numbers = {pool["pool"]: len(pool["hosts"]) for pool in group["pools"]}
        for step in group["steps"]:
            assert step["hosts"] == sum(numbers[number] for number in step["without"])
        for choice in group["choices"]:
            assert choice["hosts"] == sum(numbers[number] for number in choice["keep"])


def test_the_schema_refuses_others() -> None:
    """A property less, and an empty pool, are errors."""
    document = ask()
    del document["groups"][0]["exact"]
    document["groups"][0]["pools"][0]["hosts"] = []

    assert {"$.groups[0]", "$.groups[0].pools[0].hosts"} == {
        error.json_path for error in schema().iter_errors(document)
    }


def test_csv_has_a_row_for_a_host() -> None:
    """With its group, its pool, and what it lacks of what others have."""
    done = vmxd("fleet", "pools", "--recordings", HOSTS, "--csv", "--by", "vendor")
    rows = {row["host"]: row for row in csv.DictReader(io.StringIO(done.stdout))}

    assert "AuthenticAMD" == rows["made-amd"]["vendor"]
    assert rows["cascadelake-sp"]["pool"] == rows["skylake-sp-8160-2s"]["pool"]
    assert "ept" in rows["conroe"]["lacks"].split()
    assert "made-all-unreadable" not in rows


@pytest.mark.parametrize(
    "arguments", [(), ("--usable", "--view", "hardware"), ("--by", "vendor"), ("--by", "signature")]
)
def test_text_fits_80_columns(arguments: tuple[str, ...]) -> None:
    """Every line of what people see; long tables are cut, and say so."""
    done = vmxd("fleet", "pools", "--recordings", HOSTS, *arguments)

    assert 0 == done.returncode
    assert [] == [line for line in done.stdout.splitlines() if len(line) > 80 and "Guests: " not in line]
    assert ("--by" in arguments) == (re.search(r"\n +\+\d+\n", done.stdout) is None)
