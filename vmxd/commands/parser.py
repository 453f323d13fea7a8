"""What every command's parser shares: errors that are ours, and the options that choose a host and its CPUs."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeAlias

from vmxd import cpulist
from vmxd.commands.help import HelpFormatter
from vmxd.commands.output import write
from vmxd.errors import UsageError

if TYPE_CHECKING:
    from vmxd.host.scan import Scan
    from vmxd.model.profiles import Profile


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are ours, whose output goes where ours does, and that guesses no flag."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 (handed through)
        super().__init__(**{**options, "allow_abbrev": False, "formatter_class": HelpFormatter})
        self._positionals.title = "arguments"

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Parse, and let nothing be left over: the parser of a command knows best what could have been meant."""
        parsed, left = super().parse_known_args(*arguments, **options)
        if left:
            self._refuse_left_over(left[0])
        return parsed, left

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        if choice := re.fullmatch("one of the arguments (.+) is required", message):
            message = f"{self.prog} needs {' or '.join(choice[1].split())}"
        raise UsageError(
            message.removeprefix("argument ").replace("the following arguments are required:", f"{self.prog} needs"),
            self._see_help,
        )

    @property
    def _see_help(self) -> str:
        return f"see {self.prog} --help"

    def _refuse_left_over(self, text: str) -> NoReturn:
        flag = text.partition("=")[0]
        if flag.startswith("-"):
            hint = _did_you_mean(flag, self._option_string_actions, self._see_help)
            raise UsageError(f"{self.prog} has no option {flag}", hint)
        hint = self._see_help
        if "--root" in self._option_string_actions and os.path.isdir(text):
            hint = f"a recording is named by --root, as in --root {text}; {hint}"
        raise UsageError(f"{self.prog} takes no argument {text!r}", hint)

    def _check_value(self, action: argparse.Action, value: Any) -> None:  # noqa: ANN401 (of any type)
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            message = f"{self.prog} has no command {str(value)!r}"
        else:
            name = argparse._get_action_name(action)  # noqa: SLF001
            message = f"{name} takes {', '.join(choices[:-1])} or {choices[-1]}, not {str(value)!r}"
        raise UsageError(message, _did_you_mean(str(value), choices, self._see_help))

    def _print_message(self, message: str, file: IO[str] | None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        write(message.encode())


def _did_you_mean(text: str, names: Iterable[str], see: str) -> str:
    from vmxd.tables.find import closest

    close = closest(text, names)
    return f"did you mean {close[0]}? {see}" if close else see


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 (argparse has no public name for it)


def host_options() -> Parser:
    """Return the options that choose a host and its CPUs, as a parent for a command's parser."""
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


def scan_chosen(arguments: argparse.Namespace, profiles: Iterable[Profile] = ()) -> Scan:
    """Scan what the host options chose, and hold it against profiles. Raises VmxdError."""
    from vmxd.host.scan import scan

    return scan(arguments.root, arguments.cpus, arguments.skip_isolated, nested=arguments.nested, profiles=profiles)


def profile_options() -> Parser:
    """Return the options that choose profiles, as a parent for a command's parser."""
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


def feature_options() -> Parser:
    """Return the options that choose which features have series of their own, as a parent for a command's parser."""
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


def chosen_features(arguments: argparse.Namespace) -> frozenset[str]:
    """Return the names of the features that feature_options() chose. Raises UsageError where that is none of them."""
    from vmxd.tables import FEATURES

    chosen = frozenset(FEATURES)
    if arguments.feature_include is not None:
        chosen = _matching(chosen, "--feature.include", arguments.feature_include)
    if arguments.feature_exclude is not None:
        chosen -= _matching(chosen, "--feature.exclude", arguments.feature_exclude)
    return chosen


def _matching(names: frozenset[str], flag: str, regex: str) -> frozenset[str]:
    try:
        matches = re.compile(regex).fullmatch
    except re.error as error:
        raise UsageError(
            f"{flag} {regex!r} is no regular expression: {error}", "as in --feature.include 'ept.*|vpid'"
        ) from error
    found = frozenset(name for name in names if matches(name))
    if not found:
        raise UsageError(
            f"{flag} {regex!r} matches no feature", "it must match a whole name as vmxd features lists them"
        )
    return found


def export_options() -> list[Parser]:
    """Return the options of the commands that export metrics, as parents for their parsers."""
    return [host_options(), profile_options(), feature_options()]


def scan_to_export(arguments: argparse.Namespace) -> tuple[Scan, frozenset[str]]:
    """Return a scan and the features to export, as export_options() chose them. Raises VmxdError."""
    features = chosen_features(arguments)
    return scan_chosen(arguments, chosen_profiles(arguments)), features


def chosen_profiles(arguments: argparse.Namespace) -> tuple[Profile, ...]:
    """Return the profiles that profile_options() chose. Raises VmxdError."""
    from vmxd.commands.profiles import chosen_profiles as read

    return read(arguments.profile_dirs, arguments.profiles)
