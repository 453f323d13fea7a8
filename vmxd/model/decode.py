"""What one CPU's MSR values mean: SDM Vol. 3D Appendix A. Pure: values in, names out.

Readings are decoded once for each distinct set of values, not once for each CPU (compare.py groups the CPUs).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vmxd.model.existence import exists, has_vmx
from vmxd.model.facts import Failed, Missing, MsrState, Reading
from vmxd.model.states import Here, Presence, State
from vmxd.tables import CAPABILITY_RANGE, FEATURES, IA32_FEATURE_CONTROL, IA32_VMX_BASIC, MSR_BY_INDEX, Feature
from vmxd.tables.rows import AllOf, Control, Field, Flag, Layout, MayBeZero, Msr


class Status(enum.Enum):
    """Whether software may execute VMXON on a CPU, worst first; SDM Vol. 3C, "Enabling and Entering VMX Operation"."""

    NO_VMX = "no_vmx"
    DISABLED_BY_FIRMWARE = "disabled_by_firmware"
    SMX_ONLY = "smx_only"
    UNLOCKED = "unlocked"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"
    USABLE = "usable"


_UNNAMED: Final = {index: sum(1 << bit for bit in msr.unnamed) for index, msr in MSR_BY_INDEX.items() if msr.unnamed}


@dataclass(frozen=True, slots=True)
class Decoded:
    """One distinct set of MSR values, decoded.

    msrs: every MSR of the tables by index, and others that were recorded.
    features: every feature by name.
    controls: state of every control feature by name; not in the mapping if the MSRs that decide it are not known.
    fields: numbers by field name, of MSRs that have a value.
    unknown: by MSR that has a value, the mask of set bits that no row explains.
    unnamed: by MSR that has such bits, the mask of set bits that no source names and that other CPUs set too.
    """

    status: Status
    msrs: Mapping[int, MsrState]
    features: Mapping[str, Presence]
    controls: Mapping[str, State]
    fields: Mapping[str, int]
    unknown: Mapping[int, int]
    unnamed: Mapping[int, int]

    @property
    def failed(self) -> dict[int, Failed]:
        """The MSRs that exist, or may, and could not be read; not those that no table has."""
        known = ((index, self.msrs[index]) for index in MSR_BY_INDEX)
        failed = {index: state for index, state in known if isinstance(state, Failed)}
        if self.status is Status.NO_VMX:
            failed.pop(IA32_FEATURE_CONTROL, None)
        return failed

    @property
    def readable(self) -> bool:
        """Whether anything is known of these CPUs: an MSR's value, or that there is no VMX."""
        return any(isinstance(state, int) or state is Missing.ABSENT for state in self.msrs.values())


def decode(vmx_flag: bool | None, readings: Mapping[int, Reading], *, feature_control: bool | None = None) -> Decoded:
    """Decode the readings of one CPU, or of CPUs that agree.

    vmx_flag, feature_control: what /proc/cpuinfo says there (facts.Cpu).
    readings: MSR index -> value or errno, what was not recorded left out. Of MSRs that no table has, those of the
    capability MSRs' range are kept: their bits are unknown ones.
    """
    msrs = {msr.index: _state(msr, vmx_flag, readings, feature_control) for msr in MSR_BY_INDEX.values()}
    for index, reading in readings.items():
        if index in CAPABILITY_RANGE and index not in msrs:
            msrs[index] = Missing.ABSENT if reading == Failed("EIO") else reading  # nothing enumerates it
    fields: dict[str, int] = {}
    for msr in MSR_BY_INDEX.values():
        if isinstance(value := msrs[msr.index], int):
            fields |= fields_of(msr, value)
    return Decoded(
        status=_status(msrs),
        msrs=msrs,
        features=_features(msrs),
        controls=_controls(msrs),
        fields=fields,
        unknown={index: value & ~_explained(index) for index, value in msrs.items() if isinstance(value, int)},
        unnamed={
            index: value & mask
            for index, mask in _UNNAMED.items()
            if isinstance(value := msrs[index], int) and value & mask
        },
    )


def fields_of(msr: Msr, value: int) -> dict[str, int]:
    """Read the fields of an MSR's value, by name."""
    return {row.name: row.get(value) for row in msr.rows if isinstance(row, Field)}


def feature_here(feature: Feature, decoded: Decoded) -> Here:
    """Tell how a feature stands on one CPU, and why if no bit says so."""
    presence = decoded.features[feature.name]
    if presence in (Presence.FAILED, Presence.NOT_RECORDED):
        why = decoded.msrs[unknown_msr(feature, decoded)]
        return State.UNKNOWN, why if isinstance(why, Failed) else Missing.NOT_RECORDED
    if feature.msr is not None and decoded.msrs[feature.msr.index] is Missing.ABSENT:
        return State.OFF, Missing.ABSENT
    plain = State.ON if presence is Presence.PRESENT else State.OFF
    return decoded.controls.get(feature.name, plain), None


def unknown_msr(feature: Feature, decoded: Decoded) -> int:
    """Find the MSR that leaves a feature unknown; only of features that are failed or not recorded."""
    row, msr = feature.row, feature.msr
    if isinstance(row, AllOf):
        presence = decoded.features[feature.name]
        return unknown_msr(FEATURES[next(name for name in row.of if decoded.features[name] is presence)], decoded)
    if isinstance(row, MayBeZero):
        msr = FEATURES[row.of].msr
        assert msr is not None
        if msr.true is not None and decoded.msrs[msr.true] is not Missing.ABSENT:
            return msr.true
    assert msr is not None
    return msr.index


def firmware_here(row: Flag, decoded: Decoded) -> Here:
    """Tell how a bit of IA32_FEATURE_CONTROL stands on one CPU."""
    state = decoded.msrs[IA32_FEATURE_CONTROL]
    if isinstance(state, int):
        return State.ON if state >> row.bit & 1 else State.OFF, None
    return State.OFF if state is Missing.ABSENT else State.UNKNOWN, state


def cpuinfo_flags(features: Mapping[str, Presence]) -> tuple[str, ...]:
    """List the flags that Linux derives for the "vmx flags" line of /proc/cpuinfo, in its order.

    True to the hardware: Linux itself reads the wrong half of IA32_VMX_VMFUNC and so never prints eptp_switching
    (kernel/cpu/feat_ctl.c, 5.6 to 7.3).
    """
    shown = (f for f in FEATURES.values() if f.cpuinfo_flag and features[f.name] is Presence.PRESENT)
    return tuple(f.name for f in sorted(shown, key=lambda f: f.linux_position or 0))


def _state(msr: Msr, vmx_flag: bool | None, readings: Mapping[int, Reading], feature_control: bool | None) -> MsrState:
    reading = readings.get(msr.index)
    if msr.index == IA32_FEATURE_CONTROL:
        # Exists with VMX or SMX, and on parts with SGX or LMCE. Without VMX, a fault or 0 says that it does not exist;
        # on makers' CPUs that never have it, any failure and a missing reading do.
        nothing = (0, Failed("EIO")) if feature_control is not False or isinstance(reading, int) else (reading,)
        if reading in nothing and has_vmx(vmx_flag, readings) is False:
            return Missing.ABSENT
    elif exists(msr, vmx_flag, readings) is False:
        return Missing.ABSENT
    return Missing.NOT_RECORDED if reading is None else reading


def _explained(index: int) -> int:
    return MSR_BY_INDEX[index].explained if index in MSR_BY_INDEX else 0


def _status(msrs: Mapping[int, MsrState]) -> Status:
    basic, control = msrs[IA32_VMX_BASIC], msrs[IA32_FEATURE_CONTROL]
    if basic is Missing.ABSENT:
        return Status.NO_VMX
    if not isinstance(control, int):
        return Status.UNREADABLE if isinstance(basic, Failed) else Status.UNKNOWN
    locked, inside_smx, outside_smx = control & 1, control & 2, control & 4
    if not locked:
        return Status.UNLOCKED
    if outside_smx:
        return Status.USABLE
    return Status.SMX_ONLY if inside_smx else Status.DISABLED_BY_FIRMWARE


def _features(msrs: Mapping[int, MsrState]) -> dict[str, Presence]:
    features: dict[str, Presence] = {}
    for feature in FEATURES.values():
        row = feature.row
        if isinstance(row, Flag):
            assert feature.msr is not None
            features[feature.name] = _presence(_best(feature.msr, msrs), feature.msr.feature_bit(row))
        elif isinstance(row, AllOf):
            features[feature.name] = _all({features[name] for name in row.of})
        else:
            features[feature.name] = _may_be_zero(row.of, msrs)
    return features


def _best(msr: Msr, msrs: Mapping[int, MsrState]) -> MsrState:
    """Choose the MSR to believe: the TRUE MSR if it has a value, else the legacy one (SDM Vol. 3D A.2)."""
    true = msrs[msr.true] if msr.true is not None else Missing.ABSENT
    return true if isinstance(true, int) else msrs[msr.index]


def _presence(state: MsrState, bit: int) -> Presence:
    if isinstance(state, int):
        return Presence.PRESENT if state >> bit & 1 else Presence.ABSENT
    if isinstance(state, Failed):
        return Presence.FAILED
    return Presence.ABSENT if state is Missing.ABSENT else Presence.NOT_RECORDED


def _all(parts: set[Presence]) -> Presence:
    """Tell whether all of several features are present; one that is absent decides, whatever is not known."""
    for decisive in (Presence.ABSENT, Presence.FAILED, Presence.NOT_RECORDED):
        if decisive in parts:
            return decisive
    return Presence.PRESENT


def _may_be_zero(control: str, msrs: Mapping[int, MsrState]) -> Presence:
    msr, row = FEATURES[control].msr, FEATURES[control].row
    assert isinstance(row, Control)
    assert msr is not None
    assert msr.true is not None
    legacy, true = msrs[msr.index], msrs[msr.true]
    if isinstance(legacy, int) and not legacy >> row.bit & 1:
        return Presence.PRESENT
    state = legacy if true is Missing.ABSENT else true
    if isinstance(state, int):
        return Presence.ABSENT if state >> row.bit & 1 else Presence.PRESENT
    return _presence(state, row.bit)


def _controls(msrs: Mapping[int, MsrState]) -> dict[str, State]:
    controls: dict[str, State] = {}
    for feature in FEATURES.values():
        msr, row = feature.msr, feature.row
        if msr is None or msr.layout is Layout.PLAIN or not isinstance(row, Flag):
            continue
        true = msrs[msr.true] if msr.true is not None else Missing.ABSENT
        state = control_state(row, msr, msrs[msr.index], true)
        if state is not None:
            controls[feature.name] = state
    return controls


def control_state(row: Flag, msr: Msr, legacy: MsrState, true: MsrState) -> State | None:
    """Judge a control by its MSR and the TRUE one; None if unknown."""
    value = true if isinstance(true, int) else legacy
    if value is Missing.ABSENT:
        return State.OFF
    if not isinstance(value, int):
        return None
    must_be_1 = isinstance(row, Control) and bool(value >> row.bit & 1)
    if not value >> msr.feature_bit(row) & 1:
        legacy_1 = isinstance(row, Control) and isinstance(legacy, int) and bool(legacy >> row.bit & 1)
        return State.INVALID if must_be_1 or legacy_1 else State.OFF
    if must_be_1:  # a TRUE MSR that exists has the last word, but may not be known
        return State.FORCED if isinstance(true, int) or true is Missing.ABSENT else None
    legacy_low = legacy if isinstance(legacy, int) else msr.default1
    clearable = isinstance(true, int) and legacy_low >> row.bit & 1
    return State.DEFAULT1_CLEARABLE if clearable else State.ON
