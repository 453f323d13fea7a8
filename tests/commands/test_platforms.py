"""vmxd platforms, as a user types it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import jsonschema
import pytest

from tests.helpers.support import HOSTS, REPOSITORY, refused, vmxd

SCHEMA = json.loads((REPOSITORY / "docs/schema/platforms-1.json").read_text())


def test_which_cpus_have_it() -> None:
    """A feature by any name gives the kinds that have it, oldest first, with counts and an example."""
    done = vmxd("platforms", "vmx-pml", "--class", "core")
    head, *_ = done.stdout.splitlines()

    assert (0, "") == (done.returncode, done.stderr)
    assert head.startswith("pml: ")
    assert "easy to get: Core i7-6500U (Skylake)" in done.stdout
    assert "QEMU: the first CPU model that wants it is Broadwell-v1" in done.stdout
    assert "Alder Lake         2021  06-97-02   core   2 of 4" in done.stdout
    assert "Not seen is not no" in done.stdout


def test_what_was_never_seen_is_exit_code_1() -> None:
    """No CPU of the table has IPI virtualization, and where it may be is said."""
    done = vmxd("platforms", "ipi_virt")

    assert 1 == done.returncode
    assert "QEMU: no CPU model wants it" in done.stdout
    assert "since IA32_VMX_PROCBASED_CTLS3 (0x492) was not read there: Tiger Lake, " in done.stdout


@pytest.mark.parametrize(
    "name", ["Skylake-SP", "06-55-04", "06-55", "Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz", "8160"]
)
def test_what_a_cpu_has(name: str) -> None:
    """A microarchitecture, a signature, a brand string, or a part of it is asked the other way round."""
    done = vmxd("platforms", name)

    assert (0, "") == (done.returncode, done.stderr)
    assert "Xeon Platinum 8160" in done.stdout
    assert "every one has (" in done.stdout
    assert re.search(r"^QEMU: the largest .* with Linux [\d.]+: Cascadelake-Server-v\d", done.stdout, re.MULTILINE)


def test_products_of_one_signature() -> None:
    """What tells the products of a signature apart is named with them."""
    done = vmxd("platforms", "--signature", "06-55-04")

    assert "  pml: Montage Jintide C2460 1 (microcode 0x2000055), " in done.stdout
    assert "; not Core i7-7800X (microcode 0x200005e)\n" in done.stdout


@pytest.mark.parametrize("arguments", [["pml"], ["ept", "--lacks", "vpid"], ["--signature", "06-97-02"], ["ipi_virt"]])
def test_json_obeys_its_schema(arguments: list[str]) -> None:
    """Both documents obey docs/schema/platforms-1.json."""
    jsonschema.validate(json.loads(vmxd("platforms", "--json", *arguments).stdout), SCHEMA)


def test_csv_has_a_row_for_each_cpu_that_tells() -> None:
    """The CSV has every CPU, whether it has the feature or not."""
    rows = list(csv.DictReader(io.StringIO(vmxd("platforms", "--csv", "pml").stdout)))

    assert {"yes", "no"} == {row["has"] for row in rows}
    assert {"Core i7-7800X"} <= {row["cpu"] for row in rows if row["has"] == "no"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "vmxd platforms needs a feature or a CPU"),
        (["no-such"], "no feature is called 'no-such'"),
        (["pml", "Skylake-SP"], "features and CPUs are asked for side by side"),
        (["--signature", "06-ff"], "no CPU of signature 06-ff was seen"),
        (["sierra forest"], "no CPU of Sierra Forest was seen, which says nothing of what they have"),
        (["06-af-03"], "no CPU of 06-af-03 (Sierra Forest) was seen, which says nothing of what they have"),
        (["Intel(R) Xeon(R) 6780E"], "no CPU of Sierra Forest was seen, which says nothing of what they have"),
        (["--csv", "Skylake-SP"], "--csv is for features"),
    ],
)
def test_refusals(arguments: list[str], sentence: str) -> None:
    """What cannot be answered gets one sentence and a hint."""
    assert sentence == refused(vmxd("platforms", *arguments))[0]


@pytest.mark.parametrize(("name", "is_wanted"), [("made-future", True), ("made-unlike", False), ("kvm-guest", False)])
def test_a_recording_of_a_cpu_that_the_table_lacks_says_so(name: str, is_wanted: bool, tmp_path: Path) -> None:
    """Vmxd record of a CPU that the table lacks says how it gets in; of a guest, and of one that is there, nothing."""
    done = vmxd("record", "--root", HOSTS / name, tmp_path / "new")

    assert 0 == done.returncode
    assert is_wanted == ("the table of vmxd platforms has no CPUs of 06-dd-01 yet" in done.stderr)
    assert is_wanted == ("--no-hostname" in done.stderr)
