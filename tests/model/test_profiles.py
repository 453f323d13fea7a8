"""vmxd/profiles: what a file of profiles may say, which key is wrong, and what profiles say of real hosts."""

from __future__ import annotations

import contextlib
import cProfile
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.support import HOSTS, REAL_HOSTS, REPOSITORY, vmxd
from vmxd.commands.profiles import SIZE_MAX, builtin_profiles, chosen_profiles, read_profiles
from vmxd.errors import ProfileError, UsageError, VmxdError
from vmxd.host.scan import scan
from vmxd.model.profiles import Profile, cpu_model_profile, find_profile, fit
from vmxd.pasted.profile import parse_profiles
from vmxd.tables import FEATURES
from vmxd.tables.cpu_models import CPU_MODELS

POOL: Final = """\
# hosts of pool 7 are of two generations
[pool-7]
description = "what both generations have"
requires = [
  "ept", # needed
  "VMX_FEATURE_VPID", "vmx-unrestricted-guest",
]
[next]
requires = ["0x48b[57]"]
cpu-models = ["Penryn"]
"""


def mistake(text: str) -> ProfileError:
    """Return what is wrong with a file."""
    with pytest.raises(ProfileError) as raised:
        parse_profiles(text, "pool.toml")
    assert str(raised.value).startswith("pool.toml:")
    assert "\n" not in f"{raised.value}{raised.value.hint}"
    return raised.value


# Files ------------------------------------------------------------------------------------------------------------


def test_a_file_of_profiles() -> None:
    """A profile is a table; features go by any name, those of a CPU model are added, all come in the SDM's order."""
    pool, following = parse_profiles(POOL, "pool.toml")

    assert Profile("pool-7", "what both generations have", ("ept", "vpid", "unrestricted_guest")) == pool
    assert {"tsc_scaling", *cpu_model_profile("Penryn").features} == set(following.features)
    assert [name for name in FEATURES if name in following.features] == list(following.features)


@pytest.mark.parametrize(
    ("old", "new", "says", "hint"),
    [
        ('"ept"', '"etp"', "pool-7.requires: no feature is called 'etp'", "ept"),
        ("VPID", "VPDI", "pool-7.requires: no feature is called 'VMX_FEATURE_VPDI'", "vpid"),
        ("vmx-unrestricted-guest", "Load IA32_PAT", "'Load IA32_PAT' names several features", "exit_load_pat"),
        ("0x48b[57]", "0x480[0]", "next.requires: '0x480[0]' is no feature but vmcs_revision_id", "vmxd explain"),
        ("Penryn", "Penrym", "next.cpu-models: no CPU model with VMX is called 'Penrym'", "Penryn"),
        ("Penryn", "Penryn-v2", "next.cpu-models: no CPU model is called 'Penryn-v2'", "Penryn-v1"),
        ("description", "descrption", "profile 'pool-7' has an unknown key 'descrption'", "description"),
        ('"what both generations have"', "7", "description is a number where a string belongs", "requires"),
        ('"ept", # needed', "480, # needed", "requires has a number where a string belongs", "requires"),
        ('"ept", # needed', '["ept"], # needed', "requires has an array where a string belongs", "requires"),
        ('["0x48b[57]"]', '"0x48b[57]"', "requires is a string, not an array of names", "requires"),
        ("[pool-7]", "[qemu-pool]", "'qemu-pool' is the name of a CPU model's profile", "without qemu-"),
        ("[pool-7]", '["pool 7"]', "'pool 7' cannot be the name of a profile", "letters"),
        ("[pool-7]", "[pool.7]", "profile 'pool' has an unknown key '7'", "known are"),
        ("[next]", "[pool-7]", "8: this is not TOML: Cannot declare ('pool-7',) twice", "[name]"),
        ('["0x48b[57]"]', '["0x48b[57]"', "10: this is not TOML: Unclosed array", "[name]"),
        ('cpu-models = ["Penryn"]\n', 'cpu-models = ["Pen', "10: this is not TOML: Unterminated string", "[name]"),
        ("[pool-7]", "pool = 7", "'pool' is a number, not a profile", "[name]"),
        ('requires = ["0x48b[57]"]\ncpu-models = ["Penryn"]\n', "", "profile 'next' requires nothing", "requires"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_key(old: str, new: str, says: str, hint: str) -> None:
    """What is wrong with a file is one sentence with the key that has it, and what to write instead."""
    assert POOL.count(old) == 1
    error = mistake(POOL.replace(old, new))

    assert (True, True) == (says in str(error), hint in error.hint), (str(error), error.hint)


def test_a_mistake_costs_what_a_file_costs() -> None:
    """What is wrong at the end of a long file is found in one pass: twice the text, about twice the calls."""

    def calls(lines: int) -> int:
        text = (
            "".join(f'[p{line}]\nrequires = ["ept"]\n' for line in range(lines)) + '[last]\nrequires = ["\\u0065tp"]\n'
        )
        with cProfile.Profile() as profile:
            mistake(text)
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(400) < 2.5 * calls(200)


@pytest.mark.parametrize("text", ["[" * 100_000, f"[a]\nrequires = {'[' * 100_000}", f"[a]\nb = {'9' * 5_000}"])
def test_what_tomllib_cannot_hold_is_a_mistake_too(text: str) -> None:
    """Depth without end and numbers without end are errors as others are."""
    assert "not TOML" in str(mistake(text))


@given(st.text() | st.text(alphabet='[]"a=\n#,\\'))
def test_any_text_is_profiles_or_a_mistake(text: str) -> None:
    """No text makes anything else than profiles or a ProfileError."""
    with contextlib.suppress(ProfileError):
        assert all(profile.features for profile in parse_profiles(text, "any.toml"))


# Directories ------------------------------------------------------------------------------------------------------


def test_directories_are_read_in_order(tmp_path: Path) -> None:
    """Files *.toml in the order of their names, after the built-in ones; others are left alone."""
    (tmp_path / "20.toml").write_text('[late]\nrequires = ["ept"]\n')
    (tmp_path / "10.toml").write_text('[early]\nrequires = ["ept"]\n')
    (tmp_path / "10.toml~").write_text("not TOML")
    (tmp_path / ".10.toml").write_text("not TOML")
    names = [profile.name for profile in read_profiles([str(tmp_path)])]

    assert [*(profile.name for profile in builtin_profiles()), "early", "late"] == names


def test_a_profile_cannot_be_there_twice(tmp_path: Path) -> None:
    """Nor may a file redefine what another file, or vmxd, defines: the error names both."""
    (tmp_path / "a.toml").write_text('[pool]\nrequires = ["ept"]\n')
    (tmp_path / "b.toml").write_text('\n[pool]\nrequires = ["ept"]\n')
    with pytest.raises(ProfileError, match=r"b\.toml: profile 'pool' is there already, from .*a\.toml"):
        read_profiles([str(tmp_path)])
    (tmp_path / "a.toml").write_text('[kvm-fast]\nrequires = ["ept"]\n')
    with pytest.raises(ProfileError, match=r"a\.toml: profile 'kvm-fast' is there already, from vmxd itself"):
        read_profiles([str(tmp_path)])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A directory that is named must be there; a file must be UTF-8 and of a size that a person wrote."""
    with pytest.raises(VmxdError, match=r"cannot list .*none: No such file or directory"):
        read_profiles([str(tmp_path / "none")])
    (tmp_path / "a.toml").write_bytes(b"[a]\n# gr\xfcn\n")
    with pytest.raises(ProfileError, match=r"a\.toml:2: this is not UTF-8"):
        read_profiles([str(tmp_path)])
    (tmp_path / "a.toml").write_text("#" * (SIZE_MAX + 1))
    with pytest.raises(ProfileError, match=r"a\.toml: the file is longer than 65536 bytes"):
        read_profiles([str(tmp_path)])


def test_chosen(tmp_path: Path) -> None:
    """All profiles of files are chosen, and of QEMU's models those that are named, each once."""
    (tmp_path / "pool.toml").write_text('[pool]\nrequires = ["ept"]\n')
    chosen = chosen_profiles([str(tmp_path)], ["qemu-Penryn", "pool"])

    assert [*(profile.name for profile in builtin_profiles()), "pool", "qemu-Penryn-v1"] == [
        profile.name for profile in chosen
    ]


def test_a_mistake_at_the_start_ends_the_command(tmp_path: Path) -> None:
    """vmxd serve does not start with profiles that it cannot read; it names file and line."""
    (tmp_path / "pool.toml").write_text('[pool]\nrequires = ["etp"]\n')
    done = vmxd("serve", "--root", HOSTS / "lunarlake-hybrid", "--profile-dir", tmp_path,
                "--web.listen-address=127.0.0.1:0")  # fmt: skip

    assert (2, "") == (done.returncode, done.stdout)
    assert (
        f"vmxd: {tmp_path}/pool.toml: pool.requires: no feature is called 'etp'\nhint: close is: ept\n" in done.stderr
    )


# Judgement --------------------------------------------------------------------------------------------------------


def test_a_fit_is_exact_or_none() -> None:
    """What is known to be missing decides that a host does not fit; but it is counted only where all is known."""
    profile = Profile("p", "", ("ept", "vpid", "pml"))
    values: dict[str, bool | None] = {"ept": True, "vpid": False, "pml": None}
    found = fit(profile, values)

    assert (("vpid",), ("pml",), False, None) == (found.lacking, found.unknown, found.fits, found.missing)
    assert 1 == fit(profile, values | {"pml": True}).missing
    assert None is fit(profile, values | {"vpid": True}).fits
    assert True is fit(profile, dict.fromkeys(profile.features, True)).fits


def test_a_cpu_that_failed_leaves_the_profile_unknown() -> None:
    """A feature that could not be read on one CPU is not known to be everywhere, and the host not to fit."""
    profiles = read_profiles([])
    fits = {
        fit.profile.name: fit for fit in scan(str(HOSTS / "made-eio-one-cpu"), profiles=profiles).inventory.profiles
    }

    assert any(each.fits is None and each.missing is None for each in fits.values())


def test_find_profile() -> None:
    """A profile is found by its name, one of a CPU model by qemu- and any name of the model."""
    profiles = builtin_profiles()

    assert profiles[0] == find_profile("kvm-load", profiles)
    assert "qemu-Haswell-v4" == find_profile("qemu-haswell-notsx-ibrs", profiles).name
    with pytest.raises(UsageError, match="no profile is called 'kvm-fats'") as raised:
        find_profile("kvm-fats", profiles)
    assert raised.value.hint.startswith("close are: kvm-fast")


def test_builtin_profiles_say_why() -> None:
    """Every profile that comes with vmxd has a description, a reason and a source."""
    assert ["kvm-load", "kvm-fast", "nested", "windows-vbs"] == [profile.name for profile in builtin_profiles()]
    assert all(profile.description and profile.reason and profile.source for profile in builtin_profiles())


def test_fits_of_real_hosts(update: bool) -> None:
    """Which real hosts fit which profiles and CPU models is what was reviewed."""
    golden = REPOSITORY / "tests" / "model" / "fits.txt"
    profiles = [*read_profiles([]), *(cpu_model_profile(model.name) for model in CPU_MODELS)]
    text = "# per host: what a profile or CPU model lacks, up to 3 features; in brackets what was not recorded\n"
    for name in REAL_HOSTS:
        says: dict[str, list[str]] = {}
        for each in scan(str(HOSTS / name), profiles=profiles).inventory.profiles:
            lacking = f"lacks {' '.join(each.lacking) if len(each.lacking) <= 3 else 'more'}"
            verdict = {True: "fits", None: f"[{' '.join(each.unknown)}]", False: lacking}[each.fits]
            says.setdefault(verdict, []).append(each.profile.name.removeprefix("qemu-"))
        text += f"\n{name}\n" + "".join(f"  {verdict}: {' '.join(names)}\n" for verdict, names in says.items())
    if update:
        golden.write_text(text)

    assert golden.read_text() == text


def test_the_models_are_loaded_only_when_asked_for() -> None:
    """Neither the import of the server nor its profiles load the table of CPU models, nor what suggests names."""
    program = (
        "import sys; from vmxd.server import daemon; from vmxd.commands.profiles import read_profiles; "
        "read_profiles([]);"
        "print([name for name in ('vmxd.tables.cpu_models', 'difflib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout
