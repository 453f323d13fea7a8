"""The man page vmxd(1), in man(7): what the parser says, and what no parser knows (files, environment, see also).

The last paragraphs of a command's --help are read too: a title that ends with a colon, and lines of a term, two spaces
and what it means, or that below it, further in; or prose.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import vmxd
from deploy.shell.commands import Command, commands_of

FILE: Final = "man/man1/vmxd.1"
"""Where it goes, under /usr/share."""

EXAMPLES: Final = "examples"
EXIT_CODES: Final = "exit codes"
CHANGELOG: Final = Path(__file__).resolve().parents[2] / "CHANGELOG.md"

_OVERVIEW: Final = """\
A host is the machine itself, or a recording: a directory that "vmxd record" wrote, which is named by --root. To read
the MSRs of the machine takes root, CAP_SYS_RAWIO and the kernel's module msr. To read a recording takes nothing.

Features have the names of /proc/cpuinfo and of the kernel's VMX_FEATURE_*, else those of the Software Developer's
Manual (SDM). Wherever a feature is named, its names in QEMU and libvirt (vmx-ept) and its bit (0x48b[33]) will do.

What could not be read is unknown, and never said to be absent.
"""
_BEFORE_RELEASES: Final = "2026-11-22"
_STATUS_OF_SIGNALS: Final = (("130", "it was interrupted (SIGINT)"), ("143", "it was ended (SIGTERM)"))
_ERRORS: Final = "Errors are one sentence and one hint on standard error."
_FILES: Final = (
    ("/dev/cpu/*/msr", "the MSRs of each logical CPU, of the module msr; see msr(4)"),
    ("/dev/kvm", "what KVM offers to guests, with --collector.nested"),
    ("/etc/default/vmxd", "ARGS of vmxd.service and RECORD_ARGS of vmxd-record.service"),
    ("/etc/vmxd/profiles.d/*.toml", "profiles of your own"),
    ("/run/vmxd/host", "the recording that vmxd-record.service writes and vmxd.service serves"),
)
_ENVIRONMENT: Final = (
    ("COLUMNS", "width of --help"),
    ("JOURNAL_STREAM", "where log lines go to the journal, each has its priority; see systemd.exec(5)"),
    ("LISTEN_FDS, LISTEN_PID", "sockets that systemd hands over, for --web.systemd-socket; see sd_listen_fds(3)"),
    ("NO_COLOR", "where it is set to anything, nothing is coloured"),
    ("NOTIFY_SOCKET", "where serve says that it is ready; see sd_notify(3)"),
    ("WATCHDOG_USEC, WATCHDOG_PID", "how often serve says that it is well; see sd_watchdog_enabled(3)"),
)
_SEE_ALSO: Final = ("modprobe(8)", "msr(4)", "prometheus-node-exporter(1)", "systemctl(1)", "virsh(1)")
_MANUAL: Final = "Intel 64 and IA-32 Architectures Software Developer's Manual, Volume 3D, Appendix A"

_DIRECTIVES: Final = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
)


@dataclass(frozen=True, slots=True)
class Section:
    """A part at the end of --help: its title, terms and what they mean."""

    title: str
    entries: tuple[tuple[str, str], ...]


def sections_of(parser: argparse.ArgumentParser) -> list[Section]:
    """Return the parts of a parser's epilog: those with a title, and prose, which has neither title nor term.

    Raises ValueError where it is of another form.
    """
    paragraphs = re.split(r"\n\s*\n|\n(?=\S[^\n]*:\n)", (parser.epilog or "").strip("\n"))
    return [_section(paragraph) for paragraph in paragraphs if paragraph]


def _section(paragraph: str) -> Section:
    title, *lines = paragraph.splitlines()
    if not title.endswith(":") and not any(line.startswith(" ") for line in lines):
        return Section("", (("", " ".join((title, *lines))),))
    entries: list[tuple[str, str]] = []
    for line in lines:
        if line.startswith("   ") and entries:
            term, text = entries.pop()
            entries.append((term, f"{text} {line.strip()}".strip()))
        elif line.startswith("  "):
            term, _, text = line.strip().partition("  ")
            entries.append((term, text.strip()))
        else:
            raise ValueError(f"{line!r} is not indented by 2 spaces")
    if not title.endswith(":") or not entries:
        raise ValueError(f"{title!r} is no title with a colon and lines below it")
    return Section(title[:-1], tuple(entries))


def to_page(parser: argparse.ArgumentParser) -> str:
    """Return the page of a parser and all its commands."""
    top, *commands = commands_of(parser)
    return "".join(f"{line}\n" for line in _page(top, [each for each in commands if not each.has_commands]))


def date() -> str:
    """Return the date of the page, which is that of the newest release in the changelog."""
    released = re.search(r"^## .*(\d{4}-\d{2}-\d{2})$", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    return released[1] if released else _BEFORE_RELEASES


def _page(top: Command, commands: list[Command]) -> Iterator[str]:
    sections = {section.title: section.entries for section in sections_of(top.parser)}
    yield ".\\\" Made from vmxd's parser by deploy/shell; make generated writes it anew."
    yield f'.TH VMXD 1 "{date()}" "vmxd {vmxd.__version__}" "User Commands"'
    yield from (".ad l", ".nh")
    yield from (".SH NAME", f"vmxd \\- {_escaped(_lower_first(top.help).rstrip('.'))}", ".SH SYNOPSIS")
    for number, command in enumerate(commands):
        yield from (*([".br"] if number else []), _synopsis(command))
    yield from (".br", "\\fBvmxd\\fR [\\fICOMMAND\\fR] \\fB\\-\\-help\\fR | \\fB\\-\\-version\\fR")
    yield ".SH DESCRIPTION"
    yield from _prose(_OVERVIEW)
    yield ".SH COMMANDS"
    shared = _shared(commands)
    for command in commands:
        yield from _command(command, shared)
    yield ".SH COMMON OPTIONS"
    for title, actions in shared.items():
        yield f".SS {_heading(title)}"
        users = [" ".join(command.words[1:]) for command in commands if title in _groups(command)]
        yield from _prose(f"Of the commands {', '.join(users[:-1])} and {users[-1]}.")
        yield from _options(actions)
    yield ".SH EXIT STATUS"
    yield from (*_entries((*sections[EXIT_CODES], *_STATUS_OF_SIGNALS)), ".PP", *_prose(_ERRORS))
    yield from (".SH FILES", *_entries(_FILES), ".SH ENVIRONMENT", *_entries(_ENVIRONMENT))
    yield from (".SH EXAMPLES", *_entries(sections[EXAMPLES]), ".SH SEE ALSO")
    names = [re.sub(r"(.+)\((\d)\)", r".BR \1 (\2)", _escaped(page)) for page in _SEE_ALSO]
    yield from (*(f"{name} ," for name in names[:-1]), names[-1], ".PP", _escaped(_MANUAL))


def _command(command: Command, shared: dict[str, list[argparse.Action]]) -> Iterator[str]:
    yield f".SS {_synopsis(command)}"
    yield from _prose(command.parser.description or "")
    in_groups = [action for title, actions in _groups(command).items() if title in shared for action in actions]
    yield from _options(action for action in command.arguments if action not in in_groups)
    if titles := [title for title in _groups(command) if title in shared]:
        yield from (".PP", *_prose(f"It takes the common options too: {', '.join(titles)}."))
    for section in sections_of(command.parser):
        if not section.title:
            yield from (".PP", *_prose(section.entries[0][1]))
            continue
        title = _escaped(f"{section.title[:1].upper()}{section.title[1:]}:")
        yield from (".PP", title, ".RS", ".PD 0", *_entries(section.entries), ".PD", ".RE")


def _groups(command: Command) -> dict[str, list[argparse.Action]]:
    """Return the options of a command that stand in groups with a title of their own."""
    parser = command.parser
    return {
        group.title: group._group_actions  # noqa: SLF001
        for group in parser._action_groups  # noqa: SLF001
        if group.title and group not in (parser._positionals, parser._optionals) and group._group_actions  # noqa: SLF001
    }


def _shared(commands: Iterable[Command]) -> dict[str, list[argparse.Action]]:
    """Return the groups that several commands have, by title: they are described once."""
    groups = [group for command in commands for group in _groups(command).items()]
    counts = Counter(title for title, _ in groups)
    flags = Counter((title, _flags(actions)) for title, actions in groups)
    return {title: actions for title, actions in groups if 1 < counts[title] == flags[title, _flags(actions)]}


def _flags(actions: Iterable[argparse.Action]) -> str:
    return " ".join(flag for action in actions for flag in action.option_strings)


def _options(actions: Iterable[argparse.Action]) -> Iterator[str]:
    for action in actions:
        if isinstance(action, argparse._HelpAction):  # noqa: SLF001
            continue
        value = "|".join(map(str, action.choices)) if action.choices else str(action.metavar or action.dest)
        name = f"\\fI{_escaped(value)}\\fR"
        if action.option_strings:
            flags = ", ".join(f"\\fB{_escaped(flag)}\\fR" for flag in action.option_strings)
            name = flags if action.nargs == 0 else f"{flags} {name}"
        yield from (".TP", name, *_prose((action.help or "") % vars(action)))


def _entries(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in entries:
        yield from (".TP", f"\\fB{_escaped(term)}\\fR", *_prose(text))


def _synopsis(command: Command) -> str:
    words = len(" ".join(command.words))
    line = (command.parser.usage or "") % {"prog": " ".join(command.words)}
    rest = re.sub(r"\b([A-Z]\w*|options)\b", r"\\fI\1\\fR", _marked(line[words:]))
    return f"\\fB{_escaped(line[:words])}\\fR{rest}"


def _prose(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        yield from ([".PP"] if number else [])
        yield re.sub(r"^([.])", r"\\&\1", _marked(" ".join(paragraph.split())))


def _marked(text: str) -> str:
    """Return a text with options in bold."""
    return re.sub(r"(?<![\w\\(-])((?:\\-){2}[a-z](?:\w|\.\w|\\-)*)", r"\\fB\1\\fR", _escaped(text))


def _heading(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Return a text as roff takes it, in ASCII."""
    escaped = text.translate(_DIRECTIVES)
    return "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in escaped)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
