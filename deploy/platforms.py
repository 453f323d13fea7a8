"""Take real CPUs into vmxd/tables/platforms/seen.txt: python -m deploy.platforms RECORDING|FILE.jsonl ...

Without arguments, leave each CPU out, predict its features from the others, and print how many were right.

A recording is a directory of ``vmxd record``. A line of a .jsonl file is one CPU: signature, vendor, brand, microcode
(a list of hex strings), kinds (of core: number of logical CPUs), sgx, smx, hypervisor, groups of msrs (index: value).
What the table has stays. Equal CPUs are kept once; one without a microcode revision goes where one with has come. Only
register values and what CPUID says are taken.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from vmxd.host.scan import scan
from vmxd.model.attribution import expected
from vmxd.model.platform import kinds_text, platforms
from vmxd.tables import FEATURES, IA32_FEATURE_CONTROL, MSR_BY_INDEX
from vmxd.tables.platforms import seen
from vmxd.tables.platforms.brands import is_intel
from vmxd.tables.platforms.seen import Seen, Table

TARGET: Final = Path(seen.__file__).with_name(seen.NAME)

Values = tuple[tuple[int, int], ...]
Cpu = tuple[tuple[Values, ...], Seen]
"""The distinct sets of values of a CPU, and the CPU, whose values are not numbered yet."""


def main(paths: Sequence[str]) -> None:
    """Read every path, and write the table anew; without one, tell what the table is worth."""
    if not paths:
        print(leave_one_out())
        return
    table = merged(seen.table(), (cpu for path in paths for cpu in _read(Path(path))))
    TARGET.write_text(seen.write(table))
    print(f"{len(table.cpus)} CPUs, {len(table.values)} sets of values")


def merged(table: Table, cpus: Iterable[Cpu]) -> Table:
    """Add CPUs to a table."""
    known = (
        (tuple(tuple(table.values[at].items()) for at in cpu.values), replace(cpu, values=())) for cpu in table.cpus
    )
    found: dict[Cpu, None] = dict.fromkeys((*known, *cpus))
    dated = {(cpu.brand, values) for values, cpu in found if cpu.microcode is not None}
    kept = [(values, cpu) for values, cpu in found if cpu.microcode is not None or (cpu.brand, values) not in dated]
    kept.sort(key=lambda each: (each[1].signature, each[1].brand, each[1].microcode or 0, each[0]))
    sets = list(dict.fromkeys(one for values, _ in kept for one in values))
    numbered = tuple(replace(cpu, values=tuple(sets.index(one) for one in values)) for values, cpu in kept)
    return Table(tuple(dict(one) for one in sets), numbered)


def leave_one_out() -> str:
    """Predict every feature of every CPU from the other CPUs; a table by product class, in Markdown."""
    counts: dict[str, Counter[str]] = {}
    for cpu in platforms():
        others = [other for other in platforms() if other is not cpu]
        count = counts.setdefault(cpu.product, Counter())
        count["CPUs"] += 1
        for name in FEATURES:
            has = cpu.has(name)
            if has is not None:
                said = expected(name, cpu, others)
                count["not known" if said is None else "right" if said is has else "wrong"] += 1
    columns = ("CPUs", "right", "wrong", "not known")
    rows = [("class", *columns), ("---", *("---:" for _ in columns))]
    rows += [(name, *(f"{count[column]:,}" for column in columns)) for name, count in sorted(counts.items())]
    total = sum(counts.values(), Counter())
    rows.append(("all", *(f"{total[column]:,}" for column in columns)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _read(path: Path) -> Iterator[Cpu]:
    if path.suffix == ".jsonl":
        yield from (_line(json.loads(line)) for line in path.read_text().splitlines())
    else:
        yield from _recording(path)


def _line(cpu: Mapping[str, Any]) -> Cpu:
    values = [{int(index, 16): int(value, 16) for index, value in group["msrs"].items()} for group in cpu["groups"]]
    traits = " ".join(name for name in ("sgx", "smx", "hypervisor") if cpu[name])
    microcode = max((int(each, 16) for each in cpu["microcode"]), default=None)
    return _cpu(
        cpu["vendor"], values, Seen(cpu["signature"], cpu["brand"], microcode, kinds_text(cpu["kinds"]), traits, ())
    )


def _recording(path: Path) -> Iterator[Cpu]:
    inventory = scan(str(path)).inventory
    cpu = next(iter(inventory.host.cpus.values()))
    if not cpu.signature or not cpu.family or cpu.model_name in (None, "unknown") or cpu.hypervisor:
        print(f"{path}: not taken: no signature, no brand string, or a guest", file=sys.stderr)
        return
    values = [
        {index: value for index, value in group.readings.items() if isinstance(value, int)}
        for group in inventory.groups
    ]
    microcode = int(cpu.microcode, 16) if cpu.microcode else None
    kinds = kinds_text(Counter(inventory.host.core_types.values()))
    yield _cpu(cpu.vendor, values, Seen(cpu.signature, cpu.model_name or "", microcode, kinds, "", ()))


def _cpu(vendor: str | None, values: Iterable[Mapping[int, int]], cpu: Seen) -> Cpu:
    indexes = [index for index in MSR_BY_INDEX if index != IA32_FEATURE_CONTROL]
    sets = {tuple((index, group[index]) for index in indexes if index in group) for group in values}
    brand = " ".join(cpu.brand.split())
    traits = f"{cpu.traits} intel".strip() if is_intel(vendor, brand) else cpu.traits
    return tuple(sorted(sets)), replace(cpu, brand=brand, traits=traits)


if __name__ == "__main__":
    main(sys.argv[1:])
