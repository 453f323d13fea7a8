"""vmxd/fleet/baseline.py and the command: what every host has, whatever is not known of some."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from tests.helpers.fleet_sets import SOME, fleets, host, kind_of, kinds, recorded, values_of
from tests.helpers.inside import vmxd
from tests.helpers.support import HOSTS, REPOSITORY
from vmxd.errors import UsageError
from vmxd.fleet.baseline import find_baseline
from vmxd.fleet.groups import group, group_by
from vmxd.fleet.model import Fleet, FleetHost, Kind
from vmxd.tables import FEATURES

SERVERS = ("cascadelake-sp", "haswell-ep-2s", "made-tie")


def fleet_of(directory: Path, *names: str) -> Path:
    """Return a directory with copies of recordings."""
    for name in names:
        shutil.copytree(HOSTS / name, directory / name)
    return directory


def ask(directory: Path, *arguments: str) -> dict[str, Any]:
    """Return what the command prints as JSON."""
    done = vmxd("fleet", "baseline", "--recordings", directory, "--json", *arguments)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@given(fleets())
def test_it_is_the_intersection(hosts: Sequence[FleetHost]) -> None:
    """A feature is in it where no host lacks it and some host has it for certain; others that some have are lacking."""
    found = find_baseline(hosts)
    values = {name: values_of(hosts, name) for name in FEATURES}

    assert [name for name, counts in values.items() if counts[True] and not counts[False]] == list(found.features)
    assert {name: counts[False] for name, counts in values.items() if counts[True] and counts[False]} == found.lacking


@given(fleets(strange=False), kinds())
def test_what_is_not_known_changes_nothing(hosts: Sequence[FleetHost], kind: Kind) -> None:
    """A host of which nothing is known takes nothing away; one with a failed CPU only what it is known to lack."""
    without = find_baseline(hosts)
    nothing = find_baseline((*hosts, FleetHost("dark", reason="down")))
    failed = find_baseline((*hosts, FleetHost("torn", failed=1, kind=kind)))
    lost = {name for name in without.features if kind.features.get(name) is False}

    assert (without.features, {"dark": "down"}) == (nothing.features, nothing.unknown)
    assert set(without.features) - lost == set(failed.features)
    assert ["torn"] == list(failed.unknown)


@given(fleets(strange=False))
def test_doubt_is_counted(hosts: Sequence[FleetHost]) -> None:
    """A feature of it that is not known on some hosts is doubtful, with their number; the others are certain."""
    found = find_baseline(hosts)
    doubts = {name: values_of(hosts, name)[None] for name in found.features}

    assert {name: count for name, count in doubts.items() if count} == found.doubtful
    assert [name for name, count in doubts.items() if not count] == list(found.certain)


def test_lacking_is_ordered() -> None:
    """What fewest hosts lack comes first."""
    a, b, c = SOME[:3]

    assert {c: 1, b: 2} == (found := find_baseline([host("1", a, b, c), host("2", a, c), host("3", a)])).lacking
    assert [c, b] == list(found.lacking)


def test_hosts_are_grouped_by_a_label() -> None:
    """By a label where some host has it, else by a fact; hosts without it are a group of their own, the last."""
    hosts = [
        host("1", labels={"cluster": "b"}, signature="06-55-04"),
        host("2", labels={"cluster": "a"}, signature="06-55-07"),
        host("3", signature="06-55-04"),
    ]

    assert {"a": 1, "b": 1, None: 1} == {value: len(each) for value, each in group_by(hosts, "cluster").items()}
    assert ["a", "b", None] == list(group_by(hosts, "cluster"))
    assert {"06-55-04": 2, "06-55-07": 1} == {value: len(each) for value, each in group_by(hosts, "signature").items()}
    with pytest.raises(UsageError, match="no host has the label 'rack'") as error:
        group_by(hosts, "rack")
    assert "there are cluster, vendor" in error.value.hint


def test_usable_leaves_out_what_is_known_not_to_be() -> None:
    """An unknown status is no reason to leave a host out."""
    statuses = ("usable", "no_vmx", "unknown", "smx_only", None)
    hosts = tuple(FleetHost(str(status), status=status, kind=kind_of("ept")) for status in statuses)
    asked = group(Fleet(hosts, "a test", 0), usable=True)

    assert ["usable", "unknown", "None"] == [each.name for each in asked.groups[None]]
    assert ["no_vmx", "smx_only"] == [each.name for each in asked.left_out]


def test_what_no_host_tells_is_said() -> None:
    """A feature that no host is known to have or to lack is neither in the baseline nor lacking, but open."""
    a, b, c = SOME[:3]
    rest = dict.fromkeys(SOME[3:], False)
    torn = Kind(None, rest | {b: False, c: True})
    found = find_baseline([FleetHost("1", kind=Kind(None, rest | {a: True})), FleetHost("2", failed=1, kind=torn)])

    assert ((a,), {}, True) == (found.features, found.lacking, c in found.open)
    assert not {a, b, *rest} & set(found.open)
    assert () == find_baseline([FleetHost("dark")]).open


def test_real_servers() -> None:
    """Haswell to Cascade Lake: all can EPTP switching, as far as it was recorded; Haswell has no PML."""
    found = find_baseline(recorded(*SERVERS))

    assert 3 == found.hosts
    assert {"ept", "vpid", "unrestricted_guest", "posted_intr"} <= set(found.certain)
    assert {"eptp_switching": 2} == found.doubtful
    assert {"pml": 1, "rdseed_exiting": 1, "tsc_scaling": 2}.items() <= found.lacking.items()


# The command ------------------------------------------------------------------------------------------------------


def schema() -> Draft202012Validator:
    """Return the validator of the document."""
    return Draft202012Validator(json.loads((REPOSITORY / "docs/schema/fleet-baseline-1.json").read_text()))


@pytest.mark.parametrize("arguments", [(), ("--by", "vendor"), ("--usable", "--view", "hardware")])
def test_json_obeys_its_schema(arguments: tuple[str, ...]) -> None:
    """Whatever hosts there are, and what is not known of them."""
    document = ask(HOSTS, *arguments)

    assert [] == [f"{error.json_path}: {error.message}" for error in schema().iter_errors(document)]
    assert len([path for path in HOSTS.iterdir() if path.is_dir()]) == len(document["left_out"]) + sum(
        group["hosts"] + len(group["unknown"]) for group in document["groups"]
    )


def test_the_schema_refuses_others() -> None:
    """A property more, and a feature that is none, are errors."""
    document = ask(HOSTS)
    document["groups"][0] |= {"color": "blue", "features": ["EPT!"]}

    assert {"$.groups[0]", "$.groups[0].features[0]"} == {error.json_path for error in schema().iter_errors(document)}


def test_csv_has_a_row_for_a_feature(tmp_path: Path) -> None:
    """Those that some host has, with who lacks them and what others call them."""
    directory = fleet_of(tmp_path, *SERVERS)
    done = vmxd("fleet", "baseline", "--recordings", directory, "--csv", "--view", "hardware")
    rows = {row["feature"]: row for row in csv.DictReader(io.StringIO(done.stdout))}

    assert ("all", "0", "vmx-ept") == (rows["ept"]["had_by"], rows["ept"]["lacking_hosts"], rows["ept"]["qemu"])
    assert ("some", "1") == (rows["pml"]["had_by"], rows["pml"]["lacking_hosts"])
    assert ("doubtful", "2") == (rows["eptp_switching"]["had_by"], rows["eptp_switching"]["unknown_hosts"])
    assert "entry_load_fred" not in rows


def test_no_vmx_is_no_baseline(tmp_path: Path) -> None:
    """A host without VMX leaves nothing: exit code 1, and beside it the answer for the others, as --usable gives it."""
    directory = fleet_of(tmp_path, "made-amd", "haswell-ep-2s", "cascadelake-sp")
    done = vmxd("fleet", "baseline", "--recordings", directory, "--view", "hardware")
    usable = vmxd("fleet", "baseline", "--recordings", directory, "--view", "hardware", "--usable")
    (group,), (expected,) = (ask(directory, *arguments)["groups"] for arguments in ((), ("--usable",)))
    said = (
        "All of 3 hosts have 0 features in common, since made-amd has no VMX.\n"
        "What follows is about the hosts on which VMX may be usable.\n\n"
    )

    assert (1, said + usable.stdout) == (done.returncode, done.stdout)
    assert ([], ["made-amd"]) == (group["features"], group["without_vmx"])
    assert expected == group["usable"]
    assert (0, "vmxd: note: 1 host left out, where VMX is not usable\n") == (usable.returncode, usable.stderr)


def test_text_fits_80_columns() -> None:
    """Every line of what people see."""
    done = vmxd("fleet", "baseline", "--recordings", HOSTS, "--usable")

    assert [] == [line for line in done.stdout.splitlines() if len(line) > 80 and "Guests: " not in line]
    assert "made-eio " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "qemu"), "--format qemu needs --model, the CPU model of the guests"),
        (("--format", "qemu", "--model", "EPYC"), "no CPU model with VMX is called 'EPYC'"),
        (("--model", "Haswell"), "--model goes with --format"),
        (("--format", "qemu", "--model", "Haswell", "--csv"), "--format is a form of its own"),
        (("--format", "qemu", "--model", "Haswell", "--view", "hardware"), "--format is about guests"),
        (("--format", "qemu", "--model", "Haswell", "--by", "vendor"), "--format prints one CPU, --by asks for one"),
        (("--by", "rack"), "no host has the label 'rack'"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """One sentence and a hint, exit code 2."""
    done = vmxd("fleet", "baseline", "--recordings", fleet_of(tmp_path, "haswell-ep-2s"), *arguments)

    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith(f"vmxd: {message}")
    assert "\nhint: " in done.stderr


def test_nothing_known_is_no_answer(tmp_path: Path) -> None:
    """Where no host could be read, or none of a group, the command cannot tell; the other groups it prints."""
    dark = fleet_of(tmp_path / "dark", "made-all-unreadable", "made-eio")
    done = vmxd("fleet", "baseline", "--recordings", dark)
    grouped = fleet_of(tmp_path / "grouped", "made-eio", "haswell-ep-2s")
    by_signature = vmxd("fleet", "baseline", "--recordings", grouped, "--by", "signature")

    assert (2, True) == (done.returncode, "the features of no host are known" in done.stderr)
    assert 2 == by_signature.returncode
    assert ["0", "0", "0", "1"] in [line.split()[1:] for line in by_signature.stdout.splitlines()]
