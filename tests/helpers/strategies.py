"""Hypothesis generators: what one CPU may answer, and hosts made of such CPUs, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from hypothesis import strategies as st

from vmxd.model.compare import Group
from vmxd.model.decode import decode
from vmxd.model.facts import Cpu, Failed, Host, Reading, Source
from vmxd.tables import MSR_BY_INDEX
from vmxd.tables.rows import Control, Layout, Msr

LOW: Final = 0xFFFF_FFFF
BASIC: Final = 0x480
FEATURE_CONTROL: Final = 0x3A
FOREIGN: Final = (0x17, 0x494, 0x495)
"""MSRs that the tables do not have: an older one, and the next two that Intel may define."""

VMX_CPU: Final = Cpu("GenuineIntel", 6, 0x55, 4, "Xeon", "0x2007006", frozenset(("vmx",)))
OTHER_CPU: Final = Cpu("GenuineIntel", 6, 0x55, 7, "Xeon", "0x5003006", frozenset(("vmx",)))
PLAIN_CPU: Final = Cpu("AuthenticAMD", 25, 1, 1, "EPYC", "0xa0011d1")

indexes = st.sampled_from((*MSR_BY_INDEX, *FOREIGN))
cpu_sets = st.frozensets(st.integers(0, 40), max_size=20) | st.frozensets(st.integers(0, 65535), max_size=5)
words = st.binary(min_size=8, max_size=8).map(lambda data: int.from_bytes(data, "little"))
"""64-bit values, each bit as likely set as not: integers() would leave the high half almost empty."""
failures = st.sampled_from(("EIO", "EPERM", "EACCES", "ENXIO", "ENOENT", "ENODATA")).map(Failed)


def may_be_zero(msr: Msr) -> int:
    """Return the default1 controls that software knows, and that a TRUE MSR may so let be 0 (SDM Vol. 3D A.2)."""
    return sum(1 << row.bit for row in msr.rows if isinstance(row, Control)) & msr.default1


def _controls(msr: Msr, values: Mapping[int, int], drawn: Iterator[int]) -> int:
    """Return a control MSR: all of default1 required, nothing required that is not allowed, a TRUE MSR in step."""
    if msr.twin_of is not None:
        return values[msr.twin_of] & ~(next(drawn) & may_be_zero(msr))
    required = msr.default1 | next(drawn) & next(drawn) & next(drawn) & LOW
    return (required | next(drawn) & LOW) << 32 | required


@st.composite
def plausible_readings(draw: st.DrawFn) -> dict[int, int]:
    """Draw every MSR that exists, by index, and no other; controls obey SDM Vol. 3D A.2, all other bits are free."""
    size = 8 * 4 * len(MSR_BY_INDEX)  # at most four words an MSR, drawn at once: that is fast
    data = draw(st.binary(min_size=size, max_size=size))
    drawn = (int.from_bytes(data[i : i + 8], "little") for i in range(0, size, 8))
    values: dict[int, int] = {}
    for msr in MSR_BY_INDEX.values():
        if msr.exists_if and not any(values.get(bit.msr, 0) >> bit.bit & 1 for bit in msr.exists_if):
            continue
        values[msr.index] = _controls(msr, values, drawn) if msr.layout is Layout.CONTROLS else next(drawn)
    values[BASIC] |= 1 << 54  # a BASIC of 0 would be no VMX
    return values


def arbitrary_readings() -> st.SearchStrategy[dict[int, Reading]]:
    """Return anything at all: values that contradict each other, failures, gaps, MSRs that no table has."""
    return st.dictionaries(indexes, st.just(0) | words | failures)


@st.composite
def partial_readings(draw: st.DrawFn) -> dict[int, Reading]:
    """Draw a plausible CPU on which some MSRs failed and some were not recorded."""
    readings: dict[int, Reading] = dict(draw(plausible_readings()))
    readings |= {index: draw(failures) for index in draw(st.sets(st.sampled_from(sorted(readings)), max_size=4))}
    for index in draw(st.sets(st.sampled_from(sorted(readings)), max_size=4)):
        del readings[index]
    return readings


any_readings = partial_readings() | arbitrary_readings()


def host_of(
    readings: Mapping[int, Mapping[int, Reading]],
    cpus: Mapping[int, Cpu] | None = None,
    excluded: Iterable[int] = (),
) -> Host:
    """Return a host from CPU number -> MSR index -> reading; the facts have them the other way round.

    cpus: what /proc/cpuinfo says of them; by default all are VMX_CPU.
    """
    by_msr: dict[int, dict[int, Reading]] = {}
    for cpu, by_index in readings.items():
        for index, reading in by_index.items():
            by_msr.setdefault(index, {})[cpu] = reading
    online = tuple(sorted({*readings, *excluded}))
    return Host(
        root="made in memory",
        source=Source.RECORDING,
        read_at=0.0,
        cpus=dict.fromkeys(online, VMX_CPU) if cpus is None else cpus,
        online=online,
        present=online,
        isolated=(),
        excluded=tuple(sorted(excluded)),
        readings=by_msr,
    )


def group_of(
    readings: Mapping[int, Reading],
    cpus: Iterable[int] = (0,),
    vmx_flag: bool | None = True,
    flags: frozenset[str] = frozenset(),
) -> Group:
    """Return a group of CPUs that all have these readings, and these flags."""
    return Group(tuple(cpus), vmx_flag, readings, decode(vmx_flag, readings), flags)


@st.composite
def hosts(draw: st.DrawFn, readings: st.SearchStrategy[Mapping[int, Reading]] = any_readings) -> Host:
    """Draw one to six CPUs of at most three kinds of readings, of any identity; CPUs may be missing from cpuinfo."""
    count = draw(st.integers(1, 6))
    numbers = sorted(draw(st.sets(st.integers(0, 300), min_size=count, max_size=count)))
    kinds = [draw(readings) for _ in range(min(count, 3))]
    identities = {cpu: draw(st.sampled_from((VMX_CPU, OTHER_CPU, PLAIN_CPU, None))) for cpu in numbers}
    return host_of(
        {cpu: draw(st.sampled_from(kinds)) for cpu in numbers},
        {cpu: identity for cpu, identity in identities.items() if identity is not None},
    )


def without(readings: Mapping[int, Reading], *dropped: int) -> dict[int, Reading]:
    """Return readings less some MSRs."""
    return {index: reading for index, reading in readings.items() if index not in dropped}
