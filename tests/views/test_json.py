"""vmxd/views/json.py: both documents obey their schemas, the schemas say all there is to say, and values are right."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from tests.helpers.documents import SCHEMAS, Json, complaints, schema, show
from tests.helpers.strategies import hosts
from tests.helpers.support import HOSTS, LAKEFIELD, TYPICAL_HOSTS
from vmxd.host.recording_text import MSR_FILE
from vmxd.host.scan import scan
from vmxd.model.decode import Status
from vmxd.model.facts import Host, Missing, Source
from vmxd.model.inventory import take_inventory
from vmxd.model.states import Presence, State
from vmxd.tables import FEATURES
from vmxd.tables.msrs import MSRS
from vmxd.tables.rows import Layout
from vmxd.views.json import FEATURES_SCHEMA, SHOW_SCHEMA, inventory_document, tables_document, to_json


def features(*names: str) -> Json:
    """Return what ``vmxd features --json`` prints."""
    return tables_document([FEATURES[name] for name in names or FEATURES])


# The schemas ------------------------------------------------------------------------------------------------------


def objects(node: object, path: str = "$") -> Iterator[tuple[str, Json]]:
    """Yield every schema of an object that lists its properties, with where it stands."""
    if isinstance(node, dict):
        if node.get("type") == "object" and "properties" in node:
            yield path, node
        for key, value in node.items():
            yield from objects(value, f"{path}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from objects(value, f"{path}[{number}]")


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    """Each schema is a JSON Schema of draft 2020-12 and is named after its file."""
    document = schema(name)
    Draft202012Validator.check_schema(document)

    assert "https://json-schema.org/draft/2020-12/schema" == document["$schema"]
    assert f"https://vmxd.dev/schema/{SCHEMAS[name]}" == document["$id"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_describes_every_property(name: str) -> None:
    """Every property has a description, every object allows no other property, and every definition is used."""
    document = schema(name)
    found = list(objects(document))
    properties = [(f"{path}.{key}", each) for path, node in found for key, each in node["properties"].items()]
    references = set(re.findall(r"#/\$defs/(\w+)", json.dumps(document)))

    assert [] == [path for path, node in found if node.get("additionalProperties") is not False]
    assert [] == [path for path, each in properties if "description" not in each]
    assert references == document.get("$defs", {}).keys()


def test_the_schemas_have_the_words_of_the_code() -> None:
    """States, layouts and kinds are those of the code, in its order: no more, no less."""
    shown, listed = schema("show"), schema("features")

    assert SHOW_SCHEMA == shown["properties"]["schema"]["const"]
    assert FEATURES_SCHEMA == listed["properties"]["schema"]["const"]
    assert [source.value for source in Source] == shown["properties"]["source"]["enum"]
    assert [status.value for status in Status] == shown["$defs"]["status"]["enum"]
    states = [state.value for state in State]
    assert states == shown["$defs"]["feature"]["properties"]["state"]["enum"]
    assert states[:-2] == shown["$defs"]["control_state"]["enum"]
    assert [presence.value for presence in Presence] == list(
        shown["$defs"]["feature"]["properties"]["cpus"]["properties"]
    )
    assert {"value", "failed", *(missing.value for missing in Missing)} == set(
        shown["$defs"]["msr"]["properties"]["state"]["enum"]
    )
    assert [layout.value for layout in Layout] == listed["$defs"]["msr"]["properties"]["layout"]["enum"]
    assert {feature["kind"] for feature in features()["features"]} == set(
        listed["$defs"]["feature"]["properties"]["kind"]["enum"]
    )


def without_usable(document: Json) -> None:
    """Leave a property out."""
    del document["usable"]


def with_color(document: Json) -> None:
    """Add a property."""
    document["host"]["color"] = "blue"


def with_number(document: Json) -> None:
    """Write 64 bits as a number."""
    document["groups"][0]["msrs"]["IA32_VMX_BASIC"]["value"] = 0x00DA050000000013


def with_errno(document: Json) -> None:
    """Give an MSR that has a value an errno."""
    document["groups"][0]["msrs"]["IA32_VMX_BASIC"]["errno"] = "EIO"


def without_errno(document: Json) -> None:
    """Give an MSR that failed no errno."""
    document["groups"][0]["msrs"]["IA32_VMX_BASIC"] = {"state": "failed"}


def with_list(document: Json) -> None:
    """Write CPUs as a list."""
    document["cpus"]["online"] = [0, 1, 2, 3, 4]


def with_status(document: Json) -> None:
    """Invent a status."""
    document["status"] = "fine"


def with_yes(document: Json) -> None:
    """Write true as a word."""
    document["features"]["ept"]["value"] = "yes"


def with_nobody(document: Json) -> None:
    """List a state that no CPU is in."""
    document["features"]["ept"]["cpus"]["failed"] = ""


@pytest.mark.parametrize(
    "damage",
    [
        without_usable,
        with_color,
        with_number,
        with_errno,
        without_errno,
        with_list,
        with_status,
        with_yes,
        with_nobody,
    ],
)
def test_the_schema_of_show_refuses_what_is_wrong(damage: Callable[[Json], None]) -> None:
    """The schema finds what a changed document lacks, has too much, or has of another type."""
    document = show(LAKEFIELD)
    damage(document)

    assert 1 == len(complaints("show", document))


@pytest.mark.parametrize(
    ("feature", "change"),
    [
        ("ept", {"of": ["vpid"]}),
        ("ept", {"kind": "all_of"}),
        ("apicv", {"bit": 3}),
        ("hlat", {"default1": False}),
        ("ept", {"qemu": ""}),
        ("ept", {"linux": "EPT"}),
        ("ept", {"bit": 64}),
    ],
)
def test_the_schema_of_features_refuses_what_is_wrong(feature: str, change: Json) -> None:
    """The schema knows which properties go with which kind of feature."""
    document = copy.deepcopy(features(feature))
    document["features"][0].update(change)

    assert [] == complaints("features", features(feature))
    assert [] != complaints("features", document)


# show --json ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPICAL_HOSTS)
def test_a_host_obeys_the_schema(name: str) -> None:
    """``show --json`` is what the schema says, with every feature in SDM order, and every MSR in each group."""
    document = show(HOSTS / name)
    names = {msr.name for msr in MSRS}

    assert [] == complaints("show", document)
    assert list(FEATURES) == list(document["features"])
    assert [] == [group["cpus"] for group in document["groups"] if not names <= group["msrs"].keys()]


@given(hosts())
def test_any_host_obeys_the_schema(host: Host) -> None:
    """``show --json`` of a host of arbitrary readings, too, is what the schema says."""
    assert [] == complaints("show", inventory_document(take_inventory(host)))


def test_an_inconsistent_host_in_figures() -> None:
    """Lakefield has two groups, and CPU 4 differs in one MSR and one feature."""
    document = show(LAKEFIELD)
    values = [group["msrs"]["IA32_VMX_PROCBASED_CTLS2"] for group in document["groups"]]

    assert ["0-3", "4"] == [group["cpus"] for group in document["groups"]]
    assert [{"state": "value", "value": f"0x{high}5d6fff00000000"} for high in ("03", "43")] == values
    assert {
        "cpus": "4",
        "msrs": ["IA32_VMX_PROCBASED_CTLS2"],
        "features": ["bus_lock_detection"],
    } == document["inconsistent"]
    expected = {"state": "differs", "value": False, "cpus": {"absent": "0-3", "present": "4"}}
    assert expected == document["features"]["bus_lock_detection"]
    assert ["off", "on"] == [group["controls"]["bus_lock_detection"] for group in document["groups"]]


def test_the_five_states_of_an_msr(tmp_path: Path) -> None:
    """Value, absent, failed and not recorded are four states of an MSR, and an offline CPU is in no group."""
    root = shutil.copytree(LAKEFIELD, tmp_path / "root")
    text = (root / MSR_FILE).read_text().replace("48c: 0-4=0x00000f0106714141", "48c: 0-4=EIO")
    (root / MSR_FILE).write_text(text)
    (root / "sys/devices/system/cpu/present").write_text("0-5\n")
    document = show(root)
    msrs = document["groups"][0]["msrs"]

    assert {"state": "value", "value": "0x00da050000000013"} == msrs["IA32_VMX_BASIC"]
    assert {"state": "absent"} == msrs["IA32_VMX_EXIT_CTLS2"]
    assert {"state": "failed", "errno": "EIO"} == msrs["IA32_VMX_EPT_VPID_CAP"]
    assert {"state": "not_recorded"} == msrs["IA32_VMX_VMFUNC"]
    expected = {"online": "0-4", "offline": "5", "scanned": "", "failed": "0-4", "excluded": ""}
    assert {**expected, "packages": {}, "core_types": {}} == document["cpus"]


def test_an_unknown_feature_is_null() -> None:
    """A feature whose MSR was not recorded is null with its CPUs, and one whose MSR is absent is false."""
    found = show(LAKEFIELD)["features"]

    assert {"state": "unknown", "value": None, "cpus": {"not_recorded": "0-4"}} == found["eptp_switching"]
    assert {"state": "off", "value": False, "cpus": {"absent": "0-4"}} == found["exit_load_fred"]


def test_the_host_as_recorded() -> None:
    """What was not recorded of the host is null; the rest is as cpuinfo has it."""
    expected = {
        "name": None,
        "vendor": "GenuineIntel",
        "model_name": "Intel(R) Core(TM) i5-L16G7 CPU @ 1.40GHz",
        "signature": "06-8a-01",
        "microcode": None,
        "kernel": None,
        "hypervisor": False,
        "fingerprint": "fa1b6ded4f7d",
    }

    assert expected == show(LAKEFIELD)["host"]


def test_the_flags_of_cpuinfo_are_those_of_the_group() -> None:
    """Each group has the flags that Linux would print for its CPUs, in Linux' order."""
    expected = (
        "vnmi preemption_timer posted_intr invvpid ept_x_only ept_ad flexpriority apicv tsc_offset vtpr mtf vapic ept "
        "vpid unrestricted_guest vapic_reg vid ple shadow_vmcs ept_violation_ve ept_mode_based_exec tsc_scaling"
    )

    assert [expected.split()] * 2 == [group["cpuinfo_flags"] for group in show(LAKEFIELD)["groups"]]


def test_unknown_bits_and_broken_rules_in_figures(tmp_path: Path) -> None:
    """Bits that no row explains are a mask by MSR, and a broken rule has its CPUs."""
    root = shutil.copytree(LAKEFIELD, tmp_path / "root")
    text = (root / MSR_FILE).read_text()
    text = text.replace("480: 0-4=0x00da050000000013", "480: 0-3=0x00da050000000013 4=0x82c2050000000013")
    (root / MSR_FILE).write_text(text + "494: 0=0x0000000000000001\n")
    document = show(root)

    assert {"IA32_VMX_BASIC": "0x8000000000000000", "0x494": "0x0000000000000001"} == document["unknown_bits"]
    assert {"IA32_VMX_BASIC": "0x0200000000000000"} == document["unnamed_bits"]
    assert {"vmcs_memory_type": "4"} == document["sanity_violations"]


# features --json --------------------------------------------------------------------------------------------------


def test_the_tables_obey_the_schema() -> None:
    """``features --json`` is what the schema says."""
    assert [] == complaints("features", features())


def test_all_tables_are_listed() -> None:
    """Every feature and every MSR is listed, once and in order."""
    document = features()

    assert list(FEATURES) == [feature["name"] for feature in document["features"]]
    assert [msr.name for msr in MSRS] == [msr["name"] for msr in document["msrs"]]


def test_a_control_has_all_its_names() -> None:
    """A control has its bit in the VMCS field, the bit of the MSR that tells, and its names elsewhere."""
    expected = {
        "name": "ept_mode_based_exec",
        "kind": "control",
        "msr": "IA32_VMX_PROCBASED_CTLS2",
        "index": "0x48b",
        "bit": 22,
        "value_bit": 54,
        "default1": False,
        "sdm": "Mode-based execute control for EPT",
        "linux": "VMX_FEATURE_MODE_BASED_EPT_EXEC",
        "linux_macro": "SECONDARY_EXEC_MODE_BASED_EPT_EXEC",
        "linux_position": 86,
        "cpuinfo": "ept_mode_based_exec",
        "qemu": "vmx-mbec",
        "libvirt": "vmx-mbec",
    }

    assert [expected] == features("ept_mode_based_exec")["features"]


def test_a_flag_is_its_own_value() -> None:
    """A flag's bit is the one that tells, and default1 is no question of it."""
    (feature,) = features("ept_ad")["features"]

    assert ("flag", 21, 21) == (feature["kind"], feature["bit"], feature["value_bit"])
    assert "default1" not in feature


def test_derived_features_are_made_of_others() -> None:
    """A derived feature has no bit but the features that it is made of."""
    found = features("apicv", "cr3_load_noexit")["features"]

    assert [
        ("all_of", ["vtpr", "vapic_reg", "vid", "posted_intr"]),
        ("may_be_zero", ["cr3_load_exiting"]),
    ] == [(feature["kind"], feature["of"]) for feature in found]
    assert [] == [feature for feature in found if "msr" in feature or "bit" in feature]


def test_an_msr_says_when_it_exists() -> None:
    """An MSR has the bits that enumerate it, its twin, its default1 class and its fields."""
    msrs = {msr["name"]: msr for msr in features("ept")["msrs"]}

    assert [
        {"msr": "IA32_VMX_PROCBASED_CTLS2", "bit": 33},
        {"msr": "IA32_VMX_PROCBASED_CTLS2", "bit": 37},
    ] == msrs["IA32_VMX_EPT_VPID_CAP"]["exists_if_any"]
    assert ("IA32_VMX_TRUE_EXIT_CTLS", None, "0x36dff") == tuple(
        msrs["IA32_VMX_EXIT_CTLS"][key] for key in ("true", "twin_of", "default1")
    )
    assert (None, "IA32_VMX_EXIT_CTLS", []) == tuple(
        msrs["IA32_VMX_TRUE_EXIT_CTLS"][key] for key in ("true", "twin_of", "bits")
    )
    assert {
        "high": 27,
        "low": 25,
        "name": "msr_list_max",
        "sdm": "Recommended maximum of MSRs in a list",
        "bias": 1,
        "scale": 512,
    } in msrs["IA32_VMX_MISC"]["fields"]


def test_text_beyond_ascii_stays_readable(tmp_path: Path) -> None:
    """A model name beyond ASCII is written as it is, and the document ends with a newline."""
    root = shutil.copytree(LAKEFIELD, tmp_path / "root")
    cpuinfo = (root / "proc/cpuinfo").read_text().replace("Intel(R)", "Intel\N{REGISTERED SIGN}")
    (root / "proc/cpuinfo").write_text(cpuinfo)
    text = to_json(inventory_document(scan(str(root)).inventory))

    assert '"model_name": "Intel\N{REGISTERED SIGN} Core(TM) i5-L16G7 CPU @ 1.40GHz"' in text
    assert text.endswith("}\n")
