"""Completion for bash, zsh and fish: static scripts of shtab, with what each kind of argument completes to.

The metavar of an argument is its kind: a command that names its directory DIR needs nothing more. Features are offered
by vmxd's names, and by those of Linux, QEMU and libvirt once a word begins like these.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import shtab

from deploy.shell.commands import commands_of
from vmxd.commands.profiles import DEFAULT_DIRECTORY, builtin_profiles
from vmxd.model.profiles import QEMU_PREFIX
from vmxd.tables import FEATURES, MSR_BY_INDEX
from vmxd.tables.cpu_models import cpu_model_names
from vmxd.tables.find import GROUPS

FILES: Final = {
    "bash": "bash-completion/completions/vmxd",
    "zsh": "zsh/site-functions/_vmxd",
    "fish": "fish/vendor_completions.d/vmxd.fish",
}
"""Where each shell looks, under /usr/share."""

_OWN_PROFILES: Final = (
    f"find {DEFAULT_DIRECTORY} -name '[!.]*.toml' "
    r"-exec sed -n 's/^\[\([A-Za-z0-9_-]*\)\].*/\1/p' '{}' + 2>/dev/null"
)
"""The administrator's profiles are read when TAB is pressed; all else is known when the script is made."""


def _one_of(
    name: str, words: Mapping[str, str], command: str = "", aliases: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return how shtab completes to one of some words: bash by word, zsh and fish with what each word means.

    command: prints more words. aliases: more words, which all begin with vmx or VMX, where what is typed does too.
    """
    function, tab = f"_vmxd_{name}", "\t"
    more = f" $({command})" if command else ""
    bash = f'  compgen -W "{" ".join(words)}{more}" -- "$1"\n'
    zsh = f"  local -a words=({_described(words, ':')}{more})\n"
    fish = f"  printf '%s\\n' {_described(words, tab)}\n" + (f"  {command}\n" if command else "")
    if aliases:
        bash += f'  [[ $1 == @(vmx|VMX)* ]] && compgen -W "{" ".join(aliases)}" -- "$1"\n'
        zsh += f"  [[ $PREFIX == (vmx|VMX)* ]] && words+=({_described(aliases, ':')})\n"
        fish += (
            f"  string match -qr '(^|,)(vmx|VMX)' -- (commandline -ct); and printf '%s\\n' {_described(aliases, tab)}\n"
        )
    return {
        "bash": function,
        "zsh": function,
        "fish": f"({function})",
        "preamble": {
            "bash": f"{function}() {{\n{bash}}}\n",
            "zsh": f'{function}() {{\n{zsh}  _describe -t {name} {name} words "$@"\n}}\n',
            "fish": f"function {function}\n{fish}end\n",
        },
    }


def _described(words: Mapping[str, str], between: str) -> str:
    return " ".join(shlex.quote(f"{word}{between}{text}") for word, text in words.items())


def _list_of(name: str, words: Mapping[str, str], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Return how shtab completes to some words joined by commas."""
    one, function = _one_of(name, words, aliases=aliases), f"_vmxd_list_of_{name}"
    bash = f"""{function}() {{
  local before=
  [[ $1 == *,* ]] && before=${{1%,*}},
  _vmxd_{name} "${{1##*,}}" | sed "s/^/$before/"
}}
"""
    zsh = f'{function}() {{\n  _sequence _vmxd_{name} - "$@"\n}}\n'
    return {
        "bash": function,
        "zsh": function,
        "fish": f"(__fish_complete_list , _vmxd_{name})",
        "preamble": {
            "bash": one["preamble"]["bash"] + bash,
            "zsh": one["preamble"]["zsh"] + zsh,
            "fish": one["preamble"]["fish"],
        },
    }


_FEATURES: Final = {name: feature.row.sdm or "" for name, feature in FEATURES.items()}
_ALIASES: Final = {
    alias: name
    for name, feature in FEATURES.items()
    for alias in (feature.linux_name, feature.row.qemu, feature.row.libvirt)
    if alias
}
_MSRS: Final = {msr.name: f"MSR {msr.index:#x}" for msr in MSR_BY_INDEX.values()}
_MODELS: Final = dict.fromkeys(cpu_model_names(), "")
_PROFILES: Final = {profile.name: profile.description for profile in builtin_profiles()}

_FEATURE: Final = _one_of("features", _FEATURES, aliases=_ALIASES)
_LIST_OF_FEATURES: Final = _list_of("features", _FEATURES, _ALIASES)
_FEATURE_MSR_OR_GROUP: Final = _one_of(
    "features_msrs_and_groups", _FEATURES | _MSRS | dict.fromkeys(GROUPS, "group"), aliases=_ALIASES
)
_USER: Final = {
    "bash": "_vmxd_users",
    "zsh": "_users",
    "fish": "(__fish_complete_users)",
    "preamble": {"bash": '_vmxd_users() {\n  compgen -u -- "$1"\n}\n'},
}

KINDS: Final[Mapping[str, dict[str, Any] | None]] = {
    "DIR": shtab.DIRECTORY,
    "FILE": shtab.FILE,
    "FEATURE": _FEATURE,
    "FEATURES": _LIST_OF_FEATURES,
    "NAME": _FEATURE,
    "explain NAME": _FEATURE_MSR_OR_GROUP,
    "show NAME": _FEATURE_MSR_OR_GROUP,
    "PROFILE": _one_of("profiles", _PROFILES | {f"{QEMU_PREFIX}{name}": "" for name in _MODELS}, _OWN_PROFILES),
    "MODEL[-vN]": _one_of("cpu_models", _MODELS),
    "USER": _USER,
    "NAMES": _LIST_OF_FEATURES,
    "A": shtab.DIRECTORY,
    "B": shtab.DIRECTORY,
    "'NAME: VALUE'": None,
    "ADDRESS": None,
    "FF-MM-SS": None,
    "HOST": None,
    "LABEL": None,
    "LIST": None,
    "MATCHERS": None,
    "N": None,
    "NAME=VALUE": None,
    "PATH": None,
    "PROGRAM": None,
    "REGEX": None,
    "RELEASE": None,
    "SECONDS": None,
    "STATE": None,
    "TIME": None,
    "URL": None,
}
"""What an argument completes to, by its metavar, where need be after its command; None for nothing."""


def to_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of a parser, which is changed. Raises KeyError for a metavar not in KINDS."""
    for command in commands_of(parser):
        command.parser.description = command.help
        for action in command.arguments:
            action.help = (action.help or "").partition(";")[0] % {**vars(action), "prog": parser.prog}
            if action.nargs != 0 and action.choices is None:
                metavar = str(action.metavar)
                kind = KINDS.get(f"{command.words[-1]} {metavar}", KINDS[metavar])
                if kind is not None:
                    action.complete = kind  # type: ignore[attr-defined] # shtab's name
    script = shtab.complete(parser, shell)
    return _FINISH[shell](script, _valued(parser)).rstrip() + "\n"


def _valued(parser: argparse.ArgumentParser) -> set[str]:
    """Return the long options that take a value."""
    arguments: Iterator[argparse.Action] = (each for command in commands_of(parser) for each in command.arguments)
    return {flag for action in arguments if action.nargs != 0 for flag in action.option_strings if flag[:2] == "--"}


def _finish_bash(script: str, _: Iterable[str]) -> str:
    """Take --root=DIR, which bash breaks at the "=", as --root DIR."""
    return (
        script.replace("complete -o bashdefault -F _shtab_vmxd vmxd", "")
        + """
_vmxd() {
  local -a words=()
  local index current=$COMP_CWORD
  for ((index = 0; index <= COMP_CWORD; index++)); do
    if [[ ${COMP_WORDS[index]} != = ]]; then
      words+=("${COMP_WORDS[index]}")
    elif ((index == COMP_CWORD)); then
      words+=("")
    else
      ((current--))
    fi
  done
  local -a COMP_WORDS=("${words[@]}")
  local COMP_CWORD=$current
  _shtab_vmxd "$@"
}

complete -o bashdefault -F _vmxd vmxd
"""
    )


def _finish_zsh(script: str, valued: Iterable[str]) -> str:
    """Take --root=DIR, and an argument that may be repeated as often as it is."""
    flags = "|".join(map(re.escape, sorted(valued, key=len, reverse=True)))
    with_equals = re.sub(rf'({flags})(?=\}}?"?\[)', r"\1=", script)
    return re.sub(r'^  "\(\*\)::?', '  "*:', with_equals, flags=re.MULTILINE)


_FINISH: Final[Mapping[str, Callable[[str, Iterable[str]], str]]] = {
    "bash": _finish_bash,
    "zsh": _finish_zsh,
    "fish": lambda script, _: script,
}
