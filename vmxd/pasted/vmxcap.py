"""What vmxcap of QEMU prints (scripts/kvm/vmxcap): the SDM's words with yes, no, default and forced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from vmxd.pasted.findings import FeatureSet, Finding, MsrValue, Named, Of
from vmxd.tables.features import FEATURES
from vmxd.tables.msrs import MSR_BY_INDEX
from vmxd.tables.rows import Flag, Layout

TITLES: Final[Mapping[str, int]] = {
    "basic vmx information": 0x480,
    "pin-based controls": 0x481,
    "primary processor-based controls": 0x482,
    "secondary processor-based controls": 0x48B,
    "tertiary processor-based controls": 0x492,
    "vm-exit controls": 0x483,
    "vm-entry controls": 0x484,
    "miscellaneous data": 0x485,
    "vpid and ept capabilities": 0x48C,
    "vm functions": 0x491,
}
"""The titles of scripts/kvm/vmxcap of QEMU, in lower case, and the MSR that follows."""
_LINE: Final = re.compile(r"([^\n]{3,60}?) (yes|no|default|forced)(?: !!)?$")
_NAMES: Final = {
    (0x480, "dualmonitorsupport"): "dual_monitor", (0x480, "ia32vmxtruectlssupport"): "true_ctls",
    (0x48B, "apicregisteremulation"): "vapic_reg", (0x48B, "modebasedexecutecontrolxsxu"): "ept_mode_based_exec",
    (0x48B, "subpagewritepermissions"): "ept_sub_page_write", (0x48B, "tscscaling"): "tsc_scaling",
    (0x48B, "gpatranslationforpt"): "pt_use_gpa", (0x48B, "concealnonrootoperationfrompt"): "pt_conceal_vmx",
    (0x48B, "userwaitandpause"): "usr_wait_pause", (0x48B, "enclvexiting"): "enclv_exiting",
    (0x48B, "enableenclsexiting"): "encls_exiting", (0x48B, "vmmbuslockdetection"): "bus_lock_detection",
    (0x483, "concealvmexitsfrompt"): "exit_conceal_pt", (0x484, "concealvmentriesfrompt"): "entry_conceal_pt",
    (0x484, "64bitguest"): "entry_ia32e_mode",
    (0x485, "storeeferlmaintoia32emodeguestcontrol"): "store_lma", (0x485, "hltactivitystate"): "activity_hlt",
    (0x485, "shutdownactivitystate"): "activity_shutdown", (0x485, "waitforsipiactivitystate"): "activity_wait_sipi",
    (0x485, "ptinvmxoperation"): "pt_in_vmx", (0x485, "ia32smbasesupport"): "smbase_readable",
    (0x485, "vmwritetovmexitinformationfields"): "vmwrite_vmexit_fields",
    (0x485, "injecteventwithinsnlength0"): "zero_len_inject",
    (0x48C, "executeonlyepttranslation"): "ept_x_only", (0x48C, "pagewalklength4"): "ept_page_walk_4",
    (0x48C, "pagewalklength5"): "ept_5level", (0x48C, "pagingstructurememorytypeuc"): "ept_uc",
    (0x48C, "pagingstructurememorytypewb"): "ept_wb", (0x48C, "2mbeptpage"): "ept_2mb",
    (0x48C, "1gbeptpage"): "ept_1gb", (0x48C, "inveptsupported"): "invept",
    (0x48C, "eptaccessedanddirtyflag"): "ept_ad",
    (0x48C, "advancedvmexitinformationforeptviolation"): "ept_advanced_exitinfo",
    (0x48C, "singlecontextinvept"): "invept_single_context", (0x48C, "allcontextinvept"): "invept_all_context",
    (0x48C, "invvpidsupported"): "invvpid", (0x48C, "individualaddressinvvpid"): "invvpid_single_addr",
    (0x48C, "singlecontextinvvpid"): "invvpid_single_context", (0x48C, "allcontextinvvpid"): "invvpid_all_context",
    (0x48C, "singlecontextretainingglobalsinvvpid"): "invvpid_single_context_noglobals",
}  # fmt: skip
"""Where vmxcap's words are not the SDM's: MSR and words, as _words() makes them -> vmxd's name."""


class _Listed(NamedTuple):
    """A line: the MSR of its title, what it says, vmxd's name of that, and yes, no, default or forced."""

    msr: int
    said: str
    name: str | None
    state: str


def find(text: str) -> Iterator[Finding]:
    """Yield the features that the list has and lacks."""
    present: list[Named] = []
    absent: list[Named] = []
    for each in _listed(text):
        named = Named(each.said, FEATURES[each.name] if each.name else None)
        (absent if each.state == "no" else present).append(named)
    if present or absent:
        yield FeatureSet("vmxcap", Of.CPU, tuple(present), tuple(absent))


class Controls(NamedTuple):
    """Values of MSRs of controls, and those that cannot be known: by MSR, the controls that the list does not name."""

    values: tuple[MsrValue, ...]
    unlisted: Mapping[int, tuple[str, ...]]


def controls(text: str) -> Controls:
    """Put the values of MSRs together from what is said of each control, of an MSR all of whose controls are listed.

    A control that is "default" must be 1 by the MSR and may be 0 by its TRUE MSR. text: as prepare() returns it.
    """
    states: dict[int, dict[str, str]] = {}
    for each in _listed(text):
        if each.name:
            states.setdefault(each.msr, {})[each.name] = each.state
    values: list[MsrValue] = []
    unlisted: dict[int, tuple[str, ...]] = {}
    for index, listed in states.items():
        msr = MSR_BY_INDEX[index]
        rows = {row.name: row.bit for row in msr.rows if isinstance(row, Flag)}
        if msr.layout is not Layout.CONTROLS:
            continue
        if left := tuple(name for name in rows if name not in listed):
            unlisted[index] = left
            continue
        may = must = refined = msr.default1
        for name, state in listed.items():
            bit = 1 << rows[name]
            may |= bit * (state != "no")
            must = must | bit if state in ("default", "forced") else must & ~bit
            refined = refined | bit if state == "forced" else refined & ~bit
        values.append(MsrValue(msr, may << 32 | must))
        if msr.true is not None:
            values.append(MsrValue(MSR_BY_INDEX[msr.true], may << 32 | refined))
    return Controls(tuple(values), unlisted)


def _listed(text: str) -> Iterator[_Listed]:
    msr = 0
    for line in text.split("\n"):
        if len(line) > 80:
            continue
        if title := TITLES.get(line.casefold()):
            msr = title
        elif msr and (match := _LINE.fullmatch(line)):
            yield _Listed(msr, match[1], _name(msr, match[1]), match[2])


def _name(msr: int, said: str) -> str | None:
    words = _words(said)
    if found := _NAMES.get((msr, words)):
        return found
    rows = (row for row in MSR_BY_INDEX[msr].rows if isinstance(row, Flag))
    return next((row.name for row in rows if _words(row.sdm) == words), None)


def _words(text: str) -> str:
    """Strip words of what is written now so, now otherwise: case, hyphens, the plural of the last."""
    return re.sub(r"[^a-z0-9]", "", text.casefold()).removesuffix("s")
