"""Completion in bash, zsh and fish themselves, by what they offer when TAB is pressed."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from deploy.shell import completion, generate
from deploy.shell.commands import commands_of
from tests.helpers.support import REPOSITORY, program
from vmxd.cli import COMMANDS, build_parser
from vmxd.commands.profiles import DEFAULT_DIRECTORY
from vmxd.tables import FEATURES
from vmxd.tables.cpu_models import cpu_model_names

SHARE: Final = REPOSITORY / "deploy/share"
SCRIPTS: Final = completion.FILES
COMMAND_NAMES: Final = set(COMMANDS)


def candidates(shell: str, line: str, cwd: Path, script: Path | None = None) -> list[str]:
    """Return what a shell offers where TAB is pressed at the end of a line, in its order."""
    script = script or SHARE / SCRIPTS[shell]
    words = re.findall(r"=|[^ =]+", line) + ([""] if line.endswith(" ") else [])
    commands: Mapping[str, list[str | os.PathLike[str]]] = {
        "bash": [program("bash", "bash"), REPOSITORY / "tests/deploy/completion.bash", script, *words],
        "zsh": [program("zsh", "zsh"), "-f", REPOSITORY / "tests/deploy/completion.zsh", script.parent, line],
        "fish": [program("fish", "fish"), "--no-config", "-c", 'source $argv[1]; complete -C "$argv[2]"', script, line],
    }
    environment = {**os.environ, "TERM": "dumb", "LC_ALL": "C.UTF-8", "HOME": str(cwd)}
    done = subprocess.run(
        commands[shell], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert "" == done.stderr
    offered = [text.partition("\t")[0] for text in done.stdout.splitlines() if text]
    return [re.sub(r"^--[\w.-]+=", "", each) if "=" in line else each for each in offered]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory with a recording, another directory and a file in it."""
    for name in ("recording", "records", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "recording.yml").touch()
    return tmp_path


@pytest.mark.parametrize("shell", SCRIPTS)
def test_what_is_checked_in_is_what_the_parser_says(shell: str) -> None:
    """The scripts are in step with the parser; ``make generated`` writes them anew."""
    assert generate.files()[SCRIPTS[shell]] == (SHARE / SCRIPTS[shell]).read_text()


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_command_is_offered(shell: str, directory: Path) -> None:
    """After the program's name come the commands, all and nothing else."""
    assert COMMAND_NAMES == set(candidates(shell, "vmxd ", directory))


OPTIONS: Final = {
    " ".join(command.words): {flag for action in command.arguments for flag in action.option_strings}
    for command in commands_of(build_parser())
}


@pytest.mark.parametrize("command", OPTIONS)
@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_option_is_offered(shell: str, command: str, directory: Path) -> None:
    """After two dashes come the options of the command, all and nothing else."""
    assert {flag for flag in OPTIONS[command] if flag.startswith("--")} == set(
        candidates(shell, f"{command} --", directory)
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vmxd sh", ["show"]),
        ("vmxd show --root re", ["recording", "records"]),
        ("vmxd show --root=re", ["recording", "records"]),
        ("vmxd metrics -o rec", ["recording", "recording.yml", "records"]),
        ("vmxd serve --web.config.file rec", ["recording", "recording.yml", "records"]),
        ("vmxd features vpi", ["vpid"]),
        ("vmxd features ept vpi", ["vpid"]),
        (
            "vmxd explain IA32_VMX_PRO",
            ["IA32_VMX_PROCBASED_CTLS", "IA32_VMX_PROCBASED_CTLS2", "IA32_VMX_PROCBASED_CTLS3"],
        ),
        ("vmxd show secon", ["secondary"]),
        ("vmxd show vmx-apicv-v", ["vmx-apicv-vid"]),
        ("vmxd features VMX_FEATURE_PAGE_", ["VMX_FEATURE_PAGE_MOD_LOGGING"]),
        ("vmxd check --require vpi", ["vpid"]),
        ("vmxd check --profile windows", ["windows-vbs"]),
        ("vmxd check --profile=windows", ["windows-vbs"]),
        ("vmxd check --cpu-model Haswell-noTSX-", ["Haswell-noTSX-IBRS"]),
        ("vmxd check --view ", ["guest", "hardware", "nested"]),
        ("vmxd check --view=n", ["nested"]),
        ("vmxd serve --log.level w", ["warn"]),
        ("vmxd serve --user roo", ["root"]),
        ("vmxd serve --web.listen-address 12", []),
    ],
)
@pytest.mark.parametrize("shell", SCRIPTS)
def test_arguments_are_completed(shell: str, line: str, expected: list[str], directory: Path) -> None:
    """An argument completes to what it may be: a directory, a file, a feature, an MSR, a profile, a model, a user."""
    assert expected == sorted({each.rstrip("/") for each in candidates(shell, line, directory)})


@pytest.mark.parametrize(
    ("line", "name"), [("vmxd features secon", "secondary"), ("vmxd fleet lacks IA32", "IA32_VMX_MISC")]
)
@pytest.mark.parametrize("shell", SCRIPTS)
def test_what_a_command_does_not_take_is_not_offered(shell: str, line: str, name: str, directory: Path) -> None:
    """Groups and MSRs are for show and explain."""
    assert name not in candidates(shell, line, directory)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_every_name_is_offered(shell: str, directory: Path) -> None:
    """All features and all CPU models are there to choose from."""
    assert set(FEATURES) == set(candidates(shell, "vmxd check --require ", directory))
    assert set(cpu_model_names()) == set(candidates(shell, "vmxd check --cpu-model ", directory))


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_list_is_completed_at_its_end(shell: str, directory: Path) -> None:
    """Of features that are joined by commas, the last is completed and the others stay."""
    (offered,) = candidates(shell, "vmxd check --require ept,vpi", directory)

    assert "vpid" == offered.removeprefix("ept,")
    (offered,) = candidates(shell, "vmxd check --require ept,vmx-apicv-v", directory)
    assert "vmx-apicv-vid" == offered.removeprefix("ept,")


@pytest.mark.parametrize("shell", SCRIPTS)
def test_profiles_of_the_administrator_are_offered(shell: str, directory: Path) -> None:
    """Profiles in /etc/vmxd/profiles.d (here: elsewhere) are read when TAB is pressed; that none are is no error."""
    script = directory / SCRIPTS[shell]
    script.parent.mkdir(parents=True)
    text = (SHARE / SCRIPTS[shell]).read_text()
    assert DEFAULT_DIRECTORY in text
    script.write_text(text.replace(DEFAULT_DIRECTORY, str(directory / "profiles.d")))
    without = candidates(shell, "vmxd check --profile win", directory, script)
    (directory / "profiles.d").mkdir()
    (directory / "profiles.d/ours.toml").write_text('[win-ours]\nrequires = ["ept"]\n')

    assert ["windows-vbs"] == without
    assert ["win-ours", "windows-vbs"] == sorted(candidates(shell, "vmxd check --profile win", directory, script))


def test_every_kind_of_argument_is_known() -> None:
    """What an argument completes to is told by its metavar: a new one has its line in deploy/shell/completion.py."""
    unknown = [
        f"{' '.join(command.words)}: {action.option_strings or action.dest} {action.metavar}"
        for command in commands_of(build_parser())
        for action in command.arguments
        if action.nargs != 0 and not action.choices and action.metavar not in completion.KINDS
    ]

    assert [] == unknown


def test_commands_of_commands_are_found() -> None:
    """Commands are walked to any depth, each before its own, whatever they are called."""
    parser = argparse.ArgumentParser("tool", description="A tool.")
    nested = parser.add_subparsers().add_parser("outer", help="outer help").add_subparsers()
    nested.add_parser("inner", help="inner help")
    found = [(command.words, command.help, command.has_commands) for command in commands_of(parser)]

    assert [
        (("tool",), "A tool.", True),
        (("tool", "outer"), "outer help", True),
        (("tool", "outer", "inner"), "inner help", False),
    ] == found
