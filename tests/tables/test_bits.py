"""vmxd/tables/bits.py: of any value, each set bit is told once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmxd.tables import MSR_BY_INDEX
from vmxd.tables.bits import set_bits


@pytest.mark.parametrize("index", MSR_BY_INDEX)
@given(value=st.integers(0, (1 << 64) - 1))
def test_set_bits(index: int, value: int) -> None:
    """The set bits come once each, the highest first; those are unknown that no row explains."""
    msr = MSR_BY_INDEX[index]
    found = list(set_bits(msr, value))
    spans = [set(range(bits.low, bits.high + 1)) for bits in found]
    ones = {bit for bit in range(64) if value >> bit & 1}

    assert ones <= set().union(*spans)
    assert all(span & ones for span in spans)
    assert sum(map(len, spans)) == len(set().union(*spans))
    assert sorted(found, key=lambda bits: -bits.high) == found
    assert value & ~msr.explained == sum(1 << bits.low for bits in found if bits.is_unknown)


def test_an_msr_without_a_table() -> None:
    """Of an MSR that no table has, every set bit is unknown."""
    assert [(63, True), (0, True)] == [(bits.low, bits.is_unknown) for bits in set_bits(None, 1 << 63 | 1)]
