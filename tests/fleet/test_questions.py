"""What each question answers, in each form, against the real databases; every JSON obeys its schema."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.helpers import past
from tests.helpers.inside import vmxd
from tests.helpers.served import Served
from tests.helpers.support import HOSTS, REPOSITORY
from vmxd import __version__
from vmxd.fleet.times import format_time

AT = str(past.THEN + 60)
OLD = ("--selector", 'cluster="recordings"', "--at", AT)
LOST = ["posted_intr", "apicv"]
"""What microcode took away in the past: the bit, and what it takes to make the flag apicv."""

KUBEVIRT = (
    "server error. command SyncVMI failed: \"LibvirtError(Code=9, Domain=31, Message='operation failed: guest CPU "
    "doesn't match specification: missing features: vmx-ept,vmx-rdrand-exit,vmx-vmfunc,avx512vl')\""
)


def document(result: subprocess.CompletedProcess[str], name: str) -> Any:  # noqa: ANN401 (JSON)
    """Return what a question printed as JSON, held against its schema."""
    schema = json.loads((REPOSITORY / "docs" / "schema" / f"fleet-{name}-1.json").read_text())
    Draft202012Validator.check_schema(schema)
    found = json.loads(result.stdout)
    Draft202012Validator(schema).validate(found)
    return found


def recorded(question: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run vmxd fleet QUESTION on the recordings."""
    return vmxd("fleet", question, "--recordings", HOSTS, *arguments)


# Summary -------------------------------------------------------------------------------------------------------------


def test_summary(prometheus: Served) -> None:
    """A summary counts every host once by each fact, and says the same of recordings and of a Prometheus."""
    found = document(prometheus.ask("summary", *OLD, "--json"), "summary")
    expected = document(recorded("summary", "--json"), "summary")
    down = {"hosts": 1, "status": None}

    assert expected["hosts"] + 1 == found["hosts"]
    assert all(found["hosts"] == sum(each["hosts"] for each in found[key]) for key in ("statuses", "models", "kernels"))
    assert down in found["statuses"]
    assert [each for each in expected["fingerprints"] if each["fingerprint"]] == [
        each for each in found["fingerprints"] if each["fingerprint"]
    ]
    assert expected["inconsistent"] == found["inconsistent"]
    assert {"cpus": 1, "features": ["bus_lock_detection"]} == found["inconsistent"]["lakefield-i5-l16g7"]
    assert {*expected["unknown"], "down"} == set(found["unknown"])
    assert expected["undecided"].keys() == found["undecided"].keys()
    assert "IA32_FEATURE_CONTROL was not recorded" in expected["undecided"]["conroe"]
    assert "made-all-unreadable" not in found["undecided"]


def test_summary_begins_with_trouble(prometheus: Served) -> None:
    """Where VMX may not be used comes first, with the next step, from either source; a group is one of the report's."""
    both = prometheus.ask("summary", *OLD).stdout, recorded("summary").stdout
    groups = len(document(recorded("report", "--json"), "report")["groups"])

    for text in both:
        first, _, title, head, *_ = text.splitlines()
        assert ("Hosts where VMX may not be used", "hint") == (title, head.split()[-1])
        assert "enable VT-x in the firmware setup, then power-cycle" in text
        assert "vmxd show there says why: mostly modprobe msr, or too few rights" in text
        assert " groups of equal MSRs: on " in first
    assert f" hosts in {groups} groups " in both[1]


def test_summary_as_csv(prometheus: Served) -> None:
    """As CSV, a summary has a row a host."""
    rows = list(csv.DictReader(io.StringIO(prometheus.ask("summary", *OLD, "--csv").stdout)))
    (row,) = (row for row in rows if row["host"] == "made-disabled")

    assert ("disabled_by_firmware", "06-55-04", "8d447262d4e6") == (row["status"], row["signature"], row["fingerprint"])


# Lacks and has -------------------------------------------------------------------------------------------------------


def test_pasted_error(prometheus: Served) -> None:
    """A pasted error is answered by what KVM said where it did, else by what is expected, and each host says which."""
    result = prometheus.ask("has", *OLD, "--json", KUBEVIRT)
    found = document(result, "lacks")

    assert {"made-nested", "haswell-ep-2s"} <= set(found["has"])
    assert ["ept", "rdrand_exiting", "vmfunc"] == found["lacks"]["made-ept-off"] == found["lacks"]["conroe"]
    assert {"as KVM answered"} == {found["known"][name] for name in ("made-nested", "made-ept-off")}
    assert found["known"]["conroe"].startswith("expected for Linux 5.10 to ")
    assert (1, "guest") == (result.returncode, found["view"])
    assert ["vmxd: note: no VMX features, so not looked at: avx512vl"] == result.stderr.splitlines()


def test_pasted_error_by_hardware(prometheus: Served) -> None:
    """With --view hardware it is the CPUs that answer, each host with what it lacks."""
    result = prometheus.ask("lacks", *OLD, "--json", "--view=hardware", KUBEVIRT)
    found = document(result, "lacks")

    assert ["ept", "rdrand_exiting", "vmfunc"] == found["lacks"]["conroe"]
    assert ({}, "hardware") == (found["known"], found["view"])
    assert {"made-all-unreadable", "made-no-msr-module", "down"} <= set(found["unknown"])
    assert 1 == result.returncode


def test_names_that_are_newer(tmp_path: Path) -> None:
    """Where an error names a vmx-* feature that vmxd does not know, no host is said to have them all."""
    (tmp_path / "one").symlink_to(HOSTS / "skylake-6700k")

    def ask(names: str) -> subprocess.CompletedProcess[str]:
        return vmxd("fleet", "has", f"missing features: {names}", "--recordings", tmp_path, "--json")

    known, newer, only = ask("vmx-ept"), ask("vmx-ept,vmx-newer,vmx"), ask("vmx")

    assert (0, 2, 2) == (known.returncode, newer.returncode, only.returncode)
    assert known.stdout == newer.stdout
    assert f"not known to vmxd {__version__}, so not looked at: vmx-newer" in newer.stderr
    assert "vmx itself is missing where a host has no VMX, or KVM gives none to guests" in newer.stderr
    assert "hint: vmxd fleet summary --csv has each host's status, no_vmx for one" in only.stderr


def test_text(prometheus: Served) -> None:
    """Text says first which view answered and how many; hosts where firmware forbids VMX are apart."""
    text = prometheus.ask("has", *OLD, "ept").stdout

    assert text.startswith("By what guests get, ")
    assert prometheus.ask("has", *OLD, "ept", "--view=hardware").stdout.startswith("By the hardware, ")
    assert "  Intel(R) Xeon(R) Platinum 8160 CPU @ 2.10GHz, 06-55-04, fingerprint 8d447262d4e6\n" in text
    assert "HAVE ept, BUT VMX MAY NOT BE USED\n  firmware has locked VMX off in IA32_FEATURE_CONTROL\n" in text
    assert "    2 hosts: made-disabled, made-disabled-one-cpu\n" in text
    assert "  Prometheus cannot scrape it (up is 0)\n    1 host: down\n" in text


def test_exit_codes(prometheus: Served) -> None:
    """0: every host has it; 2: none is known to lack it, but of one it is not known. 1 is in the tests above."""
    one = 'instance="skylake-6700k"'
    two = 'instance=~"skylake-6700k|down"'

    assert 0 == prometheus.ask("lacks", "ept", "--selector", one, "--at", AT).returncode
    assert 2 == prometheus.ask("lacks", "ept", "--selector", two, "--at", AT).returncode


# Diff ----------------------------------------------------------------------------------------------------------------


def test_diff_of_hosts(prometheus: Served) -> None:
    """Two hosts differ in what they are, in features and in raw values; the same from recordings."""
    names = ("icelake-sp-2s", "lakefield-i5-l16g7", "--view=hardware")
    result = prometheus.ask("diff", "--at", AT, *names, "--json")
    found, expected = document(result, "diff"), document(recorded("diff", *names, "--json"), "diff")

    assert 1 == result.returncode
    assert expected["features"] == found["features"]
    assert expected["msrs"] == found["msrs"]
    assert expected["facts"] == found["facts"]
    assert {"a": "yes", "b": "no"} == found["features"]["bus_lock_detection"]


def test_diff_of_pools(prometheus: Served) -> None:
    """Two pools differ in posted interrupts, which a host of the second lacks."""
    found = document(prometheus.ask("diff", "--at", AT, "cluster=a", "cluster=b", "--json"), "diff")

    assert {name: {"a": "yes", "b": "no"} for name in LOST} == found["features"]
    assert {"microcode", "fingerprint"} == set(found["facts"])


def test_diff_of_times(prometheus: Served) -> None:
    """One host differs from what it was before its microcode's update."""
    before, after = format_time(past.UPDATED - 60), format_time(past.UPDATED + 600)
    result = prometheus.ask("diff", f"aging@{before}", f"aging:10480@{after}", "--json")
    found = document(result, "diff")

    assert {name: {"a": "yes", "b": "no"} for name in LOST} == found["features"]
    assert {"0x2006f05": 1} == found["facts"]["microcode"]["a"]
    same = ("skylake-6700k", f"skylake-6700k@{AT}", "--view=hardware")
    assert 0 == prometheus.ask("diff", "--at", AT, *same).returncode


def test_diff_of_what_is_not_known(prometheus: Served) -> None:
    """Where nothing is known of one side nothing is known to differ; the reason stands first."""
    result = prometheus.ask("diff", "--at", AT, "conroe", "down")

    assert result.stdout.startswith("Of down no feature is known: Prometheus cannot scrape it (up is 0).\n")
    assert 2 == result.returncode


def test_diff_of_kernels(prometheus: Served) -> None:
    """What guests gain by a kernel and lose by a parameter is known beforehand, and why; the same of both sources."""
    change = ("--kernel", "6.12", "7.3", "--kvm-parameter", "ept=N", "sapphirerapids", "--json")
    found = document(prometheus.ask("diff", "--at", AT, *change), "diff")
    expected = document(recorded("diff", *change), "diff")
    both = recorded("diff", "sapphirerapids", "haswell-ep-2s", "--kernel", "7.3", "--json")

    assert ("Linux 6.12", "Linux 7.3 with ept=N") == (found["a"]["name"], found["b"]["name"])
    assert {"a": "yes", "b": "no"} == found["features"]["pml"]
    assert ["ept=N"] == found["why"]["pml"] == found["why"]["ept"]
    assert {"a": "no", "b": "yes"} == found["features"]["any_errcode"]
    assert ["KVM offers it since 6.18, this is 6.12"] == found["why"]["any_errcode"]
    assert (found["features"], found["why"]) == (expected["features"], expected["why"])
    assert {"a": "yes", "b": "no"} == document(both, "diff")["features"]["entry_load_cet"]
    old = recorded("diff", "sapphirerapids", "--kernel", "4.18.0-553.el8")
    assert (2, "") == (old.returncode, old.stdout)
    assert "Linux 4.18.0-553.el8 is older than 5.10" in old.stderr


def test_diff_says_what_it_cannot_compare() -> None:
    """Of a feature that was not recorded on one side, neither is a difference."""
    text = recorded("diff", "icelake-sp-2s", "sapphirerapids", "--view=hardware").stdout

    assert "cannot be compared                  icelake-sp-2s  sapphirerapids\n" in text
    assert "hlat                                no             not known\n" in text


@pytest.mark.parametrize(
    ("arguments", "needs"), [("summary", "--prometheus or --recordings"), ("history host-1", "--prometheus")]
)
def test_source_is_needed(arguments: str, needs: str) -> None:
    """A question that is asked of nobody says whom it can be asked of."""
    done = vmxd("fleet", *arguments.split())

    assert 2 == done.returncode
    assert f"vmxd: vmxd fleet {arguments.split(maxsplit=1)[0]} needs {needs}\n" in done.stderr


def test_diff_of_directories() -> None:
    """A recording elsewhere is named by its path."""
    result = recorded("diff", "lakefield-i5-l16g7", f"{HOSTS}/lakefield-i5-l16g7", "--view=hardware")

    assert (2, "") == (result.returncode, result.stderr)  # one MSR was not recorded
    assert "do not differ as far as is known; 1 feature cannot be compared." in result.stdout


# Changes -------------------------------------------------------------------------------------------------------------


def test_changes(prometheus: Served) -> None:
    """Since a time, what hosts lost is beside what changed with it; nothing, where nothing did."""
    span = ("--selector", 'cluster="history"', "--since", str(past.UPDATED - 600), "--at", str(past.UPDATED + 600))
    result = prometheus.ask("changes", *span, "--json")
    (change,) = document(result, "changes")["changed"]
    text = prometheus.ask("changes", *span).stdout
    same = prometheus.ask("changes", "--selector", 'cluster="history"', "--since", "1h", "--at", str(past.THEN - 300))

    assert 1 == result.returncode
    assert (["aging:10480"], LOST, []) == (change["hosts"], change["lost"], change["gained"])
    assert {"before": "1", "after": "0"} == change["facts"]["kvm_intel.enable_apicv"]
    assert {"before": "0x2006f05", "after": "0x2007006"} == change["facts"]["microcode"]
    assert "1 of 1 host lost features" in text
    assert (
        "LOST\n  lost posted_intr, apicv\n    microcode 0x2006f05 -> 0x2007006; kvm_intel.enable_apicv 1 -> 0\n" in text
    )
    assert (0, True) == (same.returncode, "0 of 1 host lost features, 0 gained some." in same.stdout)


def test_changes_of_what_is_not_known(prometheus: Served) -> None:
    """A host that is down now has lost nothing, as far as is known; hosts that come are new."""
    span = ("--selector", 'cluster="recordings"', "--since", str(past.THEN - 600), "--at", AT)
    found = document(prometheus.ask("changes", *OLD[:2], "--since", str(past.THEN), "--at", AT, "--json"), "changes")

    assert 2 == prometheus.ask("changes", *OLD[:2], "--since", str(past.THEN), "--at", AT).returncode
    assert "now: Prometheus cannot scrape it (up is 0)" == found["unknown"]["down"]
    assert 2 == prometheus.ask("changes", *span).returncode


# History -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("since", ["4d", "1w"])
def test_history(prometheus: Served, since: str) -> None:
    """A host's microcode update, the feature it cost, six hours away and another kernel: each at its time."""
    found = document(
        prometheus.ask("history", "aging", "--since", since, "--at", str(past.THEN - 300), "--json"), "history"
    )
    update, kernel = found["changes"]
    states = [each["state"] for each in found["intervals"]]
    gaps = [number for number, state in enumerate(states) if state is None]

    assert {"before": "0x2006f05", "after": "0x2007006"} == update["facts"]["microcode"]
    assert (LOST, []) == (update["lost"], update["gained"])
    assert {"kernel": dict(zip(("before", "after"), past.KERNELS, strict=True))} == kernel["facts"]
    assert [0, 3] == gaps
    assert format_time(past.THEN - 300) == found["to"]
    assert near(past.UPDATED, update["time"], found)
    assert near(past.BACK, kernel["time"], found)
    assert near(past.GONE + found["step_seconds"], found["intervals"][3]["from"], found)


def near(expected: float, time: str, history: dict[str, Any]) -> bool:
    """Return whether a time is right, but for a step and for how long Prometheus looks back."""
    return bool(abs(datetime.fromisoformat(time).timestamp() - expected) <= history["step_seconds"] + 360)


def test_history_as_text(prometheus: Served) -> None:
    """As text it is one line for each change."""
    text = prometheus.ask("history", "aging", "--since", "4d", "--at", str(past.THEN - 300)).stdout

    assert "microcode 0x2006f05 -> 0x2007006" in text
    assert "; lost posted_intr, apicv\n" in text
    assert f"kernel {past.KERNELS[0]} -> {past.KERNELS[1]}\n" in text


def test_history_of_nobody(prometheus: Served) -> None:
    """A host that was never seen is an error that says so."""
    result = prometheus.ask("history", "nobody")

    assert (2, "") == (result.returncode, result.stdout)
    assert "has seen no host nobody since" in result.stderr
