"""Every view says the same of each feature, firmware bit, MSR and finding: show, page, explain, JSON, diff, check."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.helpers.strategies import LOW, VMX_CPU, any_readings, failures, host_of, plausible_readings, words
from tests.helpers.support import HOSTS
from vmxd.host.scan import scan
from vmxd.model.answers import consistent, has_feature, usable
from vmxd.model.difference import host_difference
from vmxd.model.facts import Host, KvmMsrs, Reading
from vmxd.model.findings import CpusDiffer, Judged, findings
from vmxd.model.inventory import Inventory, take_inventory
from vmxd.tables import FEATURES, MSR_BY_INDEX
from vmxd.tables.rows import Layout
from vmxd.views.check import check_lines
from vmxd.views.diff import Side, diff_lines
from vmxd.views.explain import name_lines
from vmxd.views.explain_json import explain_document
from vmxd.views.finding_words import sentence
from vmxd.views.json import inventory_document
from vmxd.views.lines import lines_text
from vmxd.views.metrics import HostCollector
from vmxd.views.page import render_page
from vmxd.views.show import show_lines

ON: Final = ("on", "default1-clearable", "forced")
OFF: Final = ("off", "invalid")
WORDS: Final = (*ON, *OFF, "differs", "unknown")
NO_SHRINKING: Final = settings(max_examples=20, phases=(Phase.explicit, Phase.generate))
"""A host is large: to shrink one takes minutes."""
CONTROLS: Final = sorted(index for index, msr in MSR_BY_INDEX.items() if msr.layout is Layout.CONTROLS)
NOTHING: Final = take_inventory(host_of({0: {}}))

States = dict[str, str]
"""By name of a feature or firmware bit: how a view says that it stands over the CPUs."""


@st.composite
def uneven_hosts(draw: st.DrawFn) -> Host:
    """Up to four CPUs that are nearly alike: bits of control MSRs are flipped, reads fail or are missing."""
    base: Mapping[int, Reading] = draw(st.one_of(plausible_readings(), any_readings))
    readings: dict[int, dict[int, Reading]] = {}
    for cpu in range(draw(st.integers(1, 4))):
        own = dict(base)
        for index in draw(st.sets(st.sampled_from(CONTROLS), max_size=3)):
            if isinstance(value := own.get(index), int):
                flips = draw(words) & draw(words) & draw(words)
                own[index] = value ^ draw(st.sampled_from((flips & LOW, flips)))
        own |= {index: draw(failures) for index in draw(st.sets(st.sampled_from(sorted(MSR_BY_INDEX)), max_size=2))}
        for index in draw(st.sets(st.sampled_from(sorted(MSR_BY_INDEX)), max_size=2)):
            own.pop(index, None)
        readings[cpu] = own
    host = host_of(readings, dict.fromkeys(readings, VMX_CPU))
    parameters = dict.fromkeys(("ept", "vpid", "pml", "nested", "enable_shadow_vmcs"), draw(st.booleans()))
    kvm = KvmMsrs(tuple(sorted(base)), base) if draw(st.booleans()) else host.kvm_msrs
    return replace(host, kvm_parameters=parameters, kvm_msrs=kvm, notes=("a note on what was read",))


def shown(inventory: Inventory) -> States:
    """Take the rows of vmxd show apart."""
    rows = re.findall(rf"^  (\w+) +({'|'.join(WORDS)})(?:  |$)", lines_text(show_lines(inventory)), re.MULTILINE)
    return dict(rows)


def on_page(inventory: Inventory) -> States:
    """Take the rows of the page's tables apart."""
    page = render_page(inventory, "/metrics")[0].decode()
    rows = re.findall(r'<tr id="(\w+)".*?<td class="is"><span class="state ([\w-]+)">\2</span>', page, re.DOTALL)
    return dict(rows)


def explained(inventory: Inventory) -> States:
    """Take what vmxd explain says of every feature apart."""
    blocks = lines_text(name_lines(tuple(FEATURES.values()), inventory, 1 << 20)).split("\n\n")
    rows = (re.search(rf"\A(\w+)\n.*^  here +({'|'.join(WORDS)})\b", b, re.MULTILINE | re.DOTALL) for b in blocks)
    return {row[1]: row[2] for row in rows if row}


def of_features(states: States) -> States:
    """Leave out what is no feature: bits of IA32_FEATURE_CONTROL."""
    return {name: word for name, word in states.items() if name in FEATURES}


@NO_SHRINKING
@given(uneven_hosts())
def test_features_stand_alike(host: Host) -> None:
    """Show, page, explain and both kinds of JSON have the same word for every feature."""
    inventory = take_inventory(host)
    expected = of_features(shown(inventory))
    explain = explain_document(tuple(FEATURES.values()), inventory)["features"]

    assert list(FEATURES) == list(expected)
    assert expected == on_page(inventory)
    assert expected == explained(inventory)
    assert expected == {each["feature"]["name"]: each["here"]["state"] for each in explain}
    assert expected == {name: each["state"] for name, each in inventory_document(inventory)["features"].items()}


@NO_SHRINKING
@given(uneven_hosts())
def test_diff_has_the_words_of_show(host: Host) -> None:
    """Of what differs between two hosts, diff has the words that show has for each."""
    inventory = take_inventory(host)
    lines = lines_text(diff_lines(Side(inventory, None), Side(NOTHING, None), host_difference(inventory, NOTHING)))
    rows = re.findall(rf"^  (\w+) +({'|'.join(WORDS)})  +unknown$", lines, re.MULTILINE)
    states = shown(inventory)

    assert {name: states[name] for name, _ in rows} == dict(rows)
    assert {name for name, word in of_features(states).items() if word != "unknown"} <= {name for name, _ in rows}


@NO_SHRINKING
@given(uneven_hosts())
def test_answers_and_series_follow_the_word(host: Host) -> None:
    """vmx_feature is 1 of what is on, 0 of what is off or differs; check says yes where it is on and all is known."""
    inventory = take_inventory(host)
    values = {True: 1.0, False: 0.0, None: None}
    exported = {
        sample.labels["feature"]: sample.value
        for family in HostCollector(inventory).collect()
        for sample in family.samples
        if sample.name == "vmx_feature"
    }
    features = inventory_document(inventory)["features"]
    for name, word in of_features(shown(inventory)).items():
        value = True if word in ON else None if word == "unknown" else False
        whole = not {"failed", "not_recorded"} & features[name]["cpus"].keys()

        assert (name, values[value]) == (name, exported.get(name))
        assert (name, value if whole or not value else None) == (name, has_feature(inventory, name).holds)


@NO_SHRINKING
@given(uneven_hosts())
def test_firmware_bits_stand_alike(host: Host) -> None:
    """Show, page and JSON say the same of every bit of IA32_FEATURE_CONTROL."""
    inventory = take_inventory(host)
    bits = {name: word for name, word in shown(inventory).items() if name not in FEATURES}
    page = html.unescape(render_page(inventory, "/metrics")[0].decode())
    found = re.search(r"CONTROL</dt><dd>(.*?)</dd>", page)
    assert found
    on = [name for name, word in bits.items() if word == "on"]
    differs = [name for name, word in bits.items() if word == "differs"]

    assert {name: bits[name] == "on" for name in bits} == inventory_document(inventory)["feature_control"]
    if bits:
        some = f"; {', '.join(differs)} on some CPUs only" if differs else ""
        assert f"{', '.join(on) or 'no bit'} set{some}" == found[1]


@NO_SHRINKING
@given(uneven_hosts())
def test_msrs_stand_alike(host: Host) -> None:
    """Show, explain, the page and JSON know the same values, failures and gaps of every MSR."""
    inventory = take_inventory(host)
    text = lines_text(show_lines(inventory))
    page = html.unescape(render_page(inventory, "/metrics")[0].decode())
    blocks = lines_text(name_lines(tuple(MSR_BY_INDEX.values()), inventory, 1 << 20)).split("\n\n")
    groups = [group["msrs"] for group in inventory_document(inventory)["groups"]]
    for msr, block in zip(MSR_BY_INDEX.values(), blocks, strict=False):
        states = {tuple(sorted(group[msr.name].items())) for group in groups}
        for state in map(dict, states):
            said = state.get("value") or (
                f"failed ({state['errno']})" if "errno" in state else state["state"].replace("_", " ")
            )

            assert re.search(rf"^  (here)? +{re.escape(said)}", block, re.MULTILINE)
            assert f"<code>{said}</code>" in page
            assert msr.true is None or said in text


@NO_SHRINKING
@given(uneven_hosts())
def test_findings_are_said_alike(host: Host) -> None:
    """Show, the page, check and JSON have the same sentence for every finding."""
    inventory = take_inventory(host)
    show = lines_text(show_lines(inventory))
    page = html.unescape(render_page(inventory, "/metrics")[0].decode())
    check = lines_text(check_lines([consistent(inventory), usable(inventory)]))
    document = inventory_document(inventory)
    assert [sentence(each) for each in findings(inventory)] == [each["sentence"] for each in document["findings"]]
    for finding in findings(inventory):
        said = sentence(finding)

        assert said in show
        assert said in page
        assert not isinstance(finding, CpusDiffer | Judged) or said in check
        assert not isinstance(finding, Judged) or said == document["reason"]


def test_a_control_that_one_cpu_forces() -> None:
    """Where one CPU forces what all can set, it is on, and every view names that CPU."""
    readings = scan(str(HOSTS / "skylake-6700k")).inventory.groups[0].readings
    true = readings[0x48E]
    assert isinstance(true, int)
    inventory = take_inventory(host_of({0: readings, 1: {**readings, 0x48E: true | 1 << 15}}))

    assert re.search(
        r"^  cr3_load_exiting +on +CPU 0 default1-clearable; CPU 1 forced$",
        lines_text(show_lines(inventory)),
        re.MULTILINE,
    )
    assert "on" == on_page(inventory)["cr3_load_exiting"] == explained(inventory)["cr3_load_exiting"]
    assert "differs" == shown(inventory)["cr3_load_noexit"]
