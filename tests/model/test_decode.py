"""One CPU's values decoded: features, controls, fields, status, and the bits that no row explains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.strategies import (
    BASIC,
    FEATURE_CONTROL,
    any_readings,
    failures,
    host_of,
    plausible_readings,
    without,
)
from vmxd.model.decode import Decoded, Status, cpuinfo_flags, decode
from vmxd.model.facts import Failed, Missing, Reading
from vmxd.model.inventory import Inventory, take_inventory
from vmxd.model.states import Presence, State
from vmxd.tables import FEATURES, MSR_BY_INDEX
from vmxd.tables.rows import Field, Flag, Layout, Msr, Unnamed

EIO: Final = Failed("EIO")
TRUE_CTLS: Final = 1 << 55
PROC, TRUE_PROC, PROC2, EPT_VPID = 0x482, 0x48E, 0x48B, 0x48C
CR3_LOAD: Final = 15

PRESENT, ABSENT, FAILED, NOT_RECORDED = Presence.PRESENT, Presence.ABSENT, Presence.FAILED, Presence.NOT_RECORDED


def pair(allowed1: int, allowed0: int, bit: int = CR3_LOAD) -> int:
    """Return a control MSR's value with one control's two bits."""
    return allowed1 << bit + 32 | allowed0 << bit


def of(readings: Mapping[int, Reading]) -> Decoded:
    """Decode readings on top of an IA32_VMX_BASIC that has no TRUE controls."""
    return decode(True, {BASIC: 1} | dict(readings))


# Controls


def states(table: str) -> list[tuple[int, int, str, str]]:
    """Return a table as (allowed-1, allowed-0, which TRUE MSR, state); "-" is a pair that no CPU can have."""
    head, *lines = ([cell.strip() for cell in line.split("|")] for line in table.strip().splitlines())
    cells = [(*line[0].split(), true, state) for line in lines for true, state in zip(head[1:], line[1:], strict=True)]
    return [(int(allowed1), int(allowed0), true, state) for allowed1, allowed0, true, state in cells if state != "-"]


@pytest.mark.parametrize(
    ("allowed1", "allowed0", "true", "state"),
    states("""
        1, 0 | no TRUE     | TRUE 0             | TRUE 1  | TRUE failed | TRUE unrecorded
        0 0  | off         | off                | -       | off         | off
        1 0  | on          | on                 | -       | on          | on
        1 1  | forced      | default1-clearable | forced  | not known   | not known
        0 1  | invalid     | invalid            | invalid | invalid     | invalid
    """),
)
def test_control_state(allowed1: int, allowed0: int, true: str, state: str) -> None:
    """Two bits and the TRUE MSR, where there is one, say what may be done; without it that may be unknown."""
    readings: dict[int, Reading] = {BASIC: 1 if true == "no TRUE" else TRUE_CTLS, PROC: pair(allowed1, allowed0)}
    if true in ("TRUE 0", "TRUE 1"):
        readings[TRUE_PROC] = pair(allowed1, int(true[-1]))
    elif true == "TRUE failed":
        readings[TRUE_PROC] = EIO
    found = of(readings).controls.get("cr3_load_exiting")

    assert state == (found.value if found else "not known")


def test_default1_control_with_unknown_legacy_msr() -> None:
    """While the legacy MSR is not known, a default1 control that may be 0 is not called optional."""
    decoded = of({BASIC: TRUE_CTLS, PROC: EIO, TRUE_PROC: pair(1, 0)})

    assert PRESENT is decoded.features["cr3_load_exiting"]
    assert decoded.controls.get("cr3_load_exiting") in (None, State.DEFAULT1_CLEARABLE)


def test_control_of_an_absent_msr() -> None:
    """A control of an MSR that does not exist is unavailable; of one that failed, it is not known."""
    secondary = {PROC: pair(1, 0, bit=31)}

    assert State.OFF is of({PROC: 0}).controls["ept"]
    assert "ept" not in of(secondary | {PROC2: EIO}).controls
    assert "ept" not in of(secondary).controls


def test_64_bit_controls() -> None:
    """Each of the 64 tertiary controls has one bit: it may be 1, and may always be 0."""
    decoded = of({PROC: pair(1, 0, bit=17), 0x492: 1 << 4})

    assert State.ON is decoded.controls["ipi_virt"]
    assert State.OFF is decoded.controls["hlat"]


# Features


def test_true_msr_decides() -> None:
    """Where they differ, the TRUE MSR's allowed 1-settings count, and the legacy MSR's where TRUE is not known."""
    assert ABSENT is of({BASIC: TRUE_CTLS, PROC: pair(1, 0), TRUE_PROC: 0}).features["cr3_load_exiting"]
    assert PRESENT is of({BASIC: TRUE_CTLS, PROC: pair(1, 0), TRUE_PROC: EIO}).features["cr3_load_exiting"]


@pytest.mark.parametrize(
    ("proc", "proc2", "expected"),
    [
        (pair(1, 0, 21) | pair(1, 0, 31), pair(1, 0, 0), PRESENT),
        (pair(1, 0, 21) | pair(1, 0, 31), 0, ABSENT),
        (pair(1, 0, 21) | pair(1, 0, 31), EIO, FAILED),
        (pair(1, 0, 21) | pair(1, 0, 31), None, NOT_RECORDED),
        (pair(1, 0, 21), None, ABSENT),
        (pair(1, 0, 31), EIO, ABSENT),
        (pair(1, 0, 31), None, ABSENT),
        (EIO, 0, ABSENT),
        (EIO, pair(1, 0, 0), FAILED),
        (None, pair(1, 0, 0), NOT_RECORDED),
        (EIO, None, FAILED),
    ],
)
def test_flexpriority(proc: Reading | None, proc2: Reading | None, expected: Presence) -> None:
    """A feature of several bits is absent if one is, known or not the rest, and present if all are."""
    readings = {index: reading for index, reading in ((PROC, proc), (PROC2, proc2)) if reading is not None}

    assert expected is of(readings).features["flexpriority"]


@pytest.mark.parametrize("missing", [None, (PROC, 21), (PROC2, 8), (PROC2, 9), (0x481, 7)])
def test_apicv(missing: tuple[int, int] | None) -> None:
    """APICv takes all of its four parts, and nothing else."""
    readings = {PROC: pair(1, 0, 21) | pair(1, 0, 31), PROC2: pair(1, 0, 8) | pair(1, 0, 9), 0x481: pair(1, 0, 7)}
    if missing:
        readings[missing[0]] ^= pair(1, 0, missing[1])

    assert (ABSENT if missing else PRESENT) is of(readings).features["apicv"]


@pytest.mark.parametrize(
    ("basic", "legacy", "true", "expected"),
    [
        (1, pair(1, 1), None, ABSENT),
        (1, pair(1, 0), None, PRESENT),
        (1, EIO, None, FAILED),
        (1, None, None, NOT_RECORDED),
        (TRUE_CTLS, pair(1, 1), pair(1, 0), PRESENT),
        (TRUE_CTLS, pair(1, 1), pair(1, 1), ABSENT),
        (TRUE_CTLS, EIO, pair(1, 0), PRESENT),
        (TRUE_CTLS, pair(1, 1), EIO, FAILED),
        (TRUE_CTLS, pair(1, 1), None, NOT_RECORDED),
        (TRUE_CTLS, pair(1, 0), EIO, PRESENT),
        (EIO, pair(1, 1), None, NOT_RECORDED),
        (0, pair(1, 0), pair(1, 0), ABSENT),
    ],
)
def test_may_be_zero(basic: Reading, legacy: Reading | None, true: Reading | None, expected: Presence) -> None:
    """A default1 control may be 0 where the TRUE MSR says so, or the legacy MSR does; both silent, it is not known."""
    readings = {index: r for index, r in ((BASIC, basic), (PROC, legacy), (TRUE_PROC, true)) if r is not None}

    assert expected is of(readings).features["cr3_load_noexit"]


@given(plausible_readings(), st.data())
def test_unknown_is_never_0(full: dict[int, int], data: st.DataObject) -> None:
    """Readings that fail or lack may make a feature unknown, never absent; what is still known is still true."""
    lost = data.draw(st.sets(st.sampled_from(sorted(full))))
    some: dict[int, Reading] = dict(without(full, *lost))
    some |= {index: data.draw(failures) for index in lost if data.draw(st.booleans())}
    before, after = decode(True, full), decode(True, some)

    for name, presence in after.features.items():
        assert presence in (before.features[name], FAILED, NOT_RECORDED), name
    for name, state in after.controls.items():
        assert state is before.controls[name], name


@given(st.sampled_from((True, False, None)), any_readings)
def test_anything_decodes(vmx_flag: bool | None, readings: dict[int, Reading]) -> None:
    """Whatever was read, every feature has a presence and every MSR a state, new ones in the range included."""
    decoded = decode(vmx_flag, readings)

    assert set(FEATURES) == set(decoded.features)
    assert {*MSR_BY_INDEX, *(index for index in readings if 0x480 <= index < 0x500)} == set(decoded.msrs)
    assert {i for i, state in decoded.msrs.items() if isinstance(state, int)} == set(decoded.unknown)


@pytest.mark.parametrize("vmx_flag", [True, False])
def test_basic_0_is_no_vmx(vmx_flag: bool) -> None:
    """Where IA32_VMX_BASIC reads 0 there is no VMX, whatever else answers: all features are absent."""
    decoded = decode(vmx_flag, dict.fromkeys(MSR_BY_INDEX, (1 << 64) - 1) | {BASIC: 0})

    assert {ABSENT} == set(decoded.features.values())
    assert {Missing.ABSENT} == {state for index, state in decoded.msrs.items() if index != FEATURE_CONTROL}
    assert Status.NO_VMX is decoded.status


# IA32_FEATURE_CONTROL


@pytest.mark.parametrize(
    ("locked", "inside_smx", "outside_smx", "status"),
    [
        (0, 0, 0, Status.UNLOCKED),
        (0, 0, 1, Status.UNLOCKED),
        (0, 1, 0, Status.UNLOCKED),
        (0, 1, 1, Status.UNLOCKED),
        (1, 0, 1, Status.USABLE),
        (1, 1, 1, Status.USABLE),
        (1, 1, 0, Status.SMX_ONLY),
        (1, 0, 0, Status.DISABLED_BY_FIRMWARE),
    ],
)
def test_status(locked: int, inside_smx: int, outside_smx: int, status: Status) -> None:
    """VMX is usable where IA32_FEATURE_CONTROL is locked and enables it outside SMX; its other bits do not count."""
    value = locked | inside_smx << 1 | outside_smx << 2

    assert status is of({FEATURE_CONTROL: value}).status
    assert status is of({FEATURE_CONTROL: value | ~7 & (1 << 64) - 1}).status


@pytest.mark.parametrize(
    ("readings", "vmx_flag", "status"),
    [
        ({}, True, Status.UNKNOWN),
        ({}, None, Status.UNKNOWN),
        ({}, False, Status.NO_VMX),
        ({FEATURE_CONTROL: 5}, True, Status.USABLE),
        ({FEATURE_CONTROL: 5}, False, Status.NO_VMX),
        ({BASIC: 1}, True, Status.UNKNOWN),
        ({BASIC: 1, FEATURE_CONTROL: EIO}, True, Status.UNKNOWN),
        ({BASIC: 1, FEATURE_CONTROL: 1}, False, Status.DISABLED_BY_FIRMWARE),
        ({BASIC: EIO, FEATURE_CONTROL: 5}, True, Status.USABLE),
        ({BASIC: EIO}, True, Status.UNREADABLE),
        ({BASIC: EIO, FEATURE_CONTROL: EIO}, True, Status.UNREADABLE),
        ({BASIC: EIO, FEATURE_CONTROL: EIO}, None, Status.NO_VMX),
        ({BASIC: Failed("EPERM"), FEATURE_CONTROL: Failed("EPERM")}, None, Status.UNREADABLE),
        ({BASIC: Failed("EPERM"), FEATURE_CONTROL: Failed("EPERM")}, False, Status.NO_VMX),
        ({BASIC: 0, FEATURE_CONTROL: 5}, True, Status.NO_VMX),
    ],
)
def test_status_of_partial_knowledge(readings: dict[int, Reading], vmx_flag: bool | None, status: Status) -> None:
    """Without IA32_VMX_BASIC the vmx flag speaks; without IA32_FEATURE_CONTROL nothing is decided."""
    assert status is decode(vmx_flag, readings).status


@pytest.mark.parametrize(
    ("reading", "state", "failed"),
    [
        (0, Missing.ABSENT, False),
        (EIO, Missing.ABSENT, False),
        (None, Missing.NOT_RECORDED, False),
        (5, 5, False),
        (Failed("EPERM"), Failed("EPERM"), False),
    ],
)
def test_feature_control_without_vmx(reading: Reading | None, state: object, failed: bool) -> None:
    """Without VMX, IA32_FEATURE_CONTROL may be missing, so no answer of it is a failure."""
    decoded = decode(False, {} if reading is None else {FEATURE_CONTROL: reading})

    assert state == decoded.msrs[FEATURE_CONTROL]
    assert failed == (FEATURE_CONTROL in decoded.failed)


def test_failed() -> None:
    """What failed is what should exist and gave an errno; an MSR that is absent, or that no table has, may fault."""
    decoded = of({PROC: 0, PROC2: EIO, 0x483: EIO, FEATURE_CONTROL: EIO, 0x494: EIO})

    assert Missing.ABSENT is decoded.msrs[PROC2]
    assert {FEATURE_CONTROL: EIO, 0x483: EIO} == decoded.failed


# Bits, and back again


def reassemble(msr: Msr, inventory: Inventory) -> int:
    """Return an MSR's value as far as names tell it: from features, control states, fields and the unknown mask."""
    decoded = inventory.groups[0].decoded
    value = decoded.unknown[msr.index] | decoded.unnamed.get(msr.index, 0)
    true = MSR_BY_INDEX.get(msr.true or 0)
    reserved = msr.default1 & ~sum(1 << row.bit for row in msr.rows if isinstance(row, Flag))
    value |= reserved << 32 | reserved
    forced = {State.FORCED}
    if msr.twin_of is None and true is not None and true.index in decoded.unknown:
        forced |= {State.DEFAULT1_CLEARABLE}
    for row in msr.rows:
        if isinstance(row, Field):
            value |= (decoded.fields[row.name] // row.scale - row.bias) << row.low
        elif isinstance(row, Flag) and msr.index == FEATURE_CONTROL:
            value |= inventory.feature_control.get(row.name, False) << row.bit
        elif isinstance(row, Flag):
            value |= (decoded.features[row.name] is PRESENT) << msr.feature_bit(row)
            if msr.layout is Layout.CONTROLS:
                value |= (decoded.controls[row.name] in forced) << row.bit
    return value


@given(plausible_readings())
def test_nothing_is_lost(readings: dict[int, int]) -> None:
    """Names, numbers, unknown and unnamed masks give back all 64 bits of every MSR."""
    inventory = take_inventory(host_of({0: readings}))

    assert readings == {index: reassemble(MSR_BY_INDEX[index], inventory) for index in readings}


def test_unknown_bits() -> None:
    """Bits that no row explains are a mask, in a named MSR and in a new one; those that other CPUs set are another."""
    decoded = of(
        {BASIC: 1 << 63 | 1 << 57 | 1 << 55, 0x4BF: 0xF0, 0x4C1: 1, PROC: 0x0401E172_0401E172 | 1 << 50 | 1 << 18}
    )

    assert 1 << 63 == decoded.unknown[BASIC]
    assert {BASIC: 1 << 57} == decoded.unnamed
    assert 0xF0 == decoded.unknown[0x4BF]
    assert 0x4C1 not in decoded.unknown
    assert 1 << 50 | 1 << 18 == decoded.unknown[PROC]


@pytest.mark.parametrize("layout", list(Layout))
def test_every_bit_is_explained_or_unknown(layout: Layout) -> None:
    """With all 64 bits set, a bit is unknown if and only if no row has it and it is not reserved as 1."""
    for msr in (msr for msr in MSR_BY_INDEX.values() if msr.layout is layout and not msr.exists_if):
        taken = {bit for row in msr.rows if isinstance(row, Field) for bit in range(row.low, row.high + 1)}
        taken |= {row.bit for row in msr.rows if isinstance(row, Flag)}
        if layout is Layout.CONTROLS:
            taken |= {bit for bit in range(32) if msr.default1 >> bit & 1}
            taken |= {bit + 32 for bit in taken}
        taken |= {msr.feature_bit(row) for row in msr.rows if isinstance(row, Unnamed)}
        every = of({msr.index: (1 << 64) - 1})

        assert sum(1 << bit for bit in range(64) if bit not in taken) == every.unknown[msr.index]


def test_fields() -> None:
    """Fields are the numbers of MSRs that have a value, and of those alone."""
    decoded = of({BASIC: 6 << 50 | 1024 << 32 | 0x11E57ED0, 0x485: 0x7004C1E7})

    assert {
        "vmcs_revision_id": 0x11E57ED0, "vmcs_region_size": 1024, "vmcs_memory_type": 6, "preemption_timer_rate": 7,
        "cr3_target_count": 4, "msr_list_max": 512, "mseg_revision_id": 0,
    } == decoded.fields  # fmt: skip


# /proc/cpuinfo


def test_cpuinfo_order() -> None:
    """Flags that Linux moves to word 0 come between those of the pin-based and the primary controls."""
    flags = cpuinfo_flags(dict.fromkeys(FEATURES, PRESENT))

    first = """vnmi preemption_timer posted_intr invvpid ept_x_only ept_ad ept_1gb ept_5level flexpriority apicv
        eptp_switching tsc_offset"""

    assert 29 == len(flags)
    assert first.split() == list(flags[:12])
    assert ("usr_wait_pause", "notify_vm_exiting", "ipi_virt") == flags[-3:]
    assert () == cpuinfo_flags(dict.fromkeys(FEATURES, FAILED))
