"""--feature.include and --feature.exclude, for those who want fewer series."""

from __future__ import annotations

import re

import pytest

from tests.helpers.support import LAKEFIELD, vmxd


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--feature.include", "vpid|ept"), ["ept", "vpid"]),
        (("--feature.include", "vpid|ept", "--feature.exclude", "ept"), ["vpid"]),
        (("--feature.include", "ept", "--feature.exclude", "e.*"), []),
    ],
)
def test_selection(options: tuple[str, ...], names: list[str]) -> None:
    """Series of features are those whose whole name matches; all other metrics stay."""
    done = vmxd("metrics", "--root", LAKEFIELD, *options)

    assert names == re.findall(r'^vmx_feature\{feature="(.*)"\}', done.stdout, re.MULTILINE)
    assert 'vmx_status{status="usable"}' in done.stdout


@pytest.mark.parametrize("flag", ["--feature.include", "--feature.exclude"])
@pytest.mark.parametrize(
    ("regex", "message"), [("[", "is no regular expression: unterminated"), ("vmx-ept", "matches no feature")]
)
def test_mistake(flag: str, regex: str, message: str) -> None:
    """A mistake ends the command with one sentence: a label that is never there is no answer."""
    for command in ("metrics", "serve"):
        done = vmxd(command, "--root", LAKEFIELD, flag, regex)
        assert (2, "") == (done.returncode, done.stdout)
        assert f"vmxd: {flag} {regex!r} {message}" in done.stderr
