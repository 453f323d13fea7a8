"""vmxd fleet report as JSON and CSV, the groups that it is made of, and the command that writes it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from tests.helpers.fleets import recorded, simulated
from tests.helpers.inside import vmxd
from tests.helpers.support import HOSTS, REPOSITORY
from vmxd.fleet.answer import to_csv
from vmxd.fleet.model import Fleet, FleetHost
from vmxd.fleet.report import DIFFERS, HAS, LACKS, UNKNOWN, Group, Report, groups_of
from vmxd.fleet.summary import Summary
from vmxd.tables import FEATURES

SCHEMA: Final = json.loads((REPOSITORY / "docs/schema/fleet-report-1.json").read_text())


def group_of(fleet: Fleet, name: str) -> Group:
    """Return the group that a host is in."""
    (group,) = (group for group in groups_of(fleet) if name in [host.name for host in group.hosts])
    return group


def mark(fleet: Fleet, name: str, feature: str) -> str:
    """Return how a host stands to a feature."""
    return group_of(fleet, name).marks[list(FEATURES).index(feature)]


def csv_rows(fleet: Fleet) -> list[dict[str, str]]:
    """Return the report's CSV as a spreadsheet reads it."""
    return list(csv.DictReader(io.StringIO(to_csv(Report(fleet).csv()), newline="")))


@pytest.mark.parametrize("fleet", [recorded(), simulated(5000)], ids=["recorded", "simulated"])
def test_every_host_is_in_one_group(fleet: Fleet) -> None:
    """Groups have every host once, and what a group's marks say of a feature is true of each of its hosts."""
    groups = groups_of(fleet)
    value = {HAS: True, LACKS: False, DIFFERS: False, UNKNOWN: None}

    assert sorted(host.name for host in fleet.hosts) == sorted(host.name for group in groups for host in group.hosts)
    for group in groups:
        marks = dict(zip(FEATURES, group.marks, strict=True))
        assert {(name, value[mark]) for name, mark in marks.items()} == {
            (name, host.has(name)) for host in group.hosts for name in FEATURES
        }
        assert {group.kind} == {host.kind for host in group.hosts}


def test_order_of_groups() -> None:
    """Groups with the most hosts stand first; those without VMX, then those of which nothing is known, last."""
    groups = groups_of(simulated(5000))
    plain = [len(group.hosts) for group in groups if group.kind and not group.lacks_all]

    assert sorted(plain, reverse=True) == plain
    assert [False] * len(plain) + [True] == [group.lacks_all for group in groups if group.kind]
    assert [None] == [group.kind for group in groups[len(plain) + 1 :]]


def test_unreadable_is_unknown() -> None:
    """A host that cannot be read lacks nothing; one with a CPU that cannot be read has nothing for certain."""
    assert {UNKNOWN} == set(group_of(recorded(), "made-all-unreadable").marks)
    assert {UNKNOWN, LACKS} == set(group_of(recorded(), "made-eio-one-cpu").marks)


def test_cpus_that_differ() -> None:
    """Where CPUs of a host disagree, that is told apart from lacking; and the document says both."""
    document = Report(recorded()).document()
    (group,) = (each for each in document["groups"] if each["hosts"][0]["name"] == "lakefield-i5-l16g7")

    assert DIFFERS == mark(recorded(), "lakefield-i5-l16g7", "bus_lock_detection")
    assert LACKS == mark(recorded(), "lakefield-i5-l16g7", "pml")
    assert ["bus_lock_detection"] == group["differing"]
    assert group["features"]["bus_lock_detection"] is False


def test_json_obeys_its_schema() -> None:
    """The document obeys docs/schema/fleet-report-1.json, has every host with its labels, and every feature."""
    fleet = simulated(500)
    document: dict[str, Any] = json.loads(json.dumps(Report(fleet).document()))
    hosts = [host for group in document["groups"] for host in group["hosts"]]

    Draft202012Validator.check_schema(SCHEMA)
    assert [] == [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)]
    assert {host.name: dict(host.labels) for host in fleet.hosts} == {host["name"]: host["labels"] for host in hosts}
    assert {tuple(FEATURES)} == {tuple(group["features"]) for group in document["groups"]}


def test_csv_says_what_json_says() -> None:
    """The CSV has a row for each host, in order of names, and its cells are what the document says of that host."""
    fleet = simulated(500)
    rows = {row["host"]: row for row in csv_rows(fleet)}
    word = {True: "has", False: "lacks", None: "unknown"}

    assert [host.name for host in fleet.hosts] == list(rows)
    for group in Report(fleet).document()["groups"]:
        expected = {name: word[value] for name, value in group["features"].items()}
        expected |= dict.fromkeys(group["differing"], "CPUs differ")
        for host in group["hosts"]:
            row = rows[host["name"]]
            assert expected == {name: row[name] for name in FEATURES}
            assert (host["labels"]["cluster"], host["status"]) == (row["label_cluster"], row["status"])


def test_csv_holds_no_formula() -> None:
    """A text that a spreadsheet would run begins with an apostrophe; any other is as it was, whatever is in it."""
    hostile = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'a "quoted", =text\nof two lines', "Xeon"]
    hosts = tuple(FleetHost(f"h{number}", model_name=text) for number, text in enumerate(hostile))
    rows = csv_rows(Fleet(hosts, "a test", 0))
    summary = csv.DictReader(io.StringIO(to_csv(Summary(Fleet(hosts, "a test", 0)).csv()), newline=""))
    expected = [f"'{text}" for text in hostile[:5]] + hostile[5:]

    assert expected == [row["model_name"] for row in rows] == [row["model_name"] for row in summary]


def test_empty_fleet() -> None:
    """A fleet without hosts is a document without groups, and a CSV of column names."""
    fleet = Fleet((), "nothing", 0)

    assert [] == Report(fleet).document()["groups"]
    assert [] == csv_rows(fleet)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of three recordings."""
    directory = tmp_path_factory.mktemp("fleet")
    for name in ("lakefield-i5-l16g7", "made-amd", "sapphirerapids"):
        shutil.copytree(HOSTS / name, directory / name)
    return directory


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a scratch directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "place", "begins"),
    [
        ("-o r.html", "r.html", "<!DOCTYPE html>"),
        ("-o r.txt", "r.txt", "<!DOCTYPE html>"),
        ("-o r.CSV", "r.CSV", "host,status"),
        ("-o r.json", "r.json", "{"),
        ("-o r.html --json", "r.html", "{"),
        ("-o r.json --csv", "r.json", "host,status"),
        ("-o -", None, "<!DOCTYPE html>"),
        ("--json", None, "{"),
        ("--csv -o -", None, "host,status"),
    ],
)
def test_form_and_place(recordings: Path, here: Path, arguments: str, place: str | None, begins: str) -> None:
    """--csv and --json choose the form, else the suffix of FILE; - and a form without FILE go to standard output."""
    done = vmxd("fleet", "report", "--recordings", recordings, *arguments.split())

    assert (0, "") == (done.returncode, done.stderr)
    assert ([place] if place else []) == [path.name for path in here.iterdir()]
    assert ((here / place).read_text() if place else done.stdout).startswith(begins)
    assert (place is None) is bool(done.stdout)


def test_without_a_place(recordings: Path) -> None:
    """Without a file and a form there is one sentence and a hint, and nothing is printed to a terminal."""
    done = vmxd("fleet", "report", "--recordings", recordings)

    assert (2, "") == (done.returncode, done.stdout)
    assert (
        "vmxd: the page needs a file to go to\nhint: vmxd fleet report -o report.html, or -o - to print it\n"
        == done.stderr
    )


def test_directory_is_refused(recordings: Path, tmp_path: Path) -> None:
    """A directory is not written over."""
    done = vmxd("fleet", "report", "--recordings", recordings, "-o", tmp_path)

    assert (2, []) == (done.returncode, list(tmp_path.iterdir()))
    assert done.stderr.startswith(f"vmxd: cannot write {tmp_path}: Is a directory\nhint: ")


def test_damaged_recording_is_a_host(recordings: Path, tmp_path: Path) -> None:
    """A recording that cannot be read is a host in the report, with the reason, and lacks nothing."""
    shutil.copytree(recordings, tmp_path / "fleet")
    (tmp_path / "fleet" / "sapphirerapids" / "msr.txt").write_text("no recording\n")
    done = vmxd("fleet", "report", "--recordings", tmp_path / "fleet", "--json")
    (group,) = (g for g in json.loads(done.stdout)["groups"] if g["hosts"][0]["name"] == "sapphirerapids")

    assert {None} == set(group["features"].values())
    assert (None, True) == (group["hosts"][0]["status"], bool(group["hosts"][0]["reason"]))


def test_marks_follow_failures() -> None:
    """Hosts of one kind are two groups where some could not be read on a CPU: what these have is not known."""
    host = next(host for host in recorded().hosts if host.name == "sapphirerapids")
    fleet = Fleet((replace(host, name="a"), replace(host, name="b", failed=1)), "a test", 0)
    first, second = groups_of(fleet)

    assert [UNKNOWN if mark == HAS else mark for mark in first.marks] == list(second.marks)


def test_a_group_names_its_microarchitectures(tmp_path: Path) -> None:
    """Signatures do not stand alone: the microarchitecture and the product class are beside them."""
    vmxd("fleet", "report", "--recordings", HOSTS, "-o", tmp_path / "report.html")

    assert "06-3f-02 <small>Haswell-E Xeon</small>" in (tmp_path / "report.html").read_text()
