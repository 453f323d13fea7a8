"""What KVM makes of a host, as metrics, text and JSON: findings, and every state of the nested view."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.documents import complaints, show
from tests.helpers.support import HOSTS, program
from vmxd.host.kvm_text import KVM_FILE
from vmxd.host.recording_text import MSR_FILE
from vmxd.host.scan import scan
from vmxd.tables import FEATURES
from vmxd.tables.versions import LINUX
from vmxd.views.lines import lines_text
from vmxd.views.metrics import HostCollector, to_text
from vmxd.views.show import show_lines
from vmxd.views.summary import summary_lines

HEAD = "# vmxd kvm recording 1\n"
NESTED = HOSTS / "made-nested"
EPT_OFF = HOSTS / "made-ept-off"


def series(root: Path, metric: str) -> dict[tuple[str, ...], float]:
    """Return a metric's values by its label values."""
    families = {family.name: family for family in HostCollector(scan(str(root)).inventory).collect()}
    samples = families[metric].samples if metric in families else []
    return {tuple(sample.labels.values()): float(sample.value) for sample in samples}


def words(root: Path, word: str) -> list[str]:
    """Return what the summary says behind a word."""
    return [text for key, text in summary_lines(scan(str(root)).inventory) if key == word]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a copy of made-nested."""
    return shutil.copytree(NESTED, tmp_path / "root")


# Parameters and findings ------------------------------------------------------------------------------------------


def test_parameters_are_numbers() -> None:
    """Y is 1, N is 0, a number is itself, and other text, as of vmentry_l1d_flush, has no series."""
    values = series(NESTED, "vmx_kvm_parameter")

    assert (1, 0, 128, 4294967295) == tuple(values[name,] for name in ("ept", "pml", "ple_gap", "ple_window_max"))
    assert ("vmentry_l1d_flush",) not in values


def test_a_finding_names_feature_and_parameter() -> None:
    """Each feature that is left off is one series, with the parameter to change."""
    features = ("ept", "ept_ad", "unrestricted_guest", "pml")

    assert {(feature, "ept"): 1 for feature in features} == series(EPT_OFF, "vmx_kvm_unused_feature")
    assert dict.fromkeys(features, "ept") == show(EPT_OFF)["kvm"]["unused_features"]
    assert ["ept=N leaves off what every CPU has: ept, ept_ad, unrestricted_guest, pml"] == words(EPT_OFF, "kvm")


def test_no_finding_is_said(root: Path) -> None:
    """Where the module leaves nothing off, the summary says so, and there is no series."""
    (root / "sys/module/kvm_intel/parameters/enable_apicv").write_text("Y\n")

    assert ["kvm_intel leaves off no feature that every CPU has"] == words(root, "kvm")
    assert {} == series(root, "vmx_kvm_unused_feature")


def test_no_finding_is_not_said_where_the_cpus_are_not_known(root: Path) -> None:
    """Where no MSR could be read, a parameter that is off is doubted: that it leaves nothing off is not said."""
    (root / MSR_FILE).write_text("# vmxd msr recording 1\n480: 0-35=EACCES\n")

    assert ["pml=N, enable_apicv=N: whether the CPUs have what is left off is not known"] == words(root, "kvm")
    assert {} == series(root, "vmx_kvm_unused_feature") == show(root)["kvm"]["unused_features"]
    assert ["pml", "enable_apicv"] == show(root)["kvm"]["doubted"]


@pytest.mark.parametrize(("kept", "module", "said"), [("sys/module", "absent", 1), ("sys", "not_recorded", 0)])
def test_a_module_that_is_not_there_has_no_parameter(root: Path, kept: str, module: str, said: int) -> None:
    """Not loaded is said; not recorded is no line; neither has a series."""
    shutil.rmtree(root / "sys/module")
    (root / kept).mkdir(exist_ok=True)

    assert ["kvm_intel is not loaded"] * said == words(root, "kvm")
    of_parameters = ("module", "parameters", "unused_features", "doubted")
    assert {"module": module, "parameters": {}, "unused_features": {}, "doubted": []} == {
        key: show(root)["kvm"][key] for key in of_parameters
    }
    assert {} == series(root, "vmx_kvm_parameter")


# The nested view --------------------------------------------------------------------------------------------------


def status(root: Path) -> Mapping[str, float]:
    """Return vmx_nested_status by status."""
    return {name: value for (name,), value in series(root, "vmx_nested_status").items()}


def test_offered() -> None:
    """KVM that lists VMX MSRs: every feature as 0 or 1."""
    values = series(NESTED, "vmx_nested_feature")

    assert {"offered": 1, "not_offered": 0, "failed": 0} == status(NESTED)
    assert {(name,) for name in FEATURES} == values.keys()
    assert (1, 1, 0, 0) == tuple(values[name,] for name in ("ept", "eptp_switching", "vid", "ple"))
    offered, *otherwise = words(NESTED, "guests")
    assert f"KVM offers 75 of {len(FEATURES)} features to guests" == offered
    assert (
        "IA32_VMX_EXIT_CTLS for guests is 0x007ffdff00036dff, expected 0x007fffff00036dff (bits 0x0000020000000000): "
        f"a kernel with patches, or newer than Linux {LINUX}"
    ) in otherwise


def test_not_offered(root: Path) -> None:
    """KVM that lists none: all are 0, which is an answer; nested=N is named where it is the cause."""
    assert {"offered": 0, "not_offered": 1, "failed": 0} == status(EPT_OFF)
    assert {(name,): 0 for name in FEATURES} == series(EPT_OFF, "vmx_nested_feature")
    assert ["KVM offers no VMX to guests: nested=N"] == words(EPT_OFF, "guests")

    (root / KVM_FILE).write_text(HEAD + "listed:\n")
    assert ["KVM offers no VMX to guests"] == words(root, "guests")


def test_failed(root: Path) -> None:
    """KVM that could not be asked: no feature has a series, and text and JSON have the errno."""
    (root / KVM_FILE).write_text(HEAD + "listed: EACCES\n")

    assert {"offered": 0, "not_offered": 0, "failed": 1} == status(root)
    assert {} == series(root, "vmx_nested_feature")
    assert [
        (
            "what KVM offers to guests is not known: /dev/kvm may not be opened by this user (EACCES) "
            f"(hint: run as root or in the group kvm); 80 of {len(FEATURES)} features, expected for Linux 6.12"
        )
    ] == words(root, "guests")
    assert ("failed", "EACCES", {}) == tuple(show(root)["nested"][key] for key in ("status", "errno", "msrs"))


def test_not_asked(root: Path) -> None:
    """A host of which nobody asked: no series at all, null, and what is expected."""
    (root / KVM_FILE).unlink()

    assert ({}, {}) == (series(root, "vmx_nested_feature"), status(root))
    assert [f"80 of {len(FEATURES)} features, expected for Linux 6.12"] == words(root, "guests")
    assert show(root)["nested"] is None


def test_an_msr_that_kvm_refuses_is_unknown(root: Path) -> None:
    """A listed MSR without a value: its features have no series, and are counted as not known."""
    text = (root / KVM_FILE).read_text()
    (root / KVM_FILE).write_text(text.replace("48c: 0x00000f0106334041", "48c: ENODATA"))

    assert ("invvpid",) not in series(root, "vmx_nested_feature")
    assert [f"KVM offers 61 of {len(FEATURES)} features to guests, 18 not known"] == words(root, "guests")[:1]
    assert {"state": "failed", "errno": "ENODATA"} == show(root)["nested"]["msrs"]["IA32_VMX_EPT_VPID_CAP"]


def test_the_features_say_where_guests_differ() -> None:
    """A row says what guests get beyond the CPU, or not of it, and nothing where the two agree."""
    lines = lines_text(show_lines(scan(str(NESTED)).inventory)).splitlines()
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("  ")}

    assert "on       left off by KVM (enable_apicv); not offered to guests: enable_apicv=N" == rows["posted_intr"]
    assert "unknown  not recorded; offered to guests" == rows["eptp_switching"]
    assert "on" == rows["ept"]


# Both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [NESTED, EPT_OFF], ids=lambda path: path.name)
def test_prometheus_and_the_schema_have_nothing_to_say(host: Path) -> None:
    """Prometheus' linter passes the metrics, and the JSON obeys its schema."""
    checked = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"],
        input=to_text(HostCollector(scan(str(host)).inventory)).decode(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)
    assert [] == complaints("show", show(host))
