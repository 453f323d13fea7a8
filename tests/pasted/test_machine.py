"""``vmxd record --from``: a recording of what a text says of a machine, and what was not in the text."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.helpers.support import HOSTS
from vmxd.cli import main
from vmxd.host.recording_text import parse_msr_text
from vmxd.host.root import read_host
from vmxd.model.facts import Host
from vmxd.model.inventory import take_inventory
from vmxd.tables.msrs import MSR_BY_INDEX
from vmxd.tables.rows import Flag

SOURCE: Final = "skylake-6700k"


def imported(text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, Host | None, str]:
    """Return the exit code, the recording as it is read again, and what is said."""
    path, root = tmp_path / "text", tmp_path / "recording"
    path.write_text(text)
    code = main(["record", "--from", str(path), str(root)])
    return code, read_host(str(root)) if root.exists() else None, capfd.readouterr().err


def values(host: Host | None) -> dict[int, dict[int, object]]:
    """Return the readings of a host, CPU by CPU."""
    return {index: dict(by_cpu) for index, by_cpu in host.readings.items()} if host else {}


def real() -> dict[int, int]:
    """Return the MSRs of CPU 0 of a recorded host."""
    readings = parse_msr_text((HOSTS / SOURCE / "msr.txt").read_text(), "msr.txt", range(8))
    return {index: by_cpu[0] for index, by_cpu in readings.items() if isinstance(by_cpu[0], int)}


def aida64(msrs: dict[int, int]) -> str:
    """Print MSRs as AIDA64's dump of two CPUs does."""
    digits = {index: f"{value:016X}" for index, value in msrs.items()}
    listed = "\n".join(
        f"MSR {index:08X}: {'-'.join(text[at : at + 4] for at in range(0, 16, 4))}" for index, text in digits.items()
    )
    return "\n\n".join(f"------[ Logical CPU #{cpu} ]------\n\n{listed}\n" for cpu in (0, 1))


FORMS: Final = {
    "AIDA64": (aida64, (0, 1)),
    "rdmsr": (lambda msrs: "".join(f"# rdmsr -a {i:#x}\n{v:x}\n{v:x}\n" for i, v in msrs.items()), (0, 1)),
    "VBox.log": (
        lambda msrs: "".join(f"00:00:01.5 HM: MSR_{MSR_BY_INDEX[i].name} = {v:#x}\n" for i, v in msrs.items()),
        (0,),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_value_comes_back(form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A host's values in a tool's form make a recording with the host's features; what the form lacks is named."""
    printed, cpus = FORMS[form]
    code, host, said = imported(printed(real()), tmp_path, capfd)

    assert host is not None
    assert (0, cpus) == (code, host.online)
    assert {index: dict.fromkeys(cpus, value) for index, value in real().items()} == values(host)
    assert "model, microcode and flags of the CPU are not recorded" in said
    assert ("names no CPU" in said) is (cpus == (0,))
    again, source = (take_inventory(each) for each in (host, read_host(str(HOSTS / SOURCE))))
    assert [each.value for each in source.features.values()] == [each.value for each in again.features.values()]


def vmxcap(msrs: dict[int, int]) -> str:
    """Print controls as vmxcap does, by the SDM's words."""
    titles = {0x481: "pin-based controls", 0x483: "VM-Exit controls"}
    lines = []
    for index, title in titles.items():
        lines.append(title)
        true = msrs[MSR_BY_INDEX[index].true or 0]
        for row in MSR_BY_INDEX[index].rows:
            if isinstance(row, Flag):
                must, may, relaxed = (each >> row.bit & 1 for each in (msrs[index], msrs[index] >> 32, true))
                state = ("default" if not relaxed else "forced") if must else "yes" if may else "no"
                lines.append(f"  {row.sdm:40} {state}")
    return "\n".join(lines) + "\n"


def test_vmxcap_has_values_of_what_it_lists_whole(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An MSR whose controls are all listed has a value, and so has its TRUE MSR; one listed in part is not recorded."""
    text = f"Basic VMX Information\n  Hex: {real()[0x480]:#x}\n{vmxcap(real())}"
    text += "secondary processor-based controls\n  Enable EPT                   yes\n"
    code, host, said = imported(text, tmp_path, capfd)

    assert 0 == code
    assert {index: {0: real()[index]} for index in (0x480, 0x481, 0x483, 0x48D, 0x48F)} == values(host)
    assert "IA32_VMX_PROCBASED_CTLS2 is not recorded: the list does not name vapic," in said


def test_cpuinfo_and_kernel(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The CPU's identity comes with /proc/cpuinfo, the kernel with its first line; "vmx flags" gives no value."""
    cpuinfo = (HOSTS / SOURCE / "proc/cpuinfo").read_text()
    cpuinfo += "vmx flags\t: vnmi ept\n"
    text = f"[    0.000000] Linux version 6.12.38+deb13-amd64 (debian-kernel) (gcc)\n{cpuinfo}\nrdmsr 0x3a\n5\n"
    code, host, said = imported(text, tmp_path, capfd)

    assert host is not None
    assert (0, "6.12.38+deb13-amd64") == (code, host.kernel)
    assert read_host(str(HOSTS / SOURCE)).cpus == host.cpus
    assert {0x3A: {0: 5}} == values(host)
    assert '"vmx flags" names features and gives no value of an MSR' in said


REFUSED: Final = {
    "hello": "the text has no value of an MSR that a CPU can have",
    "cpu99999: MSR_IA32_FEATURE_CONTROL: 0x5": "names CPU 99999, and no host has more than",
    "vmx flags : vnmi ept": '"vmx flags" names features and gives no value',
    "0x48b=0x35d6fff00000000\n0x48b=0x435d6fff00000000": "two values of IA32_VMX_PROCBASED_CTLS2 on CPU 0",
    "IA32_VMX_BASIC_MSR = 10\nIA32_VMX_PROCBASED_CTLS = 401E172": "the text has no value of an MSR that a CPU can have",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_makes_no_recording(text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One sentence and exit code 2, and nothing is written."""
    code, host, said = imported(text, tmp_path, capfd)

    assert (2, None) == (code, host)
    assert REFUSED[text] in said


def test_an_older_recording_is_replaced_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What --from writes is as safe as what is read from a host: a directory that is no recording stays."""
    assert 0 == imported("0x3a=5", tmp_path, capfd)[0]
    assert 0 == imported("0x3a=1", tmp_path, capfd)[0]
    assert (tmp_path / "recording" / "msr.txt").read_text().endswith("03a: 0=0x0000000000000001\n")
    (tmp_path / "recording" / "mine").touch()
    code, _, said = imported("0x3a=5", tmp_path, capfd)
    assert (2, True) == (code, "'mine', which is of no recording" in said)
    assert 2 == main(["record", "--from", "-", "--root", str(tmp_path), str(tmp_path / "x")])
