"""Scan what the options of parser.py chose; imported where a scan is made, which is not in the process that serves."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable

from vmxd.commands.profiles import chosen_profiles
from vmxd.errors import UsageError
from vmxd.host.scan import Scan, scan
from vmxd.model.profiles import Profile
from vmxd.tables import FEATURES


def scan_chosen(arguments: argparse.Namespace, profiles: Iterable[Profile] = ()) -> Scan:
    """Scan what the host options chose, and hold it against profiles. Raises VmxdError."""
    return scan(arguments.root, arguments.cpus, arguments.skip_isolated, nested=arguments.nested, profiles=profiles)


def scan_to_export(arguments: argparse.Namespace) -> tuple[Scan, frozenset[str]]:
    """Scan what export_options() chose; return that and the features to export. Raises VmxdError."""
    features = chosen_features(arguments)
    return scan_chosen(arguments, chosen_profiles(arguments.profile_dirs, arguments.profiles)), features


def chosen_features(arguments: argparse.Namespace) -> frozenset[str]:
    """Find the features that feature_options() chose, by name. Raises UsageError if there is none."""
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
