"""``vmxd explain``: features and MSRs on a host."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from typing import Final

import pytest
from jsonschema import Draft202012Validator

from tests.helpers.support import HOSTS, LAKEFIELD, REPOSITORY, TYPICAL_HOSTS, vmxd
from vmxd.host.scan import scan
from vmxd.model.states import Presence
from vmxd.tables import FEATURES, MSR_BY_INDEX, Feature
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.needs import NEEDS
from vmxd.tables.purpose import PURPOSE
from vmxd.tables.rows import Msr
from vmxd.views.explain import name_lines
from vmxd.views.explain_json import explain_document
from vmxd.views.json import to_json
from vmxd.views.lines import lines_text

SCHEMA: Final = Draft202012Validator(json.loads((REPOSITORY / "docs/schema/explain-1.json").read_text()))


def explain(*arguments: str, root: str = LAKEFIELD.name, text: str | None = None) -> str:
    """Return what the command prints on a recording; it must succeed and say nothing else."""
    done: subprocess.CompletedProcess[str] = vmxd("explain", *arguments, "--root", HOSTS / root, input=text)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def said(text: str) -> str:
    """Return a text without the line breaks and columns that make it fit."""
    return " ".join(text.split())


# Features ---------------------------------------------------------------------------------------------------------


def test_a_feature_and_its_state() -> None:
    """A feature is explained with its bit, its MSR, its names, and the CPUs that have it or not."""
    expected = """\
        bus_lock_detection
          here       differs; CPUs 0-3 off; CPU 4 on
                     bus_lock_detection is missing on CPUs 0-3:
                     IA32_VMX_PROCBASED_CTLS2[62] is 0
          kvm        uses it since a release after 5.10, at the latest 6.1
          guests     bus_lock_detection is not given to guests: KVM does not offer it,
                     up to Linux 7.3.4
                     expected for Linux 5.10 to 7.3, as the kernel is not known
          for        The host is told when a guest locks the bus, and can slow a VM that
                     disturbs others.
          is         VMM bus-lock detection
          bit        IA32_VMX_PROCBASED_CTLS2[62], 0x48b[62]
                     control 30: bit 62 says that it may be 1, bit 30 that it must be
          sdm        Vol. 3D A.3.3
          exists if  IA32_VMX_PROCBASED_CTLS[63] = 1 (sec_controls)
          linux      VMX_FEATURE_BUS_LOCK_DETECTION, not shown in /proc/cpuinfo
                     SECONDARY_EXEC_BUS_LOCK_DETECTION in asm/vmx.h
          qemu       no name
          libvirt    no name
          seen       first on Lakefield (2020), of the CPUs in vmxd's table; newer ones
                     may lack it

        here
        """

    assert explain("VMX_FEATURE_BUS_LOCK_DETECTION").startswith(textwrap.dedent(expected))


@pytest.mark.parametrize(
    ("root", "name", "expected"),
    [
        ("harpertown-x5482", "eptp_switching", "no IA32_VMX_VMFUNC, since IA32_VMX_PROCBASED_CTLS2[45] is 0"),
        ("via-l4700", "ept", "there is no IA32_VMX_PROCBASED_CTLS2, since IA32_VMX_PROCBASED_CTLS[63] is 0"),
        ("via-l4700", "ept_ad", "there is no IA32_VMX_PROCBASED_CTLS2, since IA32_VMX_PROCBASED_CTLS[63] is 0"),
        ("made-eio-one-cpu", "ept_ad", "IA32_VMX_EPT_VPID_CAP could not be read on CPU 1: RDMSR faulted (#GP) (EIO)"),
        ("made-ept-off", "ept", "kvm left off by KVM (ept)"),
        ("made-amd", "ept", "there is no VMX: /proc/cpuinfo shows no vmx flag"),
        ("skylake-6700k", "cr3_load_exiting", "here default1-clearable"),
    ],
)
def test_the_reason_of_a_state(root: str, name: str, expected: str) -> None:
    """The state on a host comes with the bit, the failed read or the parameter that makes it so."""
    assert expected in said(explain(name, root=root))


def test_what_a_feature_needs_and_who_needs_it() -> None:
    """The controls that VM entry wants beside a feature stand with it, and the reverse."""
    assert "needs vid, exit_ack_intr needed by apicv, kvm_intel.enable_apicv" in said(explain("posted_intr"))
    assert "needed by unrestricted_guest, pml, ept_mode_based_exec" in said(explain("ept"))


@pytest.mark.parametrize("host", TYPICAL_HOSTS)
def test_no_host_lacks_what_a_feature_needs(host: str) -> None:
    """On every host, the CPUs that have a feature have what it needs, where that is known."""
    lacking = [
        (name, needed)
        for group in scan(str(HOSTS / host)).inventory.groups
        for name, needs in NEEDS.items()
        for needed in needs
        if group.decoded.features[name] is Presence.PRESENT and group.decoded.features[needed] is Presence.ABSENT
    ]

    assert [] == lacking


def test_needs_are_features() -> None:
    """What needs something and what is needed are features that the tables have."""
    assert {*NEEDS, *(name for needs in NEEDS.values() for name in needs)} <= FEATURES.keys()


@pytest.mark.parametrize(
    ("name", "titles"),
    [
        ("vmx-invept-single-context", ["invept_single_context", "invvpid_single_context"]),
        ("Load IA32_PAT", ["exit_load_pat", "entry_load_pat"]),
        ("exit", ["IA32_VMX_EXIT_CTLS (0x483)", "IA32_VMX_EXIT_CTLS2 (0x493)"]),
        ("Derived", [feature.name for feature in FEATURES.values() if feature.msr is None]),
        ("ept, 0x485,VMX_FEATURE_EPT", ["ept", "IA32_VMX_MISC (0x485)"]),
    ],
)
def test_a_name_of_several(name: str, titles: list[str]) -> None:
    """A name that several features go by explains each; so do names between commas, none of them twice."""
    assert [*titles, "here"] == [line for line in explain(name).splitlines() if line and not line.startswith(" ")]


@pytest.mark.parametrize(
    ("name", "is_no_feature_but", "msr"),
    [
        ("locked", "locked of IA32_FEATURE_CONTROL", "IA32_FEATURE_CONTROL"),
        ("0x480[57]", "a bit without a name, set on Alder Lake and every Intel CPU of later years", "IA32_VMX_BASIC"),
    ],
)
def test_a_bit_that_is_no_feature(name: str, is_no_feature_but: str, msr: str) -> None:
    """A bit that is no feature is told for what it is, with the way to the rest of its MSR."""
    done = vmxd("explain", name)

    assert 2 == done.returncode
    assert f"{name!r} is no feature but {is_no_feature_but}" in done.stderr
    assert f"hint: vmxd explain {msr} shows all of it" in done.stderr


@pytest.mark.parametrize("host", TYPICAL_HOSTS)
def test_everything_fits_a_terminal(host: str) -> None:
    """All features on any host fit 80 columns, and each of them has a state."""
    text = lines_text(name_lines(list(FEATURES.values()), scan(str(HOSTS / host), nested=True).inventory))

    assert [] == [line for line in text.splitlines() if len(line) > 80 and len(line.split()) > 2]
    assert len(FEATURES) == text.count("\n  here  ")


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_terminal(width: int) -> None:
    """On a narrower terminal lines are shorter, and nothing is lost."""
    inventory = scan(str(LAKEFIELD)).inventory
    text = lines_text(name_lines([*FEATURES.values(), *MSR_BY_INDEX.values()], inventory, width))

    whole = lines_text(name_lines([*FEATURES.values(), *MSR_BY_INDEX.values()], inventory))
    assert [] == [line for line in text.splitlines() if len(line) > width]
    assert "".join(text.split()) == "".join(whole.split())


def test_since_when_is_a_hint() -> None:
    """What no recording has is said to be seen on none; QEMU's models are named apart from hardware."""
    nested = said(explain("nested_exception"))

    assert "seen on no CPU of vmxd's table; not seen is not no" in said(explain("hlat"))
    assert "the first CPU model of QEMU that wants it is DiamondRapids-v1" in nested
    assert "CPU model" not in said(explain("bus_lock_detection"))


# MSRs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["0x48b", "48BH", "ia32_vmx_procbased_ctls2", "MSR_IA32_VMX_PROCBASED_CTLS2"])
def test_an_msr_and_its_values(name: str) -> None:
    """An MSR is explained by name or index, with each value that it has on the host, bit by bit."""
    text = said(explain(name))

    assert "IA32_VMX_PROCBASED_CTLS2 (0x48b) is Secondary processor-based VM-execution controls" in text
    assert "exists if IA32_VMX_PROCBASED_CTLS[63] = 1 (sec_controls)" in text
    assert "here 0x035d6fff00000000 on CPUs 0-3 0x435d6fff00000000 on CPU 4" in text
    assert "tsc_scaling[57], bus_lock_detection[62] off" in text.partition("on CPU 4 0x")[2]


def test_an_msr_without_a_value() -> None:
    """An MSR that has no value here says why, and what it would hold."""
    text = said(explain("IA32_FEAT_CTL", "ept_vpid_cap", root="made-no-msr-module"))

    assert "IA32_FEATURE_CONTROL (0x3a) is Whether firmware allows VMX" in text
    assert "here failed (ENOENT) holds ept_x_only[0], ept_page_walk_4[6]" in text
    assert "hlat_max_prefix_size[53:48]" in text


@pytest.mark.parametrize("host", TYPICAL_HOSTS)
def test_every_msr_fits_a_terminal(host: str) -> None:
    """All MSRs on any host fit 80 columns, and each says what it is and how it stands."""
    text = lines_text(name_lines(list(MSR_BY_INDEX.values()), scan(str(HOSTS / host)).inventory))

    assert [] == [line for line in text.splitlines() if len(line) > 80 and len(line.split()) > 2]
    assert len(MSR_BY_INDEX) == text.count("\n  here  ") == text.count("\n  layout  ")


# JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", TYPICAL_HOSTS)
def test_json_obeys_its_schema(host: str) -> None:
    """``explain --json`` of every feature and MSR on any host is what the schema says."""
    subjects: list[Feature | Msr] = [*FEATURES.values(), *MSR_BY_INDEX.values()]
    document = json.loads(to_json(explain_document(subjects, scan(str(HOSTS / host), nested=True).inventory)))

    assert [] == [error.message for error in SCHEMA.iter_errors(document)]


def test_json_of_a_feature_and_an_msr() -> None:
    """The JSON has the state with its reason, what needs the feature, and each CPU's value of the MSR."""
    document = json.loads(explain("--json", "bus_lock_detection", "0x48b"))
    (feature,), (msr,) = document["features"], document["msrs"]

    assert {"cpu": "Lakefield", "year": 2020} == feature["first_seen"]
    assert "differs" == feature["here"]["state"]
    assert ["bus_lock_detection is missing on CPUs 0-3: IA32_VMX_PROCBASED_CTLS2[62] is 0"] == feature["here"][
        "reasons"
    ]
    assert ["0-3", "4"] == [each["cpus"] for each in msr["here"]]


def test_caveats_are_of_features() -> None:
    """Each caveat is of a feature that the tables have."""
    assert CAVEATS.keys() <= FEATURES.keys()


def test_purposes_are_a_sentence_each() -> None:
    """The features that matter most have a sentence each, in the order of FEATURES."""
    assert [name for name in FEATURES if name in PURPOSE] == list(PURPOSE)
    assert [] == [text for text in PURPOSE.values() if not re.fullmatch(r"[A-Z][^.]{20,105}\.", text)]
