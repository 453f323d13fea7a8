"""``vmxd fleet vms``: where VMs can go, which keep a host from being drained, and what a kernel changes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.helpers.support import HOSTS, REPOSITORY
from vmxd.cli import main

FLEET = ("haswell-ep-2s", "icelake-sp-2s", "made-amd", "made-disabled", "made-no-msr-module")
VMX = ("haswell-ep-2s", "icelake-sp-2s")
VMS = {
    "any.xml": "<domain type='kvm'><devices/></domain>",
    "skylake.xml": "<cpu mode='custom'><model>Skylake-Server-v4</model><feature name='vmx'/></cpu>",
    "haswell-1.yaml": "spec:\n domain:\n  cpu:\n   model: Haswell\n   features:\n   - name: vmx\n",
    "new.sh": "qemu-system-x86_64 -cpu SapphireRapids-v5,vmx=on",
    "odd.txt": "-cpu Haswell,vmx=on,vmx-new-thing=on",
    "haswell-ep-2s/same.txt": "-cpu host",
    "icelake-sp-2s/large.txt": "-cpu host",
}  # fmt: skip


@pytest.fixture
def fleet(tmp_path: Path) -> tuple[str, str]:
    """Return a directory of recordings and one of VMs."""
    hosts, vms = tmp_path / "hosts", tmp_path / "vms"
    hosts.mkdir()
    for name in FLEET:
        (hosts / name).symlink_to(HOSTS / name)
    for name, text in VMS.items():
        (vms / name).parent.mkdir(parents=True, exist_ok=True)
        (vms / name).write_text(text)
    return str(hosts), str(vms)


def ask(fleet: tuple[str, str], capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return the exit code, what is printed, and what is said."""
    code = main(["fleet", "vms", "--recordings", *fleet, *arguments])
    return code, *capfd.readouterr()


def test_where_vms_can_go(fleet: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    """The guest layer decides; a VM with what its host has moves to hosts that give as much; JSON obeys its schema."""
    code, out, err = ask(fleet, capfd, "--json")
    document: Any = json.loads(out)
    schema = json.loads((REPOSITORY / "docs/schema/fleet-vms-1.json").read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(document)
    vms = {each["name"]: each for each in document["vms"]}

    assert (2, 1) == (code, err.count("QEMU's and libvirt's matter"))
    assert {
        "any": ("no", list(FLEET)),
        "skylake": ("yes", ["icelake-sp-2s"]),
        "haswell-1": ("yes", list(VMX)),
        "new": ("yes", []),
        "odd": ("yes", []),
        "same": ("as the host", list(VMX)),
        "large": ("as the host", ["icelake-sp-2s"]),
    } == {name: (each["vmx"], each["hosts"]) for name, each in vms.items()}
    assert ["rdseed_exiting"] == vms["skylake"]["lacks"]["haswell-ep-2s"]
    assert [] == vms["haswell-1"]["lacks"]["made-disabled"]
    assert {"made-no-msr-module"} == set(vms["haswell-1"]["unknown"])
    assert ["vmx-new-thing"] == vms["odd"]["unknown"]["haswell-ep-2s"]
    assert ["exit_load_cet", "entry_load_cet"] == vms["new"]["lacks"]["icelake-sp-2s"]
    assert {"icelake-sp-2s": ["large", "skylake"]} == document["kept"]


def test_what_a_kernel_changes(fleet: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    """Hosts are gained and lost by VMs with a model, features by those that take what the host has."""
    vms = {each["name"]: each for each in json.loads(ask(fleet, capfd, "--json", "--kernel=7.3")[1])["vms"]}
    assert ([], []) == (vms["skylake"]["gains"], vms["skylake"]["loses"])
    assert "ept_mode_based_exec" in vms["large"]["gains"]
    code, out, _ = ask(fleet, capfd, "--json", "--kvm-parameter=nested=N")
    vms = {each["name"]: each for each in json.loads(out)["vms"]}
    assert (1, list(VMX)) == (code, vms["haswell-1"]["loses"])
    assert "ept" in vms["large"]["loses"]


def test_for_people_and_spreadsheets(fleet: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    """Sentences count, rows are VMs that are alike; CSV has each VM on each host."""
    (Path(fleet[1]) / "elsewhere").mkdir()
    (Path(fleet[1]) / "notes").write_text("hello")
    _, out, err = ask(fleet, capfd)
    assert "7 VMs: 4 with VMX, 1 without, 2 with what the host has" in out
    assert "On all of 5 hosts 1 can start, on none 0." in out
    assert ["icelake-sp-2s", "large,", "skylake"] == out.splitlines()[-1].split()
    assert "elsewhere is no host of this fleet" in err
    assert "no VM that vmxd can read is in notes" in err
    rows = list(csv.reader(io.StringIO(ask(fleet, capfd, "--csv")[1])))
    assert 1 + len(VMS) * len(FLEET) == len(rows)
    assert ["skylake", "Skylake-Server-v4", "yes", "", "haswell-ep-2s", "no", "rdseed_exiting"] in rows


def test_no_vm(fleet: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    """A directory without a VM, or none, is one sentence and exit code 2."""
    for directory, message in (
        (fleet[0], "has no VM that vmxd can read"),
        ("/nonexistent", "cannot read /nonexistent"),
    ):
        code, out, err = ask((fleet[0], directory), capfd)
        assert (2, "") == (code, out)
        assert message in err
