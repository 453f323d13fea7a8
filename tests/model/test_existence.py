"""Which MSR exists when; the answers come from hardware and are written out here once more."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.strategies import BASIC, failures, plausible_readings, without
from vmxd.model.existence import exists, has_vmx
from vmxd.model.facts import Failed, Reading
from vmxd.tables import MSR_BY_INDEX

VMX = {BASIC: 1 << 50}
ALWAYS = (0x480, 0x481, 0x482, 0x483, 0x484, 0x485, 0x486, 0x487, 0x488, 0x489, 0x48A)
SECONDARY = VMX | {0x482: 1 << 63}
EIO = Failed("EIO")
EPERM = Failed("EPERM")

ENUMERATED: list[tuple[int, dict[int, int], int, int]] = [
    (0x48B, VMX, 0x482, 63),
    (0x48C, SECONDARY, 0x48B, 33),
    (0x48C, SECONDARY, 0x48B, 37),
    (0x48D, VMX, 0x480, 55),
    (0x48E, VMX, 0x480, 55),
    (0x48F, VMX, 0x480, 55),
    (0x490, VMX, 0x480, 55),
    (0x491, SECONDARY, 0x48B, 45),
    (0x492, VMX, 0x482, 49),
    (0x493, VMX, 0x483, 63),
]
"""MSR, what else is known, and the MSR and bit that enumerate it."""

enumerated = pytest.mark.parametrize(
    ("index", "known", "enumerator", "bit"), ENUMERATED, ids=[f"{i:x} by {e:x}[{b}]" for i, _, e, b in ENUMERATED]
)


def ask(index: int, readings: Mapping[int, Reading], vmx_flag: bool | None = True) -> bool | None:
    """Return whether an MSR exists where these are the readings."""
    return exists(MSR_BY_INDEX[index], vmx_flag, readings)


@enumerated
def test_exists_with_its_bit(index: int, known: dict[int, int], enumerator: int, bit: int) -> None:
    """An MSR exists where the bit that enumerates it is 1."""
    value = known.get(enumerator, 0) | 1 << bit

    assert ask(index, known | {enumerator: value}) is True


@enumerated
def test_absent_without_its_bit(index: int, known: dict[int, int], enumerator: int, bit: int) -> None:
    """An MSR is absent where all bits but those that enumerate it are 1."""
    others = {other for i, _, _, other in ENUMERATED if i == index}
    value = (1 << 64) - 1 - sum(1 << other for other in others)

    assert bit in others
    assert ask(index, known | {enumerator: value}) is False


@enumerated
@pytest.mark.parametrize("reading", [EIO, None])
def test_not_known(index: int, known: dict[int, int], enumerator: int, bit: int, reading: Failed | None) -> None:  # noqa: ARG001
    """Whether an MSR exists is not known where what enumerates it failed or was not recorded."""
    readings: dict[int, Reading] = dict(without(known, enumerator))
    if reading is not None:
        readings[enumerator] = reading

    assert ask(index, readings) is None


def test_every_enumerated_msr_is_tried() -> None:
    """The list above has every MSR that does not exist always."""
    assert {i for i, _, _, _ in ENUMERATED} == set(MSR_BY_INDEX) - {*ALWAYS, 0x3A}


@pytest.mark.parametrize("index", ALWAYS)
def test_always_there(index: int) -> None:
    """Eleven MSRs exist wherever VMX does, whatever is known of the rest."""
    assert ask(index, VMX) is True
    assert ask(index, {}) is True
    assert ask(index, VMX, vmx_flag=False) is True


@pytest.mark.parametrize("index", sorted(MSR_BY_INDEX))
def test_without_vmx(index: int) -> None:
    """Without VMX no capability MSR exists, not even one that answers."""
    assert ask(index, {}, vmx_flag=False) is False
    assert ask(index, dict.fromkeys(MSR_BY_INDEX, (1 << 64) - 1) | {BASIC: 0}) is False
    assert ask(index, dict.fromkeys(MSR_BY_INDEX, EIO), vmx_flag=None) is False


@pytest.mark.parametrize("index", sorted(MSR_BY_INDEX))
def test_perhaps_without_vmx(index: int) -> None:
    """Where neither flag nor values tell whether there is VMX, it is not known of any MSR whether it exists."""
    assert ask(index, {}, vmx_flag=None) is None
    assert ask(index, dict.fromkeys(MSR_BY_INDEX, EPERM), vmx_flag=None) is None


@pytest.mark.parametrize("index", [0x48C, 0x491])
def test_absent_without_secondary_controls(index: int) -> None:
    """Bits of an MSR that does not exist enumerate nothing, even if it answers."""
    assert ask(index, VMX | {0x482: 0, 0x48B: (1 << 64) - 1}) is False


@pytest.mark.parametrize("index", [0x48C, 0x491])
def test_absent_secondary_controls_need_no_reading(index: int) -> None:
    """What absent secondary controls would enumerate is absent, though they were never read."""
    assert ask(index, VMX | {0x482: 0}) is False


def test_vmfunc_is_not_tied_to_true_controls() -> None:
    """A Westmere has BASIC[55] and no IA32_VMX_VMFUNC: SDM Vol. 4 is wrong here."""
    assert ask(0x491, {BASIC: 1 << 55, 0x482: 1 << 63, 0x48B: 0x000000FF_00000000}) is False


@pytest.mark.parametrize(
    ("basic", "vmx_flag", "expected"),
    [
        (1, True, True),
        (1, None, True),
        (1, False, True),
        (0, True, False),
        (0, None, False),
        (0, False, False),
        (EIO, True, True),
        (EIO, None, False),
        (EIO, False, False),
        (EPERM, True, True),
        (EPERM, None, None),
        (EPERM, False, False),
        (None, True, True),
        (None, None, None),
        (None, False, False),
    ],
)
def test_has_vmx(basic: Reading | None, vmx_flag: bool | None, expected: bool | None) -> None:
    """IA32_VMX_BASIC decides where it has a value, and its 0 is no VMX; else the flag; else whether it faulted."""
    assert expected is has_vmx(vmx_flag, {} if basic is None else {BASIC: basic})


@pytest.mark.parametrize("basic", [EIO, EPERM, None])
def test_any_capability_tells(basic: Failed | None) -> None:
    """Without IA32_VMX_BASIC, the value of another capability MSR is VMX; a 0, a failure or 0x3A tells nothing."""
    known: dict[int, Reading] = {BASIC: basic} if basic else {}

    assert has_vmx(False, known | {0x485: 5}) is True
    assert has_vmx(False, known | {0x485: 0, 0x486: EPERM, 0x3A: 5}) is False


@given(plausible_readings())
def test_plausible_cpu_has_what_it_should(readings: dict[int, int]) -> None:
    """On a CPU read in full, exactly what was read exists."""
    assert set(readings) == {index for index in MSR_BY_INDEX if ask(index, readings)}


@given(plausible_readings(), st.data())
def test_less_is_never_the_opposite(full: dict[int, int], data: st.DataObject) -> None:
    """With fewer readings an answer may become unknown, but never the opposite."""
    lost = data.draw(st.sets(st.sampled_from(sorted(full))))
    some: dict[int, Reading] = dict(without(full, *lost))
    some |= {index: data.draw(failures) for index in lost if data.draw(st.booleans())}

    for index in MSR_BY_INDEX:
        assert ask(index, some) in (None, ask(index, full))
