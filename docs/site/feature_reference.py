"""docs/reference/features.md: every feature by MSR, with all its names, an anchor each, and where the names mislead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from vmxd.model.inventory import Inventory
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX, Feature, msr_name
from vmxd.tables.caveats import CAVEATS
from vmxd.tables.msrs import MSRS
from vmxd.tables.purpose import PURPOSE
from vmxd.tables.rows import AllOf, Bit, Control, Field, Flag, Layout, MayBeZero, Msr, Unnamed
from vmxd.tables.versions import LIBVIRT, LINUX, QEMU

_HEAD: Final = """# Features

Generated from vmxd's tables (`vmxd/tables/msrs.py`): do not edit. {features} features of {msrs} capability MSRs, in the
order of the SDM, Vol. 3D Appendix A. `vmxd features` prints them too, `vmxd features --json` for programs,
and `vmxd explain NAME` says what a feature is on one host. Every name finds its feature in every command; of the one
that QEMU has for two bits (`vmx-invept-single-context`) the first, and where the SDM has the same words for two ("Load
IA32_PAT"), vmxd asks which.

- **bit**: of the MSR, 0 to 63; where it is 1, software can use the feature. Of a control, its number *n* in the VMCS
  stands before it: control *n* may be 1 where bit *n* + 32 is 1.
- **Linux**: `VMX_FEATURE_*` of `arch/x86/include/asm/vmxfeatures.h`, Linux {LINUX}. **cpuinfo**: the flag on the line
  `vmx flags` of /proc/cpuinfo.
- **QEMU, libvirt**: the CPU property, QEMU {QEMU} and libvirt {LIBVIRT}; one name where both have it.
- **hosts**: recordings of real machines in `tests/hosts` that have it on every CPU, of those on which it is known. A
  hint at how common it is, not a census.

A feature can be linked: `reference/features.md#pml`.
"""

_COLUMNS: Final = "| feature | bit | SDM | Linux | cpuinfo | QEMU, libvirt | hosts |\n|---|---|---|---|---|---|---|"


def page(inventories: Sequence[Inventory]) -> str:
    """Return the page. inventories: those of the real recordings."""
    parts = [_HEAD.format(features=len(FEATURES), msrs=len(MSRS) - 1, LINUX=LINUX, QEMU=QEMU, LIBVIRT=LIBVIRT)]
    own = [msr for msr in MSRS if msr.twin_of is None and msr.index != IA32_FEATURE_CONTROL]
    sections = [*(_msr(msr, inventories) for msr in own), _derived(inventories), _feature_control()]
    return "\n".join([*parts, *("\n".join(lines) + "\n" for lines in sections)])


def _msr(msr: Msr, inventories: Sequence[Inventory]) -> Iterator[str]:
    yield f"## {msr.name}"
    yield ""
    yield f"`{msr.index:#x}`, SDM Vol. 3D {msr.sdm}. {_existence(msr)}"
    if msr.true is not None:
        true = MSR_BY_INDEX[msr.true]
        yield f"{true.name} (`{true.index:#x}`) refines it where {_any_of(true.exists_if)}: same controls,"
        yield "other allowed 0-settings."
    if msr.default1:
        yield f"default1 class: `{msr.default1:#010x}`."
    features = [feature for feature in FEATURES.values() if feature.msr is msr]
    if features:
        yield ""
        yield from _table(features, inventories)
    fields = [row for row in msr.rows if isinstance(row, Field)]
    others = [row for row in msr.rows if isinstance(row, Flag) and row.name not in FEATURES]
    unnamed = [row for row in msr.rows if isinstance(row, Unnamed)]
    if fields or others or unnamed:
        yield ""
        yield "Not features:"
        yield ""
        yield from (f"- bits {row.high}:{row.low}, `{row.name}`: {row.sdm}" for row in fields)
        yield from (f"- bit {row.bit}, `{row.name}`: {row.sdm}" for row in others)
        yield from (f"- bit {row.bit}: no source names it; seen since {row.since}, on {row.note}" for row in unnamed)


def _derived(inventories: Sequence[Inventory]) -> Iterator[str]:
    yield "## Derived"
    yield ""
    yield "Features that are no single bit: several at once, or a default1 control's freedom to be 0."
    yield ""
    yield from _table([feature for feature in FEATURES.values() if feature.msr is None], inventories)


def _feature_control() -> Iterator[str]:
    msr = MSR_BY_INDEX[IA32_FEATURE_CONTROL]
    yield f"## {msr.name}"
    yield ""
    yield f"`{msr.index:#x}`, SDM Vol. 3C, {msr.sdm}. No capability MSR: it says whether the capabilities may be used."
    yield "Its bits are no features, but the label `bit` of `vmx_feature_control`."
    yield ""
    yield "| name | bit | SDM |"
    yield "|---|---|---|"
    for row in msr.rows:
        if isinstance(row, Flag):
            yield f"| `{row.name}` | {row.bit} | {row.sdm} |"
        elif isinstance(row, Field):
            yield f"| `{row.name}` (a number, no label) | {row.high}:{row.low} | {row.sdm} |"


def _table(features: Sequence[Feature], inventories: Sequence[Inventory]) -> Iterator[str]:
    yield _COLUMNS
    for feature in features:
        anchor = f'<a id="{feature.name}"></a>`{feature.name}`'
        linux = f"`{feature.row.linux}`" if feature.row.linux else ""
        shown = f"`{feature.cpuinfo_flag}`" if feature.cpuinfo_flag else ""
        cells = (anchor, _bit(feature), feature.row.sdm, linux, shown, _property(feature), _hosts(feature, inventories))
        yield f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")
    yield from _listed("What they are for", features, PURPOSE)
    yield from _listed("Where names mislead", features, {name: " ".join(said) for name, said in CAVEATS.items()})


def _listed(title: str, features: Iterable[Feature], sentences: Mapping[str, str]) -> Iterator[str]:
    """Yield the features that a table has something to say of; nothing if there are none."""
    said = [f"- `{feature.name}`: {sentences[feature.name]}" for feature in features if feature.name in sentences]
    yield from ("", f"{title}:", "", *said) if said else ()


def _bit(feature: Feature) -> str:
    row = feature.row
    if isinstance(row, AllOf):
        return "all of " + ", ".join(f"[{name}](features.md#{name})" for name in row.of)
    if isinstance(row, MayBeZero):
        return f"[{row.of}](features.md#{row.of}) may be 0"
    assert feature.msr is not None
    bit = feature.msr.feature_bit(row)
    return f"{row.bit}/{bit}" if isinstance(row, Control) else str(bit)


def _property(feature: Feature) -> str:
    qemu, libvirt = feature.row.qemu, feature.row.libvirt
    if qemu == libvirt:
        return f"`{qemu}`" if qemu else ""
    return ", ".join(f"`{name}` ({who})" for name, who in ((qemu, "QEMU"), (libvirt, "libvirt")) if name)


def _hosts(feature: Feature, inventories: Sequence[Inventory]) -> str:
    values = [inventory.features[feature.name].value for inventory in inventories]
    known = [value for value in values if value is not None]
    return f"{sum(known)}/{len(known)}" if known else "not known"


def _existence(msr: Msr) -> str:
    layouts = {
        Layout.PLAIN: "Each bit stands for itself.",
        Layout.CONTROLS: "Low half: allowed 0-settings, high half: allowed 1-settings.",
        Layout.CONTROLS64: "All 64 bits are allowed 1-settings.",
    }
    where = _any_of(msr.exists_if) if msr.exists_if else "there is VMX"
    return f"Exists where {where}. {layouts[msr.layout]}"


def _any_of(bits: Sequence[Bit]) -> str:
    return " or ".join(_bit_name(bit) for bit in bits) + (" is 1" if bits else "")


def _bit_name(bit: Bit) -> str:
    location = f"{msr_name(bit.msr)}[{bit.bit}]"
    named = (f" ([{name}](features.md#{name}))" for name, feature in FEATURES.items() if feature.location == location)
    return f"{location}{next(named, '')}"
