"""Values of MSRs in whatever form a tool prints them: NAME = VALUE, rdmsr, turbostat, WinDbg, VBox.log, AIDA64."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from vmxd import cpulist
from vmxd.pasted.findings import Finding, MsrBits, MsrValue, MsrValues
from vmxd.pasted.vmxcap import TITLES as VMXCAP_TITLES
from vmxd.tables.find import find_msr
from vmxd.tables.msrs import CAPABILITY_RANGE, MSR_BY_INDEX
from vmxd.tables.rows import Msr

_HINT: Final = re.compile(
    r"msr|vmx|feat|3a|4[89]|controls|capabilities|data|hex:|^[0-9a-fx]{1,24}$|cpu|^\d{1,20}$", re.IGNORECASE
)
"""What a line needs for being looked at."""
_OTHERS: Final = re.compile(
    r"failed to [sg]et MSR|unchecked MSR|(?:ignored|unhandled) [rw][dr]msr|\bwrmsrl?\b|VMX ctrl|saw 0x|Offset \d"
    r"|MSR\([0-9A-Fa-f]{1,8}H\)\.|cannot read MSR|not enabled"
)
"""Lines that have an MSR and a number, but not the MSR's value; errors of QEMU are another format."""
_NAME: Final = re.compile(
    r"(?<![\w.-])((?:MSR_)?(?:I?A32_?|CORE2_)?(?:VMX_?[A-Za-z]\w{1,40}|FEATURE[_ ]?CONTROL\w{0,4}|FEAT_CTL))(?!\w)",
    re.IGNORECASE | re.ASCII,
)
_INDEX: Final = re.compile(
    r"(?<![\w.])(?:(msr|register|rdmsr)(?: index| address| register| number)?[ #:(\[]{0,3})?"
    r"(0x)?0{0,6}(3a|4[89ab][0-9a-f])(h)?(?![\w.]|`\w)",
    re.IGNORECASE | re.ASCII,
)
_GROUP: Final = re.compile(r"[(\[][^)\]\n]{0,60}[)\]]")
_SEPARATOR: Final = re.compile(
    r"[=:,|│\"'`)\]>→]|-{1,2}>"
    r"|(?:is|was|are|reads?|value|val|returns?|contains?|has|holds|the|to|at|now|currently|MSR)(?= |=|:)",
    re.IGNORECASE,
)
_IS: Final = re.compile(r"[\"' ]{0,3}(?:=|:)[\"' ]{0,3}")
_HALVES: Final = re.compile(
    r"(?:0x)?([0-9a-f]{8})(?:[`'_]|[-:] ?|, ?(?=0x)| )(?:0x)?([0-9a-f]{8})(?![\w`])", re.IGNORECASE
)
_QUARTERS: Final = re.compile(
    r"(?:0x)?([0-9a-f]{4})[-_]([0-9a-f]{4})[-_]([0-9a-f]{4})[-_]([0-9a-f]{4})(?!\w)", re.IGNORECASE
)
_REGISTERS: Final = re.compile(
    r"(e[ad]x|high|low|hi|lo|allowed[01]) ?[=:]? ?(?:0x)?([0-9a-f]{1,8})[,;/ ]{1,3}"
    r"(e[ad]x|high|low|hi|lo|allowed[01]) ?[=:]? ?(?:0x)?([0-9a-f]{1,8})(?!\w)",
    re.IGNORECASE,
)
_HEX: Final = re.compile(r"(0x)?([0-9a-f]{1,5000})(h|u?l{1,2}|_?u64)?(?!\w|`\w)", re.IGNORECASE | re.ASCII)
_BINARY: Final = re.compile(r"0b([01]{1,64})(?!\w)", re.IGNORECASE)
_DECIMAL: Final = re.compile(r"[1-9][0-9]{16,19}", re.ASCII)
"""More digits than a value has in hex."""
_RECORDED: Final = re.compile(r"(?<!\w)([0-9][0-9,/-]{0,200}(?::[0-9/]{3,12})?)=(0x[0-9a-f]{1,16})(?!\w)", re.ASCII)
_CPU: Final = re.compile(r"(?:\bcpu|\bcore|\bprocessor)[ =#]{0,2}(\d{1,5})\b ?[:\])|]", re.IGNORECASE)
_SECTION: Final = re.compile(
    r"[-=\[# ]{0,60}(?:[\w ]{1,40}/ )?(?:logical )?(?:cpu|processor) ?#? ?(\d{1,5})"
    r"(?:[-=\]: ]{0,60}| AffMask: \w{1,40})",
    re.IGNORECASE,
)
_HEADING: Final = re.compile(r"-{2,60}\[ [^\n\]]{1,80} \]-{2,60}")
_RDMSR: Final = re.compile(r"\brdmsr ([^\n]{1,300})")
_BARE: Final = re.compile(r"(?:0x)?[0-9a-f]{1,5000}", re.IGNORECASE)
_TITLE: Final = re.compile(
    r"(True )?(Basic VMX Information|Pin-Based VM-Execution Controls"
    r"|(?:Primary |Secondary |Tertiary )?Processor-Based VM-Execution Controls|(?:Secondary )?VM-Exit Controls"
    r"|VM-Entry Controls|Miscellaneous(?: VMX)? Data|VMX-Fixed Bits in CR[04]|VMCS Enumeration"
    r"|VPID and EPT Capabilities|VM Functions) ?((?:\(0x[0-9a-f]{1,16}(?:[/, ]{1,3}0x[0-9a-f]{1,16})?\) ?){1,2})",
    re.IGNORECASE,
)
_TITLES: Final = {
    "basic vmx information": 0x480, "pin-based vm-execution controls": 0x481,
    "processor-based vm-execution controls": 0x482, "primary processor-based vm-execution controls": 0x482,
    "secondary processor-based vm-execution controls": 0x48B, "tertiary processor-based vm-execution controls": 0x492,
    "vm-exit controls": 0x483, "secondary vm-exit controls": 0x493, "vm-entry controls": 0x484,
    "miscellaneous data": 0x485, "miscellaneous vmx data": 0x485, "vmx-fixed bits in cr0": 0x486,
    "vmx-fixed bits in cr4": 0x488, "vmcs enumeration": 0x48A, "vpid and ept capabilities": 0x48C,
    "vm functions": 0x491,
}  # fmt: skip
"""The SDM's titles of MSRs, which VMware prints."""
_PARTS_MAX: Final = 8
_LIMIT: Final = 1 << 64
_HIGH: Final = ("edx", "high", "hi", "allowed1")
_LOW: Final = ("eax", "low", "lo", "allowed0")
_CERTAIN: Final = 5
"""From how many bare hex digits on it is a value, with nothing but a blank before it."""
_GOES_ON: Final = re.compile(r"[-=\[]|\.\w|,\d{3}(?!\d)")
"""What follows a number that is a part of something else: a list of CPUs, a version, thousands."""


@dataclass(slots=True)
class _Found:
    """What has been found so far."""

    values: dict[int, dict[int, dict[int, None]]] = field(default_factory=dict)
    strange: dict[str, None] = field(default_factory=dict)
    too_long: dict[str, None] = field(default_factory=dict)
    bits: dict[MsrBits, None] = field(default_factory=dict)

    def add(self, msr: Msr, value: int | None, cpus: tuple[int, ...] = ()) -> None:
        """Keep a value, None for one of more than 64 bits."""
        if value is None:
            self.too_long[msr.name] = None
        else:
            self.values.setdefault(msr.index, {}).setdefault(value, {}).update(dict.fromkeys(cpus))


@dataclass(slots=True)
class _Command:
    """An rdmsr as it was typed, whose answer is on the next lines."""

    msr: Msr
    cpus: tuple[int, ...]
    every: bool
    base: int
    bits: tuple[int, int] | None = None
    read: int = 0


def find(text: str) -> Iterator[Finding]:
    """Yield all values of a text together.

    >>> [hex(value.value) for found in find("IA32_VMX_BASIC (MSR 0x480) = 0x3da050000000013") for value in found.values]
    ['0x3da050000000013']
    """
    found = _Found()
    command: _Command | None = None
    section: tuple[int, ...] = ()
    title: Msr | None = None
    for line in text.split("\n"):
        if not _HINT.search(line):
            if line:
                title = None
            continue
        if match := _SECTION.fullmatch(line) or _HEADING.fullmatch(line):
            section = (int(match[1]),) if match.lastindex else ()
        elif match := _RDMSR.search(line):
            command = _command(match[1])
            if command is not None and _pairs(line, found, section):
                command = None
        elif command is not None and _BARE.fullmatch(line):
            command = _answer(command, line, found)
        elif listed := VMXCAP_TITLES.get(line.casefold()):
            title = MSR_BY_INDEX[listed]
        elif title is not None and line.startswith("Hex: 0x"):
            found.add(title, _number(line[5:]))
        else:
            command = None if line and not line.startswith("#") else command
            if not _titles(line, found) and not _OTHERS.search(line):
                _pairs(line, found, section)
    yield from found.bits
    if found.values or found.too_long or found.strange:
        yield MsrValues(
            tuple(
                MsrValue(MSR_BY_INDEX[index], value, tuple(sorted(cpus)))
                for index, values in found.values.items()
                for value, cpus in values.items()
            ),
            tuple(found.strange),
            tuple(found.too_long),
        )


# rdmsr ------------------------------------------------------------------------------------------------------------


def _command(arguments: str) -> _Command | None:
    """Read the arguments of rdmsr (msr-tools), in any order; None for another MSR, or if the value is printed raw."""
    msr: Msr | None = None
    cpus: tuple[int, ...] = ()
    letters = ""
    bits: tuple[int, int] | None = None
    words = iter(arguments.replace("=", " ").split()[:40])
    for word in words:
        if word in _SHELL:
            break
        if not word.startswith("-"):
            msr = msr or _msr_number(word.strip("'\"`;,)"))
            continue
        option = _LONG.get(word.lstrip("-"), "") if word.startswith("--") else word[1:]
        letters += option
        if option.startswith("p"):
            number = option[1:] or next(words, "")
            cpus = (int(number),) if number.isascii() and number.isdecimal() and len(number) < 6 else cpus
        elif option.startswith("f"):
            match = _BIT_RANGE.fullmatch(option[1:] or next(words, ""))
            if match is None:
                return None
            bits = int(match[1]), int(match[2])
    if msr is None or "r" in letters or (bits and not 63 >= bits[0] >= bits[1]):
        return None
    base = 10 if "d" in letters or "u" in letters else 8 if "o" in letters else 16
    return _Command(msr, cpus, "a" in letters, base, bits)


_LONG: Final = {
    "all": "a",
    "processor": "p",
    "decimal": "d",
    "unsigned": "u",
    "octal": "o",
    "bitfield": "f",
    "raw": "r",
}
_SHELL: Final = ("|", "||", ";", "&&", "&", ">", ">>", "2>&1", "#")
_BIT_RANGE: Final = re.compile(r"(\d{1,2}):(\d{1,2})", re.ASCII)


def _msr_number(word: str) -> Msr | None:
    """Find the MSR of rdmsr's argument: C's notation, so 58 is 0x3a; but who types 480 means 0x480."""
    if not re.fullmatch(r"(?:0x)?[0-9a-fA-F]{1,8}h?", word):
        return find_msr(word) if len(word) < 60 and not word.isdecimal() else None
    if word.isdecimal() and int(word) in MSR_BY_INDEX:
        return MSR_BY_INDEX[int(word)]
    return MSR_BY_INDEX.get(int(word.removesuffix("h").removesuffix("H"), 16))


def _answer(command: _Command, line: str, found: _Found) -> _Command | None:
    """Take one line of rdmsr's answer; return the command if more may follow, a CPU each with -a."""
    digits = line.removeprefix("0x")
    if command.base != 16 and not (len(digits) <= 22 and digits.isascii() and digits.isdecimal()):
        return None
    try:
        value = int(digits, command.base) if command.base != 16 else _number(digits)
    except ValueError:
        return None
    cpus = (command.read,) if command.every else command.cpus
    if command.bits:
        high, low = command.bits
        if value is not None and value < 2 << (high - low):
            found.bits[MsrBits(command.msr, high, low, value, cpus)] = None
    else:
        found.add(command.msr, value if value is None or value < _LIMIT else None, cpus)
    command.read += 1
    return command if command.every else None


# NAME = VALUE -----------------------------------------------------------------------------------------------------


def _titles(line: str, found: _Found) -> bool:
    """Take the SDM's titles with values in brackets; two values are of FIXED0 and FIXED1."""
    matched = False
    for match in _TITLE.finditer(line):
        msr = MSR_BY_INDEX[_TITLES[match[2].casefold()]]
        if match[1] and msr.true is not None:
            msr = MSR_BY_INDEX[msr.true]
        for number, value in enumerate(re.findall(r"0x([0-9a-f]{1,16})", match[3], re.IGNORECASE)):
            found.add(MSR_BY_INDEX[msr.index + number], int(value, 16))
        matched = True
    return matched


def _pairs(line: str, found: _Found, section: tuple[int, ...]) -> bool:
    """Take each MSR of a line with the value that follows it; return whether there was one."""
    subjects: list[tuple[int, int, Msr]] = []
    for match in _NAME.finditer(line):
        if msr := find_msr(match[1].replace("MSR_A32_", "MSR_IA32_").replace(" ", "_")):  # VirtualBox of 2013
            subjects.append((match.start(), match.end(), msr))
        elif (
            match[1].upper().startswith(("MSR_IA32_VMX_", "IA32_VMX_"))
            and not _PART.match(match[1])
            and _parse(line[match.end() : match.end() + 120], named=True)
        ):
            found.strange[match[1]] = None
    about = bool(_ABOUT.search(line))
    for match in _INDEX.finditer(line):
        index = int(match[3], 16)
        marked = bool(match[1] or match[2] or match[4]) or match.start() == 0
        marked = marked and (bool(match[1]) or about or _begins(line, match.start()))
        if marked and index in MSR_BY_INDEX:
            subjects.append((match.start(), match.end(), MSR_BY_INDEX[index]))
        elif marked and index in CAPABILITY_RANGE and _parse(line[match.end() : match.end() + 120], named=False):
            found.strange[f"{index:#x}"] = None
    subjects = _without_values(line, sorted(subjects, key=lambda each: each[:2]))
    taken = False
    for number, (start, end, msr) in enumerate(subjects):
        limit = subjects[number + 1][0] if number + 1 < len(subjects) else len(line)
        rest = line[end : max(limit, end)][:5200]
        before = line[max(0, start - 40) : start]
        cpu = next((match[1] for match in reversed(list(_CPU.finditer(before)))), "")
        cpus = (int(cpu),) if cpu else section
        if recorded := _RECORDED.findall(rest):
            for listed, value in recorded:
                found.add(msr, int(value, 16), _listed(listed))
        elif parsed := _parse(rest, named=len(msr.name) == end - start):
            found.add(msr, parsed[0], cpus)
        else:
            continue
        taken = True
    return taken


def _begins(line: str, start: int) -> bool:
    """Whether a line, a cell of a table or a pair of a mapping begins at a place."""
    before = line[max(0, start - 8) : start].rstrip(" ")
    return not before or before[-1] in "\"'`{,[(|│;>#$"


_PART: Final = re.compile(
    rf"(?:MSR_)?(?:{'|'.join(msr.name for msr in MSR_BY_INDEX.values())})_(?!MSR$)", re.IGNORECASE | re.ASCII
)
"""A part of an MSR, as older VirtualBox prints below it: MSR_IA32_VMX_MISC_CR3_TARGET."""
_ABOUT: Final = re.compile(r"msr|vmx|ia32|feat|vt-?x|index|register", re.IGNORECASE)


def _without_values(line: str, subjects: list[tuple[int, int, Msr]]) -> list[tuple[int, int, Msr]]:
    """Drop what looks like an MSR's index and is the value of the one before it: 0x3a=0x480."""
    kept: list[tuple[int, int, Msr]] = []
    for subject in subjects:
        if kept and subject[2] is not kept[-1][2] and _IS.fullmatch(line[kept[-1][1] : subject[0]]):
            continue
        kept.append(subject)
    return kept


def _listed(text: str) -> tuple[int, ...]:
    try:
        return cpulist.parse(text)
    except ValueError:
        return ()


def _parse(rest: str, *, named: bool) -> tuple[int | None] | None:
    """Read the value that begins a text, after signs and words that stand between; None if there is none.

    The value itself is None if it has more than 64 bits.
    """
    signs = ""
    for _ in range(_PARTS_MAX):
        rest = rest.lstrip(" ")
        if group := _GROUP.match(rest):
            inner = group[0][1:-1].strip()
            if not signs and inner.startswith("0x") and len(inner) > 7 and (value := _value(inner, _Sure.NO)):
                return value
            rest = rest[group.end() :]
        elif separator := _SEPARATOR.match(rest):
            signs += separator[0]
            rest = rest[separator.end() :]
        else:
            break
    if "=" in signs:
        return _value(rest, _Sure.YES)
    return _value(rest, _Sure.RATHER if ":" in signs or (signs and named) else _Sure.NO)


class _Sure(enum.Enum):
    """Whether what follows an MSR's name is its value, by what stands between."""

    YES = "="
    RATHER = ":"
    NO = ""


def _value(text: str, sure: _Sure) -> tuple[int | None] | None:
    """Read a value at the beginning of a text; a few bare hex digits may be a word or another number."""
    if match := _QUARTERS.match(text) or _HALVES.match(text):
        return (int("".join(match.groups()), 16),)
    if match := _REGISTERS.match(text):
        halves = {match[1].casefold(): int(match[2], 16), match[3].casefold(): int(match[4], 16)}
        high, low = (next((halves[each] for each in names if each in halves), None) for names in (_HIGH, _LOW))
        return None if high is None or low is None else (high << 32 | low,)
    if match := _BINARY.match(text):
        return (int(match[1], 2),)
    match = _HEX.match(text)
    if match and _DECIMAL.fullmatch(match[0]) and int(match[0]) < _LIMIT:
        return (int(match[0]),)
    if not match or _GOES_ON.match(text, match.end()):
        return None
    digits = match[2]
    numeric = any(digit.isdecimal() for digit in digits)
    certain = match[1] or sure is _Sure.YES or (numeric and (sure is _Sure.RATHER or len(digits) >= _CERTAIN))
    return (_number(digits),) if certain else None


def _number(digits: str) -> int | None:
    """Read hex digits, None if they are more than 64 bits."""
    digits = digits.removeprefix("0x").lstrip("0")
    return int(digits or "0", 16) if len(digits) <= 16 else None
