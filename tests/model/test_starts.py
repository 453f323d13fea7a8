"""``vmxd check --vm``: whether a host can start a VM, by what guests get there and by whether KVM runs at all."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.helpers.documents import complaints
from tests.model.test_answers import check
from vmxd.cli import main

DOMAIN: Final = """<domain type='kvm'><name>web</name><cpu mode='custom' match='exact'>
<model fallback='forbid'>Skylake-Server-v4</model><feature policy='require' name='vmx'/></cpu></domain>"""
ANSWERS: Final = {
    ("icelake-sp-2s", "-cpu Skylake-Server-v4,vmx=on"): (0, ""),
    ("haswell-ep-2s", "-cpu Skylake-Server-v4,vmx=on"): (
        1, "rdseed_exiting is not given to guests: the CPU lacks rdseed_exiting"),
    ("haswell-ep-2s", "-cpu Skylake-Server-v4,vmx=on,vmx-rdseed-exit=off,-vmx-pml"): (0, ""),
    ("made-nested", "Skylake-Server-v4,+vmx"): (1, "left off by KVM (enable_apicv)"),
    ("made-disabled", "Haswell,vmx=on"): (1, "firmware has locked VMX off"),
    ("made-disabled", "Haswell"): (0, ""),
    ("made-disabled", "host"): (0, ""),
    ("made-disabled", "host,+vmx"): (1, "firmware has locked VMX off"),
    ("kvm-guest", "host,+vmx"): (1, "kvm_intel does not load: KVM requires exit_host_addr_space_size"),
    ("conroe", "host,+vmx"): (0, ""),
    ("made-amd", "host,+vmx"): (1, "there is no VMX"),
    ("made-ept-off", "host,vmx=on"): (1, "KVM offers no VMX to guests"),
    ("icelake-sp-2s", "host,vmx=on,vmx-new-thing=on"): (2, "vmx-new-thing is not known to vmxd"),
    ("made-no-msr-module", "Haswell,vmx=on"): (2, "not known for guests: the MSRs that decide were not read"),
}  # fmt: skip


@pytest.mark.parametrize(("host", "vm"), ANSWERS)
def test_a_host_starts_a_vm_or_says_why_not(capfd: pytest.CaptureFixture[str], host: str, vm: str) -> None:
    """The answer is by the guest layer, and by what keeps kvm_intel from running; a VM without VMX starts anywhere."""
    code, reason = ANSWERS[host, vm]
    found, lines = check(capfd, host, f"--vm={vm}")

    assert code == found
    assert reason in "\n".join(lines)


def test_a_vm_from_a_file_or_standard_input(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A VM goes by its file's name; several are asked each; what is not judged is said once."""
    path = tmp_path / "web.xml"
    path.write_text(DOMAIN + DOMAIN.replace("-v4", "-v5").replace("'vmx'/>", "'vmx'/><feature name='hle'/>"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DOMAIN.encode())))
    code = main(["check", "--root", "tests/hosts/haswell-ep-2s", f"--vm={path}", "--vm=-", "--json"])
    out, err = capfd.readouterr()
    document = json.loads(out)

    assert (1, 1) == (code, err.count("QEMU's and libvirt's matter"))
    assert [] == complaints("check", document)
    assert [("vm", "web.xml 1", "guest"), ("vm", "web.xml 2", "guest"), ("vm", "standard input", "guest")] == [
        (each["check"], each["name"], each["layer"]) for each in document["checks"]
    ]


def test_another_kernel_or_parameter(capfd: pytest.CaptureFixture[str]) -> None:
    """What KVM would give with them decides, also whether a guest gets VMX at all."""
    vm = "--vm=-cpu GraniteRapids-v4,vmx=on"

    assert 1 == check(capfd, "sapphirerapids", "--kernel=6.12", vm)[0]
    code, lines = check(capfd, "icelake-sp-2s", "--kvm-parameter=nested=N", "--vm=host,+vmx")
    assert (1, True) == (code, "vm -cpu host: vmx is not given to guests: nested=N" in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--vm=nothing.xml",), "'nothing.xml' is no file, and no -cpu of QEMU"),
        (("--vm=/nonexistent/vm.xml",), "cannot read /nonexistent/vm.xml"),
        (("--vm=tests/hosts/conroe/msr.txt",), "msr.txt has no VM that vmxd can read"),
        (("--vm=host", "--view=hardware"), "--vm is about guests"),
    ],
)
def test_what_is_no_vm(capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str) -> None:
    """One sentence, a hint, and exit code 2."""
    code = main(["check", "--root", "tests/hosts/conroe", *arguments])

    assert 2 == code
    assert message in capfd.readouterr().err
