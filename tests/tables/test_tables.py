"""The tables: their own consistency, a second opinion on the bits, and every name that people use for a feature."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import pytest

from vmxd.tables import FEATURES, MSR_BY_INDEX, Feature, find_bit, find_features, find_uses, msr_name
from vmxd.tables.msrs import MSRS
from vmxd.tables.rows import AllOf, Control, Field, Flag, Layout, MayBeZero, Msr, Row, Unnamed

SDM_BITS: Final = """
IA32_VMX_BASIC[49] dual_monitor                 | IA32_VMX_BASIC[54] ins_outs
IA32_VMX_BASIC[55] true_ctls                    | IA32_VMX_BASIC[58] nested_exception
IA32_VMX_PINBASED_CTLS[32] intr_exiting         | IA32_VMX_PINBASED_CTLS[38] preemption_timer
IA32_VMX_PROCBASED_CTLS[39] hlt_exiting         | IA32_VMX_PROCBASED_CTLS[49] tertiary_controls
IA32_VMX_PROCBASED_CTLS[60] use_msr_bitmaps     | IA32_VMX_PROCBASED_CTLS[63] sec_controls
IA32_VMX_PROCBASED_CTLS2[33] ept                | IA32_VMX_PROCBASED_CTLS2[37] vpid
IA32_VMX_PROCBASED_CTLS2[45] vmfunc             | IA32_VMX_PROCBASED_CTLS2[52] xsaves
IA32_VMX_PROCBASED_CTLS2[62] bus_lock_detection | IA32_VMX_PROCBASED_CTLS2[63] notify_vm_exiting
IA32_VMX_PROCBASED_CTLS3[1] hlat                | IA32_VMX_PROCBASED_CTLS3[4] ipi_virt
IA32_VMX_EXIT_CTLS[41] exit_host_addr_space_size | IA32_VMX_EXIT_CTLS[60] exit_load_cet
IA32_VMX_EXIT_CTLS[63] exit_secondary_ctls      | IA32_VMX_EXIT_CTLS2[3] exit_prematurely_busy_shadow_stack
IA32_VMX_ENTRY_CTLS[41] entry_ia32e_mode        | IA32_VMX_ENTRY_CTLS[47] entry_load_efer
IA32_VMX_ENTRY_CTLS[55] entry_load_fred         | IA32_VMX_MISC[5] store_lma
IA32_VMX_MISC[14] pt_in_vmx                     | IA32_VMX_MISC[29] vmwrite_vmexit_fields
IA32_VMX_EPT_VPID_CAP[6] ept_page_walk_4        | IA32_VMX_EPT_VPID_CAP[21] ept_ad
IA32_VMX_EPT_VPID_CAP[41] invvpid_single_context | IA32_VMX_VMFUNC[0] eptp_switching
"""

CLASHES: Final = {
    "vmx-invept-single-context": "invept_single_context",  # QEMU has it for 0x48C[41] too
    "vmx-invvpid-single-context": "invvpid_single_context",
    "vmx-invept-single-context-noglobals": "invvpid_single_context_noglobals",
    "vmx-invvpid-single-context-noglobals": "invvpid_single_context_noglobals",
    "vmx-ept-uc": "ept_uc",
    "vmx-ept-wb": "ept_wb",
    "vmx-flexpriority": "vtpr",
    "flexpriority": "flexpriority",
    "VMX_FEATURE_FLEXPRIORITY": "flexpriority",
    "apicv": "apicv",
    "vmx-apicv-xapic": "vapic",
    "vmx-apicv-x2apic": "virtual_x2apic",
    "vmx-apicv-register": "vapic_reg",
    "vmx-apicv-vid": "vid",
    "vmx-cr3-load-noexit": "cr3_load_noexit",
    "vmx-cr3-store-noexit": "cr3_store_noexit",
    "vmx-exit-nosave-debugctl": "exit_nosave_debugctl",
    "vmx-entry-noload-debugctl": "entry_noload_debugctl",
}
"""Names of QEMU, libvirt and Linux that are easily taken for another bit."""

msrs = pytest.mark.parametrize("msr", MSRS, ids=lambda msr: msr.name)


def bits(row: Row) -> set[int]:
    """Return the positions that a row takes, a control's in the lower half."""
    return set(range(row.low, row.high + 1)) if isinstance(row, Field) else {row.bit}


def names(found: Iterable[Feature]) -> list[str]:
    """Return the names of features."""
    return [feature.name for feature in found]


@pytest.mark.parametrize("line", re.findall(r"\S+\[\d+\] \w+", SDM_BITS))
def test_sdm_bit(line: str) -> None:
    """A bit looked up in the SDM by hand is where the table has it."""
    location, name = line.split()

    assert location == FEATURES[name].location


def test_names_are_unique() -> None:
    """No two features and no two fields share a name."""
    rows = [row for msr in MSRS if msr.twin_of is None for row in msr.rows if not isinstance(row, Unnamed)]
    every = [row.name for row in rows] + [f.name for f in FEATURES.values() if f.msr is None]

    assert sorted(set(every)) == sorted(every)


def test_names_are_snake_case() -> None:
    """Every name is a metric label that needs no quoting anywhere, and starts with a letter."""
    assert [] == [name for name in FEATURES if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)]


def test_name_rule() -> None:
    """A feature that Linux knows but does not show has Linux' name, in lower case; one that it shows, the flag's."""
    hidden = [feature for feature in FEATURES.values() if feature.row.linux and not feature.row.cpuinfo]
    shown = [feature for feature in FEATURES.values() if feature.row.cpuinfo]

    assert [(feature.row.linux or "").lower() for feature in hidden] == names(hidden)
    assert [feature.cpuinfo_flag for feature in shown] == names(shown)
    assert (35, 29) == (len(hidden), len(shown))


def test_prefixes() -> None:
    """VM-exit controls start with exit_, VM-entry controls with entry_, and no other single bit does."""
    prefixes = {0x483: "exit", 0x493: "exit", 0x484: "entry"}
    single = [feature for feature in FEATURES.values() if feature.msr]
    first_words = [feature.name.partition("_")[0] for feature in single]

    assert [prefixes.get(feature.msr.index) for feature in single if feature.msr] == [
        word if word in ("exit", "entry") else None for word in first_words
    ]


@msrs
def test_rows_do_not_overlap(msr: Msr) -> None:
    """No two rows of an MSR claim one bit, and they stand in ascending order."""
    positions = [min(bits(row)) for row in msr.rows]

    assert sum(len(bits(row)) for row in msr.rows) == len(set().union(*map(bits, msr.rows)))
    assert sorted(positions) == positions


@msrs
def test_rows_fit(msr: Msr) -> None:
    """Rows stay in bits 0-63, controls in 0-31, and only an MSR of controls has rows of controls."""
    highest = 31 if msr.layout is Layout.CONTROLS else 63

    assert set().union(*map(bits, msr.rows)) <= set(range(highest + 1))
    assert {msr.layout is Layout.CONTROLS} == {isinstance(r, Control) for r in msr.rows if not isinstance(r, Unnamed)}


@msrs
def test_exists_if(msr: Msr) -> None:
    """An MSR is enumerated by named bits of MSRs that are read before it."""
    order = list(MSR_BY_INDEX)
    for bit in msr.exists_if:
        enumerator = MSR_BY_INDEX[bit.msr]

        assert order.index(bit.msr) < order.index(msr.index)
        assert bit.bit in {enumerator.feature_bit(row) for row in enumerator.rows if isinstance(row, Flag)}


def test_default1_controls() -> None:
    """Of the default1 class software knows four controls by name; the rest is reserved, and set."""
    named = [
        row.name
        for msr in MSRS
        if msr.twin_of is None
        for row in msr.rows
        if isinstance(row, Control) and msr.default1 >> row.bit & 1
    ]
    masks = {msr.index: msr.default1 for msr in MSRS if msr.twin_of is None and msr.default1}

    assert ["cr3_load_exiting", "cr3_store_exiting", "exit_save_debugctl", "entry_load_debugctl"] == named
    assert {0x481: 0x16, 0x482: 0x0401E172, 0x483: 0x00036DFF, 0x484: 0x000011FF} == masks


def test_true_msrs() -> None:
    """Each TRUE MSR and its legacy MSR name each other and share rows, default1 class and layout."""
    pairs = [(msr, MSR_BY_INDEX[msr.true]) for msr in MSRS if msr.true is not None]

    assert {0x481: 0x48D, 0x482: 0x48E, 0x483: 0x48F, 0x484: 0x490} == {msr.index: twin.index for msr, twin in pairs}
    for msr, twin in pairs:
        assert msr.index == twin.twin_of
        assert (msr.rows, msr.default1, msr.layout) == (twin.rows, twin.default1, twin.layout)


def test_derived_features() -> None:
    """Derived features are made of single bits; those that may be 0 are of the default1 class of an MSR with a twin."""
    for row in (feature.row for feature in FEATURES.values() if feature.msr is None):
        if isinstance(row, AllOf):
            assert all(isinstance(FEATURES[name].row, Flag) for name in row.of)
        else:
            assert isinstance(row, MayBeZero)
            control = FEATURES[row.of]
            assert isinstance(control.row, Control)
            assert control.msr is not None
            assert control.msr.true is not None
            assert 1 == control.msr.default1 >> control.row.bit & 1


def test_aliases_resolve() -> None:
    """Every feature is found by its name and by every alias, in any case and with blanks around it."""
    lost = [
        (feature.name, alias)
        for feature in FEATURES.values()
        for alias in (feature.name, *feature.aliases)
        if feature not in find_features(f" {alias.upper()}\n")
    ]

    assert [("invvpid_single_context", "vmx-invept-single-context")] == lost  # QEMU's name for two bits


def test_every_use_of_a_name() -> None:
    """Where somebody uses one name for two bits, both can be had; of all other names that is what they mean anyhow."""
    assert ["invept_single_context", "invvpid_single_context"] == names(find_uses("vmx-invept-single-context"))
    differing = {
        alias
        for feature in FEATURES.values()
        for alias in (feature.name, feature.location or "", *feature.aliases)
        if set(find_uses(alias)) != set(find_features(alias))
    }
    assert {"vmx-invept-single-context"} == differing


def test_only_sdm_text_is_ambiguous() -> None:
    """Every alias but the SDM's words means one feature."""
    aliases = {alias for feature in FEATURES.values() for alias in {feature.name, *feature.aliases} - {feature.row.sdm}}

    assert [] == [alias for alias in sorted(aliases) if len(find_features(alias)) != 1]


def test_ambiguous_alias() -> None:
    """The SDM's words for two controls find both."""
    assert ["exit_load_pat", "entry_load_pat"] == names(find_features("load ia32_pat"))
    assert ["pt_conceal_vmx", "exit_conceal_pt", "entry_conceal_pt"] == names(find_features("Conceal VMX from PT"))


@pytest.mark.parametrize(("alias", "name"), CLASHES.items())
def test_clash(alias: str, name: str) -> None:
    """Where QEMU, libvirt and Linux use like names for different bits, each name finds the right one."""
    assert [name] == names(find_features(alias))


@pytest.mark.parametrize(
    "text",
    [
        "IA32_VMX_PROCBASED_CTLS2[33]", "ia32_vmx_procbased_ctls2[1]", "0x48b[33]", "0x48B[1]",
        " IA32_VMX_PROCBASED_CTLS2[33] ",
    ],
)  # fmt: skip
def test_either_bit_of_a_control(text: str) -> None:
    """MSR[bit] finds a control by MSR name or index, and by either bit of its pair."""
    assert ["ept"] == names(find_features(text))


def test_bit_of_a_true_msr() -> None:
    """The bits of a TRUE MSR are those of its legacy MSR."""
    assert ["cr3_load_exiting"] == names(find_features("IA32_VMX_TRUE_PROCBASED_CTLS[15]"))
    assert ["cr3_load_exiting"] == names(find_features("0x48e[47]"))


@pytest.mark.parametrize("text", ["", "nothing", "0x48b[29]", "0x48b[64]", "0x999[1]", "0x492[36]", "IA32_VMX_BASIC[]"])
def test_unknown_name(text: str) -> None:
    """A name or bit that nobody uses finds nothing; a bit of 64 controls has no pair."""
    assert () == find_features(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vmcs_region_size", "vmcs_region_size of IA32_VMX_BASIC"),
        (" IA32_VMX_BASIC[44] ", "vmcs_region_size of IA32_VMX_BASIC"),
        ("0x480[32]", "vmcs_region_size of IA32_VMX_BASIC"),
        ("ia32_feature_control[0]", "locked of IA32_FEATURE_CONTROL"),
        ("locked", "locked of IA32_FEATURE_CONTROL"),
        ("0x480[45]", None),
        ("0x480[64]", None),
        ("0x999[0]", None),
        ("nothing", None),
    ],
)
def test_find_bit(text: str, expected: str | None) -> None:
    """Bits and fields that are no features are found by their name and by MSR[bit]."""
    found = find_bit(text)

    assert expected == (found and found[1])
    assert found is None or found[1].endswith(f" of {found[0].name}")


@pytest.mark.parametrize("text", ["0x480[57]", "IA32_VMX_MISC[9]", "0x48b[29]", "0x48b[61]"])
def test_find_bit_without_a_name(text: str) -> None:
    """A bit that was seen but that nobody names is told with where; of a control, by either bit of its pair."""
    found = find_bit(text)

    assert found is not None
    assert found[1].startswith("a bit without a name, ")


def test_msr_name() -> None:
    """An MSR is called what the SDM calls it, one outside the tables by its index."""
    assert "IA32_VMX_EPT_VPID_CAP" == msr_name(0x48C)
    assert "0x494" == msr_name(0x494)


def test_linux_position() -> None:
    """A feature's place in the kernel's array is its word and bit, or one of its own in word 0; or it has none."""
    assert 32 + 21 == FEATURES["vtpr"].linux_position
    assert 16 == FEATURES["invvpid"].linux_position
    assert 25 == FEATURES["apicv"].linux_position
    assert None is FEATURES["hlat"].linux_position


def test_field() -> None:
    """A field's number is its bits, biased and scaled: 3 in MISC[27:25] recommends at most 2048 MSRs."""
    (row,) = (row for row in MSR_BY_INDEX[0x485].rows if isinstance(row, Field) and row.name == "msr_list_max")

    assert 0x0E000000 == row.mask
    assert 2048 == row.get(0xF1FFFFFF_00000000 | 3 << 25)
