"""What every command's parser shares: errors that are ours, and the options that choose a host and its CPUs."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any, Final, NoReturn, TypeAlias

import vmxd
from vmxd import cpulist
from vmxd.commands.output import write
from vmxd.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises our errors, prints where we do, keeps an epilog's lines, and guesses no flag."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (handed through)
        super().__init__(**{"usage": "%(prog)s [options]", **options, "allow_abbrev": False})
        self.list_argument: str | None = None
        """The dest of a last argument with nargs="*": argparse gives it nothing that follows an option in between."""

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Parse, and let nothing be left over: the parser of a command knows best what could have been meant."""
        parsed, left = super().parse_known_args(*arguments, **options)
        if self.list_argument and all(word == "-" or not word.startswith("-") for word in left):
            getattr(parsed, self.list_argument).extend(left)
            left = []
        if left:
            raise self._left_over(left[0])
        return parsed, left

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        hint = f"see {self.prog} --help"
        if choice := _CHOICE.fullmatch(message):
            name, text, choices = choice[1], choice[2][1:-1], re.findall(r"[\w.-]+", choice[3])
            if name in ("COMMAND", "QUESTION"):
                raise UsageError(f"{self.prog} has no command {text!r}", _did_you_mean(text, choices, hint))
            known = f"{', '.join(choices[:-1])} or {choices[-1]}"
            raise UsageError(f"{name} takes {known}, not {text!r}", _did_you_mean(text, choices, hint))
        if one_of := _ONE_OF.fullmatch(message):
            message = f"{self.prog} needs {' or '.join(one_of[1].split())}"
        message = message.replace("the following arguments are required:", f"{self.prog} needs")
        raise UsageError(message.removeprefix("argument "), hint)

    def print_help(self, file: object = None) -> None:  # noqa: ARG002 (there is one place for output)
        """Write the help to standard output. Raises VmxdError."""
        write(self.format_help().encode())

    def format_help(self) -> str:
        """Format the help as argparse does; an epilog keeps its lines, and commands are in the column of options."""
        epilog, self.epilog = self.epilog, None
        try:
            text = super().format_help()
        finally:
            self.epilog = epilog
        text = _COMMANDS.sub(lambda match: textwrap.indent(textwrap.dedent(match[1]), "  "), text)
        if not epilog:
            return text
        width = shutil.get_terminal_size().columns - 2  # as argparse does
        paragraphs = epilog.strip("\n").split("\n\n")
        told = "\n\n".join(each if "\n" in each else textwrap.fill(each, width) for each in paragraphs)
        return f"{text}\n{told}\n"

    def _left_over(self, text: str) -> UsageError:
        shown, hint = self.format_help(), f"see {self.prog} --help"
        flag = text.partition("=")[0]
        if flag.startswith("-"):
            return UsageError(f"{self.prog} has no option {flag}", _did_you_mean(flag, _FLAGS.findall(shown), hint))
        if "--root" in shown and os.path.isdir(text):
            hint = f"a recording is named by --root, as in --root {text}; {hint}"
        return UsageError(f"{self.prog} takes no argument {text!r}", hint)


_CHOICE: Final = re.compile(r"argument (.+?): invalid choice: (.+) \(choose from (.+)\)", re.DOTALL)
_ONE_OF: Final = re.compile(r"one of the arguments (.+) is required")
_COMMANDS: Final = re.compile(r"^  (?:COMMAND|QUESTION)\n((?:    .*\n)+)", re.MULTILINE)
_FLAGS: Final = re.compile(r"(?<![\w.-])--?[a-z][\w.-]*")


class Version(argparse.Action):
    """--version: print it, and end."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:  # noqa: ANN401 (argparse's)
        """Write the version to standard output. Raises VmxdError."""
        write(f"vmxd {vmxd.__version__}\n".encode())
        parser.exit()


def _did_you_mean(text: str, names: Iterable[str], see: str) -> str:
    from vmxd.tables.find import closest  # only after a mistake: a server holds no tables

    close = closest(text, names)
    return f"did you mean {close[0]}? {see}" if close else see


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 (argparse has no public name for it)


def host_options() -> Parser:
    """Make the options that choose a host and its CPUs, as a parent for a command's parser."""
    parent = Parser(add_help=False)
    options = parent.add_argument_group("host")
    options.add_argument("--root", default="/", metavar="DIR", help="the host: / or a recording (default: %(default)s)")
    options.add_argument("--cpus", type=_cpus, metavar="LIST", help="read these CPUs only, as in 0-3,8")
    options.add_argument("--skip-isolated", action="store_true", help="leave CPUs of the kernel's isolcpus alone")
    options.add_argument(
        "--collector.nested",
        dest="nested",
        action="store_true",
        help="ask KVM, by /dev/kvm, what VMX it gives to guests; a recording says so where it was made with this",
    )
    return parent


def _cpus(text: str) -> tuple[int, ...]:
    try:
        return cpulist.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def profile_options() -> Parser:
    """Make the options that choose profiles, as a parent for a command's parser."""
    parent = Parser(add_help=False)
    options = parent.add_argument_group("profiles")
    options.add_argument(
        "--profile-dir",
        dest="profile_dirs",
        action="append",
        metavar="DIR",
        help="read profiles from DIR/*.toml; may be given more than once (default: /etc/vmxd/profiles.d, if there)",
    )
    options.add_argument(
        "--profile",
        dest="profiles",
        action="append",
        default=[],
        metavar="PROFILE",
        help="a profile by name, or qemu-MODEL[-vN] for a CPU model of QEMU; may be given more than once",
    )
    return parent


def what_if_options() -> Parser:
    """Return the options that ask what a guest would get, as a parent for a command's parser."""
    options = Parser(add_help=False)
    options.add_argument(
        "--kernel",
        type=release,
        metavar="RELEASE",
        help="what a guest would get with this release of Linux, as in 6.12",
    )
    parameter_option(options)
    return options


def parameter_option(options: argparse._ActionsContainer) -> None:
    """Add the option that names a parameter of kvm_intel."""
    options.add_argument(
        "--kvm-parameter",
        dest="kvm_parameters",
        action="append",
        default=[],
        type=parameter,
        metavar="NAME=VALUE",
        help="what a guest would get with this parameter of kvm_intel, as in eptad=N; may be given more than once",
    )


def release(text: str) -> str:
    """Check a release of Linux that was given."""
    from vmxd.model.release import is_release

    if not is_release(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no release of Linux, as 6.12 is")
    return text


def parameter(text: str) -> tuple[str, bool | int | str]:
    """Parse a parameter that was given, NAME=VALUE."""
    from vmxd.model.guest import PARAMETERS
    from vmxd.tables.find import closest

    name, equals, value = text.partition("=")
    if not equals or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as eptad=N is")
    if name not in PARAMETERS:
        close = ", ".join(closest(name, PARAMETERS))
        raise argparse.ArgumentTypeError(
            f"kvm_intel has no parameter {name!r}{f'; close are: {close}' if close else ''}"
        )
    if isinstance(PARAMETERS[name].default, int) and not isinstance(PARAMETERS[name].default, bool):
        if not value.isdecimal():
            raise argparse.ArgumentTypeError(f"{name} is a number, not {value!r}")
        return name, int(value)
    if value.casefold() in _BOOLEANS:
        return name, _BOOLEANS[value.casefold()]
    raise argparse.ArgumentTypeError(f"{name} is Y or N, not {value!r}")


_BOOLEANS: Final = {"y": True, "1": True, "on": True, "n": False, "0": False, "off": False}


def feature_options() -> Parser:
    """Make the options that choose which features have series of their own, as a parent for a command's parser."""
    parent = Parser(add_help=False)
    options = parent.add_argument_group("features")
    options.add_argument(
        "--feature.include",
        dest="feature_include",
        metavar="REGEX",
        help="export the features whose whole name matches, and no other (default: all)",
    )
    options.add_argument(
        "--feature.exclude",
        dest="feature_exclude",
        metavar="REGEX",
        help="leave out, of those, the features whose whole name matches",
    )
    return parent


def export_options() -> list[Parser]:
    """Make the options of the commands that export metrics, as parents for their parsers."""
    return [host_options(), profile_options(), feature_options()]
